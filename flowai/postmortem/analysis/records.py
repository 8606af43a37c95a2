"""The records of what the log says about an incident: how calls went wrong, which ones, and examples of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flowai.analytics.event_query import TimeRange
from flowai.analytics.records import CountOfTotal, DataProblem, ReportRecord

FailureKind = Literal[
    "error", "bad_json", "truncated", "unaccepted", "judged_bad", "slow", "costly", "fell_back", "degraded"
]
"""How a call can go wrong. `error`: there was no answer. `bad_json`: the promised JSON is none. `truncated`: the answer
ended at the limit. `unaccepted`: its user rejected or edited it. `judged_bad`: a judge did. `slow`, `costly`: above the
baseline's p95. `fell_back`: the first try failed, a later one answered. `degraded`: the last resort answered."""

KINDS: tuple[FailureKind, ...] = (
    "error",
    "bad_json",
    "truncated",
    "unaccepted",
    "judged_bad",
    "slow",
    "costly",
    "fell_back",
    "degraded",
)

FAILURE_KINDS: frozenset[FailureKind] = frozenset({"error", "bad_json", "truncated", "unaccepted", "judged_bad"})
"""Kinds whose answers were of no use: what they cost is wasted."""

CallAttribute = Literal[
    "release",
    "prompt",
    "feature",
    "model",
    "provider",
    "variant",
    "arm",
    "tenant",
    "language",
    "input",
    "time",
    "phrase",
]
"""What calls are grouped by. `provider`: who was asked first. `input`: tokens of the request. `phrase`: words in it."""

ATTRIBUTES: tuple[CallAttribute, ...] = (
    "prompt",
    "release",
    "feature",
    "model",
    "provider",
    "variant",
    "arm",
    "tenant",
    "language",
    "input",
    "time",
)
"""Those that a call has one value of; of two that name the same calls, the earlier one is named."""


class Condition(ReportRecord, frozen=True, kw_only=True):
    """What calls have in common."""

    attribute: CallAttribute
    """Which attribute."""
    value: str
    """Its value, as people read it; as the log has it, so hostile."""


class Example(ReportRecord, frozen=True, kw_only=True):
    """A call that went wrong; texts are redacted, and cut where that is said."""

    call_id: str
    """Which."""
    at: str
    """When (RFC 3339, UTC)."""
    request: str | None
    """What its user said last; None where content was not kept."""
    output: str | None
    """The answer; None where there was none, or it was not kept."""
    error: str | None
    """The error's class and message; None where it did not fail."""


class Finding(ReportRecord, frozen=True, kw_only=True):
    """Calls that went wrong more often than they did before, and than all others did."""

    kind: FailureKind
    """How."""
    where: tuple[Condition, ...]
    """What they have in common; empty for all calls."""
    also: tuple[tuple[Condition, ...], ...]
    """Other names of the same calls."""
    inside: CountOfTotal
    """Calls that could go wrong, and those that did."""
    outside: CountOfTotal
    """The same of all other calls of the incident, earlier findings left out."""
    baseline: CountOfTotal
    """The same of such calls before the incident; none where there were none."""
    expected_rate: float
    """At which they would have gone wrong, 0 to 1."""
    excess_count: int
    """How many more went wrong than that, >= 0."""
    log10_p: float
    """Logarithm of the chance of such a surplus among equals, corrected for the subgroups looked at."""
    is_new: bool
    """Whether there were no such calls before, so that only others could be compared with."""
    user_count: int = 0
    """Users it met."""
    session_count: int = 0
    """Sessions it met."""
    cost_usd: float = 0.0
    """Of the calls that went wrong."""
    symptoms: tuple[str, ...] = ()
    """What else these calls have in common."""
    examples: tuple[Example, ...] = ()
    """The shortest ones."""


class Cluster(ReportRecord, frozen=True, kw_only=True):
    """Error messages that are one but for numbers, names and ids."""

    error_class: str
    """Class of the error."""
    pattern: str
    """The message, what varies replaced by marks."""
    count: int
    """Calls of the incident."""
    baseline_count: int
    """Calls of the baseline."""
    user_count: int
    """Users of the incident."""
    providers: tuple[str, ...]
    """Who was asked, most often first."""
    first_at: str
    """Its first call of the incident (RFC 3339, UTC)."""
    last_at: str
    """Its last."""
    example: str
    """One of the messages, redacted."""


class KindRow(ReportRecord, frozen=True, kw_only=True):
    """How often calls went wrong in one way."""

    kind: FailureKind
    """How."""
    incident: CountOfTotal
    """Calls that could go wrong in the incident, and those that did."""
    baseline: CountOfTotal
    """The same before it."""


class Bucket(ReportRecord, frozen=True, kw_only=True):
    """A slice of the time shown."""

    at_s: int
    """Its begin, seconds since 1970 (UTC)."""
    call_count: int
    """Calls."""
    failed_count: int
    """Calls that failed."""
    bad_count: int
    """Calls that went wrong in the way the timeline is about."""
    at_risk_count: int
    """Calls that could."""


class TimelineEvent(ReportRecord, frozen=True, kw_only=True):
    """Something the log itself tells of."""

    at: str
    """When (RFC 3339, UTC)."""
    what: Literal["alert", "release"]
    """`alert` or `release`."""
    detail: str
    """What it says."""


class Impact(ReportRecord, frozen=True, kw_only=True):
    """Who and what the findings met."""

    call_count: int = 0
    """Calls that went wrong in a way and a place that is a finding, or failed."""
    user_count: int = 0
    """Their users."""
    session_count: int = 0
    """Their sessions."""
    anonymous_count: int = 0
    """Calls of them that name no user."""
    wasted_usd: float = 0.0
    """What useless answers among them cost."""
    unpriced_count: int = 0
    """Calls of them whose price is not known."""
    degraded_count: int = 0
    """Answers of the last resort in the incident."""
    fell_back_count: int = 0
    """Calls of the incident that another model had to answer."""


class ContentAvailability(ReportRecord, frozen=True, kw_only=True):
    """Where the log holds what was said."""

    kept_count: int
    """Calls of the incident with content."""
    missing: tuple[str, ...]
    """Features without any, most calls first."""


class Investigation(ReportRecord, frozen=True, kw_only=True):
    """What the log says about an incident."""

    call_count: int
    """Calls of the incident."""
    baseline_count: int
    """Calls of the baseline."""
    releases: dict[str, int]
    """Releases by calls of the incident, most first; the baseline's likewise under `baseline_releases`."""
    baseline_releases: dict[str, int]
    """See there."""
    kinds: tuple[KindRow, ...]
    """How calls went wrong."""
    findings: tuple[Finding, ...]
    """The largest surplus first."""
    tested_count: int
    """Subgroups that were looked at, over all kinds."""
    clusters: tuple[Cluster, ...]
    """Of error messages, most calls first."""
    unclustered_count: int
    """Failed calls whose messages were too many to look at."""
    timeline_kind: FailureKind
    """The way the buckets are about."""
    bucket_s: int
    """Width of a bucket, seconds."""
    buckets: tuple[Bucket, ...]
    """From the baseline's end to what followed."""
    first_bad_at: str | None
    """The first call of the largest finding that went wrong; None without any."""
    moments: tuple[TimelineEvent, ...]
    """Alerts and steps of releases in the log."""
    touched: Impact
    """Who and what was met."""
    content: ContentAvailability
    """Where the log holds what was said."""
    problems: tuple[DataProblem, ...]
    """Lines that could not be used."""
    warnings: tuple[str, ...]
    """What else a person should know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentQuestion:
    """What is to be looked into."""

    incident: TimeRange
    """The stretch in which things went wrong."""
    baseline: TimeRange
    """The stretch before it that says how things go otherwise."""
    after: TimeRange
    """What followed, for the timeline."""
    feature: str | None
    """Only this feature; None for all."""
    now_us: int
    """Lines later than this, by more than clocks may differ, are from the future."""

    @property
    def stretch(self) -> TimeRange:
        """Everything that is read."""
        return TimeRange(since_us=self.baseline.since_us, until_us=self.after.until_us)

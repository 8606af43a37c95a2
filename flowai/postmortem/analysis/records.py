"""Records of an investigation: failure kinds, subgroups, clusters, impact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from flowai.analytics.event_query import TimeRange
from flowai.analytics.records import CountOfTotal, DataProblem, ReportRecord

FailureKind = Literal[
    "error",
    "invalid_json",
    "truncated",
    "rejected_by_user",
    "failed_evaluation",
    "slow",
    "expensive",
    "fallback_used",
    "degraded",
]
"""Ways in which a call can fail. `error`: no answer. `invalid_json`: the answer had to be JSON and was not.
`truncated`: the answer ended at the token limit. `rejected_by_user`: its last feedback is negative or an edit.
`failed_evaluation`: a score did not pass. `slow`, `expensive`: above the baseline's p95. `fallback_used`: the first
attempt failed, a later one answered. `degraded`: the last resort answered."""

KINDS: tuple[FailureKind, ...] = get_args(FailureKind)

FAILURE_KINDS: frozenset[FailureKind] = frozenset(
    {"error", "invalid_json", "truncated", "rejected_by_user", "failed_evaluation"}
)
"""Kinds whose answers were useless: their cost is wasted, and they show how an answer should not be."""

CallAttribute = Literal[
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
    "phrase",
]
"""Attributes that calls are grouped by. `provider`: of the first attempt. `input`: tokens of the request. `phrase`:
words in it."""

ATTRIBUTES: tuple[CallAttribute, ...] = tuple(name for name in get_args(CallAttribute) if name != "phrase")
"""Attributes with a single value per call; of two that select the same calls, the earlier one is reported."""


class Condition(ReportRecord, frozen=True, kw_only=True):
    """An attribute and its value."""

    attribute: CallAttribute
    value: str
    """For people; partly from the log, so hostile."""


class Example(ReportRecord, frozen=True, kw_only=True):
    """A bad call; texts are redacted, and cut at 600 characters."""

    call_id: str
    at: str
    """RFC 3339, UTC."""
    request: str | None
    """Last message of the request; None if content was not kept."""
    output: str | None
    """None without an answer, or if it was not kept."""
    error: str | None
    """Class and message; None without an error."""


class Finding(ReportRecord, frozen=True, kw_only=True):
    """A subgroup of calls that failed more often than before, and than all others."""

    kind: FailureKind
    where: tuple[Condition, ...]
    """Conditions that select its calls; empty for all calls."""
    also: tuple[tuple[Condition, ...], ...]
    """Other conditions that select the same calls."""
    inside: CountOfTotal
    """Calls at risk and failures of the subgroup."""
    outside: CountOfTotal
    """Calls at risk and failures of all other calls of the incident, without those of earlier findings."""
    baseline: CountOfTotal
    """Calls at risk and failures of the subgroup before the incident."""
    expected_rate: float
    """Expected failure rate, 0 to 1."""
    excess_count: int
    """Failures above the expectation, 0 or more."""
    log10_p: float
    """Log10 of the p-value, corrected for the number of tested subgroups."""
    is_new: bool
    """Whether there were too few such calls before to compare with."""
    user_count: int = 0
    session_count: int = 0
    cost_usd: float = 0.0
    """Of the failures."""
    symptoms: tuple[str, ...] = ()
    """Further properties of these calls."""
    examples: tuple[Example, ...] = ()
    """The shortest ones."""


class Cluster(ReportRecord, frozen=True, kw_only=True):
    """Error messages that differ only in numbers, names and ids."""

    error_class: str
    pattern: str
    """The message with placeholders for variable parts."""
    count: int
    """Calls of the incident."""
    baseline_count: int
    """Calls of the baseline."""
    user_count: int
    providers: tuple[str, ...]
    """Providers of the first attempt, most frequent first."""
    first_at: str
    """First call of the incident (RFC 3339, UTC)."""
    last_at: str
    example: str
    """A message, redacted."""


class KindRow(ReportRecord, frozen=True, kw_only=True):
    """Frequency of a failure kind."""

    kind: FailureKind
    incident: CountOfTotal
    """Calls at risk and failures in the incident."""
    baseline: CountOfTotal


class Bucket(ReportRecord, frozen=True, kw_only=True):
    """A time slice."""

    at_s: int
    """Start, seconds since 1970 (UTC)."""
    call_count: int
    failed_count: int
    """Calls with an error."""
    bad_count: int
    """Failures of the timeline's kind."""
    at_risk_count: int
    """Calls at risk of the timeline's kind."""


class TimelineEvent(ReportRecord, frozen=True, kw_only=True):
    """An alert or a release step in the log."""

    at: str
    """RFC 3339, UTC."""
    what: Literal["alert", "release"]
    detail: str


class Impact(ReportRecord, frozen=True, kw_only=True):
    """Calls, users and cost of all findings."""

    call_count: int = 0
    """Failures of the findings, and all errors."""
    user_count: int = 0
    session_count: int = 0
    anonymous_count: int = 0
    """Affected calls without a user."""
    wasted_usd: float = 0.0
    """Cost of useless answers among them."""
    unpriced_count: int = 0
    """Affected calls whose price is not known."""
    degraded_count: int = 0
    """Answers of the last resort in the incident."""
    fallback_used_count: int = 0
    """Calls of the incident that another model of the fallback chain answered."""


class ContentAvailability(ReportRecord, frozen=True, kw_only=True):
    """Calls and features with kept content."""

    kept_count: int
    """Calls of the incident with content."""
    missing: tuple[str, ...]
    """Features without any, most calls first."""


class Investigation(ReportRecord, frozen=True, kw_only=True):
    """Result of an investigation."""

    call_count: int
    baseline_count: int
    releases: dict[str, int]
    """Releases with their calls of the incident, most first."""
    baseline_releases: dict[str, int]
    kinds: tuple[KindRow, ...]
    findings: tuple[Finding, ...]
    """Most failures above the expectation first."""
    tested_count: int
    """Subgroups that were tested, over all kinds."""
    clusters: tuple[Cluster, ...]
    """Clusters of error messages, most calls first."""
    unclustered_count: int
    """Failed calls beyond the limit of messages."""
    timeline_kind: FailureKind
    """The failure kind of the slices."""
    bucket_s: int
    """Width of a slice, seconds."""
    buckets: tuple[Bucket, ...]
    """From shortly before the incident to the time after it."""
    first_bad_at: str | None
    """First failure of the largest finding."""
    moments: tuple[TimelineEvent, ...]
    impact: Impact
    content: ContentAvailability
    problems: tuple[DataProblem, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentQuestion:
    """Time ranges and filter of an incident."""

    incident: TimeRange
    baseline: TimeRange
    """Time range before it, to compare with."""
    after: TimeRange
    """Time range after it, for the timeline."""
    feature: str | None
    """None for all features."""
    now_us: int
    """Later lines are from the future; microseconds since 1970, clock skew included."""

    @property
    def time_range(self) -> TimeRange:
        """The whole range that is read."""
        return TimeRange(since_us=self.baseline.since_us, until_us=self.after.until_us)

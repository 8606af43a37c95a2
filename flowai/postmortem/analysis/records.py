"""The records of what the log says about an incident: how calls went wrong, which ones, and examples of them.

In: nothing. Out: frozen records. Must never know where events come from or how a report looks.
"""

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
    """What calls have in common.

    Args:
        attribute: which attribute.
        value: its value, as people read it; as the log has it, so hostile.
    """

    attribute: CallAttribute
    value: str


class Example(ReportRecord, frozen=True, kw_only=True):
    """A call that went wrong; texts are redacted, and cut where that is said.

    Args:
        call_id: which.
        at: when (RFC 3339, UTC).
        request: what its user said last; None where content was not kept.
        output: the answer; None where there was none, or it was not kept.
        error: the error's class and message; None where it did not fail.
    """

    call_id: str
    at: str
    request: str | None
    output: str | None
    error: str | None


class Finding(ReportRecord, frozen=True, kw_only=True):
    """Calls that went wrong more often than they did before, and than all others did.

    Args:
        kind: how.
        where: what they have in common; empty for all calls.
        also: other names of the same calls.
        inside: calls that could go wrong, and those that did.
        outside: the same of all other calls of the incident, earlier findings left out.
        baseline: the same of such calls before the incident; none where there were none.
        expected_rate: at which they would have gone wrong, 0 to 1.
        excess_count: how many more went wrong than that, >= 0.
        log10_p: logarithm of the chance of such a surplus among equals, corrected for the subgroups looked at.
        is_new: whether there were no such calls before, so that only others could be compared with.
        user_count: users it met.
        session_count: sessions it met.
        cost_usd: of the calls that went wrong.
        symptoms: what else these calls have in common.
        examples: the shortest ones.
    """

    kind: FailureKind
    where: tuple[Condition, ...]
    also: tuple[tuple[Condition, ...], ...]
    inside: CountOfTotal
    outside: CountOfTotal
    baseline: CountOfTotal
    expected_rate: float
    excess_count: int
    log10_p: float
    is_new: bool
    user_count: int = 0
    session_count: int = 0
    cost_usd: float = 0.0
    symptoms: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


class Cluster(ReportRecord, frozen=True, kw_only=True):
    """Error messages that are one but for numbers, names and ids.

    Args:
        error_class: class of the error.
        pattern: the message, what varies replaced by marks.
        count: calls of the incident.
        baseline_count: calls of the baseline.
        user_count: users of the incident.
        providers: who was asked, most often first.
        first_at: its first call of the incident (RFC 3339, UTC).
        last_at: its last.
        example: one of the messages, redacted.
    """

    error_class: str
    pattern: str
    count: int
    baseline_count: int
    user_count: int
    providers: tuple[str, ...]
    first_at: str
    last_at: str
    example: str


class KindRow(ReportRecord, frozen=True, kw_only=True):
    """How often calls went wrong in one way.

    Args:
        kind: how.
        incident: calls that could go wrong in the incident, and those that did.
        baseline: the same before it.
    """

    kind: FailureKind
    incident: CountOfTotal
    baseline: CountOfTotal


class Bucket(ReportRecord, frozen=True, kw_only=True):
    """A slice of the time shown.

    Args:
        at_s: its begin, seconds since 1970 (UTC).
        call_count: calls.
        failed_count: calls that failed.
        bad_count: calls that went wrong in the way the timeline is about.
        at_risk_count: calls that could.
    """

    at_s: int
    call_count: int
    failed_count: int
    bad_count: int
    at_risk_count: int


class TimelineEvent(ReportRecord, frozen=True, kw_only=True):
    """Something the log itself tells of.

    Args:
        at: when (RFC 3339, UTC).
        what: `alert` or `release`.
        detail: what it says.
    """

    at: str
    what: Literal["alert", "release"]
    detail: str


class Impact(ReportRecord, frozen=True, kw_only=True):
    """Who and what the findings met.

    Args:
        call_count: calls that went wrong in a way and a place that is a finding, or failed.
        user_count: their users.
        session_count: their sessions.
        anonymous_count: calls of them that name no user.
        wasted_usd: what useless answers among them cost.
        unpriced_count: calls of them whose price is not known.
        degraded_count: answers of the last resort in the incident.
        fell_back_count: calls of the incident that another model had to answer.
    """

    call_count: int = 0
    user_count: int = 0
    session_count: int = 0
    anonymous_count: int = 0
    wasted_usd: float = 0.0
    unpriced_count: int = 0
    degraded_count: int = 0
    fell_back_count: int = 0


class ContentAvailability(ReportRecord, frozen=True, kw_only=True):
    """Where the log holds what was said.

    Args:
        kept_count: calls of the incident with content.
        missing: features without any, most calls first.
    """

    kept_count: int
    missing: tuple[str, ...]


class Investigation(ReportRecord, frozen=True, kw_only=True):
    """What the log says about an incident.

    Args:
        call_count: calls of the incident.
        baseline_count: calls of the baseline.
        releases: releases by calls of the incident, most first; the baseline's likewise under `baseline_releases`.
        baseline_releases: see there.
        kinds: how calls went wrong.
        findings: the largest surplus first.
        looked_count: subgroups that were looked at, over all kinds.
        clusters: of error messages, most calls first.
        unclustered_count: failed calls whose messages were too many to look at.
        timeline_kind: the way the buckets are about.
        bucket_s: width of a bucket, seconds.
        buckets: from the baseline's end to what followed.
        first_bad_at: the first call of the largest finding that went wrong; None without any.
        moments: alerts and steps of releases in the log.
        touched: who and what was met.
        content: where the log holds what was said.
        problems: lines that could not be used.
        warnings: what else a person should know.
    """

    call_count: int
    baseline_count: int
    releases: dict[str, int]
    baseline_releases: dict[str, int]
    kinds: tuple[KindRow, ...]
    findings: tuple[Finding, ...]
    tested_count: int
    clusters: tuple[Cluster, ...]
    unclustered_count: int
    timeline_kind: FailureKind
    bucket_s: int
    buckets: tuple[Bucket, ...]
    first_bad_at: str | None
    moments: tuple[TimelineEvent, ...]
    touched: Impact
    content: ContentAvailability
    problems: tuple[DataProblem, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentQuestion:
    """What is to be looked into.

    Args:
        incident: the stretch in which things went wrong.
        baseline: the stretch before it that says how things go otherwise.
        after: what followed, for the timeline.
        feature: only this feature; None for all.
        now_us: lines later than this, by more than clocks may differ, are from the future.
    """

    incident: TimeRange
    baseline: TimeRange
    after: TimeRange
    feature: str | None
    now_us: int

    @property
    def stretch(self) -> TimeRange:
        """Everything that is read."""
        return TimeRange(since_us=self.baseline.since_us, until_us=self.after.until_us)

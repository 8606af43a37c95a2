"""The records of a canary report: what was counted, what it says, and everything its plots are drawn from.

In: nothing. Out: frozen records. Must never know where events come from or how a report looks.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from flowai.analytics.records import NOT_MEASURED, SCHEMA_VERSION, DataProblem, Range, ReportRecord
from flowai.comparison.records import ArmReport, CanaryVerdict, MetricReport

Digested = TypeVar("Digested", bound=msgspec.Struct)


class Point(ReportRecord, frozen=True, kw_only=True, array_like=True):
    """A point of a line: when, and how much.

    Args:
        at_s: seconds since 1970 (UTC).
        value: what the line is about.
    """

    at_s: int
    value: float


class Plots(ReportRecord, frozen=True, kw_only=True):
    """What the plots are drawn from.

    Args:
        evidence: by guardrail, log10 of the evidence that it is worse, at the end of blocks.
        latency: by arm, share of calls by upper edge in milliseconds (10 % steps).
        errors: by arm, error rate of calls by hour.
    """

    evidence: dict[str, tuple[Point, ...]]
    latency: dict[str, tuple[tuple[float, float], ...]]
    errors: dict[str, tuple[Point, ...]]


class TrafficSplit(ReportRecord, frozen=True, kw_only=True):
    """Whether users divide as the shares say.

    Args:
        stage: percentage of the stage.
        counts: users by variant.
        e_value: evidence of a mismatch; acts at 1,000.
    """

    stage: str
    counts: dict[str, int]
    e_value: float


class HourlyVerdict(ReportRecord, frozen=True, kw_only=True):
    """What the verdict would have been at an hour.

    Args:
        at: the hour's end (RFC 3339, UTC).
        verdict: what it would have been.
        reason: why.
    """

    at: str
    verdict: CanaryVerdict
    reason: str


class CanaryReport(ReportRecord, frozen=True, kw_only=True):
    """A candidate against its control: a public format.

    Args:
        schema_version: version of this format: 1.
        verdict: what follows.
        reasons: why, the weightiest first.
        candidate: the release that is rolled out.
        baseline: the release that serves otherwise.
        environment: where; None where there are no environments.
        stage: `dogfood` or the percentage.
        since: begin of the stage's stretch (RFC 3339, UTC).
        until: its end.
        unit: what counts once: `user` (or session), or `call` where no call names one.
        arms: `candidate` and `control`.
        metrics: guardrails first.
        splits: by stage.
        problems: lines that could not be used.
        warnings: what else a person should know.
        latency_p95: ratio of the candidate's p95 to the control's.
        ttft_p95: the same of the time to the first token.
        usd_per_call: the same of the mean cost of a call by a model.
        looked_at: calls by side whose users the evidence looked at; all of them, unless there are very many.
        slow_above: by feature, the frozen p95 in milliseconds.
        needed_count: more candidate units until the last guardrail is safe; None when not known or not needed.
        needed_s: seconds that takes at this pace.
        replay: verdicts by hour, where they were asked for.
        plots: what the plots are drawn from.
        digest: SHA-256 of the report's JSON without this field, hex.
    """

    schema_version: int = SCHEMA_VERSION
    verdict: CanaryVerdict
    reasons: tuple[str, ...]
    candidate: str
    baseline: str
    environment: str | None
    stage: str
    since: str
    until: str
    unit: Literal["user", "call"]
    arms: dict[str, ArmReport]
    metrics: tuple[MetricReport, ...]
    splits: tuple[TrafficSplit, ...]
    problems: tuple[DataProblem, ...]
    warnings: tuple[str, ...]
    latency_p95: Range
    ttft_p95: Range
    slow_above: dict[str, float]
    needed_count: int | None
    needed_s: float | None
    replay: tuple[HourlyVerdict, ...]
    plots: Plots
    usd_per_call: Range = NOT_MEASURED
    sampled_users: dict[str, int] = msgspec.field(default_factory=dict)
    digest: str = ""


def with_digest(report: Digested) -> Digested:
    """Return a report with its digest: the hash of all its other fields."""
    import hashlib

    bare = msgspec.structs.replace(report, digest="")
    digest = hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()
    return msgspec.structs.replace(report, digest=digest)

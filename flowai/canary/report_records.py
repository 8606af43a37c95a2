"""Records of a canary report, including the data of its plots."""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from flowai.analytics.records import NOT_MEASURED, SCHEMA_VERSION, DataProblem, Range, ReportRecord
from flowai.comparison.records import ArmReport, CanaryVerdict, MetricReport

Digested = TypeVar("Digested", bound=msgspec.Struct)


class Point(ReportRecord, frozen=True, kw_only=True, array_like=True):
    """A point of a line."""

    at_s: int
    """Seconds since 1970 (UTC)."""
    value: float


class Plots(ReportRecord, frozen=True, kw_only=True):
    """Data of the plots."""

    evidence: dict[str, tuple[Point, ...]]
    """By guardrail, log10 of the evidence that the candidate is worse, at the end of blocks."""
    latency: dict[str, tuple[tuple[float, float], ...]]
    """By arm, share of calls by upper edge in milliseconds (10 % steps)."""
    errors: dict[str, tuple[Point, ...]]
    """By arm, error rate of calls by hour."""


class TrafficSplit(ReportRecord, frozen=True, kw_only=True):
    """Users of a stage by variant, tested against the configured shares."""

    stage: str
    """`dogfood` or the percentage."""
    counts: dict[str, int]
    """Users by variant."""
    e_value: float
    """Evidence of a sample-ratio mismatch; it decides at 1,000."""


class HourlyVerdict(ReportRecord, frozen=True, kw_only=True):
    """Verdict at an earlier hour."""

    at: str
    """End of the hour (RFC 3339, UTC)."""
    verdict: CanaryVerdict
    reason: str
    """The most important reason."""


class CanaryReport(ReportRecord, frozen=True, kw_only=True):
    """Comparison of a candidate with its control: a public format."""

    schema_version: int = SCHEMA_VERSION
    verdict: CanaryVerdict
    reasons: tuple[str, ...]
    """The most important first."""
    candidate: str
    baseline: str
    """The release that the control serves."""
    environment: str | None
    """None in a project without environments."""
    stage: str
    """`dogfood` or the percentage."""
    since: str
    """Start of the stage (RFC 3339, UTC)."""
    until: str
    """End of the stage, or time of the report (RFC 3339, UTC)."""
    unit: Literal["user", "call"]
    """Assignment unit: `user` (or session), or `call` if no call names one."""
    arms: dict[str, ArmReport]
    """`candidate` and `control`."""
    metrics: tuple[MetricReport, ...]
    """Guardrails first."""
    splits: tuple[TrafficSplit, ...]
    """By stage."""
    problems: tuple[DataProblem, ...]
    warnings: tuple[str, ...]
    latency_p95: Range
    """Ratio of the candidate's p95 latency to the control's."""
    ttft_p95: Range
    """Ratio of the candidate's p95 time to first token to the control's."""
    slow_above: dict[str, float]
    """By feature, the baseline's frozen p95 in milliseconds."""
    needed_count: int | None
    """More candidate units until the last guardrail is non-inferior; None if unknown or not needed."""
    needed_s: float | None
    """Seconds until then at this pace."""
    replay: tuple[HourlyVerdict, ...]
    """Verdicts at earlier hours, if requested."""
    plots: Plots
    usd_per_call: Range = NOT_MEASURED
    """Ratio of the mean cost of a call by a model, candidate to control."""
    sampled_users: dict[str, int] = msgspec.field(default_factory=dict)
    """Calls by arm whose users are sampled; all calls unless there are very many."""
    digest: str = ""
    """SHA-256 of the report's JSON without this field, hex."""


def with_digest(report: Digested) -> Digested:
    """Return a report with its digest: the hash of all its other fields."""
    import hashlib

    bare = msgspec.structs.replace(report, digest="")
    digest = hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()
    return msgspec.structs.replace(report, digest=digest)

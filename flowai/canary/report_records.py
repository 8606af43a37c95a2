"""Records of a canary report, including the data of its plots."""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from flowai.analytics.records import SCHEMA_VERSION, DataProblem, Range, ReportRecord
from flowai.comparison.records import ArmReport, CallShares, CanaryVerdict, FeatureReport, MetricReport

Digested = TypeVar("Digested", bound=msgspec.Struct)


class Point(ReportRecord, frozen=True, kw_only=True, array_like=True):
    """A point of a line."""

    at_s: int
    """Seconds since 1970 (UTC)."""
    value: float


class EvidencePlot(ReportRecord, frozen=True, kw_only=True):
    """Evidence for a metric over time, log10."""

    worse: tuple[Point, ...]
    """That the candidate is worse; it decides at `worse_acts_at`."""
    worse_acts_at: float
    safe: tuple[Point, ...]
    """That it is not worse by the margin, in this stage; it decides at `safe_acts_at`."""
    safe_acts_at: float


class Plots(ReportRecord, frozen=True, kw_only=True):
    """Data of the plots."""

    evidence: dict[str, EvidencePlot]
    """By guardrail."""
    latency: dict[str, tuple[tuple[float, float], ...]]
    """By arm, share of calls by upper edge in milliseconds (10 % steps)."""
    errors: dict[str, tuple[Point, ...]]
    """By arm, share of calls whose own model failed, by hour."""


class StageReport(ReportRecord, frozen=True, kw_only=True):
    """Users and calls of a stage, by arm: `candidate`, `control` and `stable`, the rest of the traffic."""

    stage: str
    """`dogfood` or the percentage."""
    since: str
    """Start (RFC 3339, UTC)."""
    until: str
    """End, or time of the report (RFC 3339, UTC)."""
    users: dict[str, int]
    """Users (or sessions), and calls without either."""
    anonymous: dict[str, int]
    """Calls without user and session among them."""
    calls: dict[str, CallShares]


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
    """What is counted: `user` (or session; calls without either count as users), or `call` if no call names one."""
    arms: dict[str, ArmReport]
    """`candidate` and `control`."""
    metrics: tuple[MetricReport, ...]
    """Guardrails first."""
    features: tuple[FeatureReport, ...]
    """Calls by feature."""
    error_classes: dict[str, tuple[int, int]]
    """Calls of candidate and control whose callers got an error, by class."""
    stages: tuple[StageReport, ...]
    """Oldest first; the last one is judged."""
    splits: tuple[TrafficSplit, ...]
    """By stage."""
    problems: tuple[DataProblem, ...]
    warnings: tuple[str, ...]
    latency_p95: Range
    """Ratio of the candidate's p95 latency to the control's."""
    ttft_p95: Range
    """Ratio of the candidate's p95 time to first token to the control's."""
    slow_above: dict[str, float]
    """By feature, the limit above which an answer is slow, in milliseconds: the baseline's frozen p95 and 5 %."""
    replay: tuple[HourlyVerdict, ...]
    """Verdicts at earlier hours, if requested."""
    plots: Plots
    sample: dict[str, int] = msgspec.field(default_factory=dict)
    """By arm, N where the users of 1 in N are counted; arms that are counted whole are left out."""
    is_decisive: bool = True
    """Whether a promotion may depend on it: it is of the active rollout, and of all calls of its stage."""
    digest: str = ""
    """SHA-256 of the report's JSON without this field, hex."""


def with_digest(report: Digested) -> Digested:
    """Return a report with its digest: the hash of all its other fields."""
    import hashlib

    bare = msgspec.structs.replace(report, digest="")
    digest = hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()
    return msgspec.structs.replace(report, digest=digest)

"""The records of a canary report: what was counted, what it says, and everything its plots are drawn from."""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from flowai.analytics.records import NOT_MEASURED, SCHEMA_VERSION, DataProblem, Range, ReportRecord
from flowai.comparison.records import ArmReport, CanaryVerdict, MetricReport

Digested = TypeVar("Digested", bound=msgspec.Struct)


class Point(ReportRecord, frozen=True, kw_only=True, array_like=True):
    """A point of a line: when, and how much."""

    at_s: int
    """Seconds since 1970 (UTC)."""
    value: float
    """What the line is about."""


class Plots(ReportRecord, frozen=True, kw_only=True):
    """What the plots are drawn from."""

    evidence: dict[str, tuple[Point, ...]]
    """By guardrail, log10 of the evidence that it is worse, at the end of blocks."""
    latency: dict[str, tuple[tuple[float, float], ...]]
    """By arm, share of calls by upper edge in milliseconds (10 % steps)."""
    errors: dict[str, tuple[Point, ...]]
    """By arm, error rate of calls by hour."""


class TrafficSplit(ReportRecord, frozen=True, kw_only=True):
    """Whether users divide as the shares say."""

    stage: str
    """Percentage of the stage."""
    counts: dict[str, int]
    """Users by variant."""
    e_value: float
    """Evidence of a mismatch; acts at 1,000."""


class HourlyVerdict(ReportRecord, frozen=True, kw_only=True):
    """What the verdict would have been at an hour."""

    at: str
    """The hour's end (RFC 3339, UTC)."""
    verdict: CanaryVerdict
    """What it would have been."""
    reason: str
    """Why."""


class CanaryReport(ReportRecord, frozen=True, kw_only=True):
    """A candidate against its control: a public format."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format: 1."""
    verdict: CanaryVerdict
    """What follows."""
    reasons: tuple[str, ...]
    """Why, the weightiest first."""
    candidate: str
    """The release that is rolled out."""
    baseline: str
    """The release that serves otherwise."""
    environment: str | None
    """Where; None where there are no environments."""
    stage: str
    """`dogfood` or the percentage."""
    since: str
    """Begin of the stage's stretch (RFC 3339, UTC)."""
    until: str
    """Its end."""
    unit: Literal["user", "call"]
    """What counts once: `user` (or session), or `call` where no call names one."""
    arms: dict[str, ArmReport]
    """`candidate` and `control`."""
    metrics: tuple[MetricReport, ...]
    """Guardrails first."""
    splits: tuple[TrafficSplit, ...]
    """By stage."""
    problems: tuple[DataProblem, ...]
    """Lines that could not be used."""
    warnings: tuple[str, ...]
    """What else a person should know."""
    latency_p95: Range
    """Ratio of the candidate's p95 to the control's."""
    ttft_p95: Range
    """The same of the time to the first token."""
    slow_above: dict[str, float]
    """By feature, the frozen p95 in milliseconds."""
    needed_count: int | None
    """More candidate units until the last guardrail is safe; None when not known or not needed."""
    needed_s: float | None
    """Seconds that takes at this pace."""
    replay: tuple[HourlyVerdict, ...]
    """Verdicts by hour, where they were asked for."""
    plots: Plots
    """What the plots are drawn from."""
    usd_per_call: Range = NOT_MEASURED
    """The same of the mean cost of a call by a model."""
    sampled_users: dict[str, int] = msgspec.field(default_factory=dict)
    """Calls by side whose users the evidence looked at; all of them, unless there are very many."""
    digest: str = ""
    """SHA-256 of the report's JSON without this field, hex."""


def with_digest(report: Digested) -> Digested:
    """Return a report with its digest: the hash of all its other fields."""
    import hashlib

    bare = msgspec.structs.replace(report, digest="")
    digest = hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()
    return msgspec.structs.replace(report, digest=digest)

"""Records of the report of `flowai canary-report --power`: a public format."""

from __future__ import annotations

from flowai.analytics.records import Metric, ReportRecord


class NeededUsers(ReportRecord, frozen=True, kw_only=True):
    """Users and time that a decision needs in 4 of 5 rollouts; all None if it would need more than a year."""

    candidate: int | None = None
    """Users of the candidate with data."""
    baseline: int | None = None
    """Users of control and stable with data."""
    days: float | None = None


class GuardrailPower(ReportRecord, frozen=True, kw_only=True):
    """Power of a guardrail in a stage."""

    name: Metric
    margin: float
    """As the policy has it: see `MetricKind`."""
    baseline: float | None = None
    """Failure rate in the log, mean over users; None for a mean, or without data."""
    harm: float | None = None
    """Added failure rate, or ratio, that is to be found: the margin; twice the margin where the margin is a ratio,
    because evidence of harm begins there. None without data."""
    safe: NeededUsers | None = None
    """Until a candidate without a difference is non-inferior; None without data."""
    found: NeededUsers | None = None
    """Until the harm is found; None without data."""


class StagePower(ReportRecord, frozen=True, kw_only=True):
    """Power of a stage."""

    percent: int
    """The candidate's share."""
    guardrails: tuple[GuardrailPower, ...]


class PowerReport(ReportRecord, frozen=True, kw_only=True):
    """Report of `flowai canary-report --power`."""

    schema_version: int = 1
    release: str
    """The release whose traffic was measured."""
    environment: str | None = None
    since: str
    until: str
    calls: int
    users: int
    """Each call without a user counts as one."""
    calls_per_hour: dict[str, float]
    """By feature."""
    alpha: float
    stages: tuple[StagePower, ...]

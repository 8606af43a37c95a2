"""Records of the report of `flowai simulate`: a public format."""

from __future__ import annotations

from flowai.analytics.records import Metric, ReportRecord


class SimulatedShare(ReportRecord, frozen=True, kw_only=True):
    """A share of simulated rollouts, 0 to 1, with its 95 % interval."""

    rate: float
    low: float
    high: float


class SimulatedStage(ReportRecord, frozen=True, kw_only=True):
    """A stage of the simulated rollouts."""

    stage: str
    """`dogfood` or the percentage."""
    hours: float


class SimulatedGuardrail(ReportRecord, frozen=True, kw_only=True):
    """Rollouts in which one guardrail is worse."""

    name: Metric
    margin: float
    """As the policy has it: see `MetricKind`."""
    baseline: float | None = None
    """Failure rate in the log, mean over users; None for a mean, or without data."""
    harm: float | None = None
    """Simulated harm of twice the margin: added failure rate, or ratio; None without data."""
    rolled_back: SimulatedShare | None = None
    """Rollouts with the verdict `rollback`, whichever guardrail found the harm."""
    found_by_itself: SimulatedShare | None = None
    """Rollouts in which this guardrail was worse at the rollback."""
    calls: float | None = None
    """Median of the candidate's calls until the rollback; None if less than half are rolled back."""
    hours: float | None = None
    """Median of the hours until the rollback, from the candidate's first share on; None as above."""
    promoted: SimulatedShare | None = None
    """Rollouts with a harm of 1.3 times the margin that a stage's evidence would promote."""


class SimulationReport(ReportRecord, frozen=True, kw_only=True):
    """Report of `flowai simulate`."""

    schema_version: int = 1
    release: str
    """The release whose calls were drawn."""
    environment: str | None = None
    since: str
    until: str
    log_calls: int
    """Calls in the log; of a sample, estimated."""
    log_users: int
    """Users in the log, each call without a user counted as one; of a sample, estimated."""
    stages: tuple[SimulatedStage, ...]
    alpha: float
    runs: int
    """Rollouts of each kind."""
    seed: int
    user_share: float
    """Share of the log's users that each rollout has."""
    rollout_calls: int
    """Calls of the first rollout."""
    rolled_back: SimulatedShare
    """False rollbacks: of a candidate that is just as good."""
    promoted: SimulatedShare
    """Rollouts of a candidate that is just as good that a stage's evidence would promote."""
    invalid: SimulatedShare
    """Rollouts of it with the verdict `invalid` at the end of a stage."""
    guardrails: tuple[SimulatedGuardrail, ...]
    warnings: tuple[str, ...] = ()

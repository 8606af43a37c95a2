"""Records of a comparison of two arms: arms, metrics, verdict."""

from __future__ import annotations

from typing import Literal

from flowai.analytics.records import CountOfTotal, Metric, Range, ReportRecord

MetricStatus = Literal["non_inferior", "inconclusive", "inferior", "no_data", "not_tested"]
"""`non_inferior`: not worse than the control by the margin. `inferior`: worse than the control. `inconclusive`: neither
is shown yet. `no_data`: enough users, but no measurement. `not_tested`: the metric does not apply (no answer had to be
JSON)."""

CanaryVerdict = Literal["promote", "hold", "rollback", "invalid"]
"""`promote`: every guardrail is non-inferior. `rollback`: a guardrail is inferior. `hold`: neither yet. `invalid`: the
comparison itself cannot be trusted, or a guardrail has no data."""


class MetricReport(ReportRecord, frozen=True, kw_only=True):
    """Result for one metric."""

    name: Metric
    is_guardrail: bool
    """Whether the verdict depends on it."""
    candidate: CountOfTotal
    """Users at risk and users with a failure in this stage; a failure is an error, invalid JSON, a slow call or an
    answer that was not accepted."""
    control: CountOfTotal
    candidate_calls: CountOfTotal
    """Calls and failed calls in this stage, not collapsed by user."""
    control_calls: CountOfTotal
    difference: Range
    """Difference of failure rates, candidate minus control, -1 to 1."""
    margin: float
    """Tolerated difference of failure rates, 0 to 1."""
    alpha: float
    """Chance of a false `inferior`."""
    e_value: float
    """Evidence that the candidate is worse than the control, over the whole rollout, now."""
    e_value_peak: float
    """Largest e-value so far; it decides at 1 / alpha."""
    safe_e_value: float
    """Evidence that the candidate is not worse by the margin, now; it decides at 1 / the rollout's alpha."""
    status: MetricStatus
    needed_count: int | None = None
    """More candidate units until it is non-inferior, at the rates and pace so far; None if unknown or not needed."""


class ArmReport(ReportRecord, frozen=True, kw_only=True):
    """Result for an arm in this stage."""

    release: str
    unit_count: int
    """Users (or sessions)."""
    call_count: int
    latency: tuple[float | None, float | None, float | None]
    """P50, p95, p99 of answers by a model, milliseconds."""
    ttft: tuple[float | None, float | None, float | None]
    """P50, p95, p99 of the time to the first token, milliseconds."""
    cost_usd: float | None
    """Of calls by a model; None if no price is known."""
    priced_count: int
    """Calls by a model whose price is known."""

    @property
    def usd_per_call(self) -> float | None:
        """US dollars of a call by a model; None if no price is known."""
        return None if self.cost_usd is None or not self.priced_count else self.cost_usd / self.priced_count

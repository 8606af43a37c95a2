"""What a comparison of two arms reports: arms, metrics, verdict."""

from __future__ import annotations

from typing import Literal

from flowai.analytics.records import CountOfTotal, Metric, Range, ReportRecord

MetricStatus = Literal["safe", "undecided", "worse", "missing", "none"]
"""`safe`: not worse than the margin allows. `worse`: worse than the control. `missing`: a guardrail without data.
`none`: it does not apply (no answer promised JSON)."""

CanaryVerdict = Literal["promote", "hold", "rollback", "invalid"]
"""`promote`: every guardrail is safe. `rollback`: one is worse. `hold`: neither yet. `invalid`: the comparison itself
is not to be trusted, or a guardrail has no data."""


class MetricReport(ReportRecord, frozen=True, kw_only=True):
    """What was found about one metric."""

    name: Metric
    """The metric."""
    is_guardrail: bool
    """Whether the verdict hangs on it."""
    candidate: CountOfTotal
    """Users at risk and those who met a failure, in this stage; a failure is an invalid answer, a slow call, an answer
    that was not accepted."""
    control: CountOfTotal
    """The same of the control."""
    candidate_calls: CountOfTotal
    """Calls and failed calls in this stage, not collapsed."""
    control_calls: CountOfTotal
    """The same of the control."""
    difference: Range
    """Of the failure rates, candidate minus control, -1 to 1."""
    margin: float
    """How much more often the candidate may fail, 0 to 1."""
    alpha: float
    """Chance of calling it worse when it is not."""
    e_value: float
    """Evidence that it is worse than the control, over the whole rollout, now."""
    e_value_peak: float
    """The largest so far; acts at 1 / alpha."""
    safe_e_value: float
    """Evidence that it is not worse by the margin, now; acts at 1 / the rollout's alpha."""
    status: MetricStatus
    """What follows."""
    needed_count: int | None = None
    """More candidate units until it is safe, at the rates and pace so far; None when not known or not needed."""


class ArmReport(ReportRecord, frozen=True, kw_only=True):
    """One side of the comparison, in this stage."""

    release: str
    """What served it."""
    unit_count: int
    """Users (or sessions)."""
    call_count: int
    """Calls."""
    latency: tuple[float | None, float | None, float | None]
    """P50, p95, p99 of answers by a model, milliseconds; None for none."""
    ttft: tuple[float | None, float | None, float | None]
    """The same of the time to the first token."""
    cost_usd: float | None
    """Of its calls by a model; None when no price is known."""
    priced_count: int
    """Calls by a model whose price is known."""

    @property
    def usd_per_call(self) -> float | None:
        """US dollars of a call by a model; None when no price is known."""
        return None if self.cost_usd is None or not self.priced_count else self.cost_usd / self.priced_count

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
    """What was found about one metric.

    Args:
        name: the metric.
        is_guardrail: whether the verdict hangs on it.
        candidate: users at risk and those who met a failure, in this stage; a failure is an invalid answer, a slow
            call, an answer that was not accepted.
        control: the same of the control.
        candidate_calls: calls and failed calls in this stage, not collapsed.
        control_calls: the same of the control.
        difference: of the failure rates, candidate minus control, -1 to 1.
        margin: how much more often the candidate may fail, 0 to 1.
        alpha: chance of calling it worse when it is not.
        e_value: evidence that it is worse than the control, over the whole rollout, now.
        e_value_peak: the largest so far; acts at 1 / alpha.
        safe_e_value: evidence that it is not worse by the margin, now; acts at 1 / the rollout's alpha.
        says: what follows.
        needed_count: more candidate units until it is safe, at the rates and pace so far; None when not known or not
            needed.
    """

    name: Metric
    is_guardrail: bool
    candidate: CountOfTotal
    control: CountOfTotal
    candidate_calls: CountOfTotal
    control_calls: CountOfTotal
    difference: Range
    margin: float
    alpha: float
    e_value: float
    e_value_peak: float
    safe_e_value: float
    status: MetricStatus
    needed_count: int | None = None


class ArmReport(ReportRecord, frozen=True, kw_only=True):
    """One side of the comparison, in this stage.

    Args:
        release: what served it.
        unit_count: users (or sessions).
        call_count: calls.
        latency: p50, p95, p99 of answers by a model, milliseconds; None for none.
        ttft: the same of the time to the first token.
        cost_usd: of its calls by a model; None when no price is known.
        priced_count: calls by a model whose price is known.
    """

    release: str
    unit_count: int
    call_count: int
    latency: tuple[float | None, float | None, float | None]
    ttft: tuple[float | None, float | None, float | None]
    cost_usd: float | None
    priced_count: int

    @property
    def usd_per_call(self) -> float | None:
        """US dollars of a call by a model; None when no price is known."""
        return None if self.cost_usd is None or not self.priced_count else self.cost_usd / self.priced_count

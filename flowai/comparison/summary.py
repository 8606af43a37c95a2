"""Builds a report's records from the counts and findings of a comparison, for rollouts and experiments alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.analytics.records import NANO_USD, Range
from flowai.comparison.records import ArmReport, MetricReport
from flowai.statistics.histogram import bucket_quantile
from flowai.statistics.intervals import newcombe

if TYPE_CHECKING:
    from flowai.comparison.counts import Counts
    from flowai.comparison.records import MetricStatus
    from flowai.comparison.verdict import MetricFinding
    from flowai.statistics.intervals import Interval

_SHARES = (0.5, 0.95, 0.99)
_MAX_E_VALUE = 1e300


def metric_report(finding: MetricFinding, status: MetricStatus, needed_count: int | None) -> MetricReport:
    """Build the record of a metric: its finding, its status, and how many more calls it needs."""
    return MetricReport(
        name=finding.name,
        is_guardrail=finding.is_guardrail,
        candidate=finding.candidate,
        control=finding.control,
        candidate_calls=finding.candidate_calls,
        control_calls=finding.control_calls,
        difference=to_range(newcombe(finding.block)),
        margin=finding.margin,
        alpha=finding.alpha,
        e_value=clamp_e_value(finding.log_e),
        e_value_peak=clamp_e_value(finding.log_e_peak),
        safe_e_value=clamp_e_value(finding.safe_log_e),
        status=status,
        needed_count=needed_count,
    )


def arm_report(counts: Counts, stage: int, arm: str, release: str) -> ArmReport:
    """Build the record of an arm in a stage: users, calls, times, cost."""
    sums = counts.for_stage(arm, stage)
    latency, ttft = (counts.latencies_of(metric, arm, stage) for metric in ("slow_calls", "slow_ttft"))
    p50, p95, p99 = (bucket_quantile(latency, share) for share in _SHARES)
    ttft_p50, ttft_p95, ttft_p99 = (bucket_quantile(ttft, share) for share in _SHARES)
    return ArmReport(
        release=release,
        unit_count=counts.unit_count(arm, stage),
        call_count=sums.call_count,
        latency=(p50, p95, p99),
        ttft=(ttft_p50, ttft_p95, ttft_p99),
        cost_usd=sums.cost_nano_usd / NANO_USD if sums.priced_count else None,
        priced_count=sums.priced_count,
    )


def to_range(interval: Interval) -> Range:
    """Build the record of an interval; a bound that is not finite is None."""
    low, high = (bound if math.isfinite(bound) else None for bound in (interval.low, interval.high))
    return Range(estimate=interval.estimate, low=low, high=high)


def clamp_e_value(log_e: float) -> float:
    """Return evidence as a number that JSON can hold."""
    return min(math.exp(min(log_e, 690.0)), _MAX_E_VALUE)

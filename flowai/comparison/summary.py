"""Builds a report's records from the counts and findings of a comparison, for rollouts and experiments alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from flowai.analytics.records import NANO_USD, NOT_MEASURED, CountOfTotal, Range
from flowai.comparison.metrics import METRIC_KINDS, MIN_RATE_MARGIN
from flowai.comparison.records import ArmReport, CallShares, FeatureReport, JudgedRates, MetricReport
from flowai.statistics.corrected_rates import (
    corrected_gap,
    corrected_share,
    flagged_margin,
    true_negative_interval,
    true_positive_interval,
    youden_interval,
)
from flowai.statistics.histogram import bucket_quantile
from flowai.statistics.intervals import wilson
from flowai.timestamps import format_rfc3339

if TYPE_CHECKING:
    from flowai.analytics.records import Metric
    from flowai.calibration import Calibration, JudgeCounts
    from flowai.comparison.counts import CallCounts, Counts
    from flowai.comparison.records import CallForecast, MetricStatus
    from flowai.comparison.verdict import MetricFinding
    from flowai.statistics.intervals import Interval
    from flowai.statistics.mean_evidence import ArmSample

_SHARES = (0.5, 0.95, 0.99)
_MAX_E_VALUE = 1e300


def metric_report(
    finding: MetricFinding, status: MetricStatus, forecast: CallForecast | None, *, safe_alpha: float
) -> MetricReport:
    """Build the record of a metric: its finding, its status, and its forecast."""
    means, kind, judged = finding.means, METRIC_KINDS[finding.name], _judged_rates(finding)
    values: list[float | None] = [_value(finding.name, one) for one in (means.candidate, means.baseline)]
    if judged is not None and judged.calibrated_at is not None:
        values = [judged.candidate.estimate, judged.control.estimate]
    return MetricReport(
        name=finding.name,
        is_guardrail=finding.is_guardrail,
        scale=kind.scale,
        candidate=CountOfTotal(count=means.candidate.count, failure_count=means.candidate_affected),
        control=CountOfTotal(count=means.baseline.count, failure_count=means.baseline_affected),
        candidate_calls=finding.candidate_calls,
        control_calls=finding.control_calls,
        candidate_value=values[0],
        control_value=values[1],
        effect=_effect(finding),
        margin=finding.margin,
        alpha=finding.alpha,
        safe_alpha=safe_alpha,
        e_value=clamp_e_value(finding.log_e),
        e_value_peak=clamp_e_value(finding.log_e_peak),
        safe_e_value=clamp_e_value(finding.safe_log_e),
        safe_e_value_peak=clamp_e_value(finding.safe_log_e_peak),
        status=status,
        single_caller=finding.single_caller,
        forecast=forecast,
        judged=judged,
    )


def _value(metric: Metric, sample: ArmSample) -> float | None:
    if not sample.count:
        return None
    return math.exp(sample.mean) if metric in ("latency", "ttft") else sample.mean


def _effect(finding: MetricFinding) -> Range:
    compared = finding.means.compared
    if compared is None:
        return NOT_MEASURED
    interval = compared.interval(finding.means.margin or MIN_RATE_MARGIN)
    if METRIC_KINDS[finding.name].scale == "ratio":
        low, high = (math.exp(min(max(bound, -50.0), 50.0)) for bound in (interval.low, interval.high))
        return Range(estimate=math.exp(compared.difference), low=low, high=high)
    if (calibration := _calibration(finding)) is not None:
        return to_range(corrected_gap(interval, calibration.counts))
    return Range(estimate=compared.difference, low=max(interval.low, -1.0), high=min(interval.high, 1.0))


def _calibration(finding: MetricFinding) -> Calibration | None:
    return None if finding.standing is None else finding.standing.calibration


def _judged_rates(finding: MetricFinding) -> JudgedRates | None:
    """Build the record of a judge's rates, corrected if it is calibrated; None for other metrics."""
    standing, means = finding.standing, finding.means
    if standing is None:
        return None
    flagged = [_value(finding.name, one) for one in (means.candidate, means.baseline)]
    bare = JudgedRates(
        judge_hashes=standing.judge_hashes,
        problem=standing.problem,
        flagged_candidate=flagged[0],
        flagged_control=flagged[1],
    )
    if standing.calibration is None:
        return bare
    counts = standing.calibration.counts
    candidate, control = (_corrected(one, counts) for one in (means.candidate, means.baseline))
    youden = youden_interval(counts).estimate
    return msgspec.structs.replace(
        bare,
        calibrated_at=format_rfc3339(standing.calibration.at, whole_seconds=True),
        true_positive_rate=to_range(true_positive_interval(counts)),
        true_negative_rate=to_range(true_negative_interval(counts)),
        flagged_margin=flagged_margin(finding.margin, counts),
        candidate=candidate,
        control=control,
        bias_per_point=1 / youden if youden is not None and youden > 0 else None,
    )


def _corrected(sample: ArmSample, counts: JudgeCounts) -> Range:
    """Correct the mean over users; a user's share varies no more than a single verdict, so that users count as such."""
    if not sample.count:
        return NOT_MEASURED
    return to_range(corrected_share(wilson(sample.mean * sample.count, sample.count), counts))


def arm_report(counts: Counts, stage: int, arm: str, release: str) -> ArmReport:
    """Build the record of an arm in a stage: users, calls, times, cost."""
    sums = counts.for_stage(arm, stage)
    latency, ttft = (counts.latencies_of(metric, arm, stage) for metric in ("slow_calls", "slow_ttft"))
    p50, p95, p99 = (bucket_quantile(latency, share) for share in _SHARES)
    ttft_p50, ttft_p95, ttft_p99 = (bucket_quantile(ttft, share) for share in _SHARES)
    return ArmReport(
        release=release,
        unit_count=counts.unit_count(arm, stage),
        anonymous_count=counts.anonymous_count(arm, stage),
        shares=call_shares(sums),
        call_count=sums.call_count,
        latency=(p50, p95, p99),
        ttft=(ttft_p50, ttft_p95, ttft_p99),
        cost_usd=sums.cost_nano_usd / NANO_USD if sums.priced_count else None,
        priced_count=sums.priced_count,
    )


def call_shares(sums: CallCounts) -> CallShares:
    """Build the record of how calls ended."""
    return CallShares(
        calls=sums.call_count,
        cached=sums.cached_count,
        unsent=sums.unsent_count,
        cancelled=sums.cancelled_count,
        failed=sums.failed_count,
        errors=sums.error_count,
        fell_back=sums.fell_back_count,
    )


def feature_reports(counts: Counts, stage: int, candidate: str, control: str) -> tuple[FeatureReport, ...]:
    """Build the record of each feature with counted calls, in alphabetical order."""
    reports = []
    for feature in counts.features():
        sums = [counts.for_stage(arm, stage, feature) for arm in (candidate, control)]
        if not any(one.call_count for one in sums):
            continue
        shares = [call_shares(one) for one in sums]
        json = [CountOfTotal(count=one.promised_json_count, failure_count=one.bad_json_count) for one in sums]
        reports.append(
            FeatureReport(
                feature=feature,
                candidate=shares[0],
                control=shares[1],
                candidate_bad_json=json[0],
                control_bad_json=json[1],
            )
        )
    return tuple(reports)


def to_range(interval: Interval) -> Range:
    """Build the record of an interval; a bound that is not finite is None."""
    low, high = (bound if math.isfinite(bound) else None for bound in (interval.low, interval.high))
    return Range(estimate=interval.estimate, low=low, high=high)


def clamp_e_value(log_e: float) -> float:
    """Return evidence as a number that JSON can hold."""
    return min(math.exp(min(log_e, 690.0)), _MAX_E_VALUE)

"""Computes the canary report from the counts of a rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.canary.plot_series import plots_of
from flowai.canary.report_records import CanaryReport, HourlyVerdict, StageReport, TrafficSplit, with_digest
from flowai.comparison.blocks import ArmPair
from flowai.comparison.evidence import Comparison
from flowai.comparison.records import CallForecast
from flowai.comparison.spec import HOUR_US
from flowai.comparison.summary import arm_report, call_shares, clamp_e_value, feature_reports, metric_report, to_range
from flowai.comparison.validity import problems_of, sample_ratio_mismatch, validity_problems, warnings_of
from flowai.comparison.verdict import unjudged_text
from flowai.statistics.histogram import quantile_ratio
from flowai.timestamps import format_us

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.analytics.records import Metric, Range
    from flowai.comparison.counts import Counts
    from flowai.comparison.evidence import DecisionRules
    from flowai.comparison.records import CanaryVerdict, MetricStatus
    from flowai.comparison.spec import ComparisonSpec
    from flowai.comparison.verdict import MetricFinding

_FULL_PERCENT = 100
_CANCELLED = "Cancelled"


def evaluate_rollout(
    counts: Counts,
    spec: ComparisonSpec,
    rules: DecisionRules,
    *,
    replay: bool = False,
    doubts: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
    is_decisive: bool = True,
) -> CanaryReport:
    """Compute the report of a rollout.

    `doubts` are reasons why its history is inconsistent; with `replay` the verdict at each earlier hour is included.
    """
    sides = spec.sides
    pair = ArmPair(candidate=sides.candidates[0], control=sides.control, extra_control=sides.extra_control)
    comparison = Comparison.build(counts, spec, rules, pair)
    findings = comparison.findings()
    verdict, reasons, statuses = verdict_of(comparison, findings, doubts)
    forecasts = {
        one.name: _forecast(comparison, one)
        for one in findings
        if statuses[one.name] == "inconclusive" and one.is_guardrail
    }
    stage = comparison.stage
    report = CanaryReport(
        verdict=verdict,
        reasons=reasons,
        candidate=sides.releases[pair.candidate],
        baseline=rules.baseline,
        environment=rules.environment,
        stage=spec.stages[-1].name,
        since=format_us(spec.stages[-1].time_range.since_us),
        until=format_us(spec.until_us),
        unit=counts.unit,
        arms={
            "candidate": arm_report(counts, stage, pair.candidate, sides.releases[pair.candidate]),
            "control": arm_report(counts, stage, pair.control, rules.baseline),
        },
        metrics=tuple(
            metric_report(one, statuses[one.name], forecasts.get(one.name), safe_alpha=rules.alpha) for one in findings
        ),
        features=feature_reports(counts, stage, pair.candidate, pair.control),
        error_classes=_error_classes(counts, pair, stage),
        stages=tuple(_stages(counts, spec, pair)),
        splits=tuple(
            TrafficSplit(stage=one.name, counts=users, e_value=clamp_e_value(sample_ratio_mismatch(users, one)))
            for index, one in enumerate(spec.stages)
            if (users := counts.assigned_in(index))
        ),
        problems=problems_of(counts),
        warnings=(*warnings, *warnings_of(counts, spec), *_unjudged(findings)),
        latency_p95=_quantiles(counts, "slow_calls", pair, stage),
        ttft_p95=_quantiles(counts, "slow_ttft", pair, stage),
        slow_above={feature: one.value for feature, one in sorted(counts.limits.get("slow_calls", {}).items())},
        sample={side: one.mask + 1 for side, one in sorted(counts.schedules.items()) if one.mask},
        replay=tuple(_replay(comparison, doubts)) if replay else (),
        plots=plots_of(comparison, findings),
        is_decisive=is_decisive,
    )
    return with_digest(report)


def _unjudged(findings: Sequence[MetricFinding]) -> Iterator[str]:
    """Yield a sentence per metric that is shown and decides nothing."""
    yield from (unjudged_text(one.name, reason) for one in findings if (reason := one.unjudged_reason) is not None)


def _forecast(comparison: Comparison, finding: MetricFinding) -> CallForecast | None:
    forecast = comparison.forecast(finding)
    if forecast is None:
        return None
    seconds = None if forecast.calls is None else comparison.time_of(forecast.calls)
    return CallForecast(calls=forecast.calls, low=forecast.low, high=forecast.high, seconds=seconds)


def _stages(counts: Counts, spec: ComparisonSpec, pair: ArmPair) -> Iterator[StageReport]:
    """Yield users and calls of each stage by arm; arms without calls are left out."""
    arms = {"candidate": pair.candidate, "control": pair.control, "stable": pair.extra_control}
    for index, stage in enumerate(spec.stages):
        sums = {name: counts.for_stage(arm, index) for name, arm in arms.items() if arm is not None}
        calls = {name: call_shares(one) for name, one in sums.items() if one.call_count}
        yield StageReport(
            stage=stage.name,
            since=format_us(stage.time_range.since_us),
            until=format_us(stage.time_range.until_us),
            users={name: counts.unit_count(arms[name] or "", index) for name in calls},
            anonymous={name: counts.anonymous_count(arms[name] or "", index) for name in calls},
            calls=calls,
        )


def _error_classes(counts: Counts, pair: ArmPair, stage: int) -> dict[str, tuple[int, int]]:
    """Return the calls of candidate and control that ended with each class of error, most calls first.

    Cancelled calls are none: `CallShares` has them on their own.
    """
    found: dict[str, list[int]] = {}
    for (side, of_stage, name), hours in counts.error_classes.items():
        if of_stage == stage and side in (pair.candidate, pair.control) and name != _CANCELLED:
            found.setdefault(name, [0, 0])[side == pair.control] += sum(hours.values())
    ordered = sorted(found.items(), key=lambda item: (-sum(item[1]), item[0]))
    return {name: (candidate, control) for name, (candidate, control) in ordered}


def verdict_of(
    comparison: Comparison, findings: Sequence[MetricFinding], doubts: Sequence[str]
) -> tuple[CanaryVerdict, tuple[str, ...], dict[Metric, MetricStatus]]:
    """Return verdict, reasons and statuses; at dogfood and at 100 % there is no control to compare with."""
    every = (*doubts, *validity_problems(comparison.counts, comparison.spec))
    verdict, reasons, statuses = comparison.verdict(findings, every)
    percent = comparison.spec.stages[-1].percent
    if percent == 0 and verdict in ("hold", "promote"):
        return "hold", ("dogfood has no control: its evidence is the smoke run and a minimum of calls",), statuses
    if percent == _FULL_PERCENT and verdict in ("hold", "promote"):
        return "hold", ("at 100 % there is no control: `flowai watch` raises alerts during the soak",), statuses
    return verdict, reasons, statuses


def _replay(comparison: Comparison, doubts: Sequence[str]) -> Iterator[HourlyVerdict]:
    """Yield the verdict at the end of each hour, from what was known then."""
    spec = comparison.spec
    first, last = spec.stages[0].time_range.since_us, min(spec.until_us, spec.now_us)
    for hour_us in range((first // HOUR_US + 1) * HOUR_US, last + 1, HOUR_US):
        then = comparison.as_of(hour_us)
        verdict, reasons, _ = verdict_of(then, then.findings(), doubts)
        yield HourlyVerdict(at=format_us(hour_us), verdict=verdict, reason=reasons[0])


def _quantiles(counts: Counts, metric: Metric, pair: ArmPair, stage: int) -> Range:
    candidate, control = (counts.latencies_of(metric, side, stage) for side in (pair.candidate, pair.control))
    return to_range(quantile_ratio(candidate, control, 0.95))

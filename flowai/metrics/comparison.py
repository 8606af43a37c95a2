"""Compares a candidate with its control: counts in, the canary report out.

In: CanaryCounts, the rules of the rollout. Out: a CanaryReport. Must never know files, screens or clocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from flowai.metrics import doubts as doubting
from flowai.metrics.blocks import follow
from flowai.metrics.counts import NANO, stage_calls
from flowai.metrics.frozen import CELL_US, HOUR_US
from flowai.metrics.model import (
    ArmReport,
    CanaryReport,
    HourlyVerdict,
    MetricReport,
    Problem,
    Range,
    Split,
    Tally,
    sealed,
)
from flowai.metrics.plot_data import plots_of
from flowai.metrics.query import from_us
from flowai.metrics.verdict import Finding, conclude, says
from flowai.statistics.buckets import BUCKET_RATIO, bucket_quantile, quantile_ratio
from flowai.statistics.intervals import newcombe
from flowai.statistics.needed import calls_needed
from flowai.statistics.sequential import Block
from flowai.statistics.several import split_alpha

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.metrics.blocks import Track
    from flowai.metrics.counts import CanaryCounts, CanaryQuestion, Cell
    from flowai.metrics.model import CanaryVerdict, Metric, Says
    from flowai.statistics.intervals import Interval

METRICS: tuple[Metric, ...] = ("error_rate", "json_valid", "slow_calls", "acceptance", "slow_ttft")
SEVERITIES: Mapping[Metric, float] = {
    "error_rate": 4.0,
    "acceptance": 3.0,
    "json_valid": 1.0,
    "slow_calls": 1.0,
    "slow_ttft": 1.0,
}
"""Alpha is shared out over the guardrails in these parts: what hurts most is found soonest."""

_SEED = 20_220_501
"""Forecasts are simulated; a fixed seed gives the same report twice."""

_PACE_BLOCKS = 24
_SHARES = (0.5, 0.95, 0.99)
_MOST_E = 1e300


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The rules of the rollout.

    Args:
        alpha: chance of a wrong verdict.
        guardrails: metrics that must hold.
        margins: how much worse each metric may be, 0 to below 1; also of metrics that are no guardrails.
        baseline: the release that serves otherwise.
        environment: where; None where there are no environments.
    """

    alpha: float
    guardrails: tuple[Metric, ...]
    margins: Mapping[Metric, float]
    baseline: str
    environment: str | None = None

    @property
    def alphas(self) -> dict[str, float]:
        """Alpha by guardrail, shared out by severity."""
        return split_alpha(self.alpha, {name: SEVERITIES[name] for name in self.guardrails})


def compare(
    counts: CanaryCounts,
    question: CanaryQuestion,
    rules: Rules,
    *,
    replay: bool = False,
    doubts: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> CanaryReport:
    """Compare.

    Args:
        counts: what was counted.
        question: what was asked.
        rules: how it is judged.
        replay: also give the verdict of every hour before.
        doubts: why the rollout's history is not to be trusted.
        warnings: what else a person should know.
    """
    until_us = question.stages[-1].stretch.until_us
    tracks = {name: _track(counts, question, rules, name, until_us) for name in METRICS}
    view = _View(counts=counts, question=question, rules=rules, tracks=tracks)
    findings = view.findings(until_us)
    found = {finding.name: says(finding, safe_alpha=rules.alpha) for finding in findings}
    verdict, reasons = conclude(found, findings, (*doubts, *doubting.doubts(counts, question)))
    verdict, reasons = _without_comparison(question, verdict, reasons)
    needed = {finding.name: view.needed(finding) for finding in findings if found[finding.name] == "undecided"}
    last = view.last_needed(needed, verdict)
    stage = len(question.stages) - 1
    begin_us = question.stages[-1].stretch.since_us
    report = CanaryReport(
        verdict=verdict,
        reasons=reasons,
        candidate=question.candidate,
        baseline=rules.baseline,
        environment=rules.environment,
        stage=question.stages[-1].name,
        since=_spelled(begin_us),
        until=_spelled(until_us),
        unit=counts.unit,
        arms={
            "candidate": _arm(counts, stage, question.candidate, is_candidate=True),
            "control": _arm(counts, stage, rules.baseline, is_candidate=False),
        },
        metrics=tuple(_metric_report(finding, found, needed.get(finding.name)) for finding in findings),
        splits=tuple(
            Split(
                stage=question.stages[index].name,
                counts=dict(users),
                e_value=_e(doubting.mismatch(users, question.stages[index])),
            )
            for index, users in sorted(counts.assigned.items())
        ),
        problems=tuple(Problem(kind=kind, count=count) for kind, count in sorted(counts.problems.items())),
        warnings=(*warnings, *doubting.warnings(counts, question)),
        latency_p95=_ratio(counts.latency, stage),
        ttft_p95=_ratio(counts.ttft, stage),
        slow_above={feature: BUCKET_RATIO ** (bucket + 1) for feature, bucket in sorted(counts.slow_above.items())},
        needed_count=last,
        needed_s=None if last is None else view.time_of(last),
        replay=tuple(view.replay()) if replay else (),
        plots=plots_of(counts, tracks, rules.guardrails, stage),
    )
    return sealed(report)


def _without_comparison(
    question: CanaryQuestion, verdict: CanaryVerdict, reasons: tuple[str, ...]
) -> tuple[CanaryVerdict, tuple[str, ...]]:
    """At dogfood and at 100 % there is no control to compare with."""
    percent = question.stages[-1].percent
    if percent == 0 and verdict in ("hold", "promote"):
        return "hold", ("dogfood has no control: it advances on smoke and a minimum of calls",)
    if percent == 100 and verdict in ("hold", "promote"):  # noqa: PLR2004 - per cent
        return "hold", ("at 100 % there is no control: the soak is watched by the alerts",)
    return verdict, reasons


def _track(counts: CanaryCounts, question: CanaryQuestion, rules: Rules, name: Metric, until_us: int) -> Track:
    delay_us = question.feedback_us if name == "acceptance" else 0
    return follow(name, rules.margins[name], counts.cells.get(name, []), until_us=until_us, delay_us=delay_us)


@dataclass(frozen=True, kw_only=True, slots=True)
class _View:
    """The counts with their evidence, looked at from any moment."""

    counts: CanaryCounts
    question: CanaryQuestion
    rules: Rules
    tracks: Mapping[Metric, Track]

    def findings(self, until_us: int) -> list[Finding]:
        """Give what was known of each metric at a moment, guardrails first."""
        stage = self._stage_at(until_us)
        ordered = [*self.rules.guardrails, *(name for name in METRICS if name not in self.rules.guardrails)]
        return [self._finding(name, stage, until_us) for name in ordered]

    def _stage_at(self, moment_us: int) -> int:
        begun = [index for index, one in enumerate(self.question.stages) if one.stretch.since_us < moment_us]
        return begun[-1] if begun else 0

    def _finding(self, name: Metric, stage: int, until_us: int) -> Finding:
        candidate, control = _tallies(self.counts.cells.get(name, []), stage, until_us)
        calls = self._call_tallies(name, stage, until_us)
        delay_us = self.question.feedback_us if name == "acceptance" else 0
        could = _tallies(self.counts.cells.get("error_rate", []), stage, until_us - delay_us)
        opportunities = (could[0].count, could[1].count)
        applies = True
        if name == "json_valid":
            applies = any(calls.promised_json_count for calls in self.counts.calls.values()) or 0 in opportunities
        if name in ("slow_calls", "slow_ttft"):
            opportunities = self._slow_opportunities(name, opportunities)
        log_e, peak, safe = self.tracks[name].at(until_us)
        return Finding(
            name=name,
            is_guardrail=name in self.rules.guardrails,
            candidate=candidate,
            control=control,
            candidate_calls=calls[0],
            control_calls=calls[1],
            opportunities=opportunities,
            applies=applies,
            margin=self.rules.margins[name],
            alpha=self.rules.alphas.get(name, self.rules.alpha),
            log_e=log_e,
            log_e_peak=peak,
            safe_log_e=safe,
        )

    def _slow_opportunities(self, name: Metric, units: tuple[int, int]) -> tuple[int, int]:
        """Before the baseline's p95 is frozen nobody can be slow; without measured answers there is nothing to wait."""
        is_ttft = name == "slow_ttft"
        frozen = self.counts.slow_ttft_above if is_ttft else self.counts.slow_above
        measured = self.counts.ttft if is_ttft else self.counts.latency
        return units if frozen or not measured else (0, 0)

    def _call_tallies(self, name: Metric, stage: int, until_us: int) -> tuple[Tally, Tally]:
        if name in ("slow_calls", "slow_ttft"):
            return _tally(self.counts.slow.get((name, True, stage))), _tally(self.counts.slow.get((name, False, stage)))
        numbers = {True: [0, 0], False: [0, 0]}
        for (arm, index, hour_us), sums in self.counts.calls.items():
            if index != stage or hour_us >= until_us:
                continue
            count, failures = {
                "error_rate": (sums.call_count, sums.failed_count),
                "json_valid": (sums.promised_json_count, sums.bad_json_count),
                "acceptance": (sums.judged_count, sums.unaccepted_count),
            }[name]
            numbers[arm][0] += count
            numbers[arm][1] += failures
        return _tally(tuple(numbers[True])), _tally(tuple(numbers[False]))

    def needed(self, finding: Finding) -> int | None:
        """Give how many more calls of the candidate make a guardrail safe, about."""
        track = self.tracks[finding.name]
        recent = track.blocks[-_PACE_BLOCKS:]
        if not finding.is_guardrail or not recent:
            return None
        observed = Block(
            candidate_count=finding.candidate.count,
            control_count=finding.control.count,
            candidate_failure_count=finding.candidate.failure_count,
            control_failure_count=finding.control.failure_count,
        )
        pace = Block(
            candidate_count=math.ceil(sum(one.block.candidate_count for one in recent) / len(recent)),
            control_count=math.ceil(sum(one.block.control_count for one in recent) / len(recent)),
            candidate_failure_count=0,
            control_failure_count=0,
        )
        units = calls_needed(
            track.safe,
            log_enough=-math.log(self.rules.alpha),
            observed=observed,
            pace=pace,
            rng=Random(_SEED),  # noqa: S311 - a forecast
        )
        if units is None or not finding.candidate.count:
            return None
        # only some calls give data (feedback, JSON): people count calls
        return math.ceil(units * self._candidate_calls() / finding.candidate.count)

    def _candidate_calls(self) -> int:
        return stage_calls(self.counts, len(self.question.stages) - 1)[True].call_count

    def last_needed(self, needed: Mapping[Metric, int | None], verdict: CanaryVerdict) -> int | None:
        """Give what the slowest guardrail needs; None where one of them cannot say."""
        wanted = [needed[name] for name in self.rules.guardrails if name in needed]
        known = [one for one in wanted if one is not None]
        return max(known) if verdict == "hold" and known and len(known) == len(wanted) else None

    def time_of(self, call_count: int) -> float | None:
        """Give how many seconds so many calls of the candidate take at this stage's pace."""
        stretch = self.question.stages[-1].stretch
        so_far = self._candidate_calls()
        return None if not so_far else call_count * (stretch.until_us - stretch.since_us) / 1e6 / so_far

    def replay(self) -> list[HourlyVerdict]:
        """Give the verdict at the end of each hour, from what was known then; shares are looked at in the end only."""
        first, last = self.question.stages[0].stretch.since_us, self.question.stages[-1].stretch.until_us
        verdicts = []
        for hour_us in range((first // HOUR_US + 1) * HOUR_US, last + 1, HOUR_US):
            findings = self.findings(hour_us)
            found: dict[Metric, Says] = {one.name: says(one, safe_alpha=self.rules.alpha) for one in findings}
            verdict, reasons = conclude(found, findings, ())
            verdicts.append(HourlyVerdict(at=_spelled(hour_us), verdict=verdict, reason=reasons[0]))
        return verdicts


def _tallies(cells: list[Cell], stage: int, until_us: int) -> tuple[Tally, Tally]:
    counts, failures = [0, 0], [0, 0]
    for cell in cells:
        if cell.stage == stage and cell.at_us + CELL_US <= until_us:
            for arm in (0, 1):
                counts[arm] += cell.counts[arm]
                failures[arm] += cell.failure_counts[arm]
    return Tally(count=counts[0], failure_count=failures[0]), Tally(count=counts[1], failure_count=failures[1])


def _tally(numbers: tuple[int, ...] | None) -> Tally:
    return Tally(count=numbers[0], failure_count=numbers[1]) if numbers else Tally()


def _metric_report(finding: Finding, found: Mapping[Metric, Says], needed_count: int | None) -> MetricReport:
    block = Block(
        candidate_count=finding.candidate.count,
        control_count=finding.control.count,
        candidate_failure_count=finding.candidate.failure_count,
        control_failure_count=finding.control.failure_count,
    )
    return MetricReport(
        name=finding.name,
        is_guardrail=finding.is_guardrail,
        candidate=finding.candidate,
        control=finding.control,
        candidate_calls=finding.candidate_calls,
        control_calls=finding.control_calls,
        difference=_range(newcombe(block)),
        margin=finding.margin,
        alpha=finding.alpha,
        e_value=_e(finding.log_e),
        e_value_peak=_e(finding.log_e_peak),
        safe_e_value=_e(finding.safe_log_e),
        says=found[finding.name],
        needed_count=needed_count,
    )


def _arm(counts: CanaryCounts, stage: int, release: str, *, is_candidate: bool) -> ArmReport:
    sums = stage_calls(counts, stage)[is_candidate]
    latency, ttft = (kind.get((is_candidate, stage), {}) for kind in (counts.latency, counts.ttft))
    p50, p95, p99 = (bucket_quantile(latency, share) for share in _SHARES)
    ttft_p50, ttft_p95, ttft_p99 = (bucket_quantile(ttft, share) for share in _SHARES)
    return ArmReport(
        release=release,
        unit_count=counts.units[is_candidate, stage],
        call_count=sums.call_count,
        latency=(p50, p95, p99),
        ttft=(ttft_p50, ttft_p95, ttft_p99),
        cost_usd=sums.cost_nano_usd / NANO if sums.priced_count else None,
        priced_count=sums.priced_count,
    )


def _ratio(measured: Mapping[tuple[bool, int], Mapping[int, int]], stage: int) -> Range:
    return _range(quantile_ratio(measured.get((True, stage), {}), measured.get((False, stage), {}), 0.95))


def _range(interval: Interval) -> Range:
    low, high = (bound if math.isfinite(bound) else None for bound in (interval.low, interval.high))
    return Range(estimate=interval.estimate, low=low, high=high)


def _e(log_e: float) -> float:
    """Give evidence as a number that JSON can hold."""
    return min(math.exp(min(log_e, 690.0)), _MOST_E)


def _spelled(moment_us: int) -> str:
    return from_us(moment_us).isoformat(timespec="seconds").replace("+00:00", "Z")

"""Compares two arms: evidence, status of each metric and verdict, as of now and of any earlier hour."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Self

from flowai.analytics.records import CountOfTotal
from flowai.comparison.blocks import DELAYED_METRICS, ArmPair, accumulate
from flowai.comparison.spec import CELL_US
from flowai.comparison.verdict import MetricFinding, decide, status_of
from flowai.statistics.evalues import Block
from flowai.statistics.multiple_testing import split_alpha
from flowai.statistics.sample_size import required_sample_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.analytics.records import Metric
    from flowai.comparison.blocks import EvidenceSeries
    from flowai.comparison.counts import Counts, TimeBucket
    from flowai.comparison.records import CanaryVerdict, MetricStatus
    from flowai.comparison.spec import ComparisonSpec

SEVERITIES: Mapping[Metric, float] = {
    "error_rate": 12.0,
    "slow_calls": 7.0,
    "acceptance": 4.0,
    "save_rate": 4.0,
    "json_valid": 1.0,
    "hallucination": 1.0,
    "slow_ttft": 1.0,
}
"""Weights by which alpha is shared out over the guardrails: most for those that must detect harm within a number of
calls (decision 0045). Half of a weight costs 0.7 in log evidence."""

_SEED = 20_220_501
"""Forecasts are simulated; a fixed seed yields the same report twice."""

_PACE_BLOCKS = 24
_PACE_UNITS = 10
"""A forecast continues at the pace of the last blocks, in steps with at least this many units per arm: fewer would
round the canary's share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionRules:
    """Decision rules of a rollout or an experiment."""

    alpha: float
    """Chance of a wrong verdict."""
    guardrails: tuple[Metric, ...]
    """Metrics that must not get worse."""
    margins: Mapping[Metric, float]
    """Tolerated difference of each metric, 0 to below 1; also of metrics that are not guardrails."""
    baseline: str
    """The release that the control serves."""
    environment: str | None = None

    @property
    def alphas(self) -> dict[str, float]:
        """Alpha by guardrail, shared out by severity."""
        return split_alpha(self.alpha, {name: SEVERITIES[name] for name in self.guardrails})


@dataclass(frozen=True, kw_only=True, slots=True)
class _RunningTotals:
    """Cumulated users of a metric in a stage: (candidate, failures, control, failures) at the end of each cell."""

    untils_us: list[int]
    numbers: list[tuple[int, int, int, int]]

    def at(self, moment_us: int) -> tuple[CountOfTotal, CountOfTotal]:
        index = bisect_right(self.untils_us, moment_us) - 1
        count, failed, control_count, control_failed = self.numbers[index] if index >= 0 else (0, 0, 0, 0)
        return CountOfTotal(count=count, failure_count=failed), CountOfTotal(
            count=control_count, failure_count=control_failed
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Comparison of two arms; create it with `build`."""

    counts: Counts
    spec: ComparisonSpec
    rules: DecisionRules
    pair: ArmPair
    tracks: Mapping[Metric, EvidenceSeries]
    users: Mapping[tuple[Metric, int], _RunningTotals]
    """By metric and stage."""

    @classmethod
    def build(cls, counts: Counts, spec: ComparisonSpec, rules: DecisionRules, pair: ArmPair) -> Self:
        """Accumulate the evidence of all metrics."""
        tracks, users = {}, {}
        for name in spec.metrics:
            cells = counts.cells.get(name, [])
            delay_us = spec.feedback_us if name in DELAYED_METRICS else 0
            margin = rules.margins[name]
            tracks[name] = accumulate(name, margin, cells, pair, until_us=spec.until_us, delay_us=delay_us)
            for stage in range(len(spec.stages)):
                users[name, stage] = _running_totals(cells, pair, stage)
        return cls(counts=counts, spec=spec, rules=rules, pair=pair, tracks=tracks, users=users)

    def as_of(self, moment_us: int) -> Comparison:
        """Return the comparison as of a time, to the hour."""
        return replace(self, counts=self.counts.as_of(moment_us), spec=self.spec.as_of(moment_us))

    @property
    def stage(self) -> int:
        """Index of the stage that is judged."""
        return len(self.spec.stages) - 1

    def findings(self) -> list[MetricFinding]:
        """Return the finding of each metric, guardrails first."""
        others = (name for name in self.spec.metrics if name not in self.rules.guardrails)
        return [self._finding(name) for name in (*self.rules.guardrails, *others)]

    def verdict(
        self, findings: Sequence[MetricFinding], doubts: Sequence[str]
    ) -> tuple[CanaryVerdict, tuple[str, ...], dict[Metric, MetricStatus]]:
        """Return the verdict, its reasons and the status of each metric."""
        statuses = {one.name: status_of(one, safe_alpha=self.rules.alpha) for one in findings}
        verdict, reasons = decide(statuses, findings, doubts)
        return verdict, reasons, statuses

    def _finding(self, name: Metric) -> MetricFinding:
        until_us = self.spec.until_us
        candidate, control = self.users[name, self.stage].at(until_us)
        opportunity_users = self.users["error_rate", self.stage].at(
            until_us - (self.spec.feedback_us if name in DELAYED_METRICS else 0)
        )
        opportunities = (opportunity_users[0].count, opportunity_users[1].count)
        applies = True
        if name == "json_valid":
            applies = any(sums.promised_json_count for sums in self.counts.calls.values()) or 0 in opportunities
        if name in ("slow_calls", "slow_ttft") and not self._can_be_slow(name):
            opportunities = (0, 0)
        log_e, peak, safe = self.tracks[name].at(until_us)
        return MetricFinding(
            name=name,
            is_guardrail=name in self.rules.guardrails,
            candidate=candidate,
            control=control,
            candidate_calls=self.counts.call_tally(name, self.pair.candidate, self.stage),
            control_calls=self.counts.call_tally(name, self.pair.control, self.stage),
            opportunities=opportunities,
            applies=applies,
            margin=self.rules.margins[name],
            alpha=self.rules.alphas.get(name, self.rules.alpha),
            log_e=log_e,
            log_e_peak=peak,
            safe_log_e=safe,
        )

    def _can_be_slow(self, name: Metric) -> bool:
        """Return False until the baseline's p95 is frozen; without measured answers there is nothing to wait for."""
        is_measured = any(metric == name for metric, *_ in self.counts.times)
        return bool(self.counts.frozen.get(name)) or not is_measured

    def calls_needed(self, finding: MetricFinding) -> int | None:
        """Return an estimate of how many more calls of the candidate make a guardrail non-inferior."""
        track = self.tracks[finding.name]
        recent = track.blocks[-_PACE_BLOCKS:]
        if not finding.is_guardrail or not recent:
            return None
        paces = (sum(one.block.candidate_count for one in recent), sum(one.block.control_count for one in recent))
        step = max(1 / len(recent), _PACE_UNITS / min(paces))
        pace = Block(
            candidate_count=round(paces[0] * step),
            control_count=round(paces[1] * step),
            candidate_failure_count=0,
            control_failure_count=0,
        )
        units = required_sample_size(
            track.safe,
            log_enough=-math.log(self.rules.alpha),
            observed=finding.block,
            pace=pace,
            rng=Random(_SEED),  # noqa: S311 - a forecast
            stream=recent[-1].feature,
        )
        if units is None or not finding.candidate.count:
            return None
        # only some calls yield data (feedback, JSON): people count calls
        return math.ceil(units * self._candidate_calls() / finding.candidate.count)

    def last_needed(self, needed: Mapping[Metric, int | None], verdict: CanaryVerdict) -> int | None:
        """Return the calls that the slowest guardrail needs; None if one of them is unknown."""
        counts_needed = [needed[name] for name in self.rules.guardrails if name in needed]
        known = [one for one in counts_needed if one is not None]
        return max(known) if verdict == "hold" and known and len(known) == len(counts_needed) else None

    def time_of(self, call_count: int) -> float | None:
        """Return the seconds that a number of calls of the candidate take at this stage's pace."""
        time_range = self.spec.stages[-1].time_range
        so_far = self._candidate_calls()
        return None if not so_far else call_count * (time_range.until_us - time_range.since_us) / 1e6 / so_far

    def _candidate_calls(self) -> int:
        return self.counts.for_stage(self.pair.candidate, self.stage).call_count


def _running_totals(cells: Sequence[TimeBucket], pair: ArmPair, stage: int) -> _RunningTotals:
    sums = _RunningTotals(untils_us=[], numbers=[])
    count = failed = control_count = control_failed = 0
    no_users = (0, 0)
    for cell in cells:
        if cell.stage == stage:
            more, more_failed = cell.sides.get(pair.candidate, no_users)
            control_more, control_more_failed = cell.sides.get(pair.control, no_users)
            count, failed = count + more, failed + more_failed
            control_count, control_failed = control_count + control_more, control_failed + control_more_failed
            sums.untils_us.append(cell.at_us + CELL_US)
            sums.numbers.append((count, failed, control_count, control_failed))
    return sums

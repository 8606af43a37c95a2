"""Compares two sides: what each metric's figures and evidence say, and what follows, now and at any hour before."""

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
"""Alpha is shared out over the guardrails in these parts: most to what must be found within a number of calls (decision
0045). Half of a part costs 0.7 in the logarithm of the evidence."""

_SEED = 20_220_501
"""Forecasts are simulated; a fixed seed gives the same report twice."""

_PACE_BLOCKS = 24
_PACE_UNITS = 10
"""A forecast goes on at the pace of the last blocks, in steps in which each arm has so many units at least: fewer would
round the canary's share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionRules:
    """The rules of a rollout or an experiment."""

    alpha: float
    """Chance of a wrong verdict."""
    guardrails: tuple[Metric, ...]
    """Metrics that must hold."""
    margins: Mapping[Metric, float]
    """How much worse each metric may be, 0 to below 1; also of metrics that are no guardrails."""
    baseline: str
    """The release that serves otherwise."""
    environment: str | None = None
    """Where; None where there are no environments."""

    @property
    def alphas(self) -> dict[str, float]:
        """Alpha by guardrail, shared out by severity."""
        return split_alpha(self.alpha, {name: SEVERITIES[name] for name in self.guardrails})


@dataclass(frozen=True, kw_only=True, slots=True)
class _RunningTotals:
    """Users of a metric in a stage, added up cell by cell: until when, and how many by then: candidate's, control's."""

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
    """Two sides of a question; build it with `of`, look at an hour before with `as_of`."""

    counts: Counts
    """What was counted."""
    question: ComparisonSpec
    """What was asked."""
    rules: DecisionRules
    """How it is judged."""
    pair: ArmPair
    """Who is held against whom."""
    tracks: Mapping[Metric, EvidenceSeries]
    """Evidence by metric."""
    users: Mapping[tuple[Metric, int], _RunningTotals]
    """Users by metric and stage."""

    @classmethod
    def build(cls, counts: Counts, question: ComparisonSpec, rules: DecisionRules, pair: ArmPair) -> Self:
        """Gather the evidence."""
        tracks, users = {}, {}
        for name in question.metrics:
            cells = counts.cells.get(name, [])
            delay_us = question.feedback_us if name in DELAYED_METRICS else 0
            margin = rules.margins[name]
            tracks[name] = accumulate(name, margin, cells, pair, until_us=question.until_us, delay_us=delay_us)
            for stage in range(len(question.stages)):
                users[name, stage] = _added(cells, pair, stage)
        return cls(counts=counts, question=question, rules=rules, pair=pair, tracks=tracks, users=users)

    def as_of(self, moment_us: int) -> Comparison:
        """Give the comparison as it stood at a moment, as far as hours tell."""
        return replace(self, counts=self.counts.as_of(moment_us), question=self.question.as_of(moment_us))

    @property
    def stage(self) -> int:
        """Index of the stage that is judged."""
        return len(self.question.stages) - 1

    def findings(self) -> list[MetricFinding]:
        """Give what is known of each metric, guardrails first."""
        others = (name for name in self.question.metrics if name not in self.rules.guardrails)
        return [self._finding(name) for name in (*self.rules.guardrails, *others)]

    def verdict(
        self, findings: Sequence[MetricFinding], doubts: Sequence[str]
    ) -> tuple[CanaryVerdict, tuple[str, ...], dict[Metric, MetricStatus]]:
        """Give what follows, why, and what each metric says."""
        found = {one.name: status_of(one, safe_alpha=self.rules.alpha) for one in findings}
        verdict, reasons = decide(found, findings, doubts)
        return verdict, reasons, found

    def _finding(self, name: Metric) -> MetricFinding:
        until_us = self.question.until_us
        candidate, control = self.users[name, self.stage].at(until_us)
        could = self.users["error_rate", self.stage].at(
            until_us - (self.question.feedback_us if name in DELAYED_METRICS else 0)
        )
        opportunities = (could[0].count, could[1].count)
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
        """Before the baseline's p95 is frozen nobody can be slow; without measured answers there is nothing to wait."""
        is_measured = any(metric == name for metric, *_ in self.counts.times)
        return bool(self.counts.frozen.get(name)) or not is_measured

    def calls_needed(self, finding: MetricFinding) -> int | None:
        """Give how many more calls of the candidate make a guardrail safe, about."""
        track = self.tracks[finding.name]
        recent = track.blocks[-_PACE_BLOCKS:]
        if not finding.is_guardrail or not recent:
            return None
        paces = (
            sum(one.block.candidate_count for one in recent),
            sum(one.block.control_count for one in recent),
        )
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
        # only some calls give data (feedback, JSON): people count calls
        return math.ceil(units * self._candidate_calls() / finding.candidate.count)

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

    def _candidate_calls(self) -> int:
        return self.counts.for_stage(self.pair.candidate, self.stage).call_count


def _added(cells: Sequence[TimeBucket], pair: ArmPair, stage: int) -> _RunningTotals:
    sums = _RunningTotals(untils_us=[], numbers=[])
    count = failed = control_count = control_failed = 0
    nobody = (0, 0)
    for cell in cells:
        if cell.stage == stage:
            more, more_failed = cell.sides.get(pair.candidate, nobody)
            control_more, control_more_failed = cell.sides.get(pair.control, nobody)
            count, failed = count + more, failed + more_failed
            control_count, control_failed = control_count + control_more, control_failed + control_more_failed
            sums.untils_us.append(cell.at_us + CELL_US)
            sums.numbers.append((count, failed, control_count, control_failed))
    return sums

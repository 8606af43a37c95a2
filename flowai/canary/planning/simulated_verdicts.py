"""Judges simulated rollouts as hourly looks of `flowai canary-report` would: first rollback, promotions, doubts."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.analytics.event_query import TimeRange
from flowai.canary.judge import verdict_of
from flowai.canary.planning.simulated_counts import count_simulated
from flowai.comparison.blocks import ArmPair
from flowai.comparison.evidence import Comparison
from flowai.comparison.spec import HOUR_US, SETTLING_US, ComparisonSpec, RolloutStage, rollout_sides
from flowai.simulation.generator import simulate_calls

if TYPE_CHECKING:
    from flowai.analytics.records import Metric
    from flowai.comparison.evidence import DecisionRules
    from flowai.comparison.records import CanaryVerdict
    from flowai.simulation.calls import SimulatedCalls
    from flowai.simulation.scenario import Scenario


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutOutcome:
    """Result of the looks at a rollout."""

    rollback_us: int | None
    """Time of the first look with the verdict `rollback`; None without one."""
    worse: tuple[Metric, ...]
    """Guardrails that were worse at that look."""
    calls_until_rollback: float
    """The candidate's calls with data of the first of them, up to that look; inf without a rollback."""
    promoted: tuple[str, ...]
    """Stages with a look that said `promote`."""
    at_stage_ends: tuple[CanaryVerdict, ...]
    """Verdict at the end of each stage in which both releases had a share."""
    doubts: tuple[str, ...]
    """First reasons of looks at stage ends that were `invalid`."""


def rollout_spec(scenario: Scenario, *, feedback_us: int = HOUR_US) -> ComparisonSpec:
    """Return the specification by which `flowai canary-report` counts a simulated rollout, at its end."""
    spans = scenario.spans()
    stages = tuple(
        RolloutStage(
            percent=one.percent, time_range=TimeRange(since_us=one.since_us + SETTLING_US, until_us=one.until_us)
        )
        for one in spans
    )
    return ComparisonSpec(
        sides=rollout_sides(scenario.candidate_release),
        stages=stages,
        feature=None,
        feedback_us=feedback_us,
        now_us=spans[-1].until_us,
    )


def judge_simulated(
    calls: SimulatedCalls, scenario: Scenario, rules: DecisionRules, spec: ComparisonSpec | None = None
) -> RolloutOutcome:
    """Judge a simulated rollout at the end of each hour, whatever earlier looks said."""
    spec = spec or rollout_spec(scenario)
    # metrics that are only shown change no verdict; users come by `error_rate`
    judged = {*rules.guardrails, "error_rate"}
    spec = replace(spec, metrics=tuple(name for name in spec.metrics if name in judged))
    counts = count_simulated(calls, [one.name for one in scenario.features], spec)
    sides = spec.sides
    pair = ArmPair(candidate=sides.candidates[0], control=sides.control, extra_control=sides.extra_control)
    comparison = Comparison.build(counts, spec, rules, pair)
    compared = [one for one in spec.stages if 0 < one.percent < 100]  # noqa: PLR2004 - percent
    ends_us = {one.time_range.until_us // HOUR_US * HOUR_US for one in compared}
    first_us = compared[0].time_range.since_us if compared else spec.until_us
    looks = _DecisiveLooks(comparison)
    rollback_us: int | None = None
    worse: tuple[Metric, ...] = ()
    calls_until, promoted = math.inf, dict[str, None]()
    at_ends: list[CanaryVerdict] = []
    doubts: list[str] = []
    for hour_us in range((first_us // HOUR_US + 1) * HOUR_US, spec.now_us + 1, HOUR_US):
        if hour_us not in ends_us and not looks.is_decisive(hour_us, is_rolled_back=rollback_us is not None):
            continue
        then = comparison.as_of(hour_us)
        verdict, reasons, statuses = verdict_of(then, then.findings(), ())
        if verdict == "rollback" and rollback_us is None:
            rollback_us = hour_us
            worse = tuple(name for name in rules.guardrails if statuses[name] == "inferior")
            calls_until = _calls_with_data(then, worse[0])
        if verdict == "promote":
            promoted[then.spec.stages[-1].name] = None
        if hour_us in ends_us:
            at_ends.append(verdict)
            doubts += [reasons[0]] if verdict == "invalid" else []
    return RolloutOutcome(
        rollback_us=rollback_us,
        worse=worse,
        calls_until_rollback=calls_until,
        promoted=tuple(promoted),
        at_stage_ends=tuple(at_ends),
        doubts=tuple(doubts),
    )


def find_rollback(scenario: Scenario, seed: int, rules: DecisionRules, *, hours: float) -> RolloutOutcome:
    """Simulate and judge the first hours of a rollout, then twice as many, up to its rollback.

    The rollback is that of `judge_simulated`: verdicts depend on nothing that became known later.
    """
    spec = rollout_spec(scenario)
    begin_us = scenario.spans()[0].since_us
    while True:
        until_us = min((int(begin_us + hours * HOUR_US) // HOUR_US + 1) * HOUR_US, spec.now_us)
        calls = simulate_calls(scenario, seed, until_us=until_us)
        outcome = judge_simulated(calls, scenario, rules, spec.as_of(until_us))
        if outcome.rollback_us is not None or until_us == spec.now_us:
            return outcome
        hours *= 2


class _DecisiveLooks:
    """Selects the looks that can say anything but `hold` or `invalid`; other looks need not be computed."""

    def __init__(self, comparison: Comparison) -> None:
        rules = comparison.rules
        self._begins_us = [stage.time_range.since_us for stage in comparison.spec.stages]
        self._worse = [(comparison.worse[name], -math.log(rules.alphas[name])) for name in rules.guardrails]
        self._safe = [
            [comparison.means[name, stage] for name in rules.guardrails if name != "json_valid"]
            for stage in range(len(self._begins_us))
        ]
        self._safe_enough = -math.log(rules.alpha)

    def is_decisive(self, hour_us: int, *, is_rolled_back: bool) -> bool:
        if not is_rolled_back and any(series.at(hour_us)[1] >= enough for series, enough in self._worse):
            return True
        stage = bisect_left(self._begins_us, hour_us) - 1
        return all(means.at(hour_us)[1] >= self._safe_enough for means in self._safe[stage])


def _calls_with_data(comparison: Comparison, metric: Metric) -> float:
    """Return the candidate's calls of all stages with data of a metric; of a mean all that reached a model."""
    total = 0
    for stage in range(len(comparison.spec.stages)):
        tally = comparison.counts.call_tally(metric, comparison.pair.candidate, stage)
        reached = comparison.counts.for_stage(comparison.pair.candidate, stage).reached_count
        total += tally.count or reached
    return float(total)

"""`flowai simulate`: rollouts of an equal and of a worse candidate, from the log's users, judged by the policy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from flowai.canary.planning.logged_calls import TrafficOptions, compared_percents, read_serving_calls, unit_count
from flowai.canary.planning.policy_runs import PolicyRuns, RolloutCase, RolloutRunner
from flowai.canary.planning.simulated_verdicts import rollout_spec
from flowai.canary.planning.simulation_records import (
    SimulatedGuardrail,
    SimulatedShare,
    SimulatedStage,
    SimulationReport,
)
from flowai.canary.report import rules_of
from flowai.comparison.metrics import METRIC_KINDS, METRICS, tolerated_difference
from flowai.comparison.sampling import UNSAMPLED_CALLS
from flowai.comparison.spec import HOUR_US
from flowai.comparison.verdict import MIN_COUNT
from flowai.errors import InconclusiveError, UsageError
from flowai.gateway.routing.assignment import FULL_PERCENT
from flowai.rendering.formatting import count, rounded
from flowai.simulation.harm import Harm, failure_shares, slow_limits
from flowai.simulation.resample import Assignment, UserHistories, expected_arm_calls, sample_users
from flowai.simulation.scenario import FeatureTraffic, Scenario
from flowai.statistics.intervals import clopper_pearson
from flowai.timestamps import format_us, from_us
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flowai.analytics.records import Metric
    from flowai.canary.planning.logged_calls import LoggedCalls
    from flowai.canary.planning.simulated_verdicts import RolloutOutcome
    from flowai.registry.policies import CanaryPolicy
    from flowai.simulation.calls import SimulatedCalls
    from flowai.workspace.workspace import CommandContext, Workspace

DEFAULT_RUNS = 200
MAX_RUNS = 100_000

FOUND_MARGINS = 2.0
"""Harm, in margins, that the policy should find."""

PROMOTED_MARGINS = 1.3
"""Harm, in margins, that the policy should not promote."""

_MAX_HOURS = 24 * 365
_MAX_HISTORY_CALLS = 1_000_000
_FILLED = 0.9  # of what an arm may have: users differ, and an arm may have more calls than expected


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateOptions(TrafficOptions):
    """Options of `flowai simulate`."""

    hours: str | None = None
    """Hours of each stage, or of each, separated by commas, as typed; None to divide the log's length."""
    runs: int = DEFAULT_RUNS
    """Rollouts of each kind."""
    seed: int = 0


def run_simulate(
    context: CommandContext, options: SimulateOptions, on_progress: Callable[[int, int], None]
) -> SimulationReport:
    """Simulate rollouts with the project's policy.

    Args:
        context: the project.
        options: those of the command.
        on_progress: is called with the rollouts done so far and all rollouts.

    Raises:
        UsageError: an option is invalid, or the policy has no stage to compare.
        InconclusiveError: the log has too few calls.
        InfrastructureError: the log cannot be read.
    """
    workspace = open_workspace(context)
    policy = workspace.registry.policies.canary
    percents = (*((0,) if "dogfood" in policy.stages else ()), *compared_percents(policy))
    hours = None if options.hours is None else _parse_hours(options.hours, len(percents))
    logged = read_serving_calls(workspace, options)
    _check_size(logged, max(percents))
    if hours is None:
        hours = (max(1.0, float(logged.hours // len(percents))),) * len(percents)
    simulation = _prepare(workspace, logged, tuple(zip(percents, hours, strict=True)), options.seed)
    found, promoted = (dict(_cases(workspace, logged, margins)) for margins in (FOUND_MARGINS, PROMOTED_MARGINS))
    total = (1 + len(found) + len(promoted)) * options.runs
    with RolloutRunner(simulation, total, on_progress) as runner:
        equal, *of_found = runner.judge([RolloutCase(harm=None), *found.values()], range(options.runs))
        # the same rollout with a harm has no more evidence that all is well: without a promotion it has none either
        good = [run for run, outcome in enumerate(equal) if outcome.promoted]
        of_promoted = runner.judge(list(promoted.values()), good)
    on_progress(total, total)
    begin_us = next(span.since_us for span in simulation.scenario.spans() if span.percent)
    detections = dict(zip(found, of_found, strict=True))
    promotions = {
        name: _share_of(sum(bool(one.promoted) for one in several), options.runs)
        for name, several in zip(promoted, of_promoted, strict=True)
    }
    return SimulationReport(
        release=logged.release,
        environment=workspace.registry.environment,
        since=format_us(logged.time_range.since_us),
        until=format_us(logged.time_range.until_us),
        log_calls=logged.call_count,
        log_users=logged.user_count,
        stages=tuple(
            SimulatedStage(stage=str(percent) if percent else "dogfood", hours=length)
            for percent, length in simulation.scenario.stages
        ),
        alpha=policy.alpha,
        runs=options.runs,
        seed=options.seed,
        user_share=simulation.user_share,
        rollout_calls=len(simulation.draw(0)),
        rolled_back=_share(one.rollback_us is not None for one in equal),
        promoted=_share(bool(one.promoted) for one in equal),
        invalid=_share("invalid" in one.at_stage_ends for one in equal),
        guardrails=tuple(
            _guardrail(name, policy, found.get(name), detections.get(name), promotions.get(name), begin_us)
            for name in policy.guardrails
        ),
        warnings=tuple(_warnings(policy, found, simulation, logged)),
    )


def _parse_hours(text: str, stage_count: int) -> tuple[float, ...]:
    """Parse `24` or `6,24,24`."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= stage_count
    if len(numbers) != stage_count or not all(1 <= number <= _MAX_HOURS for number in numbers):
        stages = count(stage_count, "stage")
        raise UsageError(
            f"--hours: found `{text}`, expected hours such as `24`, or one number for each of {stages} below 100 %,"
            " 1 or more"
        )
    return tuple(numbers)


def _check_size(logged: LoggedCalls, percent: int) -> None:
    """Check that the log has enough users for a verdict at the largest share."""
    users = -(-MIN_COUNT * FULL_PERCENT // min(percent, FULL_PERCENT - percent))
    if logged.user_count < users:
        calls = rounded(math.ceil(users * logged.call_count / logged.user_count))
        raise InconclusiveError(
            f"found {count(logged.call_count, 'call')} of {count(logged.user_count, 'user')}, expected at least"
            f" {users:,} users, about {calls:,} calls: a verdict at {percent} % needs {MIN_COUNT} users in each arm",
            hint="start earlier: `--since 30d`",
        )


def _prepare(workspace: Workspace, logged: LoggedCalls, stages: tuple[tuple[int, float], ...], seed: int) -> PolicyRuns:
    policy = workspace.registry.policies.canary
    scenario = Scenario(
        stages=stages,
        begin=from_us(logged.time_range.since_us),
        features=tuple(FeatureTraffic(name=name) for name in logged.features),
        baseline_release=logged.release,
        candidate_release=f"{logged.release} (candidate)",
        seed=seed,
    )
    spans, features = scenario.spans(), workspace.registry.features
    repeated = len(logged.calls) * math.ceil(scenario.hours / logged.hours)
    calls = sample_users(logged.calls, _MAX_HISTORY_CALLS / repeated, seed=seed)
    assignment = Assignment(
        spans=spans,
        late_features=tuple(
            index
            for index, name in enumerate(logged.features)
            if name in features and features[name].critical  # the log may have features of earlier registries
        ),
        late_from=policy.critical_from,
    )
    histories = UserHistories.build(
        calls, since_us=logged.time_range.since_us, until_us=logged.time_range.until_us, spans=spans
    )
    # of the users that were read, the rollout draws as many as the log has
    units, drawn = unit_count(logged.calls) / logged.user_share, unit_count(calls)
    expected = expected_arm_calls(histories, assignment) * units / drawn
    full = len(histories.starts) * units / drawn
    share = min(1.0, _FILLED * UNSAMPLED_CALLS / max(expected, 1.0))
    metrics = tuple(name for name in METRICS if name in policy.guardrails or name == "error_rate")
    return PolicyRuns(
        histories=histories,
        assignment=assignment,
        scenario=scenario,
        spec=replace(rollout_spec(scenario), metrics=metrics),
        rules=rules_of(workspace, baseline=logged.release),
        limits=slow_limits(logged.calls),
        user_count=max(1, round(full * share)),
        user_share=share,
        seed=seed,
    )


def _cases(workspace: Workspace, logged: LoggedCalls, margins: float) -> Iterator[tuple[Metric, RolloutCase]]:
    """Yield a kind of rollout per guardrail with data: its harm is so many margins."""
    policy = workspace.registry.policies.canary
    for name in policy.guardrails:
        margin = policy.margins.of(name)
        if METRIC_KINDS[name].scale == "ratio":
            if _has_mean(logged.calls, name):
                yield name, RolloutCase(harm=Harm(metric=name, amount=margin**margins))
            continue
        shares = failure_shares(logged.calls, name)
        if shares is None:
            continue
        amount = min(tolerated_difference(name, margin, shares.failed) * margins, shares.spared)
        yield name, RolloutCase(harm=Harm(metric=name, amount=amount), shares=shares)


def _has_mean(calls: SimulatedCalls, name: Metric) -> bool:
    reached = ~calls.cached
    if name == "cost":
        return bool((reached & (calls.cost_usd > 0)).any())
    answered = reached & ~calls.error & ~calls.cancelled
    return bool((answered & ~np.isnan(calls.ttft_ms if name == "ttft" else calls.latency_ms)).any())


def _share(flags: Iterator[bool]) -> SimulatedShare:
    seen = list(flags)
    return _share_of(sum(seen), len(seen))


def _share_of(found: int, runs: int) -> SimulatedShare:
    interval = clopper_pearson(found, runs)
    return SimulatedShare(rate=found / runs, low=interval.low, high=interval.high)


def _guardrail(
    name: Metric,
    policy: CanaryPolicy,
    case: RolloutCase | None,
    detections: Sequence[RolloutOutcome] | None,
    promoted: SimulatedShare | None,
    begin_us: int,
) -> SimulatedGuardrail:
    margin = policy.margins.of(name)
    if case is None or case.harm is None or detections is None:
        return SimulatedGuardrail(name=name, margin=margin)
    hours = (math.inf if one.rollback_us is None else (one.rollback_us - begin_us) / HOUR_US for one in detections)
    return SimulatedGuardrail(
        name=name,
        margin=margin,
        baseline=None if case.shares is None else case.shares.failed,
        harm=case.harm.amount,
        rolled_back=_share(one.rollback_us is not None for one in detections),
        found_by_itself=_share(name in one.worse for one in detections),
        calls=_finite(median(one.calls_until_rollback for one in detections)),
        hours=_finite(median(hours)),
        promoted=promoted,
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _warnings(
    policy: CanaryPolicy, found: dict[Metric, RolloutCase], simulation: PolicyRuns, logged: LoggedCalls
) -> Iterator[str]:
    missing = [METRIC_KINDS[name].label for name in policy.guardrails if name not in found]
    if missing:
        yield f"no data in the log for {', '.join(missing)}: no harm of it was simulated"
    if simulation.user_share < 1:
        yield (
            f"each rollout has {100 * simulation.user_share:.2g} % of the log's users, so that an arm has at most"
            f" {UNSAMPLED_CALLS:,} calls: with all of them, decisions come sooner"
        )
    hours = simulation.scenario.hours
    if hours > logged.hours:
        yield f"the log has {logged.hours:,} h and the stages {hours:,.0f} h: its users come back with the same calls"

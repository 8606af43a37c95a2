"""Computes the report of an experiment from its counts.

Every pair of arms is compared, both ways, with the evidence of a rollout. An arm wins if it is shown to be better than
each of the others at alpha / k with k arms. If another arm were just as good, a fixed comparison would have to err for
each arm that could win in its place: at most k of them, with chance alpha / k each.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from flowai.canary.report_records import with_digest
from flowai.comparison.blocks import ArmPair
from flowai.comparison.evidence import Comparison, DecisionRules
from flowai.comparison.metrics import label_of
from flowai.comparison.summary import arm_report, clamp_e_value, metric_report
from flowai.comparison.validity import comparison_problems, problems_of, warnings_of
from flowai.comparison.verdict import MIN_COUNT, status_of, unjudged_text
from flowai.experiments.report_records import ExperimentReport, PairReport
from flowai.rendering.markdown import one_line
from flowai.statistics.evalues import Block
from flowai.statistics.sample_size import required_sample_size
from flowai.statistics.srm import MISMATCH_ALPHA, srm_log_e_value
from flowai.timestamps import format_us

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.analytics.records import Metric
    from flowai.calibration import JudgeStanding
    from flowai.comparison.counts import Counts
    from flowai.comparison.spec import ComparisonSpec
    from flowai.comparison.verdict import MetricFinding
    from flowai.experiments.report_records import ExperimentVerdict, Goal

MAX_NAMED = 5

_SEED = 20_220_501
"""Forecasts are simulated; a fixed seed yields the same report twice."""

_PACE_BLOCKS = 24
_PACE_UNITS = 10
"""A forecast continues at the pace of the last blocks, in steps with at least this many units per arm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentRules:
    """Decision rules of an experiment."""

    experiment: str
    feature: str
    goal: Goal
    """The metric that decides."""
    alpha: float
    """Chance of a false winner; and, apart from it, of a false alarm of any guardrail in any arm."""
    guardrails: tuple[Metric, ...]
    """Metrics that must not get worse; at least one, without the goal."""
    margins: Mapping[Metric, float]
    """Tolerated difference of each metric, 0 to below 1."""
    environment: str | None = None
    judged: Mapping[Metric, JudgeStanding] = field(default_factory=dict)
    """By metric that judges measure, whether their scores may decide; none for scores without a judge's hash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _PairComparison:
    """An arm compared with another."""

    comparison: Comparison
    findings: tuple[MetricFinding, ...]
    """The goal first."""

    @property
    def goal(self) -> MetricFinding:
        return self.findings[0]


def evaluate_experiment(
    counts: Counts, spec: ComparisonSpec, rules: ExperimentRules, *, warnings: tuple[str, ...] = ()
) -> ExperimentReport:
    """Compute the report of an experiment."""
    arms = _arms(spec)
    comparisons = {
        (one, other): _compare_arms(counts, spec, rules, one, other) for one in arms for other in arms if one != other
    }
    pairs = tuple(_pair(comparisons, one, other) for one, other in comparisons)
    users = {arm: counts.assigned_in(0).get(arm, 0) for arm in arms}
    split = srm_log_e_value(users, dict.fromkeys(arms, 1.0))
    verdict, winner, reasons = _verdict(pairs, arms, rules.goal, tuple(_doubts(counts, spec, split)))
    leader = _leader(comparisons, arms)
    needed_count, needed_s = _needed(comparisons, rules, leader, arms) if verdict == "none" else (None, None)
    return with_digest(
        ExperimentReport(
            verdict=verdict,
            reasons=reasons,
            experiment=rules.experiment,
            feature=rules.feature,
            goal=rules.goal,
            environment=rules.environment,
            winner=winner,
            leader=leader,
            since=format_us(spec.stages[0].time_range.since_us),
            until=format_us(spec.until_us),
            unit=counts.unit,
            arms={arm: arm_report(counts, 0, arm, ", ".join(_releases(counts, (arm,)))) for arm in arms},
            pairs=pairs,
            split={arm: count for arm, count in users.items() if count},
            split_e_value=clamp_e_value(split),
            goal_acts_at=len(arms) / rules.alpha,
            problems=problems_of(counts),
            warnings=(*warnings, *_warnings(counts, arms), *warnings_of(counts, spec), *_unjudged(rules)),
            needed_count=needed_count,
            needed_s=needed_s,
        )
    )


def _arms(spec: ComparisonSpec) -> tuple[str, ...]:
    return (spec.sides.control, *spec.sides.candidates)


def _compare_arms(
    counts: Counts, spec: ComparisonSpec, rules: ExperimentRules, arm: str, other: str
) -> _PairComparison:
    """Compare an arm with another; alpha is shared out over the guardrails and over all such pairs."""
    arm_count = len(_arms(spec))
    pair_rules = DecisionRules(
        alpha=rules.alpha / (arm_count * (arm_count - 1)),
        guardrails=rules.guardrails,
        margins={**rules.margins, rules.goal: 0.0},
        baseline="",
        environment=rules.environment,
        judged=rules.judged,
    )
    comparison = Comparison.build(counts, spec, pair_rules, ArmPair(candidate=arm, control=other))
    findings = comparison.findings()
    goal = next(one for one in findings if one.name == rules.goal)
    rest = (one for one in findings if one is not goal)
    return _PairComparison(comparison=comparison, findings=(replace(goal, alpha=rules.alpha / arm_count), *rest))


def _pair(comparisons: Mapping[tuple[str, str], _PairComparison], arm: str, other: str) -> PairReport:
    compared = comparisons[arm, other]
    is_better, is_worse = _is_better(compared, comparisons[other, arm]), _is_better(comparisons[other, arm], compared)
    metrics = []
    for one in compared.findings:
        safe_alpha = one.alpha if one is compared.goal else compared.comparison.rules.alpha
        label = status_of(one, safe_alpha=safe_alpha)
        if one is compared.goal and label != "no_data":
            label = "non_inferior" if is_better else "inferior" if is_worse else "inconclusive"
        metrics.append(metric_report(one, label, None, safe_alpha=safe_alpha))
    return PairReport(arm=arm, other=other, is_better=is_better, metrics=tuple(metrics))


def _is_better(compared: _PairComparison, mirrored: _PairComparison) -> bool:
    """Return whether an arm is better by the goal: by the evidence, and still leading among enough users."""
    arm, other = compared.goal.means.candidate, compared.goal.means.baseline
    if min(arm.count, other.count) < MIN_COUNT:
        return False
    return mirrored.goal.proven_log_e >= -math.log(compared.goal.alpha) and arm.mean < other.mean


def _leader(comparisons: Mapping[tuple[str, str], _PairComparison], arms: Sequence[str]) -> str | None:
    """Return the arm with the lowest failure rate of the goal so far; of equals the first; None if all are equal."""
    goals = {arm: comparisons[arm, next(other for other in arms if other != arm)].goal.means.candidate for arm in arms}
    known = {arm: goal.mean for arm, goal in goals.items() if goal.count}
    return min(known, key=known.__getitem__) if len(set(known.values())) > 1 else None


def _verdict(
    pairs: Sequence[PairReport], arms: Sequence[str], goal: Goal, doubts: tuple[str, ...]
) -> tuple[ExperimentVerdict, str | None, tuple[str, ...]]:
    """Return verdict, winner and reasons, the most important first; reasons of invalidity outrank everything."""
    worse_guardrails = tuple(_worse_guardrails(pairs))
    missing = _missing(pairs, goal)
    if doubts:
        return "invalid", None, (*doubts, *worse_guardrails, *missing)
    label = label_of(goal)
    best = next((arm for arm in arms if all(pair.is_better for pair in pairs if pair.arm == arm)), None)
    beaten = best is not None and any(pair.worse for pair in pairs if pair.arm == best)
    if worse_guardrails and (best is None or beaten):
        spoilt = (f"{best} has the best {label}, but a guardrail of it is worse",) if best is not None else ()
        return "worse", None, (*worse_guardrails, *spoilt, *missing)
    if missing:
        return "invalid", None, missing
    if best is None:
        return "none", None, (f"no arm's {label} is shown to be better than every other's",)
    others = "the other's" if len(arms) == 2 else "every other's"  # noqa: PLR2004 - one other
    return (
        "winner",
        best,
        (f"the {label} of {best} is better than {others}, and no guardrail of it is worse", *worse_guardrails),
    )


def _worse_guardrails(pairs: Sequence[PairReport]) -> Iterator[str]:
    """Yield a text per inferior guardrail, with the arms that it is worse than."""
    others: dict[tuple[str, Metric], list[str]] = {}
    for pair in pairs:
        for metric in pair.worse:
            others.setdefault((pair.arm, metric.name), []).append(pair.other)
    for (arm, name), than in others.items():
        yield f"{label_of(name)} of {arm} is worse than that of {' and '.join(than)}"


def _missing(pairs: Sequence[PairReport], goal: Goal) -> tuple[str, ...]:
    """Return a text per metric without data although there are enough users."""
    names = dict.fromkeys(
        metric.name
        for pair in pairs
        for metric in pair.metrics
        if metric.status == "no_data" and (metric.is_guardrail or metric.name == goal)
    )
    texts = [f"no data for {label_of(name)}" for name in names]
    goals = [pair.goal for pair in pairs]
    if min(one.candidate.count for one in goals) >= MIN_COUNT and all(one.candidate_value == 1.0 for one in goals):
        label = "saved" if goal == "save_rate" else "accepted"
        texts.append(f"no answer of any arm was {label}: is this feedback sent at all?")
    return tuple(texts)


def _doubts(counts: Counts, spec: ComparisonSpec, split: float) -> Iterator[str]:
    arms = _arms(spec)
    strays = {side: sum(cells.values()) for side, cells in sorted(counts.traffic.items()) if side not in arms}
    if strays:
        named = [f"{calls:,} calls of {one_line(side, 40)}" for side, calls in list(strays.items())[:MAX_NAMED]]
        more = f" and {len(strays) - MAX_NAMED} more" if len(strays) > MAX_NAMED else ""
        yield f"traffic in arms that the registry does not have: {', '.join(named)}{more}"
    units = {arm: counts.unit_count(arm, 0) for arm in arms}
    if max(units.values()) >= MIN_COUNT:
        yield from (f"arm {arm} has no calls" for arm, count in units.items() if not count)
    if split >= -math.log(MISMATCH_ALPHA):
        users = counts.assigned_in(0)
        yield f"users do not divide evenly: {', '.join(f'{arm} {users.get(arm, 0):,}' for arm in arms)}"
    yield from comparison_problems(counts, spec)


def _warnings(counts: Counts, arms: tuple[str, ...]) -> Iterator[str]:
    releases = _releases(counts, arms)
    if len(releases) > 1:
        yield f"several releases served: {', '.join(releases)}; only calls of the same minutes are compared"


def _unjudged(rules: ExperimentRules) -> Iterator[str]:
    """Yield a sentence per metric that is shown and decides nothing."""
    for name, standing in rules.judged.items():
        if standing.problem is not None:
            yield unjudged_text(name, standing.problem)


def _releases(counts: Counts, arms: tuple[str, ...]) -> list[str]:
    """Return the releases that served some arms, most calls first; names come from the log and are escaped."""
    served: Counter[str] = Counter()
    for (side, release, _), hours in counts.releases.items():
        if side in arms:
            served[release or "(none)"] += sum(hours.values())
    ordered = sorted(served, key=lambda name: (-served[name], name))
    return [one_line(name, 40) for name in ordered[:MAX_NAMED]]


def _needed(
    comparisons: Mapping[tuple[str, str], _PairComparison],
    rules: ExperimentRules,
    leader: str | None,
    arms: Sequence[str],
) -> tuple[int | None, float | None]:
    """Return how many more users per arm, and seconds, it takes until the leader is better than every other arm."""
    if leader is None:
        return None, None
    needed: list[int] = []
    for other in arms:
        if other == leader:
            continue
        calls = _users_until_better(comparisons[other, leader], alpha=rules.alpha / len(arms))
        if calls is None:
            return None, None
        needed.append(calls)
    comparison = comparisons[leader, next(other for other in arms if other != leader)].comparison
    with_goal = comparison.means[rules.goal, 0].at(comparison.spec.now_us)[0].candidate.count
    users = comparison.counts.unit_count(leader, 0)
    # only some users give feedback
    more = math.ceil(max(needed) * users / max(with_goal, 1))
    calls_of = comparison.candidate_calls() / max(users, 1)
    return more, comparison.time_of(math.ceil(more * calls_of))


def _users_until_better(mirrored: _PairComparison, *, alpha: float) -> int | None:
    """Return how many more users of an arm show that it is better than the candidate of `mirrored`."""
    series = mirrored.comparison.worse[mirrored.goal.name]
    recent = series.blocks[-_PACE_BLOCKS:]
    if series.worse is None or not recent:
        return None
    paces = (sum(one.block.candidate_count for one in recent), sum(one.block.control_count for one in recent))
    step = max(1 / len(recent), _PACE_UNITS / min(paces))
    pace = Block(
        candidate_count=round(paces[0] * step),
        control_count=round(paces[1] * step),
        candidate_failure_count=0,
        control_failure_count=0,
    )
    total = [one.block for one in series.blocks]
    observed = Block(
        candidate_count=sum(one.candidate_count for one in total),
        control_count=sum(one.control_count for one in total),
        candidate_failure_count=sum(one.candidate_failure_count for one in total),
        control_failure_count=sum(one.control_failure_count for one in total),
    )
    return required_sample_size(
        series.worse,
        log_enough=-math.log(alpha),
        observed=observed,
        pace=pace,
        rng=Random(_SEED),  # noqa: S311 - a forecast
    )

"""Judges an experiment: counts in, the report on its arms out.

Every arm is held against every other, both ways, by the evidence of a rollout. An arm wins when it is shown to be
better than each of the others at alpha / k with k arms. Were another arm just as good, then one fixed comparison would
have to err for each arm that could win in its place: at most k of them, with chance alpha / k each.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.analytics.records import CountOfTotal
from flowai.canary.report_records import with_digest
from flowai.comparison.blocks import DELAYED_METRICS, ArmPair
from flowai.comparison.evidence import Comparison, DecisionRules
from flowai.comparison.summary import arm_report, clamp_e_value, metric_report
from flowai.comparison.validity import comparison_problems, problems_of, warnings_of
from flowai.comparison.verdict import METRIC_LABELS, MIN_COUNT, status_of
from flowai.experiments.report_records import ExperimentReport, PairReport
from flowai.rendering.markdown import one_line
from flowai.statistics.srm import MISMATCH_ALPHA, srm_log_e_value
from flowai.timestamps import format_us

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts
    from flowai.comparison.spec import ComparisonSpec
    from flowai.comparison.verdict import MetricFinding
    from flowai.experiments.report_records import ExperimentVerdict, Goal

MAX_NAMED = 5
_NOTHING = CountOfTotal()


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentRules:
    """The rules of an experiment."""

    experiment: str
    """Its name."""
    feature: str
    """Where it runs."""
    goal: Goal
    """The metric that decides."""
    alpha: float
    """Chance of a false winner; and, apart from it, of a false alarm of any guardrail in any arm."""
    guardrails: tuple[Metric, ...]
    """Metrics that must not be worse; at least one, the goal is none of them."""
    margins: Mapping[Metric, float]
    """How much worse each metric may be, 0 to below 1."""
    environment: str | None = None
    """Where; None where there are no environments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _PairComparison:
    """One arm held against another."""

    comparison: Comparison
    """The two sides."""
    findings: tuple[MetricFinding, ...]
    """The goal first."""

    @property
    def goal(self) -> MetricFinding:
        return self.findings[0]


def evaluate_experiment(
    counts: Counts, question: ComparisonSpec, rules: ExperimentRules, *, warnings: tuple[str, ...] = ()
) -> ExperimentReport:
    """Judge.

    Args:
        counts: what was counted.
        question: what was asked, with the arms as sides.
        rules: how it is judged.
        warnings: what else a person should know.
    """
    arms = _arms(question)
    duels = {(one, other): _duel(counts, question, rules, one, other) for one in arms for other in arms if one != other}
    pairs = tuple(_pair(duels, one, other) for one, other in duels)
    users = {arm: counts.assigned_in(0).get(arm, 0) for arm in arms}
    split = srm_log_e_value(users, dict.fromkeys(arms, 1.0))
    verdict, winner, reasons = _verdict(pairs, arms, rules.goal, tuple(_doubts(counts, question, split)))
    leader = _leader(duels, arms)
    needed_count, needed_s = _needed(duels, rules, leader, arms) if verdict == "none" else (None, None)
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
            since=format_us(question.stages[0].stretch.since_us),
            until=format_us(question.until_us),
            unit=counts.unit,
            arms={arm: arm_report(counts, 0, arm, ", ".join(_releases(counts, (arm,)))) for arm in arms},
            pairs=pairs,
            split={arm: count for arm, count in users.items() if count},
            split_e_value=clamp_e_value(split),
            goal_acts_at=len(arms) / rules.alpha,
            problems=problems_of(counts),
            warnings=(*warnings, *_warnings(counts, arms), *warnings_of(counts, question)),
            needed_count=needed_count,
            needed_s=needed_s,
        )
    )


def _arms(question: ComparisonSpec) -> tuple[str, ...]:
    return (question.sides.control, *question.sides.candidates)


def _duel(counts: Counts, question: ComparisonSpec, rules: ExperimentRules, arm: str, other: str) -> _PairComparison:
    """Hold an arm against another; alpha is shared out over the guardrails, and over all such pairs."""
    arm_count = len(_arms(question))
    pair_rules = DecisionRules(
        alpha=rules.alpha / (arm_count * (arm_count - 1)),
        guardrails=rules.guardrails,
        margins={**rules.margins, rules.goal: 0.0},
        baseline="",
        environment=rules.environment,
    )
    comparison = Comparison.build(counts, question, pair_rules, ArmPair(candidate=arm, control=other))
    findings = [_is_decided(comparison, one) for one in comparison.findings()]
    goal = next(one for one in findings if one.name == rules.goal)
    rest = (one for one in findings if one is not goal)
    return _PairComparison(comparison=comparison, findings=(replace(goal, alpha=rules.alpha / arm_count), *rest))


def _is_decided(comparison: Comparison, finding: MetricFinding) -> MetricFinding:
    """Leave out users of whom nothing can have been heard yet: who may still save has not failed to."""
    if finding.name not in DELAYED_METRICS:
        return finding
    question = comparison.question
    candidate, control = comparison.users[finding.name, 0].at(question.until_us - question.feedback_us)
    settled = replace(finding, candidate=candidate, control=control)
    if finding.name == "save_rate":  # calls are counted by the hour, which cannot be cut as finely
        return replace(settled, candidate_calls=_NOTHING, control_calls=_NOTHING)
    return settled


def _pair(duels: Mapping[tuple[str, str], _PairComparison], arm: str, other: str) -> PairReport:
    duel = duels[arm, other]
    is_better = _is_better(duel, duels[other, arm])
    metrics = []
    for one in duel.findings:
        word = status_of(one, safe_alpha=one.alpha if one is duel.goal else duel.comparison.rules.alpha)
        if one is duel.goal and word != "missing":
            word = "safe" if is_better else "worse" if _is_better(duels[other, arm], duel) else "undecided"
        metrics.append(metric_report(one, word, None))
    return PairReport(arm=arm, other=other, is_better=is_better, metrics=tuple(metrics))


def _is_better(duel: _PairComparison, mirrored: _PairComparison) -> bool:
    """Tell whether an arm is better by the goal: the evidence says so, and it still leads among enough users."""
    arm, other = duel.goal.candidate, duel.goal.control
    if min(arm.count, other.count) < MIN_COUNT or arm.rate is None or other.rate is None:
        return False
    return mirrored.goal.log_e_peak >= -math.log(duel.goal.alpha) and arm.rate < other.rate


def _leader(duels: Mapping[tuple[str, str], _PairComparison], arms: Sequence[str]) -> str | None:
    """Give the arm that fails its goal least often so far; of equals the first."""
    rates = {arm: duels[arm, next(other for other in arms if other != arm)].goal.candidate.rate for arm in arms}
    known = {arm: rate for arm, rate in rates.items() if rate is not None}
    return min(known, key=known.__getitem__) if len(set(known.values())) > 1 else None


def _verdict(
    pairs: Sequence[PairReport], arms: Sequence[str], goal: Goal, doubts: tuple[str, ...]
) -> tuple[ExperimentVerdict, str | None, tuple[str, ...]]:
    """Give the verdict, the winner, and the reasons, the weightiest first; a doubt outranks everything."""
    harm = tuple(_harmful_arm(pairs))
    missing = _missing(pairs, goal)
    if doubts:
        return "invalid", None, (*doubts, *harm, *missing)
    word = METRIC_LABELS[goal]
    best = next((arm for arm in arms if all(pair.is_better for pair in pairs if pair.arm == arm)), None)
    beaten = best is not None and any(pair.worse for pair in pairs if pair.arm == best)
    if harm and (best is None or beaten):
        spoilt = (f"the {word} of {best} is the best, but a guardrail of it is worse",) if best is not None else ()
        return "worse", None, (*harm, *spoilt, *missing)
    if missing:
        return "invalid", None, missing
    if best is None:
        return "none", None, (f"no arm's {word} is shown to be better than every other's",)
    others = "the other's" if len(arms) == 2 else "every other's"  # noqa: PLR2004 - one other
    return "winner", best, (f"the {word} of {best} is better than {others}, and no guardrail of it is worse", *harm)


def _harmful_arm(pairs: Sequence[PairReport]) -> Iterator[str]:
    """Say which guardrails are worse, each with the arms that it is worse than."""
    others: dict[tuple[str, Metric], list[str]] = {}
    for pair in pairs:
        for metric in pair.worse:
            others.setdefault((pair.arm, metric.name), []).append(pair.other)
    for (arm, name), than in others.items():
        yield f"{METRIC_LABELS[name]} of {arm} is worse than that of {' and '.join(than)}"


def _missing(pairs: Sequence[PairReport], goal: Goal) -> tuple[str, ...]:
    """Say what has no data: users enough, and nothing heard of any of them."""
    names = dict.fromkeys(
        metric.name
        for pair in pairs
        for metric in pair.metrics
        if metric.status == "missing" and (metric.is_guardrail or metric.name == goal)
    )
    said = [f"no data for {METRIC_LABELS[name]}" for name in names]
    counted = [pair.goal.candidate for pair in pairs]
    if min(one.count for one in counted) >= MIN_COUNT and all(one.failure_count == one.count for one in counted):
        word = "saved" if goal == "save_rate" else "accepted"
        said.append(f"no answer of any arm was {word}: is that feedback sent at all?")
    return tuple(said)


def _doubts(counts: Counts, question: ComparisonSpec, split: float) -> Iterator[str]:
    arms = _arms(question)
    strays = {side: calls for side, calls in sorted(counts.traffic.items()) if side not in arms}
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
    yield from comparison_problems(counts, question)


def _warnings(counts: Counts, arms: tuple[str, ...]) -> Iterator[str]:
    releases = _releases(counts, arms)
    if len(releases) > 1:
        yield f"several releases served meanwhile: {', '.join(releases)}; only calls of the same minutes are compared"


def _releases(counts: Counts, arms: tuple[str, ...]) -> list[str]:
    """Give what served the calls of some arms, most calls first; names come from the log."""
    served: Counter[str] = Counter()
    for one, hours in counts.versions.items():
        if one.side in arms:
            served[one.release or "(none)"] += sum(hours.values())
    ordered = sorted(served, key=lambda name: (-served[name], name))
    return [one_line(name, 40) for name in ordered[:MAX_NAMED]]


def _needed(
    duels: Mapping[tuple[str, str], _PairComparison], rules: ExperimentRules, leader: str | None, arms: Sequence[str]
) -> tuple[int | None, float | None]:
    """Give how many more users in each arm, and seconds, it takes until the leader is better than every other arm."""
    if leader is None:
        return None, None
    calls: list[int] = []
    for other in arms:
        if other == leader:
            continue
        duel = duels[leader, other]
        decides = replace(duel.comparison.rules, alpha=duel.goal.alpha, guardrails=(rules.goal,))
        needed = replace(duel.comparison, rules=decides).calls_needed(replace(duel.goal, is_guardrail=True))
        if needed is None:
            return None, None
        calls.append(needed)
    comparison = duels[leader, next(other for other in arms if other != leader)].comparison
    so_far = comparison.counts.for_stage(leader, 0).call_count
    users = comparison.counts.unit_count(leader, 0)
    return math.ceil(max(calls) * users / so_far), comparison.time_of(max(calls))

"""`flowai canary-report --power`: users and days until each guardrail of each stage can decide, from past traffic.

A stage is computed by itself, at the 80 % quantile of the evidence. Harm is found a little sooner in a rollout, whose
stages add up, and later where users have failed in an earlier stage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from flowai.analytics.event_query import TimeRange
from flowai.canary.planning.logged_calls import FEEDBACK_US, TrafficOptions, compared_percents, read_serving_calls
from flowai.canary.planning.power_records import GuardrailPower, NeededUsers, PowerReport, StagePower
from flowai.canary.planning.simulated_counts import unit_facts
from flowai.canary.report import rules_of
from flowai.comparison.evidence import STAGE_WEIGHT
from flowai.comparison.facts import MILLION
from flowai.comparison.means import compare_arms
from flowai.comparison.metrics import METRIC_KINDS, RATIO_METRICS, tolerated_difference
from flowai.comparison.sampling import UNSAMPLED_CALLS
from flowai.comparison.spec import CELL_US, HOUR_US, ComparisonSpec, RolloutStage, rollout_sides
from flowai.comparison.verdict import MIN_COUNT
from flowai.errors import InconclusiveError
from flowai.gateway.routing.assignment import FULL_PERCENT
from flowai.rendering.formatting import count
from flowai.simulation.resample import sample_users
from flowai.statistics.expected_evidence import log_e_of_failures, log_e_of_rates
from flowai.statistics.mean_evidence import ArmSample, MeanDifference
from flowai.timestamps import format_us
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from flowai.analytics.records import Metric
    from flowai.canary.planning.logged_calls import LoggedCalls
    from flowai.canary.planning.simulated_counts import CallFact
    from flowai.comparison.evidence import DecisionRules
    from flowai.simulation.calls import SimulatedCalls
    from flowai.workspace.workspace import CommandContext

POWER = 0.8
ERRORS = 0.8416
"""Standard errors of the 80 % quantile."""

MAX_HOURS = 365 * 24
_DAY_HOURS = 24
_FILLED = 0.95
_MIN_USERS = 100
_FIRST_HOURS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24)


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerOptions(TrafficOptions):
    """Options of `flowai canary-report --power`."""

    stage: int | None = None
    """Percentage; None for those of the policy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Curve:
    """Users with data of a metric, from the start of a stage on, if all traffic were in one arm."""

    hours: NDArray[np.float64]
    users: NDArray[np.float64]
    means: NDArray[np.float64]
    """Mean over users of their own means."""
    variances: NDArray[np.float64]
    affected: NDArray[np.float64]
    """Share of users with a failure."""
    harmed: NDArray[np.float64]
    """The same with the harm."""
    draws: NDArray[np.float64]
    """Mean number of cells per user with data, up to the first failure."""

    def at(self, hours: float) -> _CurvePoint:
        """Return the numbers after some hours; beyond the log, new users come as in its second half."""
        end = float(self.hours[-1])
        values = {name: float(np.interp(hours, self.hours, getattr(self, name))) for name in _CURVES}
        if hours > end:
            half = float(np.interp(end / 2, self.hours, self.users))
            values["users"] += (self.users[-1] - half) / (end / 2) * (hours - end)
        return _CurvePoint(**values)


_CURVES = ("users", "means", "variances", "affected", "harmed", "draws")


@dataclass(frozen=True, kw_only=True, slots=True)
class _CurvePoint:
    """A point of a `_Curve`."""

    users: float
    means: float
    variances: float
    affected: float
    harmed: float
    draws: float

    def arm(self, share: float) -> ArmSample:
        """Return the users of an arm with a share of the traffic."""
        return ArmSample(count=int(self.users * share), mean=self.means, variance=self.variances)


def run_power(context: CommandContext, options: PowerOptions) -> PowerReport:
    """Compute the users and days that each guardrail needs in each stage of the policy.

    Raises:
        UsageError: an option is invalid, or the policy has no stage to compare.
        InconclusiveError: the log has too few calls.
        InfrastructureError: the log cannot be read.
    """
    workspace = open_workspace(context)
    policy = workspace.registry.policies.canary
    percents = compared_percents(policy) if options.stage is None else (options.stage,)
    logged = read_serving_calls(workspace, options)
    if logged.user_count < _MIN_USERS:
        raise InconclusiveError(
            f"found {count(logged.call_count, 'call')} of {count(logged.user_count, 'user')}, expected at least"
            f" {_MIN_USERS} users",
            hint="start earlier: `--since 30d`",
        )
    rules = rules_of(workspace, baseline=logged.release)
    names = rules.guardrails
    features = workspace.registry.features
    is_late = np.array([name in features and features[name].critical for name in logged.features])
    all_curves = TrafficCurves(logged, logged.calls, rules)
    early_curves = all_curves
    if is_late.any() and min(percents) < policy.critical_from:
        early_curves = TrafficCurves(logged, logged.calls.select(~is_late[logged.calls.feature]), rules)
    calls = np.bincount(logged.calls.feature, minlength=len(logged.features)) / logged.user_share / logged.hours
    return PowerReport(
        release=logged.release,
        environment=rules.environment,
        since=format_us(logged.time_range.since_us),
        until=format_us(logged.time_range.until_us),
        calls=logged.call_count,
        users=logged.user_count,
        calls_per_hour=dict(zip(logged.features, calls.tolist(), strict=True)),
        alpha=rules.alpha,
        stages=tuple(
            StagePower(percent=percent, guardrails=tuple(guardrail_power(one, percent, index, curves) for one in names))
            for index, percent in enumerate(percents)
            for curves in (early_curves if percent < policy.critical_from else all_curves,)
        ),
    )


# --- traffic ---


class TrafficCurves:
    """Curves of the users of each metric, of some calls."""

    def __init__(self, logged: LoggedCalls, calls: SimulatedCalls, rules: DecisionRules) -> None:
        self.rules = rules
        share = min(1.0, _FILLED * UNSAMPLED_CALLS / max(len(calls), 1))
        self._scale = 1 / (share * logged.user_share)
        self._since_us = logged.time_range.since_us
        self._hours = sorted({*(one for one in _FIRST_HOURS if one < logged.hours), logged.hours})
        self._hours = sorted({*self._hours, *range(_DAY_HOURS + 12, logged.hours, 12)})
        time_range = TimeRange(since_us=self._since_us, until_us=logged.time_range.until_us)
        spec = ComparisonSpec(
            sides=rollout_sides(""),
            stages=(RolloutStage(percent=0, time_range=time_range),),
            feature=None,
            feedback_us=FEEDBACK_US,
            now_us=time_range.until_us + 2 * FEEDBACK_US,
        )
        self._unit, self._facts = unit_facts(sample_users(calls, share, seed=0), logged.features, spec)

    def margin_and_harm(self, metric: Metric) -> tuple[float, float]:
        """Return the margin, as a difference of rates or of logarithms, and the harm to be found."""
        kind, margin = METRIC_KINDS[metric], self.rules.margins[metric]
        if kind.scale == "ratio":
            return math.log(margin), 2 * math.log(margin)
        if not kind.has_ratio_margin:
            return margin, margin
        margin = tolerated_difference(metric, margin, float(self.of(metric, 0.0).means[-1]))
        return margin, 2 * margin

    def has(self, metric: Metric) -> bool:
        """Return whether there are data of a metric."""
        fact = self._facts.get(metric)
        return fact is not None and bool(fact.measured.any())

    def of(self, metric: Metric, harm: float) -> _Curve:
        """Return the curve of a metric; `harm` is the added failure rate of a rate."""
        fact = self._facts[metric]
        rows = np.flatnonzero(fact.measured)
        unit, value = self._unit[rows], fact.value[rows].astype(np.float64)
        if metric in RATIO_METRICS:
            value /= MILLION
        # a call counts in the hour after which it is known, at the latest at the end of the log
        late_hours = np.minimum((fact.known_us[rows] - self._since_us) / HOUR_US, self._hours[-1] - 1e-9)
        points = [self._point(fact, rows, unit, value, late_hours < hour, harm) for hour in self._hours]
        columns = np.array(points).T
        return _Curve(
            hours=np.array([0.0, *self._hours]),
            **{name: np.concatenate(([0.0], one)) for name, one in zip(_CURVES, columns, strict=True)},
        )

    def _point(
        self,
        fact: CallFact,
        rows: NDArray[np.int64],
        all_units: NDArray[np.int64],
        all_values: NDArray[np.float64],
        is_known: NDArray[np.bool_],
        harm: float,
    ) -> tuple[float, ...]:
        if not is_known.any():
            return (0.0,) * len(_CURVES)
        _, unit = np.unique(all_units[is_known], return_inverse=True)
        value = all_values[is_known]
        counts = np.bincount(unit)
        means = np.bincount(unit, weights=value) / counts
        users = len(counts)
        variance = float(means.var(ddof=1)) if users > 1 else 0.0
        affected = means > 0
        rate = float(means.mean())
        chance = min(harm / max(1 - rate, 1e-9), 1.0)
        harmed = 1 - float(np.mean(np.where(affected, 0.0, (1 - chance) ** counts)))
        cell = fact.known_us[rows[is_known]] // CELL_US
        first = np.full(users, np.iinfo(np.int64).max)
        failed = value > 0
        np.minimum.at(first, unit[failed], cell[failed])
        before = cell <= first[unit]
        pairs = np.unique(np.stack([unit[before], cell[before]]), axis=1).shape[1]
        return users * self._scale, rate, variance, float(affected.mean()), harmed, pairs / users


# --- needs ---


def guardrail_power(name: Metric, percent: int, index: int, curves: TrafficCurves) -> GuardrailPower:
    """Return what a guardrail needs at a percentage; `index` counts the compared stages from 0."""
    margin = curves.rules.margins[name]
    if not curves.has(name):
        return GuardrailPower(name=name, margin=margin)
    scaled, harm = curves.margin_and_harm(name)
    is_ratio = METRIC_KINDS[name].scale == "ratio"
    curve = curves.of(name, 0.0 if is_ratio else harm)
    share = percent / FULL_PERCENT
    enough = -math.log(curves.rules.alpha)
    found_enough = -math.log(curves.rules.alphas[name])

    def is_safe(point: _CurvePoint) -> bool:
        first, second = point.arm(share), point.arm(1 - share)
        if min(first.count, second.count) < MIN_COUNT:
            return False
        compared = compare_arms(name, first, second, scaled)
        return compared is not None and _moved(compared, 0.0, ERRORS).log_e_not_worse(scaled) >= enough

    def is_found(point: _CurvePoint) -> bool:
        if not is_ratio:
            return _log_e_worse(name, point, share, harm, curves.rules.margins[name]) >= found_enough
        compared = compare_arms(name, point.arm(share), point.arm(1 - share), scaled)
        if compared is None:
            return False
        # the stages share the evidence of a mean
        weight = STAGE_WEIGHT / 2 ** max(0, index - 2)
        return _moved(compared, harm, -ERRORS).log_e_worse(scaled) + math.log(weight) >= found_enough

    return GuardrailPower(
        name=name,
        margin=margin,
        baseline=None if is_ratio else float(curve.means[-1]),
        harm=math.exp(harm) if is_ratio else harm,
        safe=_needed(curve, share, is_safe),
        found=_needed(curve, share, is_found),
    )


def _moved(compared: MeanDifference, difference: float, errors: float) -> MeanDifference:
    """Return a quantile of what is seen if the true difference is this."""
    return replace(compared, difference=difference + errors * math.sqrt(compared.variance))


def _log_e_worse(name: Metric, point: _CurvePoint, share: float, harm: float, margin: float) -> float:
    """Return the 20 % quantile of the log evidence that a rate is worse."""
    candidate, baseline = point.users * share, point.users * (1 - share)
    if METRIC_KINDS[name].is_frequent:
        # of the cells up to a first failure, the last one failed
        rate = point.affected / point.draws if point.draws else 0.0
        harmed = min(rate + harm, 1.0)
        return log_e_of_rates(
            candidate * point.draws,
            baseline * point.draws,
            candidate_rate=harmed,
            control_rate=rate,
            errors=ERRORS,
        )
    return log_e_of_failures(
        candidate * point.harmed,
        baseline * point.affected,
        share=share,
        tolerated_ratio=margin if METRIC_KINDS[name].has_ratio_margin else 1.0,
        errors=ERRORS,
    )


def _needed(curve: _Curve, share: float, is_enough: Callable[[_CurvePoint], bool]) -> NeededUsers:
    if not is_enough(curve.at(MAX_HOURS)):
        return NeededUsers()
    low, high = 0.0, float(MAX_HOURS)
    while high - low > max(0.1, high / 200):
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(curve.at(middle)) else (middle, high)
    users = curve.at(high).users
    return NeededUsers(candidate=round(users * share), baseline=round(users * (1 - share)), days=high / _DAY_HOURS)

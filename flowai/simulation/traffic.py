"""Traffic of a simulated rollout: who calls when, and each user's own behaviour under both releases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np

from flowai.gateway.routing.assignment import BUCKET_COUNT, FULL_PERCENT, bucket
from flowai.simulation.calls import CANARY, CONTROL, STABLE, user_name
from flowai.simulation.own_rates import own_rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from flowai.simulation.scenario import Arm, Scenario, StageSpan

_HOUR_US = 3_600_000_000
_MINUTES_PER_HOUR = 60
_PEAK_HOUR = 14  # UTC
_DAY_HOURS = 24

PERSONAL_RATES = (
    "error_rate",
    "bad_json_rate",
    "cancelled_rate",
    "primary_failure_rate",
    "acceptance",
    "hallucination_rate",
)
"""Rates of an arm that differ between users; each has its own ranks of users."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Visits:
    """First calls, without retries, in order of the true time."""

    at_us: NDArray[np.int64]
    """Microseconds since 1970."""
    person: NDArray[np.int64]
    """Index of the caller in `People`: users, then bots, then anonymous callers with one visit each."""
    feature: NDArray[np.int16]
    user_count: int
    bot_count: int

    @property
    def named_count(self) -> int:
        """Number of callers with a name: users and bots."""
        return self.user_count + self.bot_count

    def before(self, moment_us: int) -> Visits:
        """Return the visits before a time."""
        count = int(np.searchsorted(self.at_us, moment_us))
        return replace(self, at_us=self.at_us[:count], person=self.person[:count], feature=self.feature[:count])

    @property
    def person_count(self) -> int:
        """Number of callers, anonymous ones included."""
        return max(self.named_count, int(self.person.max(initial=0)) + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """Callers with their own behaviour, which does not depend on the release that serves them."""

    control: dict[str, NDArray[np.float64]]
    """Rates of each caller under the baseline, by the arm's field; an error rate of 1 is never changed by a factor."""
    candidate: dict[str, NDArray[np.float64]]
    """The same under the candidate."""
    latency_factor: NDArray[np.float64]
    cost_factor: NDArray[np.float64]

    def rates(self, name: str, person: NDArray[np.int64], by_candidate: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the rate of the caller of each call under the release that serves it."""
        return np.where(by_candidate, self.candidate[name][person], self.control[name][person])


def draw_visits(scenario: Scenario, rng: np.random.Generator) -> Visits:
    """Draw the times, callers and features of visits."""
    times = _draw_times(scenario, rng)
    user_count = max(1, round(scenario.calls_per_hour * scenario.hours / scenario.calls_per_user))
    callers = _draw_users(scenario, rng, user_count, len(times))
    bot_count = sum(bots.count for bots in scenario.bots)
    anonymous = np.flatnonzero(rng.random(len(times)) < scenario.anonymous_rate)
    callers[anonymous] = user_count + bot_count + np.arange(len(anonymous))
    all_hours, all_callers = [times], [callers]
    begin = user_count
    for bots in scenario.bots:
        call_count = rng.poisson(bots.count * bots.calls_per_hour * scenario.hours)
        all_hours.append(rng.random(call_count) * scenario.hours)
        all_callers.append(rng.integers(begin, begin + bots.count, call_count))
        begin += bots.count
    hours = np.concatenate(all_hours)
    order = np.argsort(hours, kind="stable")
    hours = hours[order]
    return Visits(
        at_us=scenario.spans()[0].since_us + (hours * _HOUR_US).astype(np.int64),
        person=np.concatenate(all_callers)[order],
        feature=_draw_features(scenario, rng, hours / scenario.hours),
        user_count=user_count,
        bot_count=bot_count,
    )


def _draw_times(scenario: Scenario, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return hours since the begin, from a Poisson process with a daily cycle."""
    grid = np.linspace(0, scenario.hours, max(2, round(scenario.hours * _MINUTES_PER_HOUR) + 1))
    start = scenario.begin.astimezone(UTC)
    of_day = grid + start.hour + start.minute / _MINUTES_PER_HOUR
    density = 1 + scenario.day_night * np.cos((of_day - _PEAK_HOUR) * (2 * np.pi / _DAY_HOURS))
    steps = (density[1:] + density[:-1]) * (grid[1] - grid[0]) / 2
    cumulated = np.concatenate(([0.0], np.cumsum(steps)))
    call_count = rng.poisson(scenario.calls_per_hour * cumulated[-1])
    return np.asarray(np.interp(rng.random(call_count) * cumulated[-1], cumulated, grid))


def _draw_users(scenario: Scenario, rng: np.random.Generator, user_count: int, call_count: int) -> NDArray[np.int64]:
    """Return the user of each call."""
    if scenario.activity_exponent is None:
        return rng.permutation(call_count) % user_count
    activity = np.cumsum((1 - rng.random(user_count)) ** (-1 / scenario.activity_exponent))
    return np.asarray(np.searchsorted(activity, rng.random(call_count) * activity[-1], side="right"))


def _draw_features(scenario: Scenario, rng: np.random.Generator, elapsed: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return the feature of each visit; `elapsed` is 0 at the begin and 1 at the end."""
    begin = np.array([one.weight for one in scenario.features])
    end = np.array([one.weight if one.end_weight is None else one.end_weight for one in scenario.features])
    weights = np.cumsum(np.outer(begin, 1 - elapsed) + np.outer(end, elapsed), axis=0)
    return np.asarray((rng.random(len(elapsed)) * weights[-1] >= weights).sum(axis=0, dtype=np.int16))


def draw_people(scenario: Scenario, rng: np.random.Generator, visits: Visits) -> People:
    """Draw the callers' ranks, and derive their behaviour under both releases from the same ranks."""
    count = visits.person_count
    ranks = {name: rng.random(count) for name in (*PERSONAL_RATES, "always_failing_user_rate")}
    latency, cost = np.exp(scenario.user_sigma * rng.standard_normal((2, count)))
    control = _rates_under(scenario.control, scenario, ranks, visits)
    is_equal = scenario.candidate == scenario.control
    candidate = control if is_equal else _rates_under(scenario.candidate, scenario, ranks, visits)
    return People(control=control, candidate=candidate, latency_factor=latency, cost_factor=cost)


def _rates_under(
    arm: Arm, scenario: Scenario, ranks: dict[str, NDArray[np.float64]], visits: Visits
) -> dict[str, NDArray[np.float64]]:
    rates = {name: own_rates(ranks[name], getattr(arm, name), scenario.user_concentration) for name in PERSONAL_RATES}
    errors = rates["error_rate"]
    errors[ranks["always_failing_user_rate"] < arm.always_failing_user_rate] = 1.0
    begin = visits.user_count
    for bots in scenario.bots:
        errors[begin : begin + bots.count] = float(bots.is_failing)
        begin += bots.count
    return rates


def buckets_of_users(scenario: Scenario, seed: int, visits: Visits) -> NDArray[np.int64]:
    """Return the bucket of each user and bot; -1 for those without a call, as hashing is the slow part."""
    salt = assignment_salt(scenario)
    buckets = np.full(visits.person_count, -1, dtype=np.int64)
    buckets[visits.person] = 0
    buckets = buckets[: visits.named_count]
    callers = np.flatnonzero(buckets == 0)
    buckets[callers] = [bucket(salt, user_name(seed, user)) for user in callers.tolist()]
    return buckets


def percents_at(spans: Sequence[StageSpan], at_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the candidate's percentage at some times."""
    stage = np.searchsorted([span.until_us for span in spans[:-1]], at_us, side="right")
    return np.array([span.percent for span in spans])[stage]


def variants_at(buckets: NDArray[np.int64], percent: NDArray[np.int64]) -> NDArray[np.int8]:
    """Return the variants of callers by bucket and the candidate's percentage, as `assign_variant` assigns them."""
    of_percent = BUCKET_COUNT // FULL_PERCENT
    is_control = buckets >= BUCKET_COUNT - np.minimum(percent, FULL_PERCENT - percent) * of_percent
    codes = np.where(buckets < percent * of_percent, CANARY, np.where(is_control, CONTROL, STABLE))
    return codes.astype(np.int8)


def assignment_salt(scenario: Scenario) -> str:
    """Return the salt by which the gateway assigns calls of this rollout, as `assign_variant` does."""
    return f"rollout:{scenario.candidate_release}"

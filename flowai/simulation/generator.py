"""Simulates the calls of a rollout, all at once.

Every random number is drawn per visit or per user, whatever the release that serves it: so both releases would have the
same outcomes if they behaved the same, and a difference between the arms is one that the scenario names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flowai.gateway.routing.assignment import bucket
from flowai.simulation.calls import CANARY, MAX_RETRIES, SimulatedCalls, call_id, join_calls
from flowai.simulation.traffic import (
    assignment_salt,
    buckets_of_users,
    draw_people,
    draw_visits,
    percents_at,
    variants_at,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from flowai.simulation.scenario import Arm, Scenario
    from flowai.simulation.traffic import People, Visits

    Columns = dict[str, NDArray[Any]]  # by the name of the column

_HOUR_US = 3_600_000_000
_MINUTE_US = 60_000_000
_SECOND_US = 1_000_000
_MS_US = 1_000
_RETRY_DELAY_S = (1.0, 10.0)
_CACHED_MS = 4.0
_CACHED_SIGMA = 0.3
_TTFT_CORRELATION = 0.8  # of the logarithms of latency and time to the first token

_UNIFORM = (
    "process", "cached", "error", "cancelled", "primary", "degraded", "json", "feedback", "lost", "accepted",
    "score", "hallucinated", "retry", "retry_delay",
)  # fmt: skip
_NORMAL = ("latency", "ttft", "cost", "feedback_delay", "score_delay")


def simulate_calls(scenario: Scenario, seed: int | None = None, *, until_us: int | None = None) -> SimulatedCalls:
    """Simulate a rollout; `seed` (>= 0) replaces the scenario's. Equal seeds and scenarios have equal results.

    With `until_us` (microseconds since 1970) later visits are left out: the calls recorded before it are the same.
    """
    simulation = _Simulation(scenario, scenario.seed if seed is None else seed, until_us)
    visits = simulation.visits
    rows, at_us = np.arange(len(visits.at_us)), visits.at_us
    parts = []
    for attempt in range(MAX_RETRIES + 1):
        part, is_repeated, next_us = simulation.attempt(attempt, rows, at_us)
        parts.append(part)
        rows, at_us = rows[is_repeated], next_us[is_repeated]
        if not len(rows):
            break
    return join_calls(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Draws:
    """Random numbers of one attempt of each of some visits."""

    uniform: dict[str, NDArray[np.float64]]
    """0 to 1."""
    normal: dict[str, NDArray[np.float64]]
    """Mean 0, standard deviation 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Circumstances:
    """Conditions of calls that do not depend on the release, and the release that serves them."""

    person: NDArray[np.int64]
    feature: NDArray[np.int16]
    by_candidate: NDArray[np.bool_]
    failure_factor: NDArray[np.float64]
    added_rate: NDArray[np.float64]
    """Share of calls that fail for another reason than the caller's own rate."""
    hit_rate: NDArray[np.float64]


class _Simulation:
    """Visits, callers and processes of a rollout."""

    def __init__(self, scenario: Scenario, seed: int, until_us: int | None) -> None:
        self._scenario = scenario
        self._seed = seed
        rng = np.random.default_rng([seed, MAX_RETRIES + 1])
        self.visits: Visits = draw_visits(scenario, rng)
        self._people: People = draw_people(scenario, rng, self.visits)
        skew_us = scenario.clock_skew_s * _SECOND_US
        self._offsets_us = rng.uniform(-skew_us, skew_us, scenario.process_count).astype(np.int64)
        self._drawn_count = len(self.visits.at_us)
        if until_us is not None:
            self.visits = self.visits.before(until_us - int(self._offsets_us.min()))
        self._buckets = buckets_of_users(scenario, seed, self.visits)

    def attempt(
        self, attempt: int, rows: NDArray[np.int64], at_us: NDArray[np.int64]
    ) -> tuple[SimulatedCalls, NDArray[np.bool_], NDArray[np.int64]]:
        """Simulate one attempt of some visits.

        Args:
            attempt: 0 for first calls, else the number of the retry.
            rows: the visits.
            at_us: their true times.

        Returns:
            The calls, in the order of `rows`; which of them the user repeats, and when.
        """
        scenario, visits = self._scenario, self.visits
        draws = self._draw(attempt, rows)
        person, feature = visits.person[rows], visits.feature[rows]
        number = rows * (MAX_RETRIES + 1) + attempt
        variant = self._variants(number, person, at_us)
        now = self._circumstances(attempt, person, feature, variant == CANARY, at_us)
        process = (draws.uniform["process"] * scenario.process_count).astype(np.int16)
        recorded_us = at_us + self._offsets_us[process]
        outcomes = self._outcomes(now, draws)
        answered = ~(outcomes["error"] | outcomes["cancelled"])
        times = self._times(now, draws, answered, outcomes["cached"])
        part = SimulatedCalls(
            seed=self._seed,
            number=number,
            at_us=recorded_us,
            user=np.where(person < visits.named_count, person, -1).astype(np.int32),
            feature=feature,
            variant=variant,
            by_candidate=now.by_candidate,
            process=process,
            json_invalid=self._json(now, draws, answered),
            **outcomes,
            **times,
            **self._opinions(now, draws, answered, recorded_us),
        )
        low_s, high_s = _RETRY_DELAY_S
        wait_us = (low_s + (high_s - low_s) * draws.uniform["retry_delay"]) * _SECOND_US + part.latency_ms * _MS_US
        is_bot = (person >= visits.user_count) & (person < visits.named_count)
        is_repeated = part.error & (draws.uniform["retry"] < scenario.retry_rate) & ~is_bot
        return part, is_repeated, at_us + wait_us.astype(np.int64)

    def _draw(self, attempt: int, rows: NDArray[np.int64]) -> _Draws:
        """Draw for all visits, so that the numbers of a visit do not depend on which others are repeated."""
        rng = np.random.default_rng([self._seed, attempt])
        count = self._drawn_count
        return _Draws(
            uniform={name: rng.random(count)[rows] for name in _UNIFORM},
            normal={name: rng.standard_normal(count)[rows] for name in _NORMAL},
        )

    def _variants(
        self, number: NDArray[np.int64], person: NDArray[np.int64], at_us: NDArray[np.int64]
    ) -> NDArray[np.int8]:
        """Assign calls as `assign_variant` does: by the caller's bucket, or the call's without a user."""
        named = person < self.visits.named_count
        numbers = np.empty(len(person), dtype=np.int64)
        numbers[named] = self._buckets[person[named]]
        salt = assignment_salt(self._scenario)
        numbers[~named] = [bucket(salt, call_id(self._seed, one)) for one in number[~named].tolist()]
        return variants_at(numbers, percents_at(self._scenario.spans(), at_us))

    def _circumstances(
        self,
        attempt: int,
        person: NDArray[np.int64],
        feature: NDArray[np.int16],
        by_candidate: NDArray[np.bool_],
        at_us: NDArray[np.int64],
    ) -> _Circumstances:
        scenario = self._scenario
        hours = (at_us - scenario.spans()[0].since_us) / _HOUR_US
        factor = np.array([one.failure_factor for one in scenario.features])[feature]
        factor *= 1 + (scenario.drift - 1) * hours / scenario.hours
        added_rate = np.full(len(at_us), scenario.repeated_failure_rate if attempt else 0.0)
        if outage := scenario.outage:
            during = (hours >= outage.start_hour) & (hours < outage.start_hour + outage.hours)
            added_rate[during] = 1 - (1 - added_rate[during]) * (1 - outage.failure_rate)
        hit_rate = np.zeros(len(at_us))
        cache = scenario.cache
        if cache and not attempt:  # a request that failed is in no cache
            hit_rate += cache.hit_rate
            if cache.warm_up_calls:
                filled = -np.expm1(-np.cumsum(by_candidate, dtype=np.float64) / cache.warm_up_calls)
                hit_rate[by_candidate] *= filled[by_candidate]
        return _Circumstances(
            person=person,
            feature=feature,
            by_candidate=by_candidate,
            failure_factor=factor,
            added_rate=added_rate,
            hit_rate=hit_rate,
        )

    def _outcomes(self, now: _Circumstances, draws: _Draws) -> Columns:
        """Return how calls end: answered from the cache, by a model or another one, not at all."""
        uniform = draws.uniform
        own = self._people.rates("error_rate", now.person, now.by_candidate)
        error_rate = np.where(own < 1, np.minimum(own * now.failure_factor, 1), 1.0)  # 1: a caller who always fails
        cached = (uniform["cached"] < now.hit_rate) & (own < 1)
        error = ~cached & (uniform["error"] < 1 - (1 - error_rate) * (1 - now.added_rate))
        called = ~(cached | error)
        cancelled = called & (uniform["cancelled"] < self._people.rates("cancelled_rate", now.person, now.by_candidate))
        primary_failed = called & ~cancelled & (uniform["primary"] < self._failure_rates("primary_failure_rate", now))
        degraded = primary_failed & (uniform["degraded"] < self._of_arm("degraded_rate", now))
        return {
            "cached": cached,
            "error": error,
            "cancelled": cancelled,
            "primary_failed": primary_failed,
            "degraded": degraded,
        }

    def _json(self, now: _Circumstances, draws: _Draws, answered: NDArray[np.bool_]) -> NDArray[np.int8]:
        asks = np.array([one.is_json for one in self._scenario.features])[now.feature]
        invalid = draws.uniform["json"] < self._failure_rates("bad_json_rate", now)
        return np.where(answered & asks, invalid, -1).astype(np.int8)

    def _times(
        self, now: _Circumstances, draws: _Draws, answered: NDArray[np.bool_], cached: NDArray[np.bool_]
    ) -> Columns:
        """Return latency, time to the first token and cost."""
        normal, people = draws.normal, self._people
        factor = people.latency_factor[now.person]
        factor *= np.array([one.latency_factor for one in self._scenario.features])[now.feature]
        latency = (
            self._of_arm("latency_ms", now) * factor * np.exp(self._of_arm("latency_sigma", now) * normal["latency"])
        )
        latency[cached] = _CACHED_MS * np.exp(_CACHED_SIGMA * normal["latency"][cached])
        joint = _TTFT_CORRELATION * normal["latency"] + (1 - _TTFT_CORRELATION**2) ** 0.5 * normal["ttft"]
        first = self._of_arm("ttft_ms", now) * factor * np.exp(self._of_arm("ttft_sigma", now) * joint)
        first = np.where(answered & ~cached, np.minimum(first, latency), np.nan)
        cost = self._of_arm("cost_usd", now) * people.cost_factor[now.person]
        cost *= np.exp(self._of_arm("cost_sigma", now) * normal["cost"])
        cost[cached] = 0
        return {  # to the precision of logs: a log that is read again has the same numbers
            "latency_ms": np.round(latency, 3),
            "ttft_ms": np.round(first, 3),
            "cost_usd": np.round(np.where(answered, cost, np.nan), 9),
        }

    def _opinions(
        self, now: _Circumstances, draws: _Draws, answered: NDArray[np.bool_], recorded_us: NDArray[np.int64]
    ) -> Columns:
        """Return feedback and scores with their times."""
        scenario, uniform, normal = self._scenario, draws.uniform, draws.normal
        is_rated = answered & (uniform["feedback"] < scenario.feedback_rate)
        is_rated &= uniform["lost"] >= scenario.lost_feedback_rate
        accepted = uniform["accepted"] < self._people.rates("acceptance", now.person, now.by_candidate)
        is_scored = answered & (uniform["score"] < scenario.score_rate)
        passed = uniform["hallucinated"] >= self._failure_rates("hallucination_rate", now)
        waits_us = (
            minutes * _MINUTE_US * np.exp(normal[name])
            for minutes, name in (
                (scenario.feedback_delay_min, "feedback_delay"),
                (scenario.score_delay_min, "score_delay"),
            )
        )
        given_us, scored_us = (recorded_us + wait_us.astype(np.int64) for wait_us in waits_us)
        return {
            "feedback": np.where(is_rated, accepted, -1).astype(np.int8),
            "feedback_at_us": np.where(is_rated, given_us, -1),
            "score": np.where(is_scored, passed, -1).astype(np.int8),
            "score_at_us": np.where(is_scored, scored_us, -1),
        }

    def _failure_rates(self, name: str, now: _Circumstances) -> NDArray[np.float64]:
        rates = self._people.rates(name, now.person, now.by_candidate) * now.failure_factor
        return np.minimum(rates, 1)

    def _of_arm(self, name: str, now: _Circumstances) -> NDArray[np.float64]:
        """Return a figure of the release that serves; nan for None."""
        figures = (_figure(arm, name) for arm in (self._scenario.candidate, self._scenario.control))
        return np.where(now.by_candidate, *figures)


def _figure(arm: Arm, name: str) -> float:
    value = getattr(arm, name)
    return float("nan") if value is None else float(value)

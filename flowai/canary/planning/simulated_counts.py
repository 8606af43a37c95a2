"""Counts simulated calls as the query of an event log counts them, a hundred times as fast.

A test compares both. There is no sampling here: an arm may have as many calls as are counted without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowai.comparison.baseline_limits import (
    COST_CAP_RATIO,
    FROZEN_SHARE,
    MIN_BASELINE_CALLS,
    SLOW_RATIO,
    BaselineLimit,
)
from flowai.comparison.count_calls import BUCKET_LOG, LATENCY_METRICS
from flowai.comparison.counts import CallCounts, Counts
from flowai.comparison.facts import MILLION
from flowai.comparison.metrics import DELAYED_METRICS
from flowai.comparison.sampling import UNSAMPLED_CALLS, SamplingSchedule
from flowai.comparison.spec import BORDER_US, CELL_US, HOUR_US
from flowai.comparison.user_arrays import NEVER, CallRows, MetricValues, UserCounter, group_rows, runs_of
from flowai.errors import UsageError
from flowai.simulation.calls import CANARY, CONTROL, STABLE, VARIANTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from flowai.analytics.records import Metric
    from flowai.comparison.spec import ComparisonSpec
    from flowai.simulation.calls import SimulatedCalls

    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

_SIDES = {CANARY: "canary", CONTROL: "control", STABLE: "stable"}
_MS_US = 1_000
_NANO_USD = 1e9
_HOURS = 1 << 24
"""More hours than there are from 1970 to any call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFact(MetricValues):
    """Value of a metric for each call, and when it is known."""

    known_us: Ints


def count_simulated(calls: SimulatedCalls, features: Sequence[str], spec: ComparisonSpec) -> Counts:
    """Count simulated calls for the rollout of `spec`; `features` are their names by index.

    Raises:
        UsageError: an arm has so many calls that a log of them would be sampled.
    """
    return _Counter(calls, features, spec).counts()


def unit_facts(
    calls: SimulatedCalls, features: Sequence[str], spec: ComparisonSpec
) -> tuple[NDArray[np.int64], dict[Metric, CallFact]]:
    """Return the user of each call of `spec` by index, and what each metric says about it; see `count_simulated`."""
    counter = _Counter(calls, features, spec)
    return counter.units, counter.facts(Counts())


class _Counter:
    def __init__(self, calls: SimulatedCalls, features: Sequence[str], spec: ComparisonSpec) -> None:
        known_us = calls.at_us + np.rint(calls.latency_ms * _MS_US).astype(np.int64)
        stage = np.full(len(calls), -1)
        for index, one in enumerate(spec.stages):
            inside = (calls.at_us >= one.time_range.since_us) & (calls.at_us < one.time_range.until_us)
            stage[inside] = index
        rows = np.flatnonzero((stage >= 0) & (known_us < spec.now_us) & np.isin(calls.variant, list(_SIDES)))
        self._spec, self._features = spec, features
        self._calls = calls.select(rows)
        self._known_us, self._stage = known_us[rows], stage[rows]
        self._is_named = self._calls.user >= 0
        first_anonymous = int(self._calls.user.max(initial=-1)) + 1
        self._unit = np.where(self._is_named, self._calls.user, first_anonymous + np.arange(len(rows)))
        self._unit_count = first_anonymous + len(rows)
        traffic = np.bincount(self._calls.variant, minlength=len(VARIANTS))
        if traffic.max(initial=0) > UNSAMPLED_CALLS:
            raise UsageError(f"found {traffic.max():,} calls of an arm, expected at most {UNSAMPLED_CALLS:,}")
        # stage and variant of a call as one number, with its feature as another one
        self._arm = self._stage * len(VARIANTS) + self._calls.variant.astype(np.int64)
        self._arm_feature = self._arm * len(features) + self._calls.feature.astype(np.int64)

    def counts(self) -> Counts:
        """Count everything."""
        counts = Counts(unit="user" if self._is_named.any() or not len(self._calls) else "call")
        facts = self.facts(counts)
        self._count_calls(counts)
        self._count_arrivals(counts)
        metrics = [name for name in self._spec.metrics if name in facts]
        immediate = [name for name in metrics if name not in DELAYED_METRICS]
        for names in filter(None, (immediate, [name for name in metrics if name in DELAYED_METRICS])):
            counter = UserCounter(counts=counts)
            rows = CallRows(
                sides=VARIANTS,
                stage_count=len(self._spec.stages),
                side=self._calls.variant.astype(np.int64),
                stage=self._stage,
                unit=self._unit,
                known_us=facts[names[0]].known_us,
                in_sample=np.ones(len(self._unit), dtype=bool),
                dropped_us=np.full(len(self._unit), NEVER),
            )
            counter.add(rows, {name: facts[name] for name in names})
            counter.finish()
        self._count_times(counts, facts)
        self._count_tallies(counts, facts)
        return counts

    # --- facts ---

    @property
    def units(self) -> Ints:
        """User of each counted call; each call without a user has one of its own."""
        return group_rows(self._unit)[1]

    def facts(self, counts: Counts) -> dict[Metric, CallFact]:
        """Return what each metric says about the counted calls; set the limits of the counts."""
        calls = self._calls
        reached = ~calls.cached
        answered = reached & ~calls.error & ~calls.cancelled
        ended = reached & ~calls.cancelled
        latency, ttft = calls.latency_ms, calls.ttft_ms
        streamed = answered & ~np.isnan(ttft)
        priced = reached & ~np.isnan(calls.cost_usd)
        counts.limits = {
            "slow_calls": self._limits(latency, answered, SLOW_RATIO),
            "slow_ttft": self._limits(ttft, streamed, SLOW_RATIO),
            "cost": self._limits(calls.cost_usd * 1e6, priced, COST_CAP_RATIO),
        }
        nano_usd = np.rint(np.where(priced, calls.cost_usd, 0) * _NANO_USD).astype(np.int64)
        caps, cost_measured = self._above(counts.limits["cost"], None, priced)
        slow, slow_measured = self._above(counts.limits["slow_calls"], latency, answered)
        slow_ttft, slow_ttft_measured = self._above(counts.limits["slow_ttft"], ttft, streamed)
        now: dict[Metric, tuple[Flags, Ints]] = {
            "error_rate": (ended, (calls.error | calls.primary_failed | calls.degraded).astype(np.int64)),
            "json_valid": (reached & (calls.json_invalid >= 0), (calls.json_invalid == 1).astype(np.int64)),
            "slow_calls": (slow_measured, slow),
            "latency": (answered, _log_of(latency)),
            "slow_ttft": (slow_ttft_measured, slow_ttft),
            "ttft": (streamed, _log_of(ttft)),
            "cost": (cost_measured, np.minimum(nano_usd, caps)),
            "cancelled": (reached, calls.cancelled.astype(np.int64)),
            "degraded": (ended, (calls.primary_failed | calls.degraded).astype(np.int64)),
        }
        window_us, now_us = self._spec.feedback_us, self._spec.now_us
        late_us = np.maximum(self._known_us, calls.at_us + window_us)
        later: dict[Metric, tuple[Flags, Ints]] = {}
        for name, given, given_us in (
            ("acceptance", calls.feedback, calls.feedback_at_us),
            ("hallucination", calls.score, calls.score_at_us),
        ):
            in_time = reached & (given >= 0) & (given_us < calls.at_us + window_us) & (late_us < now_us)
            later[name] = (in_time, (given == 0).astype(np.int64))  # type: ignore[index]
        facts = {
            name: CallFact(measured=flags, value=value, known_us=self._known_us) for name, (flags, value) in now.items()
        }
        return facts | {
            name: CallFact(measured=flags, value=value, known_us=late_us) for name, (flags, value) in later.items()
        }

    def _limits(self, values: NDArray[np.float64], has: Flags, ratio: float) -> dict[str, BaselineLimit]:
        limits: dict[str, BaselineLimit] = {}
        above = int(np.ceil(np.log(ratio) / BUCKET_LOG))
        is_base = has & (self._calls.variant != CANARY)
        cells = self._known_us // CELL_US
        for index, feature in enumerate(self._features):
            rows = np.flatnonzero(is_base & (self._calls.feature == index))
            if len(rows) < MIN_BASELINE_CALLS:
                continue
            last = np.sort(cells[rows])[MIN_BASELINE_CALLS - 1]
            known_us = int(last + 1) * CELL_US
            early = np.sort(_buckets(values[rows[cells[rows] <= last]]))
            place = int(early[max(int(np.ceil(FROZEN_SHARE * len(early))), 1) - 1])
            if known_us <= self._spec.now_us:
                limits[feature] = BaselineLimit(known_us=known_us, bucket=place + above)
        return limits

    def _above(
        self, limits: Mapping[str, BaselineLimit], values: NDArray[np.float64] | None, has: Flags
    ) -> tuple[Ints, Flags]:
        """Return by call whether it is above its limit (without values, the limit itself); and whether that counts."""
        known = np.array([limits[one].known_us if one in limits else NEVER for one in self._features])
        bounds = [limits[one].value if one in limits else 0.0 for one in self._features]
        is_measured = has & (self._known_us >= known[self._calls.feature])
        if values is None:
            edges = [round(limits[one].value * 1000) if one in limits else 0 for one in self._features]
            return np.array(edges, dtype=np.int64)[self._calls.feature], is_measured
        return (np.where(has, values, 0) >= np.array(bounds)[self._calls.feature]).astype(np.int64), is_measured

    def _count_tallies(self, counts: Counts, facts: dict[Metric, CallFact]) -> None:
        """Count the calls with a metric and failed ones, of candidate and control."""
        for name in ("slow_calls", "slow_ttft", "acceptance", "hallucination"):
            if name not in self._spec.metrics:
                continue
            fact = facts[name]
            rows = np.flatnonzero(fact.measured & (self._calls.variant != STABLE))
            places, place = group_rows(self._with_hour(self._arm_feature[rows], fact.known_us[rows]))
            given = np.bincount(place, minlength=len(places))
            failed = np.bincount(place[fact.value[rows] > 0], minlength=len(places))
            for key, *numbers in zip(places.tolist(), given.tolist(), failed.tolist(), strict=True):
                where, hour_us = self._hour_of(key)
                stage, variant, feature = self._arm_of(where)
                counts.tallies[name, _SIDES[variant], stage, feature, hour_us] = (numbers[0], numbers[1])

    def _count_times(self, counts: Counts, facts: dict[Metric, CallFact]) -> None:
        """Count answers of candidate and control by latency bucket."""
        for metric, mean in LATENCY_METRICS.items():
            if metric not in self._spec.metrics:
                continue
            fact = facts[mean]
            rows = np.flatnonzero(fact.measured & (self._calls.variant != STABLE))
            bucket = np.floor(fact.value[rows] / (BUCKET_LOG * MILLION)).astype(np.int64)
            lowest = _least(bucket)
            width = int(bucket.max(initial=lowest)) - lowest + 1
            where = self._with_hour(self._arm[rows], self._known_us[rows]) * width + bucket - lowest
            places, place = group_rows(where)
            numbers = np.bincount(place, minlength=len(places))
            in_hour, at = np.divmod(places, width)
            items = list(zip((at + lowest).tolist(), numbers.tolist(), strict=True))
            begins, ends = runs_of(in_hour)
            for key, begin, end in zip(in_hour[begins].tolist(), begins.tolist(), ends.tolist(), strict=True):
                arm, hour_us = self._hour_of(key)
                stage, variant = divmod(arm, len(VARIANTS))
                counts.times[metric, _SIDES[variant], stage, hour_us] = dict(items[begin:end])

    # --- users ---

    def _count_arrivals(self, counts: Counts) -> None:
        calls, stages = self._calls, self._spec.stages
        self._add_arrivals(counts.units, self._is_named, self._known_us)
        self._add_arrivals(counts.anonymous, ~self._is_named, self._known_us)
        since = np.array([one.time_range.since_us for one in stages])[self._stage] + BORDER_US
        until = np.array([one.time_range.until_us for one in stages])[self._stage] - BORDER_US
        inside = (calls.at_us >= since) & (calls.at_us < until)
        seen_us = np.maximum(calls.at_us + BORDER_US, self._known_us)
        self._add_arrivals(counts.assigned, inside, seen_us)
        rows = np.flatnonzero(self._is_named & inside)
        units, unit = group_rows(self._stage[rows] * self._unit_count + self._unit[rows])
        firsts = []
        for is_candidate in (True, False):
            first = np.full(len(units), NEVER)
            mask = (calls.variant[rows] == CANARY) == is_candidate
            np.minimum.at(first, unit[mask], seen_us[rows[mask]])
            firsts.append(first)
        moment = np.maximum(*firsts)
        for index in np.flatnonzero(moment < NEVER).tolist():
            hours = counts.in_both.setdefault(int(units[index]) // self._unit_count, {})
            hour_us = int(moment[index]) // HOUR_US * HOUR_US
            hours[hour_us] = hours.get(hour_us, 0) + 1

    def _add_arrivals(self, found: dict[tuple[str, int], dict[int, int]], mask: Flags, known_us: Ints) -> None:
        rows = np.flatnonzero(mask)
        units, unit = group_rows(self._arm[rows] * self._unit_count + self._unit[rows])
        first = np.full(len(units), NEVER)
        np.minimum.at(first, unit, known_us[rows])
        places, place = group_rows(self._with_hour(units // self._unit_count, first))
        for key, number in zip(places.tolist(), np.bincount(place, minlength=len(places)).tolist(), strict=True):
            arm, hour_us = self._hour_of(key)
            stage, variant = divmod(arm, len(VARIANTS))
            found.setdefault((_SIDES[variant], stage), {})[hour_us] = number

    # --- places: an arm, or arm and feature, and an hour as one number ---

    def _with_hour(self, arm: Ints, at_us: Ints) -> Ints:
        return arm * _HOURS + at_us // HOUR_US

    @staticmethod
    def _hour_of(place: int) -> tuple[int, int]:
        """Return the arm of a place, and the start of its hour."""
        return place // _HOURS, place % _HOURS * HOUR_US

    def _arm_of(self, arm: int) -> tuple[int, int, str]:
        """Return stage, variant and feature."""
        rest, feature = divmod(arm, len(self._features))
        return *divmod(rest, len(VARIANTS)), self._features[feature]

    # --- calls ---

    def _count_calls(self, counts: Counts) -> None:
        calls = self._calls
        places, place = group_rows(self._with_hour(self._arm_feature, self._known_us))
        reached = ~calls.cached
        fell_back = reached & (calls.primary_failed | calls.degraded)
        failed = reached & (calls.error | calls.primary_failed | calls.degraded)
        flags = (
            calls.cached,
            np.zeros(len(calls), dtype=bool),  # every simulated failure is a provider's
            reached & calls.cancelled,
            failed,
            reached & calls.error,
            fell_back,
            reached & (calls.json_invalid >= 0),
            reached & (calls.json_invalid == 1),
            reached & ~np.isnan(calls.cost_usd),
        )
        sums = [np.bincount(place, minlength=len(places))]
        sums += [np.bincount(place[one], minlength=len(places)) for one in flags]
        rows = np.flatnonzero(flags[-1])
        nano_usd = np.rint(calls.cost_usd[rows] * _NANO_USD)
        costs = np.bincount(place[rows], weights=nano_usd, minlength=len(places))
        release = {CANARY: self._spec.sides.releases["canary"]}
        columns = [one.tolist() for one in (*sums, costs.astype(np.int64))]
        for key, *numbers in zip(places.tolist(), *columns, strict=True):
            where, hour_us = self._hour_of(key)
            stage, variant, feature = self._arm_of(where)
            counts.calls[_SIDES[variant], stage, feature, hour_us] = CallCounts(*numbers)
            hours = counts.releases.setdefault((_SIDES[variant], release.get(variant, ""), stage), {})
            hours[hour_us] = hours.get(hour_us, 0) + numbers[0]
        counts.schedules = {side: SamplingSchedule() for side in _SIDES.values()}


def _log_of(values: NDArray[np.float64]) -> Ints:
    clamped = np.clip(np.where(np.isnan(values), 1.0, values), 0.001, 1e9)
    logs: Ints = np.rint(np.log(clamped) * MILLION).astype(np.int64)
    return logs


def _buckets(values: NDArray[np.float64]) -> Ints:
    clamped = np.clip(np.where(np.isnan(values), 1.0, values), 0.001, 1e9)
    buckets: Ints = np.floor(np.log(clamped) / BUCKET_LOG).astype(np.int64)
    return buckets


def _least(values: Ints) -> int:
    return int(values.min()) if len(values) else 0

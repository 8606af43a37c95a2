"""Counts simulated calls as the query of an event log counts them, a hundred times as fast.

A test compares both. There is no sampling here: an arm may have as many calls as are counted without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowai.comparison.baseline_limits import COST_CAP_RATIO, MIN_BASELINE_CALLS, SLOW_RATIO, BaselineLimit
from flowai.comparison.count_calls import BUCKET_LOG, LATENCY_METRICS
from flowai.comparison.counts import CallCounts, Counts, RiskChange, TimeBucket, UserSums
from flowai.comparison.facts import MILLION
from flowai.comparison.metrics import DELAYED_METRICS, METRIC_KINDS, RATIO_METRICS
from flowai.comparison.sampling import UNSAMPLED_CALLS, SamplingSchedule
from flowai.comparison.spec import BORDER_US, CELL_US, HOUR_US
from flowai.errors import UsageError
from flowai.simulation.calls import CANARY, CONTROL, STABLE, VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from flowai.analytics.records import Metric
    from flowai.comparison.spec import ComparisonSpec
    from flowai.simulation.calls import SimulatedCalls

    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

_SIDES = {CANARY: "canary", CONTROL: "control", STABLE: "stable"}
_FROZEN_SHARE = 0.95
_NEVER = np.iinfo(np.int64).max
_MS_US = 1_000
_NANO_USD = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFact:
    """Value of a metric for each call."""

    measured: Flags
    value: Ints
    """Of a rate 0 or 1; of a mean a logarithm in millionths, or nano-dollars."""
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
        # stage and variant of a call, as one number
        self._arm = self._stage * len(VARIANTS) + self._calls.variant

    def counts(self) -> Counts:
        """Count everything."""
        counts = Counts(unit="user" if self._is_named.any() or not len(self._calls) else "call")
        facts = self.facts(counts)
        self._count_calls(counts)
        self._count_arrivals(counts)
        metrics = [name for name in self._spec.metrics if name in facts]
        immediate = [name for name in metrics if name not in DELAYED_METRICS]
        for names in filter(None, (immediate, [name for name in metrics if name in DELAYED_METRICS])):
            known_us = facts[names[0]].known_us
            self._count_first_failures(
                counts, {name: facts[name] for name in names if name not in RATIO_METRICS}, known_us
            )
            self._sum_means(counts, {name: facts[name] for name in names}, known_us)
        self._count_times(counts, facts)
        self._count_tallies(counts, facts)
        return counts

    # --- facts ---

    @property
    def units(self) -> Ints:
        """User of each counted call; each call without a user has one of its own."""
        return np.unique(self._unit, return_inverse=True)[1]

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
        above = int(np.ceil(np.log(ratio) / np.log(1.01)))
        is_base = has & (self._calls.variant != CANARY)
        cells = self._known_us // CELL_US
        for index, feature in enumerate(self._features):
            rows = np.flatnonzero(is_base & (self._calls.feature == index))
            if len(rows) < MIN_BASELINE_CALLS:
                continue
            last = np.sort(cells[rows])[MIN_BASELINE_CALLS - 1]
            known_us = int(last + 1) * CELL_US
            early = np.sort(_buckets(values[rows[cells[rows] <= last]]))
            place = int(early[max(int(np.ceil(_FROZEN_SHARE * len(early))), 1) - 1])
            if known_us <= self._spec.now_us:
                limits[feature] = BaselineLimit(known_us=known_us, bucket=place + above)
        return limits

    def _above(
        self, limits: Mapping[str, BaselineLimit], values: NDArray[np.float64] | None, has: Flags
    ) -> tuple[Ints, Flags]:
        """Return by call whether it is above its limit (without values, the limit itself); and whether that counts."""
        known = np.array([limits[one].known_us if one in limits else _NEVER for one in self._features])
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
            where = np.stack([self._arm[rows], self._calls.feature[rows], fact.known_us[rows] // HOUR_US])
            places, place = np.unique(where, axis=1, return_inverse=True)
            given = np.bincount(place, minlength=places.shape[1])
            failed = np.bincount(place[fact.value[rows] > 0], minlength=places.shape[1])
            for (arm, feature, hour), *numbers in zip(places.T.tolist(), given.tolist(), failed.tolist(), strict=True):
                stage, variant = divmod(arm, len(VARIANTS))
                key = (name, _SIDES[variant], stage, self._features[feature], hour * HOUR_US)
                counts.tallies[key] = (numbers[0], numbers[1])

    def _count_times(self, counts: Counts, facts: dict[Metric, CallFact]) -> None:
        """Count answers of candidate and control by latency bucket."""
        for metric, mean in LATENCY_METRICS.items():
            fact = facts[mean]
            rows = np.flatnonzero(fact.measured & (self._calls.variant != STABLE))
            bucket = np.floor(fact.value[rows] / (BUCKET_LOG * MILLION)).astype(np.int64)
            where = np.stack([self._arm[rows], self._known_us[rows] // HOUR_US, bucket])
            places, numbers = np.unique(where, axis=1, return_counts=True)
            for (arm, hour, at), number in zip(places.T.tolist(), numbers.tolist(), strict=True):
                stage, variant = divmod(arm, len(VARIANTS))
                counts.times.setdefault((metric, _SIDES[variant], stage, hour * HOUR_US), {})[at] = number

    # --- users ---

    def _count_first_failures(self, counts: Counts, facts: dict[Metric, CallFact], known_us: Ints) -> None:
        slot = known_us // CELL_US * len(self._spec.stages) + self._stage
        first_slot = _least(slot) // len(self._spec.stages) * len(self._spec.stages)
        keys = ((slot - first_slot) * len(VARIANTS) + self._calls.variant) * self._unit_count + self._unit
        groups, group = np.unique(keys, return_inverse=True)
        place, unit = groups // self._unit_count, groups % self._unit_count
        group_slot = place // len(VARIANTS)
        stage_count = len(self._spec.stages)
        owner = (group_slot % stage_count * len(VARIANTS) + place % len(VARIANTS)) * self._unit_count + unit
        for name, fact in facts.items():
            rows = np.flatnonzero(fact.measured)
            measured = np.zeros(len(groups), dtype=bool)
            measured[group[rows]] = True
            failed = np.zeros(len(groups), dtype=bool)
            failed[group[rows[fact.value[rows] > 0]]] = True
            first = np.full(self._unit_count, _NEVER)
            np.minimum.at(first, unit[failed], group_slot[failed])
            failing = failed & (group_slot == first[unit])
            if METRIC_KINDS[name].is_frequent:
                at_risk = np.flatnonzero(measured & (group_slot <= first[unit]))
                parts = [place[at_risk], place[failing]]
                counts.cells[name] = [
                    TimeBucket(stage=stage, at_us=at_us, sides={side: (n, k) for side, (n, k) in sides.items()})
                    for stage, at_us, sides in self._by_cell(parts, first_slot)
                ]
                continue
            # groups are in order of time: the first of an owner is where the user comes to be at risk
            came_at = np.flatnonzero(measured)
            came_at = came_at[np.unique(owner[came_at], return_index=True)[1]]
            came_at = came_at[group_slot[came_at] <= first[unit[came_at]]]
            leaves = came_at[(first[unit[came_at]] < _NEVER) & ~np.isin(owner[came_at], owner[failing])]
            left_slot = first[unit[leaves]] // stage_count * stage_count + group_slot[leaves] % stage_count
            parts = [place[came_at], place[failing], left_slot * len(VARIANTS) + place[leaves] % len(VARIANTS)]
            counts.risks[name] = [
                RiskChange(stage=stage, at_us=at_us, sides={side: (n, k, left) for side, (n, k, left) in sides.items()})
                for stage, at_us, sides in self._by_cell(parts, first_slot)
            ]

    def _by_cell(self, parts: Sequence[Ints], first_slot: int) -> Iterator[tuple[int, int, dict[str, tuple[int, ...]]]]:
        """Yield stage, start of the cell and the numbers of each part by arm, in order of time and stage."""
        places, place = np.unique(np.concatenate(parts), return_inverse=True)
        which = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        numbers = np.bincount(place * len(parts) + which, minlength=len(places) * len(parts)).reshape(-1, len(parts))
        cells: dict[int, dict[str, tuple[int, ...]]] = {}
        for key, several in zip(places.tolist(), numbers.tolist(), strict=True):
            slot, variant = divmod(key, len(VARIANTS))
            cells.setdefault(slot, {})[_SIDES[variant]] = tuple(several)
        stage_count = len(self._spec.stages)
        for slot, sides in cells.items():
            at = slot + first_slot
            yield at % stage_count, at // stage_count * CELL_US, dict(sorted(sides.items()))

    def _sum_means(self, counts: Counts, facts: dict[Metric, CallFact], known_us: Ints) -> None:
        hour = known_us // HOUR_US
        first_hour = _least(hour)
        hour_count = int(hour.max(initial=first_hour)) - first_hour + 1
        keys = (self._arm * self._unit_count + self._unit) * hour_count + hour - first_hour
        groups, group = np.unique(keys, return_inverse=True)
        owner, group_hour = groups // hour_count, groups % hour_count
        is_new = np.concatenate(([True], owner[1:] != owner[:-1])) if len(groups) else np.zeros(0, dtype=bool)
        starts = np.maximum.accumulate(np.where(is_new, np.arange(len(groups)), 0))
        place = owner // self._unit_count * hour_count + group_hour
        order = np.argsort(place, kind="stable")
        places, begins = np.unique(place[order], return_index=True)
        for name, fact in facts.items():
            rows = np.flatnonzero(fact.measured)
            scale = 1 if name in RATIO_METRICS else MILLION
            n = np.bincount(group[rows], minlength=len(groups)).astype(np.int64)
            total = np.rint(np.bincount(group[rows], weights=fact.value[rows], minlength=len(groups))).astype(np.int64)
            so_far, totals = _running(n, starts), _running(total * scale, starts)
            has = so_far > 0
            mean = np.where(has, _rounded(totals / np.maximum(so_far, 1)), 0)
            affected = (has & (totals > 0)).astype(np.int64)
            changes = [_change(one, is_new) for one in (has.astype(np.int64), affected, mean, mean * mean)]
            sums = [np.add.reduceat(one[order], begins) if len(order) else one for one in (*changes, n)]
            for index in np.flatnonzero(sums[-1]).tolist():
                arm, at = divmod(int(places[index]), hour_count)
                stage, variant = divmod(arm, len(VARIANTS))
                values = (int(one[index]) for one in sums[:-1])
                by_hour = counts.users.setdefault((name, _SIDES[variant], stage), {})
                by_hour[(at + first_hour) * HOUR_US] = UserSums(*values)

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
        key = self._stage[rows] * self._unit_count + self._unit[rows]
        units, unit = np.unique(key, return_inverse=True)
        firsts = []
        for is_candidate in (True, False):
            first = np.full(len(units), _NEVER)
            mask = (calls.variant[rows] == CANARY) == is_candidate
            np.minimum.at(first, unit[mask], seen_us[rows[mask]])
            firsts.append(first)
        moment = np.maximum(*firsts)
        for index in np.flatnonzero(moment < _NEVER).tolist():
            hours = counts.in_both.setdefault(int(units[index]) // self._unit_count, {})
            hour_us = int(moment[index]) // HOUR_US * HOUR_US
            hours[hour_us] = hours.get(hour_us, 0) + 1

    def _add_arrivals(self, found: dict[tuple[str, int], dict[int, int]], mask: Flags, known_us: Ints) -> None:
        rows = np.flatnonzero(mask)
        units, unit = np.unique(self._arm[rows] * self._unit_count + self._unit[rows], return_inverse=True)
        first = np.full(len(units), _NEVER)
        np.minimum.at(first, unit, known_us[rows])
        places, numbers = np.unique(np.stack([units // self._unit_count, first // HOUR_US]), axis=1, return_counts=True)
        for arm, hour, number in zip(*places.tolist(), numbers.tolist(), strict=True):
            stage, variant = divmod(arm, len(VARIANTS))
            found.setdefault((_SIDES[variant], stage), {})[hour * HOUR_US] = number

    # --- calls ---

    def _count_calls(self, counts: Counts) -> None:
        calls = self._calls
        hour = self._known_us // HOUR_US
        first_hour = _least(hour)
        hour_count = int(hour.max(initial=first_hour)) - first_hour + 1
        keys = (self._arm * len(self._features) + calls.feature) * hour_count + hour - first_hour
        places, place = np.unique(keys, return_inverse=True)
        reached = ~calls.cached
        fell_back = reached & (calls.primary_failed | calls.degraded)
        failed = reached & (calls.error | calls.primary_failed | calls.degraded)
        flags = (
            calls.cached,
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
        for index, key in enumerate(places.tolist()):
            rest, at = divmod(key, hour_count)
            arm, feature = divmod(rest, len(self._features))
            stage, variant = divmod(arm, len(VARIANTS))
            hour_us = (at + first_hour) * HOUR_US
            numbers = [int(one[index]) for one in (*sums, costs)]
            where = (_SIDES[variant], stage, self._features[feature], hour_us)
            counts.calls[where] = CallCounts(*numbers)
            hours = counts.releases.setdefault((_SIDES[variant], release.get(variant, ""), stage), {})
            hours[hour_us] = hours.get(hour_us, 0) + int(sums[0][index])
        counts.schedules = {side: SamplingSchedule() for side in _SIDES.values()}


def _running(values: Ints, starts: Ints) -> Ints:
    """Return running sums that restart at each start."""
    sums = np.cumsum(values)
    return np.asarray(sums - (sums - values)[starts])


def _change(values: Ints, is_new: Flags) -> Ints:
    """Return the differences to the row before, of the same owner."""
    before = np.concatenate(([0], values[:-1])) if len(values) else values
    changes: Ints = values - np.where(is_new, 0, before)
    return changes


def _rounded(values: NDArray[np.float64]) -> Ints:
    """Return whole numbers, halves away from 0, as SQL rounds."""
    rounded: Ints = (np.sign(values) * np.floor(np.abs(values) + 0.5)).astype(np.int64)
    return rounded


def _log_of(values: NDArray[np.float64]) -> Ints:
    clamped = np.clip(np.where(np.isnan(values), 1.0, values), 0.001, 1e9)
    logs: Ints = np.rint(np.log(clamped) * MILLION).astype(np.int64)
    return logs


def _buckets(values: NDArray[np.float64]) -> Ints:
    clamped = np.clip(np.where(np.isnan(values), 1.0, values), 0.001, 1e9)
    buckets: Ints = np.floor(np.log(clamped) / np.log(1.01)).astype(np.int64)
    return buckets


def _least(values: Ints) -> int:
    return int(values.min()) if len(values) else 0

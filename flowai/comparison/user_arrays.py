"""Counts users on arrays of calls: first failures by time cell, and how the sums of users' means change by hour.

The unit is the user over the whole rollout, across stages, arms and features: a user is at risk of a failure until the
first one, wherever it was. Users who often fail would otherwise be at risk anew each time they come to another arm, and
a ramp brings them all to the candidate. Calls without user and session are units of their own.

A user is at risk from the first call of a stage on, whether calling or not: users who call often and never fail would
otherwise count most, and by chance there are more of them in one arm. Only for frequent failures the users who call are
counted: each of them says something.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from flowai.comparison.counts import RiskChange, TimeBucket, UserSums
from flowai.comparison.facts import MILLION
from flowai.comparison.metrics import METRIC_KINDS, RATIO_METRICS
from flowai.comparison.spec import CELL_US, HOUR_US

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts

    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

NEVER = 1 << 62
"""A time after all others."""

_HOUR_BITS = 32
_KEY_BITS = 62


@dataclass(frozen=True, kw_only=True, slots=True)
class CallRows:
    """Calls of some users, all of each user's calls; arrays of equal length."""

    sides: Sequence[str]
    """Names of the arms."""
    stage_count: int
    side: Ints
    """Index of the arm."""
    stage: Ints
    unit: Ints
    """User or call, from 0 on."""
    known_us: Ints
    in_sample: Flags
    """False for calls that only tell of earlier failures."""
    dropped_us: Ints
    """Time from which the user is not sampled any more in this arm, or `NEVER`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricValues:
    """Values of a metric by call."""

    measured: Flags
    value: Ints
    """Of a rate 0 or 1; of a mean a logarithm in millionths, or nano-dollars."""


@dataclass(kw_only=True, slots=True)
class UserCounter:
    """Counts users, a part of them at a time; no user is in two parts."""

    counts: Counts
    _sides: Sequence[str] = ()
    _stage_count: int = 1
    _cells: dict[Metric, list[tuple[Ints, int, Ints]]] = field(default_factory=dict)
    """By metric: places (cell, stage and arm as one number), which number of `TimeBucket` or `RiskChange`, and it."""
    _changes: dict[Metric, list[tuple[Ints, NDArray[Any]]]] = field(default_factory=dict)
    """By metric: places (stage, arm and hour as one number), and how the four numbers of `UserSums` change there."""

    def add(self, rows: CallRows, values: Mapping[Metric, MetricValues]) -> None:
        """Add the calls of some users."""
        self._sides, self._stage_count = rows.sides, rows.stage_count
        for name in values:
            self._cells.setdefault(name, [])
        if len(rows.unit):
            self._add_first_failures(rows, values)
            self._add_means(rows, values)

    def finish(self) -> None:
        """Put the cells, in order of time and stage, and the sums into the counts."""
        for name, changes in self._changes.items():
            self._put_sums(name, changes)
        for name, parts in self._cells.items():
            if name in RATIO_METRICS:
                continue
            if METRIC_KINDS[name].is_frequent:
                self.counts.cells[name] = [
                    TimeBucket(stage=stage, at_us=at_us, sides={side: (n, k) for side, (n, k, _) in sides})
                    for stage, at_us, sides in self._ordered(parts)
                ]
            else:
                self.counts.risks[name] = [
                    RiskChange(stage=stage, at_us=at_us, sides=dict(sides))
                    for stage, at_us, sides in self._ordered(parts)
                ]

    def _ordered(
        self, parts: Sequence[tuple[Ints, int, Ints]]
    ) -> Iterator[tuple[int, int, list[tuple[str, tuple[int, int, int]]]]]:
        """Yield stage, start and numbers by arm of each cell."""
        if not parts:
            return
        places, place = group_rows(np.concatenate([where for where, _, _ in parts]))
        sums = np.zeros((3, len(places)), dtype=np.int64)
        begin = 0
        for where, which, numbers in parts:
            # the places of a part differ from each other
            sums[which, place[begin : begin + len(where)]] += numbers
            begin += len(where)
        slot, side = np.divmod(places, len(self._sides))
        sides = list(zip([self._sides[one] for one in side.tolist()], zip(*sums.tolist(), strict=True), strict=True))
        begins, ends = runs_of(slot)
        for key, begin, end in zip(slot[begins].tolist(), begins.tolist(), ends.tolist(), strict=True):
            cell, stage = divmod(key, self._stage_count)
            yield stage, cell * CELL_US, sides[begin:end]

    def _add_first_failures(self, rows: CallRows, values: Mapping[Metric, MetricValues]) -> None:
        side_count, stage_count, unit_count = len(rows.sides), rows.stage_count, int(rows.unit.max()) + 1
        slot = rows.known_us // CELL_US * stage_count + rows.stage
        first_slot = int(slot.min()) // stage_count * stage_count
        groups, group = group_rows(((slot - first_slot) * side_count + rows.side) * unit_count + rows.unit)
        place, unit = np.divmod(groups, unit_count)
        at = place // side_count  # the slot, from the first on
        owners, owner = group_rows((at % stage_count * side_count + place % side_count) * unit_count + unit)
        sampled = _any(group, rows.in_sample, len(groups))
        out_slot = np.full(len(groups), NEVER)
        is_dropped = rows.dropped_us < NEVER
        np.minimum.at(out_slot, group[is_dropped], rows.dropped_us[is_dropped] // CELL_US * stage_count - first_slot)
        for name, metric in values.items():
            if name in RATIO_METRICS:
                continue
            measured = _any(group, metric.measured, len(groups))
            failed = _any(group, metric.measured & (metric.value > 0), len(groups))
            if name == "save_rate":  # a user who saves one of several answers has not failed to save
                failed &= ~_any(group, metric.measured & (metric.value == 0), len(groups))
            # groups are in order of time: the last number that is set is that of the first group
            first = np.full(unit_count, NEVER)
            failures = np.flatnonzero(failed)[::-1]
            first[unit[failures]] = at[failures]
            failing = np.flatnonzero(failed & sampled & (at == first[unit]))
            present = np.flatnonzero(measured & sampled & (at <= first[unit]))
            if METRIC_KINDS[name].is_frequent:
                parts = [place[present], place[failing]]
            else:
                came = present[_first_rows(owner[present], len(owners))]
                has_failed = np.zeros(len(owners), dtype=bool)
                has_failed[owner[failing]] = True
                left = came[~has_failed[owner[came]]]
                left_at = np.minimum(first[unit[left]], out_slot[left]) // stage_count * stage_count
                left, left_at = left[left_at < NEVER // 2], left_at[left_at < NEVER // 2]
                left_places = (left_at + at[left] % stage_count) * side_count + place[left] % side_count
                parts = [place[came], place[failing], np.sort(left_places)]
            for which, part in enumerate(parts):
                begins, ends = runs_of(part)
                self._cells[name].append((part[begins] + first_slot * side_count, which, ends - begins))

    def _add_means(self, rows: CallRows, values: Mapping[Metric, MetricValues]) -> None:
        here = np.flatnonzero(rows.in_sample)
        if not len(here):
            return
        unit_count = int(rows.unit.max()) + 1
        hour = rows.known_us[here] // HOUR_US
        first_hour, last_hour = int(hour.min()), int(hour.max())
        hour_count = last_hour - first_hour + 1
        arm = rows.stage[here] * len(rows.sides) + rows.side[here]
        groups, group = group_rows((arm * unit_count + rows.unit[here]) * hour_count + hour - first_hour)
        owner, hour_of = np.divmod(groups, hour_count)
        is_new = _run_starts(owner)
        is_last = np.concatenate((is_new[1:], [True]))
        starts = np.maximum.accumulate(np.where(is_new, np.arange(len(groups)), 0))
        place = owner // unit_count * hour_count + hour_of
        order, place = sorted_rows(place)
        begins = np.flatnonzero(_run_starts(place))
        places = place[begins] // hour_count << _HOUR_BITS | place[begins] % hour_count + first_hour
        out_us = np.full(len(groups), NEVER)
        np.minimum.at(out_us, group, rows.dropped_us[here])
        leaving = np.flatnonzero(is_last & (out_us < NEVER))
        for name, metric in values.items():
            measured = metric.measured[here]
            given, scale = group[measured], 1 if name in RATIO_METRICS else MILLION
            n = np.bincount(given, minlength=len(groups)).astype(np.int64)
            # a user's calls of an hour add up to far less than 2 ** 53: the sums of floats are exact
            total = (
                np.bincount(given, weights=metric.value[here][measured], minlength=len(groups)).astype(np.int64) * scale
            )
            so_far, totals = _running(n, starts), _running(total, starts)
            has = so_far > 0
            mean = np.where(has, _rounded(totals / np.maximum(so_far, 1)), 0)
            states = [has.astype(np.int64), (has & (totals > 0)).astype(np.int64), mean, _squares(mean)]
            measured_here = np.add.reduceat(n[order], begins) > 0
            changes = [np.add.reduceat(_change(state, is_new)[order], begins)[measured_here] for state in states]
            gone = leaving[has[leaving]]
            left, which = np.unique(
                owner[gone] // unit_count << _HOUR_BITS | out_us[gone] // HOUR_US, return_inverse=True
            )
            losses = np.zeros((len(states), len(left)), dtype=states[-1].dtype)
            for loss, state in zip(losses, states, strict=True):
                np.subtract.at(loss, which, state[gone])
            # sums of squares over all parts may need more bits
            self._changes.setdefault(name, []).extend(
                [(places[measured_here], np.array(changes, dtype=object)), (left, losses.astype(object))]
            )

    def _put_sums(self, name: Metric, changes: Sequence[tuple[Ints, NDArray[Any]]]) -> None:
        places, place = group_rows(np.concatenate([where for where, _ in changes]))
        sums = np.zeros((4, len(places)), dtype=object)
        for row, added in zip(sums, np.concatenate([numbers for _, numbers in changes], axis=1), strict=True):
            np.add.at(row, place, added)
        for key, numbers in zip(places.tolist(), sums.T.tolist(), strict=True):
            stage, side = divmod(key >> _HOUR_BITS, len(self._sides))
            hour_us = (key & (1 << _HOUR_BITS) - 1) * HOUR_US
            self.counts.users.setdefault((name, self._sides[side], stage), {})[hour_us] = UserSums(*numbers)


def sorted_rows(keys: Ints) -> tuple[Ints, Ints]:
    """Return the row numbers in order of their keys, 0 or more, then of their number; and the keys in this order."""
    bits = len(keys).bit_length()
    if not len(keys) or int(keys.max()).bit_length() + bits > _KEY_BITS:
        order: Ints = np.argsort(keys, kind="stable")
        return order, keys[order]
    # keys and row numbers in the same integers: to sort values is several times as fast as to sort indices
    packed = np.sort(keys << bits | np.arange(len(keys)))
    return packed & (1 << bits) - 1, packed >> bits


def group_rows(keys: Ints) -> tuple[Ints, Ints]:
    """Return the different keys, 0 or more, in ascending order, and the index of each row's key in them."""
    order, in_order = sorted_rows(keys)
    is_new = _run_starts(in_order)
    group = np.empty(len(keys), dtype=np.int64)
    group[order] = np.cumsum(is_new) - 1
    return in_order[is_new], group


def runs_of(in_order: Ints) -> tuple[Ints, Ints]:
    """Return where each run of equal values begins, and where it ends."""
    begins: Ints = np.flatnonzero(_run_starts(in_order))
    return begins, np.append(begins[1:], len(in_order))[: len(begins)]


def _run_starts(in_order: Ints) -> Flags:
    """Return by row whether its value differs from that of the row before; the first one's does."""
    is_new = np.ones(len(in_order), dtype=bool)
    np.not_equal(in_order[1:], in_order[:-1], out=is_new[1:])
    return is_new


def _first_rows(owner: Ints, count: int) -> Flags:
    """Return by row whether it is the first of its owner; there are `count` owners."""
    rows, first = np.arange(len(owner)), np.empty(count, dtype=np.int64)
    first[owner[::-1]] = rows[::-1]
    return np.asarray(first[owner] == rows)


def _any(group: Ints, flags: Flags, count: int) -> Flags:
    """Return for each group whether a row of it has the flag."""
    found = np.zeros(count, dtype=bool)
    found[group[flags]] = True
    return found


def _running(values: Ints, starts: Ints) -> Ints:
    """Return running sums that restart at each start."""
    sums = np.cumsum(values)
    return np.asarray(sums - (sums - values)[starts])


def _change(values: Ints, is_new: Flags) -> Ints:
    """Return the differences to the row before, of the same owner."""
    changes: Ints = values - np.where(is_new, 0, np.concatenate(([0], values[:-1])))
    return changes


def _squares(values: Ints) -> Ints:
    """Return the squares; of large values (calls of a dollar and more) as objects, as their sums need more bits."""
    largest = int(np.abs(values).max(initial=0))
    wide = values if largest**2 * len(values) < NEVER else values.astype(object)
    return wide * wide


def _rounded(values: NDArray[np.float64]) -> Ints:
    """Return whole numbers, halves away from 0."""
    rounded: Ints = (np.sign(values) * np.floor(np.abs(values) + 0.5)).astype(np.int64)
    return rounded

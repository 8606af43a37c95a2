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
from typing import TYPE_CHECKING

import numpy as np

from flowai.comparison.counts import RiskChange, TimeBucket, UserSums
from flowai.comparison.facts import MILLION
from flowai.comparison.metrics import METRIC_KINDS, RATIO_METRICS
from flowai.comparison.spec import CELL_US, HOUR_US

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts

    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

NEVER = 1 << 62
"""A time after all others."""

_HOUR_BITS = 32


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
    _cells: dict[Metric, dict[tuple[int, int], dict[str, list[int]]]] = field(default_factory=dict)
    """By metric, cell and stage, and arm: the numbers of `TimeBucket` or `RiskChange`."""

    def add(self, rows: CallRows, values: Mapping[Metric, MetricValues]) -> None:
        """Add the calls of some users."""
        for name in values:
            self._cells.setdefault(name, {})
        if len(rows.unit):
            self._add_first_failures(rows, values)
            self._add_means(rows, values)

    def finish(self) -> None:
        """Put the cells into the counts, in order of time and stage."""
        for name, cells in self._cells.items():
            if name in RATIO_METRICS:
                continue
            ordered = [(cell * CELL_US, stage, sorted(cells[cell, stage].items())) for cell, stage in sorted(cells)]
            if METRIC_KINDS[name].is_frequent:
                self.counts.cells[name] = [
                    TimeBucket(stage=stage, at_us=at_us, sides={side: (n, k) for side, (n, k, _) in sides})
                    for at_us, stage, sides in ordered
                ]
            else:
                self.counts.risks[name] = [
                    RiskChange(stage=stage, at_us=at_us, sides={side: (n, k, left) for side, (n, k, left) in sides})
                    for at_us, stage, sides in ordered
                ]

    def _add_first_failures(self, rows: CallRows, values: Mapping[Metric, MetricValues]) -> None:
        side_count, stage_count, unit_count = len(rows.sides), rows.stage_count, int(rows.unit.max()) + 1
        slot = rows.known_us // CELL_US * stage_count + rows.stage
        first_slot = int(slot.min()) // stage_count * stage_count
        keys = ((slot - first_slot) * side_count + rows.side) * unit_count + rows.unit
        groups, group = np.unique(keys, return_inverse=True)
        place, unit = groups // unit_count, groups % unit_count
        at = place // side_count  # the slot, from the first on
        owner = (at % stage_count * side_count + place % side_count) * unit_count + unit
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
            first = np.full(unit_count, NEVER)
            np.minimum.at(first, unit[failed], at[failed])
            failing = np.flatnonzero(failed & sampled & (at == first[unit]))
            present = np.flatnonzero(measured & sampled & (at <= first[unit]))
            if METRIC_KINDS[name].is_frequent:
                parts = [place[present], place[failing]]
            else:
                # groups are in order of time: the first of an owner is where the user comes to be at risk
                came = present[np.unique(owner[present], return_index=True)[1]]
                left = came[~np.isin(owner[came], owner[failing])]
                left_at = np.minimum(first[unit[left]], out_slot[left]) // stage_count * stage_count
                left, left_at = left[left_at < NEVER // 2], left_at[left_at < NEVER // 2]
                parts = [
                    place[came],
                    place[failing],
                    (left_at + at[left] % stage_count) * side_count + place[left] % side_count,
                ]
            self._add_cells(rows, name, parts, first_slot)

    def _add_cells(self, rows: CallRows, metric: Metric, parts: Sequence[Ints], first_slot: int) -> None:
        cells, side_count = self._cells[metric], len(rows.sides)
        for which, part in enumerate(parts):
            for key, number in zip(*(one.tolist() for one in np.unique(part, return_counts=True)), strict=True):
                slot, side = divmod(key, side_count)
                cell, stage = divmod(slot + first_slot, rows.stage_count)
                cells.setdefault((cell, stage), {}).setdefault(rows.sides[side], [0, 0, 0])[which] += number

    def _add_means(self, rows: CallRows, values: Mapping[Metric, MetricValues]) -> None:
        here = np.flatnonzero(rows.in_sample)
        if not len(here):
            return
        unit_count = int(rows.unit.max()) + 1
        hour = rows.known_us[here] // HOUR_US
        first_hour, last_hour = int(hour.min()), int(hour.max())
        hour_count = last_hour - first_hour + 1
        arm = rows.stage[here] * len(rows.sides) + rows.side[here]
        groups, group = np.unique(
            (arm * unit_count + rows.unit[here]) * hour_count + hour - first_hour, return_inverse=True
        )
        owner = groups // hour_count
        is_new = np.concatenate(([True], owner[1:] != owner[:-1]))
        is_last = np.concatenate((is_new[1:], [True]))
        starts = np.maximum.accumulate(np.where(is_new, np.arange(len(groups)), 0))
        place = owner // unit_count * hour_count + groups % hour_count
        order = np.argsort(place, kind="stable")
        places, begins = np.unique(place[order], return_index=True)
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
            states = [has.astype(np.int64), (has & (totals > 0)).astype(np.int64), mean, mean * mean]
            sums = [np.add.reduceat(one[order], begins) for one in (*(_change(state, is_new) for state in states), n)]
            for index in np.flatnonzero(sums[-1]).tolist():
                where, at = divmod(int(places[index]), hour_count)
                self._add_sums(rows, name, where, at + first_hour, [int(one[index]) for one in sums[:-1]])
            gone = leaving[has[leaving]]
            left, which = np.unique(
                owner[gone] // unit_count << _HOUR_BITS | out_us[gone] // HOUR_US, return_inverse=True
            )
            losses = np.zeros((len(states), len(left)), dtype=np.int64)
            for loss, state in zip(losses, states, strict=True):
                np.subtract.at(loss, which, state[gone])
            for key, numbers in zip(left.tolist(), losses.T.tolist(), strict=True):
                self._add_sums(rows, name, key >> _HOUR_BITS, key & (1 << _HOUR_BITS) - 1, numbers)

    def _add_sums(self, rows: CallRows, metric: Metric, arm: int, hour: int, numbers: Sequence[int]) -> None:
        stage, side = divmod(arm, len(rows.sides))
        by_hour = self.counts.users.setdefault((metric, rows.sides[side], stage), {})
        by_hour.setdefault(hour * HOUR_US, UserSums()).add(UserSums(*numbers))


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


def _rounded(values: NDArray[np.float64]) -> Ints:
    """Return whole numbers, halves away from 0."""
    rounded: Ints = (np.sign(values) * np.floor(np.abs(values) + 0.5)).astype(np.int64)
    return rounded

"""Sampling schedule: the share of users per arm whose calls are counted one by one; it halves as traffic grows.

The evidence stays valid: the sample depends on a hash of the user that is independent of the assignment, and its size
on the number of calls up to the end of a cell, which is known only after the cell. A user who is sampled later was
sampled before, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNSAMPLED_CALLS = 50_000
"""Calls of an arm up to which all users are sampled; each doubling from there on halves the share. Ten million calls
need no more than five times as many rows."""

_HASH_BITS = 64

MIN_IN_CELL = 30
"""The share is not halved where a cell would have fewer sampled calls than this: late harm must be detected soon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingSchedule:
    """Share of sampled users of an arm over time."""

    halvings_us: tuple[int, ...] = ()
    """Times from which on the share is half of the one before, ascending; microseconds since 1970."""

    @property
    def dropped_sql(self) -> str:
        """SQL over `key`, a hash of the user: the time from which the user is not sampled any more, or NULL."""
        whens = " ".join(
            f"WHEN key < {min_sampled_hash(level + 1)} THEN {moment_us}"
            for level, moment_us in enumerate(self.halvings_us)
        )
        return f"CASE {whens} END::BIGINT" if whens else "NULL::BIGINT"

    @property
    def mask(self) -> int:
        """The top bits of a hash that must be 1 at the end, as a number: of `mask + 1` users one is sampled."""
        return (1 << len(self.halvings_us)) - 1

    def as_of(self, moment_us: int) -> SamplingSchedule:
        """Return the schedule as it was known at a time."""
        return SamplingSchedule(halvings_us=tuple(at_us for at_us in self.halvings_us if at_us < moment_us))


def min_sampled_hash(halvings_count: int) -> int:
    """Return the least hash of a user that is still sampled after some halvings: half of the users had less each time.

    Comparisons, unlike single bits, are checked while Parquet is read.
    """
    return (1 << _HASH_BITS) - (1 << (_HASH_BITS - halvings_count))


def sampling_schedule(calls: Mapping[int, int]) -> SamplingSchedule:
    """Return the schedule for an arm's numbers of calls by the start of a cell, microseconds since 1970."""
    halvings: list[int] = []
    so_far = 0
    for cell_us in sorted(calls):
        so_far += calls[cell_us]
        while so_far > UNSAMPLED_CALLS << len(halvings) and calls[cell_us] >> (len(halvings) + 1) >= MIN_IN_CELL:
            halvings.append(cell_us)
    return SamplingSchedule(halvings_us=tuple(halvings))


def common_schedule(schedules: Iterable[SamplingSchedule]) -> SamplingSchedule:
    """Return the schedule of users who are sampled in every arm."""
    levels = zip_longest(*(one.halvings_us for one in schedules))
    return SamplingSchedule(halvings_us=tuple(min(at_us for at_us in level if at_us is not None) for level in levels))

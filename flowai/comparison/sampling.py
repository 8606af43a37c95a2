"""Says how many of the users of a side are looked at closely, as traffic grows: all at first, then ever fewer.

Evidence stays what it is: whether a user is looked at hangs on a hash of theirs that has nothing to do with the one
that assigns them, and how many are hangs on how many calls there were up to the end of a cell, which says nothing
before it is closed. Who is looked at later was looked at before, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

UNSAMPLED_CALLS = 50_000
"""So many calls of a side are all looked at; each time that its calls have doubled from there on, half as many users as
before are enough. So ten million calls need no more than five times as many looks."""

MIN_IN_CELL = 30
"""Where a cell would have fewer calls than this left to look at, nothing is halved: what becomes worse late must be
seen soon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingSchedule:
    """How many users of a side are looked at, over time."""

    halvings_us: tuple[int, ...] = ()
    """From each of these moments on half as many as before, in order; microseconds since 1970."""

    @property
    def mask_sql(self) -> str:
        """The bits of a hash that must be 0 for its user to be looked at, as SQL over `at_us`; ever more of them."""
        masks = " ".join(
            f"WHEN at_us < {moment_us} THEN {(1 << level) - 1}::UBIGINT"
            for level, moment_us in enumerate(self.halvings_us)
        )
        return f"CASE {masks} ELSE {self.mask}::UBIGINT END" if masks else "0::UBIGINT"

    @property
    def mask(self) -> int:
        """The bits of a hash that must be 0 in the end."""
        return (1 << len(self.halvings_us)) - 1


def sampling_schedule(calls: Mapping[int, int]) -> SamplingSchedule:
    """Find out when to halve.

    Args:
        calls: calls of a side by begin of a cell, microseconds since 1970.
    """
    halvings: list[int] = []
    so_far = 0
    for cell_us in sorted(calls):
        so_far += calls[cell_us]
        while so_far > UNSAMPLED_CALLS << len(halvings) and calls[cell_us] >> (len(halvings) + 1) >= MIN_IN_CELL:
            halvings.append(cell_us)
    return SamplingSchedule(halvings_us=tuple(halvings))

"""Counts the subgroups of an incident's calls: by one or two attributes, by ranges of ordered ones, by phrase."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from flowai.postmortem.analysis.call_facts import AFTER, INCIDENT
from flowai.postmortem.analysis.records import ATTRIBUTES, KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from flowai.analytics.event_query import Log
    from flowai.postmortem.analysis.call_facts import ValueCodes
    from flowai.postmortem.analysis.records import FailureKind
    from flowai.postmortem.analysis.subgroup_scan import AttributeRange, Subgroup, SubgroupCounts

PHRASE = len(ATTRIBUTES)
"""Number of the attribute that has several values per call."""

_ORDERED = tuple(ATTRIBUTES.index(name) for name in ("input", "time"))
_WIDTH = 7
"""Bits of an attribute's value."""
_MASK_BITS = 2 * len(KINDS)
_NONE = (0, 0, 0, 0)

_EraCounts = tuple[int, int, int]
"""Era, mask, and number of calls with both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubgroupCounter:
    """Counts subgroups for some failure kinds."""

    log: Log
    """With the tables `facts` and `phrases`."""
    kinds: tuple[FailureKind, ...]
    codes: ValueCodes
    """Meaning of the numbers in `facts`."""
    _ranges: dict[tuple[int, int, bool], tuple[AttributeRange, ...]] = field(default_factory=dict)

    def count(
        self, kinds: Sequence[FailureKind] = (), inside: Subgroup | None = None
    ) -> dict[FailureKind, SubgroupCounts]:
        """Count calls at risk and failures by subgroup; without `kinds` of all kinds, with `inside` only its calls."""
        selected = tuple(kinds) or self.kinds
        table = "facts"
        if inside is not None:
            table = "inside"
            self.log.fetch(f"CREATE OR REPLACE TEMP TABLE inside AS SELECT * FROM facts WHERE {key_sql(inside)}")  # noqa: S608 - numbers
        found: dict[FailureKind, SubgroupCounts] = {kind: {} for kind in selected}
        bits = [KINDS.index(kind) for kind in selected]
        mask = sum((1 << bit) * (1 + (1 << len(KINDS))) for bit in bits)
        for keys, met in self._groups(table, mask):
            for bit, cells in zip(bits, found.values(), strict=True):
                counts = _of_kind(met, bit)
                if counts[0] or counts[2]:
                    for key in keys:
                        have = cells.get(key, _NONE)
                        cells[key] = [one + more for one, more in zip(have, counts, strict=True)]
        return found

    def _groups(self, table: str, mask: int) -> Iterator[tuple[tuple[Subgroup, ...], list[_EraCounts]]]:
        """Yield the subgroups that calls with equal values belong to, and the counts of such calls."""
        low = (1 << _WIDTH) - 1
        groups: list[tuple[int, ...]] = [(), *((one,) for one in range(PHRASE)), *combinations(range(PHRASE), 2)]
        for group in groups:
            code = "0"
            for one in group:
                code = f"({code} << {_WIDTH} | a{one})"
            there = " AND ".join((f"era < {AFTER}", f"mask & {mask} <> 0", *(f"a{one} > 0" for one in group)))
            by_values: dict[int, list[_EraCounts]] = {}
            for value, count in self.log.fetch(f"""
                SELECT ({code}::BIGINT << {_MASK_BITS + 1}) | (era::BIGINT << {_MASK_BITS}) | (mask & {mask}) AS k,
                    count(*)
                FROM {table} WHERE {there} GROUP BY k
            """):  # noqa: S608 - numbers of ours
                met = (value >> _MASK_BITS & 1, value & ((1 << _MASK_BITS) - 1), count)
                by_values.setdefault(value >> (_MASK_BITS + 1), []).append(met)
            for values, counts in by_values.items():
                parts = [values >> (_WIDTH * (len(group) - 1 - place)) & low for place in range(len(group))]
                yield self._keys(group, parts), counts
        by_phrase: dict[int, list[_EraCounts]] = {}
        for phrase, era, met_mask, count in self.log.fetch(f"""
            SELECT phrase, era, mask & {mask}, count(*) FROM phrases JOIN {table} USING (call)
            WHERE era < {AFTER} AND mask & {mask} <> 0 GROUP BY ALL
        """):  # noqa: S608 - numbers of ours
            by_phrase.setdefault(phrase, []).append((era, met_mask, count))
        for phrase, counts in by_phrase.items():
            yield (((PHRASE, phrase, phrase),),), counts

    def _keys(self, group: tuple[int, ...], values: list[int]) -> tuple[Subgroup, ...]:
        """Return every subgroup of calls with these values, including ranges of one of two attributes."""
        if not group:
            return ((),)
        if len(group) == 1:
            return tuple((part,) for part in self._parts(group[0], values[0], alone=True))
        first, second = group
        if first in _ORDERED and second in _ORDERED:
            return (((first, values[0], values[0]), (second, values[1], values[1])),)
        return tuple(
            (one, other)
            for one in self._parts(first, values[0], alone=False)
            for other in self._parts(second, values[1], alone=False)
        )

    def _parts(self, attribute: int, value: int, *, alone: bool) -> tuple[AttributeRange, ...]:
        if attribute not in _ORDERED:
            return ((attribute, value, value),)
        place = (attribute, value, alone)
        if place not in self._ranges:
            last = len(self.codes.values[attribute])
            self._ranges[place] = tuple(
                (attribute, low, high)
                for low in range(1, value + 1)
                for high in range(value, last + 1)
                if (high - low) < last - 1 and (alone or low in {1, high} or high == last)
            )
        return self._ranges[place]


def _of_kind(met: list[_EraCounts], bit: int) -> list[int]:
    """Sum calls at risk and failures, in the incident and before it."""
    counts = [0, 0, 0, 0]
    for era, mask, count in met:
        if mask >> bit & 1:
            at = 0 if era == INCIDENT else 2
            counts[at] += count
            if mask >> (bit + len(KINDS)) & 1:
                counts[at + 1] += count
    return counts


def key_sql(key: Subgroup) -> str:
    """Return the SQL condition that a row of `facts` belongs to a subgroup."""
    return " AND ".join(["TRUE", *(_part_sql(part) for part in key)])


def _part_sql(part: AttributeRange) -> str:
    attribute, low, high = part
    if attribute == PHRASE:
        return f"call IN (SELECT call FROM phrases WHERE phrase = {low})"  # noqa: S608 - a number
    return f"a{attribute} BETWEEN {low} AND {high}"


def count_by_mask(log: Log) -> dict[tuple[int, int], int]:
    """Count the calls by era and mask."""
    return {(era, mask): count for era, mask, count in log.fetch("SELECT era, mask, count(*) FROM facts GROUP BY ALL")}


def kinds_in(rates: Iterable[tuple[FailureKind, tuple[int, int]]], min_failures: int) -> tuple[FailureKind, ...]:
    """Return the kinds with enough failures to investigate."""
    return tuple(kind for kind, (_, failures) in rates if failures >= min_failures)

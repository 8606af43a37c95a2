"""Groups rows that are alike, without comparing each with each.

Rows are given in the order of preference and known by their place in it; so the groups do not depend on the order in
which anything was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_HEADS_COUNT = 8
"""Rows of a bucket that all others in it are compared with: a bucket of thousands is boilerplate more often than
duplicates, and comparing each with each would never end."""

_MAX_MISSES = 8
"""Comparisons in vain after which a row is compared only with those that its signature says are alike."""

_DOUBT = 0.15
"""How far an estimate from 40 numbers may lie below the truth: at a similarity of 0.8 it lies further below once in a
hundred times."""


class Clusters:
    """Groups of rows, joined step by step.

    Args:
        count: rows there are.
    """

    def __init__(self, count: int) -> None:
        self._first = np.arange(count, dtype=np.int32)

    def representatives(self) -> NDArray[np.int32]:
        """Give for each row the first of its group."""
        while not np.array_equal(higher := self._first[self._first], self._first):
            self._first = higher
        return self._first

    def join_equal(self, *keys: NDArray[np.uint64]) -> None:
        """Join rows that are equal in all keys; comes before anything else is joined."""
        for bucket in _buckets(np.arange(len(self._first)), *keys):
            self._first[bucket[1:]] = bucket[0]

    def join_alike(
        self,
        bands: Iterator[NDArray[np.uint32]],
        sketch: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        alike: Callable[[int, list[int]], list[int]],
        threshold: float,
    ) -> None:
        """Join rows that share a bucket and are found alike.

        Args:
            bands: for each band every row's number in it.
            sketch: gives for some rows a byte of 40 of the numbers of their signatures.
            alike: tells which of some rows are alike with one row.
            threshold: similarity from which `alike` says so, 0 to 1.
        """
        vain = np.zeros(len(self._first), dtype=np.uint32)
        for numbers in bands:
            # of each group only its first row in a bucket: the others could tell nothing new
            _, places = np.unique(
                (numbers.astype(np.uint64) << np.uint64(32)) | self.representatives().astype(np.uint64),
                return_index=True,
            )
            places.sort()
            for bucket in _buckets(places, numbers[places]):
                self._search(bucket, sketch, alike, threshold, vain)

    def _search(
        self,
        bucket: NDArray[np.int64],
        sketch: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        alike: Callable[[int, list[int]], list[int]],
        threshold: float,
        vain: NDArray[np.uint32],
    ) -> None:
        rest = bucket
        for _ in range(_HEADS_COUNT):
            if len(rest) < 2:  # noqa: PLR2004 - nothing to compare with
                return
            estimate = (sketch(rest[1:]) == sketch(rest[:1])).mean(axis=1)
            head, rest = int(rest[0]), rest[1:]
            hopeful = (estimate >= threshold) | ((estimate >= threshold - _DOUBT) & (vain[rest] < _MAX_MISSES))
            found = alike(head, rest[hopeful].tolist())
            for place in found:
                self._join(head, place)
            joined = np.isin(rest, found)
            vain[rest[hopeful & ~joined]] += 1
            rest = rest[~joined]

    def _join(self, one: int, other: int) -> None:
        one, other = self._top(one), self._top(other)
        self._first[max(one, other)] = min(one, other)

    def _top(self, place: int) -> int:
        while (above := int(self._first[place])) != place:
            place = above
        return place


def _buckets(places: NDArray[np.int64], *keys: NDArray[np.unsignedinteger]) -> Iterator[NDArray[np.int64]]:
    """Give the places that are equal in all keys, where there are at least two; in order within each."""
    if not len(places):
        return
    order = np.lexsort((places, *keys))
    differs = np.zeros(len(order) - 1, dtype=bool)
    for key in keys:
        sorted_key = key[order]
        differs |= sorted_key[1:] != sorted_key[:-1]
    edges = np.concatenate([[0], np.flatnonzero(differs) + 1, [len(order)]])
    for at in np.flatnonzero(np.diff(edges) > 1):
        yield places[order[edges[at] : edges[at + 1]]]

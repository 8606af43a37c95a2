"""Groups similar rows without comparing every two.

Rows are given in order of preference and known by their position, so the groups do not depend on the reading order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_HEADS_COUNT = 8
"""Rows of a bucket that all others in it are compared with. Buckets of thousands are mostly boilerplate, and comparing
every two of them would not end."""

_MAX_MISSES = 8
"""Comparisons without a match after which a row is compared only with those of a similar signature."""

_DOUBT = 0.15
"""Margin of a similarity estimated from 40 numbers: at a similarity of 0.8 the estimate is lower than that in one of a
hundred cases."""


class Clusters:
    """Groups of `count` rows, joined step by step."""

    def __init__(self, count: int) -> None:
        self._first = np.arange(count, dtype=np.int32)

    def representatives(self) -> NDArray[np.int32]:
        """Return the first row of each row's group."""
        while not np.array_equal(higher := self._first[self._first], self._first):
            self._first = higher
        return self._first

    def join_equal(self, *keys: NDArray[np.uint64]) -> None:
        """Join rows that are equal in all keys; call it before any other join."""
        for bucket in _buckets(np.arange(len(self._first)), *keys):
            self._first[bucket[1:]] = bucket[0]

    def join_similar(
        self,
        bands: Iterator[NDArray[np.uint32]],
        sketch: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        find_similar: Callable[[int, list[int]], list[int]],
        threshold: float,
    ) -> None:
        """Join rows that share a bucket and are similar.

        `bands` are every row's number in each band. `sketch` returns for some rows a byte of 40 numbers of their
        signatures; `find_similar` returns those of some rows whose similarity to one row is at least `threshold`.
        """
        misses = np.zeros(len(self._first), dtype=np.uint32)
        for numbers in bands:
            # only the first row of a group per bucket: the others add nothing
            _, positions = np.unique(
                (numbers.astype(np.uint64) << np.uint64(32)) | self.representatives().astype(np.uint64),
                return_index=True,
            )
            positions.sort()
            for bucket in _buckets(positions, numbers[positions]):
                self._search(bucket, sketch, find_similar, threshold, misses)

    def _search(
        self,
        bucket: NDArray[np.int64],
        sketch: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        find_similar: Callable[[int, list[int]], list[int]],
        threshold: float,
        misses: NDArray[np.uint32],
    ) -> None:
        rest = bucket
        for _ in range(_HEADS_COUNT):
            if len(rest) < 2:  # noqa: PLR2004 - nothing to compare with
                return
            estimate = (sketch(rest[1:]) == sketch(rest[:1])).mean(axis=1)
            head, rest = int(rest[0]), rest[1:]
            compared = (estimate >= threshold) | ((estimate >= threshold - _DOUBT) & (misses[rest] < _MAX_MISSES))
            matches = find_similar(head, rest[compared].tolist())
            for position in matches:
                self._join(head, position)
            joined = np.isin(rest, matches)
            misses[rest[compared & ~joined]] += 1
            rest = rest[~joined]

    def _join(self, left: int, right: int) -> None:
        left, right = self._root(left), self._root(right)
        self._first[max(left, right)] = min(left, right)

    def _root(self, position: int) -> int:
        while (parent := int(self._first[position])) != position:
            position = parent
        return position


def _buckets(positions: NDArray[np.int64], *keys: NDArray[np.unsignedinteger]) -> Iterator[NDArray[np.int64]]:
    """Yield groups of at least two positions that are equal in all keys, each in order."""
    if not len(positions):
        return
    order = np.lexsort((positions, *keys))
    differs = np.zeros(len(order) - 1, dtype=bool)
    for key in keys:
        sorted_key = key[order]
        differs |= sorted_key[1:] != sorted_key[:-1]
    edges = np.concatenate([[0], np.flatnonzero(differs) + 1, [len(order)]])
    for index in np.flatnonzero(np.diff(edges) > 1):
        yield positions[order[edges[index] : edges[index + 1]]]

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
"""Rows of a large bucket that all others in it are compared with. Buckets of thousands are mostly boilerplate, and
comparing every two of them would not end."""

_SMALL_BUCKET_COUNT = 64
"""Rows of a bucket in which every two are compared."""

_MAX_REMEMBERED_COUNT = 500_000
"""Compared pairs that are remembered, so that no band compares them again."""

_MAX_MISSES = 8
"""Comparisons without a match after which a row is compared only with those of a similar signature."""

DOUBT = 0.15
"""Margin of a similarity estimated from 40 numbers: at a similarity of 0.8 the estimate is lower than that in one of a
hundred cases."""


class Clusters:
    """Groups of `count` rows, joined step by step."""

    def __init__(self, count: int) -> None:
        self._first = np.arange(count, dtype=np.int32)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._first)

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
        bands: Iterator[tuple[NDArray[np.uint32], float]],
        sketch: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        is_near: Callable[[int, int], bool],
        threshold: float,
    ) -> None:
        """Join rows that share a bucket and are similar.

        `bands` are every row's number in each band, and how much lower than `threshold` an estimate may be there.
        `sketch` returns for some rows a byte of 40 numbers of their signatures; `is_near` compares two rows.
        """
        search = _Search(self, sketch, is_near, threshold)
        for numbers, doubt in bands:
            # only the first row of a group per bucket: the others add nothing
            _, positions = np.unique(
                (numbers.astype(np.uint64) << np.uint64(32)) | self.representatives().astype(np.uint64),
                return_index=True,
            )
            positions.sort()
            for bucket in _buckets(positions, numbers[positions]):
                search.run(bucket, doubt)

    def join(self, left: int, right: int) -> None:
        """Join the groups of two rows."""
        left, right = self._root(left), self._root(right)
        self._first[max(left, right)] = min(left, right)

    def _root(self, position: int) -> int:
        while (parent := int(self._first[position])) != position:
            position = parent
        return position


class _Search:
    """Compares the rows of buckets; a row that matched nothing often is compared only with very similar ones."""

    def __init__(
        self,
        clusters: Clusters,
        sketch: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        is_near: Callable[[int, int], bool],
        threshold: float,
    ) -> None:
        self._clusters = clusters
        self._sketch = sketch
        self._is_near = is_near
        self._threshold = threshold
        self._misses = np.zeros(len(clusters), dtype=np.uint32)
        self._compared: set[int] = set()

    def run(self, bucket: NDArray[np.int64], doubt: float) -> None:
        """Join similar rows of one bucket."""
        rest, sketches = bucket, self._sketch(bucket)
        is_small = len(bucket) <= _SMALL_BUCKET_COUNT
        for _ in range(len(bucket) if is_small else _HEADS_COUNT):
            if len(rest) < 2:  # noqa: PLR2004 - nothing to compare with
                return
            head = int(rest[0])
            estimate = (sketches[1:] == sketches[:1]).mean(axis=1)
            rest, sketches = rest[1:], sketches[1:]
            joined = np.zeros(len(rest), dtype=bool)
            for index in np.flatnonzero(estimate >= self._threshold - doubt).tolist():
                row = int(rest[index])
                if is_small or estimate[index] >= self._threshold or self._misses[row] < _MAX_MISSES:
                    joined[index] = self._compare(head, row)
            rest, sketches = rest[~joined], sketches[~joined]

    def _compare(self, head: int, row: int) -> bool:
        key = head << 32 | row
        if key in self._compared:
            return False
        if self._is_near(head, row):
            self._clusters.join(head, row)
            return True
        if len(self._compared) >= _MAX_REMEMBERED_COUNT:
            self._compared.clear()
        self._compared.add(key)
        self._misses[row] += 1
        return False


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

"""Finds exact and near duplicates, and chooses the pair of each cluster that is kept.

Two pairs are near duplicates if their requests, their answers and the turns before are similar, each separately: a long
document in two requests would otherwise outweigh the questions, and a common "yes" the documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from flowai.finetune.dedup.clustering import Clusters
from flowai.finetune.dedup.disk_table import DiskTable
from flowai.finetune.dedup.minhash import BAND_COUNT, SIGNATURE_COUNT, MinHash
from flowai.finetune.dedup.shingles import folded, shingles, similarity
from flowai.finetune.dedup.split import SPLITS, hash_number
from flowai.finetune.pairs.pair_text import conversation_parts
from flowai.timestamps import parse_rfc3339, to_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from flowai.finetune.records import Pair, Split, UserVerdict

THRESHOLD = 0.8
"""Minimum Jaccard similarity of 5-character shingles of two near duplicates: one letter in fifty differs, or one word
in ten."""

_PREFERENCE: tuple[UserVerdict, ...] = ("edited", "accepted", "rejected")
_ANSWER_SALT = np.uint64(0xA5A5A5A5A5A5A5A5)  # the same words in request and answer are different shingles

_COLUMNS: list[tuple[Any, ...]] = [
    ("at_us", "<i8"),
    ("tie", "<u8"),
    ("preference", "u1"),
    ("split", "u1"),
    ("request", "<u8"),
    ("answer", "<u8"),
    ("sketch", "u1", (SIGNATURE_COUNT // 2,)),
    *((f"band_{number}", "<u4") for number in range(BAND_COUNT)),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateResult:
    """Result for one pair: kept, or dropped as a duplicate."""

    id: str
    reason: Literal["exact_duplicate", "near_duplicate"] | None
    """None if the pair is kept."""
    keeper: str
    """Id of the cluster's pair that is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _PairShingles:
    before: str
    request: NDArray[np.uint64]
    answer: NDArray[np.uint64]


class Duplicates:
    """Collects pairs and returns a result for each; 200 bytes of disk per pair, and little memory."""

    def __init__(self, directory: Path, *, threshold: float = THRESHOLD) -> None:
        self._table = DiskTable(directory / "duplicates.rows", _COLUMNS)
        self._hash = MinHash()
        self._threshold = threshold

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.__exit__()

    def add(self, pair: Pair, split: Split) -> None:
        """Add a cleaned pair with its own split."""
        parts = conversation_parts(pair)
        request, answer = folded(parts.request), folded(parts.answer)
        both = np.concatenate([shingles(request), shingles(answer) ^ _ANSWER_SALT])
        signature = self._hash.signature(both)
        values = {
            "at_us": to_us(parse_rfc3339(pair.at)),
            "tie": hash_number(pair.id),
            "preference": _PREFERENCE.index(pair.opinion),
            "split": SPLITS.index(split),
            "request": hash_number(parts.before, request),
            "answer": hash_number(answer),
            "sketch": signature[::2].astype(np.uint8),
        }
        bands = self._hash.bands(signature)
        self._table.add(pair.id, values | {f"band_{number}": band for number, band in enumerate(bands)})

    def results(self, read: Callable[[str], Pair]) -> Iterator[DuplicateResult]:
        """Yield a result for each pair, in the order they were added; the results do not depend on that order.

        The earliest pair of a cluster decides its split. Among the pairs with that split, an edited one is kept, else
        an accepted one; among several the earliest. `read` returns a pair by its id.
        """
        order, times = self._order()
        names = self._table.names()
        firsts = self._clusters(order, lambda position: read(names[int(order[position])]))
        keepers = _choose_kept(firsts, times, self._column("split", order))
        equal = np.ones(len(order), dtype=bool)
        for name in ("request", "answer"):
            digests = self._column(name, order)
            equal &= digests == digests[keepers]
        for row, position in enumerate(_ranks(order)):
            keeper = keepers[position]
            yield DuplicateResult(
                id=names[row],
                reason=None if keeper == position else "exact_duplicate" if equal[position] else "near_duplicate",
                keeper=names[int(order[keeper])],
            )

    def _order(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the rows in order of preference, and the rank in time of each of them."""
        at_us, tie = self._table.column("at_us"), self._table.column("tie")
        order = np.lexsort((tie, at_us, self._table.column("preference"))).astype(np.int32)
        return order, _ranks(np.lexsort((tie, at_us)).astype(np.int32))[order]

    def _clusters(self, order: NDArray[np.int32], read: Callable[[int], Pair]) -> NDArray[np.int32]:
        """Return the first row of each row's cluster, in order of preference."""
        clusters = Clusters(len(order))
        clusters.join_equal(self._column("request", order), self._column("answer", order))
        bands = (self._column(f"band_{number}", order) for number in range(BAND_COUNT))
        sketches = self._table.column("sketch")  # by far the largest column: not copied into another order
        find_similar = _similarity_search(read, self._threshold)
        clusters.join_similar(bands, lambda rows: sketches[order[rows]], find_similar, self._threshold)
        return clusters.representatives()

    def _column(self, name: str, order: NDArray[np.int32]) -> NDArray[Any]:
        return self._table.column(name)[order]


def _similarity_search(read: Callable[[int], Pair], threshold: float) -> Callable[[int, list[int]], list[int]]:
    """Return a function that returns those of some pairs that are similar to one pair, by their texts."""

    def is_similar(left: _PairShingles, right: _PairShingles) -> bool:
        return (
            similarity(left.request, right.request) >= threshold
            and similarity(left.answer, right.answer) >= threshold
            and (left.before == right.before or similarity(_set(left.before), _set(right.before)) >= threshold)
        )

    def find_similar(head: int, others: list[int]) -> list[int]:
        reference = _pair_shingles(read(head)) if others else None
        return [one for one in others if reference and is_similar(reference, _pair_shingles(read(one)))]

    return find_similar


def _pair_shingles(pair: Pair) -> _PairShingles:
    parts = conversation_parts(pair)
    return _PairShingles(before=parts.before, request=_set(parts.request), answer=_set(parts.answer))


def _set(text: str) -> NDArray[np.uint64]:
    return np.unique(shingles(folded(text)))


def _ranks(order: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return each row's position in an order of rows."""
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    return ranks


def _choose_kept(firsts: NDArray[np.int32], times: NDArray[np.int32], splits: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the row of each row's cluster that is kept; rows are in order of preference.

    `firsts` holds the first row of each row's cluster, `times` each row's rank in time.
    """
    by_time = np.lexsort((times, firsts))
    _, begins = np.unique(firsts[by_time], return_index=True)
    cluster_splits = np.empty(len(firsts), dtype=splits.dtype)  # by cluster; other positions are never read
    cluster_splits[firsts[by_time[begins]]] = splits[by_time[begins]]
    eligible = np.flatnonzero(splits == cluster_splits[firsts]).astype(np.int32)
    keepers = np.empty(len(firsts), dtype=np.int32)
    keepers[firsts[eligible[::-1]]] = eligible[::-1]  # the best one is written last
    chosen: NDArray[np.int32] = keepers[firsts]
    return chosen

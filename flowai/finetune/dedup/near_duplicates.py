"""Finds pairs that say the same, or nearly, and chooses which of them stays.

Two pairs are alike when their requests, their answers and the turns before are, each part for itself: a long document
that two questions share would else drown the questions, and a "yes" that two share the documents.
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
"""Jaccard similarity of 5-character shingles from which two texts are near duplicates: one letter in fifty differs, or
one word in ten."""

_PREFERENCE: tuple[UserVerdict, ...] = ("edited", "accepted", "rejected")
_ANSWER_SALT = np.uint64(0xA5A5A5A5A5A5A5A5)  # the same words asked and answered are not the same

_COLUMNS: list[tuple[Any, ...]] = [
    ("at_us", "<i8"),
    ("tie", "<u8"),
    ("preference", "u1"),
    ("split", "u1"),
    ("said", "<u8"),
    ("answered", "<u8"),
    ("sketch", "u1", (SIGNATURE_COUNT // 2,)),
    *((f"band_{number}", "<u4") for number in range(BAND_COUNT)),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateResult:
    """What becomes of a pair."""

    id: str
    """The pair."""
    reason: Literal["exact_duplicate", "near_duplicate"] | None
    """Why it does not stay; None where it does."""
    keeper: str
    """The pair of its cluster that stays; itself where it does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    before: str
    request: NDArray[np.uint64]
    answer: NDArray[np.uint64]


class Duplicates:
    """Collects pairs, then says what becomes of each; 200 bytes of disk for a pair, and few of memory.

    Args:
        directory: a place for what need not be in memory; it is thrown away afterwards.
        threshold: similarity from which two are near duplicates, above 0 to 1.
    """

    def __init__(self, directory: Path, *, threshold: float = THRESHOLD) -> None:
        self._table = DiskTable(directory / "duplicates.rows", _COLUMNS)
        self._hash = MinHash()
        self._threshold = threshold

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.__exit__()

    def add(self, pair: Pair, split: Split) -> None:
        """Take note of a pair.

        Args:
            pair: as it would be written, its texts cleaned.
            split: where it belongs by itself.

        Raises:
            ValueError: its time is not RFC 3339.
            InfrastructureError: the disk is full.
        """
        spoken = conversation_parts(pair)
        request, answer = folded(spoken.request), folded(spoken.answer)
        both = np.concatenate([shingles(request), shingles(answer) ^ _ANSWER_SALT])
        signature = self._hash.signature(both)
        values = {
            "at_us": to_us(parse_rfc3339(pair.at)),
            "tie": hash_number(pair.id),
            "preference": _PREFERENCE.index(pair.opinion),
            "split": SPLITS.index(split),
            "said": hash_number(spoken.before, request),
            "answered": hash_number(answer),
            "sketch": signature[::2].astype(np.uint8),
        }
        bands = self._hash.bands(signature)
        self._table.add(pair.id, values | {f"band_{number}": band for number, band in enumerate(bands)})

    def results(self, read: Callable[[str], Pair]) -> Iterator[DuplicateResult]:
        """Say what becomes of each pair, in the order they were added; which it is does not depend on that order.

        The earliest pair of a cluster says in which split it is; of the pairs that belong there by themselves the
        one stays that a user edited, or else accepted, and of several the earliest.

        Args:
            read: gives a pair again, by its id.
        """
        order, times = self._order()
        names = self._table.names()
        firsts = self._clusters(order, lambda place: read(names[int(order[place])]))
        keepers = _choose_kept(firsts, times, self._column("split", order))
        equal = np.ones(len(order), dtype=bool)
        for name in ("said", "answered"):
            digests = self._column(name, order)
            equal &= digests == digests[keepers]
        for row, place in enumerate(_ranks(order)):
            keeper = keepers[place]
            yield DuplicateResult(
                id=names[row],
                reason=None if keeper == place else "exact_duplicate" if equal[place] else "near_duplicate",
                keeper=names[int(order[keeper])],
            )

    def _order(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Give the rows in the order of preference, and for each of them in that order its place in time."""
        at_us, tie = self._table.column("at_us"), self._table.column("tie")
        order = np.lexsort((tie, at_us, self._table.column("preference"))).astype(np.int32)
        return order, _ranks(np.lexsort((tie, at_us)).astype(np.int32))[order]

    def _clusters(self, order: NDArray[np.int32], read: Callable[[int], Pair]) -> NDArray[np.int32]:
        """Give for each row, in the order of preference, the first of its cluster."""
        clusters = Clusters(len(order))
        clusters.join_equal(self._column("said", order), self._column("answered", order))
        bands = (self._column(f"band_{number}", order) for number in range(BAND_COUNT))
        sketches = self._table.column("sketch")  # the largest column by far: not copied into another order
        alike = _Comparison(read, self._threshold).alike
        clusters.join_alike(bands, lambda places: sketches[order[places]], alike, self._threshold)
        return clusters.representatives()

    def _column(self, name: str, order: NDArray[np.int32]) -> NDArray[Any]:
        return self._table.column(name)[order]


class _Comparison:
    """Compares pairs by what is said in them; remembers the one that many are compared with.

    Args:
        read: gives a pair by its place.
        threshold: similarity from which two are alike.
    """

    def __init__(self, read: Callable[[int], Pair], threshold: float) -> None:
        self._read = read
        self._threshold = threshold

    def alike(self, head: int, others: list[int]) -> list[int]:
        """Tell which of some pairs are alike with one."""
        if not others:
            return []
        one = _parts(self._read(head))
        return [place for place in others if self._are_alike(one, _parts(self._read(place)))]

    def _are_alike(self, one: _Parts, other: _Parts) -> bool:
        return (
            similarity(one.request, other.request) >= self._threshold
            and similarity(one.answer, other.answer) >= self._threshold
            and (one.before == other.before or similarity(_set(one.before), _set(other.before)) >= self._threshold)
        )


def _parts(pair: Pair) -> _Parts:
    spoken = conversation_parts(pair)
    return _Parts(before=spoken.before, request=_set(spoken.request), answer=_set(spoken.answer))


def _set(text: str) -> NDArray[np.uint64]:
    return np.unique(shingles(folded(text)))


def _ranks(order: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give each row's place in an order of rows."""
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    return ranks


def _choose_kept(firsts: NDArray[np.int32], times: NDArray[np.int32], splits: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Choose for each row the one of its cluster that stays.

    Args:
        firsts: the cluster of each row, named by its first row; rows are in order of preference.
        times: each row's place in time.
        splits: each row's split.
    """
    by_time = np.lexsort((times, firsts))
    _, begins = np.unique(firsts[by_time], return_index=True)
    sides = np.empty(len(firsts), dtype=splits.dtype)  # by cluster; what names none is never looked at
    sides[firsts[by_time[begins]]] = splits[by_time[begins]]
    able = np.flatnonzero(splits == sides[firsts]).astype(np.int32)
    keepers = np.empty(len(firsts), dtype=np.int32)
    keepers[firsts[able[::-1]]] = able[::-1]  # the best one is written last
    chosen: NDArray[np.int32] = keepers[firsts]
    return chosen

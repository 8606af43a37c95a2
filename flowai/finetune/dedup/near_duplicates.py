"""Finds exact and near duplicates, and chooses the pair of each cluster that is kept.

Each text is folded once and kept on disk. Candidates are pairs whose own texts, without the passages that many requests
share, have a band of their MinHash signatures in common, or half of the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from flowai.finetune.dedup.clustering import DOUBT, Clusters
from flowai.finetune.dedup.disk_table import DiskTable
from flowai.finetune.dedup.likeness import THRESHOLD, Likeness, PairContent
from flowai.finetune.dedup.minhash import BAND_COUNT, SIGNATURE_COUNT, MinHash
from flowai.finetune.dedup.shared_passages import SharedPassages
from flowai.finetune.dedup.shingles import folded, shingle_batch
from flowai.finetune.dedup.split import SPLITS, hash_number
from flowai.finetune.dedup.text_file import TextFile
from flowai.finetune.pairs.pair_text import conversation_parts
from flowai.timestamps import parse_rfc3339, to_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from flowai.finetune.records import Pair, Split, UserVerdict

_PREFERENCE: tuple[UserVerdict, ...] = ("edited", "accepted", "rejected")
_ANSWER_SALT = np.uint64(0xA5A5A5A5A5A5A5A5)  # the same words in request and answer are different shingles
_HALF_COUNT = 4
_MIN_HALVED_WORDS, _MIN_HALF_WORDS = 6, 2
_HALF_DOUBT = 0.5  # texts that share a half may share half of their shingles only
_LOW_BITS = 0xFFFFFFFF
_BATCH_COUNT = 128  # rows at once, so that their shingles fit the processor's cache

_TEXTS = ("request", "answer", "before")
_COLUMNS: list[tuple[Any, ...]] = [
    ("at_us", "<i8"),
    ("tie", "<u8"),
    ("preference", "u1"),
    ("split", "u1"),
    ("request", "<u8"),
    ("answer", "<u8"),
    *((f"{name}_start", "<i8") for name in _TEXTS),
    *((f"{name}_size", "<u4") for name in _TEXTS),
]
_SIGNATURE_COLUMNS: list[tuple[Any, ...]] = [
    ("sketch", "u1", (SIGNATURE_COUNT // 2,)),
    ("bands", "<u4", (BAND_COUNT + _HALF_COUNT,)),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateResult:
    """Result for one pair: kept, or dropped as a duplicate."""

    id: str
    reason: Literal["exact_duplicate", "near_duplicate"] | None
    """None if the pair is kept."""
    keeper: str
    """Id of the cluster's pair that is kept."""


class Duplicates:
    """Collects pairs and returns a result for each; 300 bytes of disk per pair and its texts, and little memory."""

    def __init__(self, directory: Path, *, threshold: float = THRESHOLD) -> None:
        self._table = DiskTable(directory / "duplicates.rows", _COLUMNS)
        self._texts = TextFile(directory / "duplicates.texts")
        self._signatures = DiskTable(directory / "duplicates.signatures", _SIGNATURE_COLUMNS)
        self._hash = MinHash()
        self._threshold = threshold
        self._character_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._table, self._texts, self._signatures):
            file.__exit__()

    def add(self, pair: Pair, split: Split) -> None:
        """Add a cleaned pair with its own split."""
        parts = conversation_parts(pair)
        texts = {"request": folded(parts.request), "answer": folded(parts.answer), "before": folded(parts.before)}
        self._character_count += len(texts["request"])
        values: dict[str, int] = {
            "at_us": to_us(parse_rfc3339(pair.at)),
            "tie": hash_number(pair.id),
            "preference": _PREFERENCE.index(pair.opinion),
            "split": SPLITS.index(split),
            "request": hash_number(texts["before"], texts["request"]),
            "answer": hash_number(texts["answer"]),
        }
        for name, text in texts.items():
            values[f"{name}_start"], values[f"{name}_size"] = self._texts.add(text, shared=name == "before")
        self._table.add(pair.id, values)

    def results(self, progress: Callable[[int], None] = lambda _: None) -> Iterator[DuplicateResult]:
        """Yield a result for each pair, in the order they were added; the results do not depend on that order.

        The earliest pair of a cluster decides its split. Among the pairs with that split, an edited one is kept, else
        an accepted one; among several the earliest. `progress` is called with the number of rows read since its last
        call.
        """
        order, times = self._order()
        names = self._table.names()
        firsts = self._clusters(order, progress)
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

    def _clusters(self, order: NDArray[np.int32], progress: Callable[[int], None]) -> NDArray[np.int32]:
        """Return the first row of each row's cluster, in order of preference."""
        clusters = Clusters(len(order))
        clusters.join_equal(self._column("request", order), self._column("answer", order))
        reader = _ContentReader(self._table, self._texts)
        passages = self._count_passages(reader)
        self._sign(reader, passages, progress)
        likeness = Likeness(lambda row: reader.contents([row], passages)[0], self._threshold)
        sketches = self._signatures.column("sketch")  # by far the largest column: not copied into another order
        clusters.join_similar(
            self._bands(order),
            lambda rows: sketches[order[rows]],
            lambda row, other: likeness.is_near(int(order[row]), int(order[other])),
            self._threshold,
        )
        return clusters.representatives()

    def _count_passages(self, reader: _ContentReader) -> SharedPassages:
        passages = SharedPassages(self._character_count)
        _, rows = np.unique(self._table.column("request"), return_index=True)
        for batch in _batches(np.sort(rows)):
            passages.add([reader.text(row, "request") for row in batch])
        return passages

    def _sign(self, reader: _ContentReader, passages: SharedPassages, progress: Callable[[int], None]) -> None:
        """Store each row's signature: of the request's own text, and of the answer."""
        for batch in _batches(np.arange(len(self._table))):
            contents = reader.contents(batch, passages)
            texts = [text for content in contents for text in (content.request.own, content.answer)]
            both = shingle_batch(texts)
            is_answer = np.repeat(np.arange(len(texts)) % 2 == 1, both.counts)
            hashes = np.where(is_answer, both.hashes ^ _ANSWER_SALT, both.hashes)
            signatures = self._hash.signatures(hashes, both.counts.reshape(-1, 2).sum(axis=1))
            bands = self._hash.bands(signatures)
            for row, content, signature, numbers in zip(batch, contents, signatures, bands, strict=True):
                halves = [hash_number(half) & _LOW_BITS for half in _halves(content.request.own, row)]
                values = {"sketch": signature[::2].astype(np.uint8), "bands": [*numbers.tolist(), *halves]}
                self._signatures.add("", values)
            progress(len(batch))

    def _bands(self, order: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.uint32], float]]:
        for number in range(BAND_COUNT + _HALF_COUNT):
            yield self._signatures.column("bands", number)[order], DOUBT if number < BAND_COUNT else _HALF_DOUBT

    def _column(self, name: str, order: NDArray[np.int32]) -> NDArray[Any]:
        return self._table.column(name)[order]


class _ContentReader:
    """Reads the texts of rows from disk."""

    def __init__(self, table: DiskTable, texts: TextFile) -> None:
        self._texts = texts
        self._spans = {name: (table.column(f"{name}_start"), table.column(f"{name}_size")) for name in _TEXTS}

    def text(self, row: int, name: str) -> str:
        starts, sizes = self._spans[name]
        return self._texts.read(int(starts[row]), int(sizes[row]))

    def contents(self, rows: list[int], passages: SharedPassages) -> list[PairContent]:
        requests = passages.contents([self.text(row, "request") for row in rows])
        return [
            PairContent(request=request, answer=self.text(row, "answer"), before=self.text(row, "before"))
            for row, request in zip(rows, requests, strict=True)
        ]


def _batches(rows: NDArray[np.int64]) -> Iterator[list[int]]:
    return (rows[start : start + _BATCH_COUNT].tolist() for start in range(0, len(rows), _BATCH_COUNT))


def _halves(text: str, row: int) -> tuple[str, ...]:
    """Return the beginning and the end of a text, in two lengths, so that one change spares at least one of them.

    They are powers of two of words, at most half of the text: a word more or less does not change both lengths. For a
    short text, keys are returned that no other row has.
    """
    words = text.split(" ")
    keys = [f"{row} {number}" for number in range(_HALF_COUNT)]
    size = 1 << (len(words) // 2).bit_length() - 1 if len(words) >= _MIN_HALVED_WORDS else 0
    for number, count in enumerate((size, size // 2)):
        if count >= _MIN_HALF_WORDS:
            keys[2 * number : 2 * number + 2] = f"< {' '.join(words[:count])}", f"> {' '.join(words[-count:])}"
    return tuple(keys)


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

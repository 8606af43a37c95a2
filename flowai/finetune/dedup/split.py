"""Assigns pairs to the training, validation and test split.

The split depends only on the pair: on its user, else its session, else its id. So new data never moves a pair.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from flowai.errors import UsageError
from flowai.finetune.dedup.disk_table import DiskTable
from flowai.timestamps import parse_rfc3339, to_us

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.finetune.records import Pair, Split


SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_WHOLE = 1 << 64
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitRatios:
    """Shares of the users in each split, 0 to 1; raises UsageError if their sum is not 1."""

    train: float = 0.9
    validation: float = 0.05
    test: float = 0.05
    salt: str = ""
    """Another salt gives another split of the same data; a data set must keep its salt."""

    def __post_init__(self) -> None:
        shares = (self.train, self.validation, self.test)
        if min(shares) < 0 or abs(sum(shares) - 1) > _ROUNDING:
            raise UsageError(f"the splits are {shares}, expected three shares from 0 to 1 with the sum 1")


def split_of(pair: Pair, ratios: SplitRatios) -> Split:
    """Return the split of a pair.

    Test is at one end of the hash range and train at the other: a change of the shares moves as few users as possible.
    """
    position = hash_number("split", ratios.salt, *_unit(pair)) / _WHOLE
    if position < ratios.test:
        return "test"
    return "validation" if position < ratios.test + ratios.validation else "train"


def hash_number(*texts: str) -> int:
    """Hash texts to an evenly distributed number, 0 to 2^64 - 1, equal on every machine: 8 bytes of SHA-256."""
    whole = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        whole.update(len(data).to_bytes(8, "big") + data)
    return int.from_bytes(whole.digest()[:8], "big")


def _unit(pair: Pair) -> tuple[str, str, str]:
    if pair.user_hash:
        return "user", pair.tenant or "", pair.user_hash
    if pair.session:
        return "session", pair.tenant or "", pair.session
    return "pair", pair.tenant or "", pair.id


_COLUMNS = [("at_us", "<i8"), ("tie", "<u8"), ("session", "<u8"), ("split", "u1")]


class Sessions:
    """Collects pairs and finds those whose session is in two splits; 70 bytes of disk per pair in a session."""

    def __init__(self, directory: Path) -> None:
        self._table = DiskTable(directory / "sessions.rows", _COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.__exit__()

    def add(self, pair: Pair, split: Split) -> None:
        """Add a pair with its own split; pairs without a session are ignored."""
        if not pair.session:
            return
        values = {
            "at_us": to_us(parse_rfc3339(pair.at)),
            "tie": hash_number(pair.id),
            "session": hash_number(pair.tenant or "", pair.session),
            "split": SPLITS.index(split),
        }
        self._table.add(pair.id, values)

    def cross_split_pairs(self) -> Iterator[str]:
        """Yield the ids of pairs in another split than the first of their session, in the order they were added."""
        sessions, splits = self._table.column("session"), self._table.column("split")
        order = np.lexsort((self._table.column("tie"), self._table.column("at_us"), sessions))
        _, begins, inverse = np.unique(sessions[order], return_index=True, return_inverse=True)
        conflicts = np.zeros(len(order), dtype=bool)
        conflicts[order] = splits[order] != splits[order][begins][inverse]
        names = self._table.names()
        return (names[int(row)] for row in np.flatnonzero(conflicts))

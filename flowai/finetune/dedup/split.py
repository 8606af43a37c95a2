"""Says which rows train, which choose between trainings, and which judge; what is said once holds for ever.

A pair's split follows from the pair alone: from its user, else its session, else itself. So no new row can move it.
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
    """How large the splits shall be: shares of the users, 0 to 1, together 1.

    Raises:
        UsageError: the shares are negative or not 1 together.
    """

    train: float = 0.9
    """What trains."""
    validation: float = 0.05
    """What chooses between trainings."""
    test: float = 0.05
    """What judges in the end."""
    salt: str = ""
    """Makes another split of the same data; kept with the data set, or rows would move."""

    def __post_init__(self) -> None:
        shares = (self.train, self.validation, self.test)
        if min(shares) < 0 or abs(sum(shares) - 1) > _ROUNDING:
            raise UsageError(f"the splits are {shares}; expected three shares from 0 to 1, together 1")


def split_of(pair: Pair, ratios: SplitRatios) -> Split:
    """Say where a pair belongs by itself.

    Test lies at one end and train at the other, so that with other shares as few users move as can be.
    """
    place = hash_number("split", ratios.salt, *_unit(pair)) / _WHOLE
    if place < ratios.test:
        return "test"
    return "validation" if place < ratios.test + ratios.validation else "train"


def hash_number(*texts: str) -> int:
    """Give an evenly spread number, 0 to 2^64 - 1, the same on every machine: 8 bytes of SHA-256."""
    whole = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        whole.update(len(data).to_bytes(8, "big") + data)
    return int.from_bytes(whole.digest()[:8], "big")


def _unit(pair: Pair) -> tuple[str, str, str]:
    """Name who or what goes to one split as a whole."""
    if pair.user_hash:
        return "user", pair.tenant or "", pair.user_hash
    if pair.session:
        return "session", pair.tenant or "", pair.session
    return "pair", pair.tenant or "", pair.id


_COLUMNS = [("at_us", "<i8"), ("tie", "<u8"), ("session", "<u8"), ("split", "u1")]


class Sessions:
    """Collects pairs, then says which must be left out; 70 bytes of disk for a pair in a session, few of memory.

    Args:
        directory: a place for what need not be in memory; it is thrown away afterwards.
    """

    def __init__(self, directory: Path) -> None:
        self._table = DiskTable(directory / "sessions.rows", _COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.__exit__()

    def add(self, pair: Pair, split: Split) -> None:
        """Take note of a pair.

        Args:
            pair: with or without a session.
            split: where it belongs by itself.
        """
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
        """Give the ids of pairs that must be left out, in the order they were added."""
        sessions, splits = self._table.column("session"), self._table.column("split")
        order = np.lexsort((self._table.column("tie"), self._table.column("at_us"), sessions))
        _, begins, which = np.unique(sessions[order], return_index=True, return_inverse=True)
        stray = np.zeros(len(order), dtype=bool)
        stray[order] = splits[order] != splits[order][begins][which]
        names = self._table.names()
        return (names[int(row)] for row in np.flatnonzero(stray))

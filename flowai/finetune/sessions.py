"""Finds pairs whose session began in another split than they belong to.

In: pairs with their splits. Out: those that must be left out, so that no session lies in two. Must never know texts.

It happens to a user who logs in on the way, and to two users of one session. The session stays where its earliest pair
is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from flowai.finetune.row_table import RowTable
from flowai.finetune.split import SPLITS, hash_number
from flowai.timestamps import parse_rfc3339, to_us

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.finetune.model import Pair, Split

_COLUMNS = [("at_us", "<i8"), ("tie", "<u8"), ("session", "<u8"), ("split", "u1")]


class Sessions:
    """Collects pairs, then says which must be left out; 70 bytes of disk for a pair in a session, few of memory.

    Args:
        directory: a place for what need not be in memory; it is thrown away afterwards.
    """

    def __init__(self, directory: Path) -> None:
        self._table = RowTable(directory / "sessions.rows", _COLUMNS)

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

    def strays(self) -> Iterator[str]:
        """Give the ids of pairs that must be left out, in the order they were added."""
        sessions, splits = self._table.column("session"), self._table.column("split")
        order = np.lexsort((self._table.column("tie"), self._table.column("at_us"), sessions))
        _, begins, which = np.unique(sessions[order], return_index=True, return_inverse=True)
        stray = np.zeros(len(order), dtype=bool)
        stray[order] = splits[order] != splits[order][begins][which]
        names = self._table.names()
        return (names[int(row)] for row in np.flatnonzero(stray))

"""Finds what requests share: instructions, examples and documents. Only the rest distinguishes a request from others.

Passages are windows of 24 characters: chance does not repeat them in twenty requests, and a shared document does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowai.finetune.dedup.shingles import shingles

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_CHARACTER_COUNT = 24
"""Characters of a passage: four or five words."""

SHARED_REQUEST_COUNT = 20
"""Different requests from which on a passage counts as shared. Fewer are few enough to compare every two of them."""

CONTENT_LETTER_COUNT = 24
"""Minimum letters and digits of a request's own text that is compared without the shared text around it."""

_FRAME_SHARE = 0.5
_SPACE = 0x20
_FIRST_DENSE = 0x2E80  # scripts without spaces: a window begins at each character
_MIN_BITS, _MAX_BITS = 16, 26
_MAX_COUNT = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestContent:
    """A request, and the text of it that others do not have."""

    text: str
    """The whole request, folded."""
    own: str
    """Its text without shared passages; the whole text if less than half of it is shared, or hardly anything is own."""
    is_framed: bool
    """Whether at least half of the request is shared by other requests."""


class SharedPassages:
    """Counts passages in two tables of bytes, a byte per two passages, at most 128 MB together.

    Passages with one byte are counted together; the smaller count of the two tables is nearly always that
    of one passage alone (count-min sketch: Cormode, Muthukrishnan 2005).
    """

    def __init__(self, character_count: int) -> None:
        """Create the table for requests of `character_count` characters in all."""
        bits = min(max((character_count // 16).bit_length(), _MIN_BITS), _MAX_BITS)
        self._shift = np.uint64(64 - bits)
        self._mask = np.uint64((1 << bits) - 1)
        self._high, self._low = (np.zeros(1 << bits, dtype=np.uint8) for _ in range(2))

    def add(self, request: str) -> None:
        """Count the passages of a request, each once; add different requests only."""
        _, hashes = _windows(request)
        for table, slots in ((self._high, hashes >> self._shift), (self._low, hashes & self._mask)):
            distinct = np.unique(slots)
            counts = table[distinct]
            table[distinct] = counts + (counts < _MAX_COUNT)

    def content(self, request: str) -> RequestContent:
        """Return what distinguishes a request."""
        starts, hashes = _windows(request)
        counts = np.minimum(self._high[hashes >> self._shift], self._low[hashes & self._mask])
        shared = counts >= SHARED_REQUEST_COUNT
        if not shared.any():
            return RequestContent(text=request, own=request, is_framed=False)
        edges = np.zeros(len(request) + 1, dtype=np.int32)
        np.add.at(edges, starts[shared], 1)
        np.add.at(edges, starts[shared] + WINDOW_CHARACTER_COUNT, -1)
        is_own = np.cumsum(edges[:-1]) == 0
        is_framed = bool(is_own.mean() <= _FRAME_SHARE)
        own = _kept(request, is_own) if is_framed else request
        return RequestContent(
            text=request, own=own if letter_count(own) >= CONTENT_LETTER_COUNT else request, is_framed=is_framed
        )


def letter_count(text: str) -> int:
    """Count letters and digits."""
    return sum(map(str.isalnum, text))


def _windows(text: str) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return where words begin, the last window included, and the hash of the window there."""
    if len(text) < WINDOW_CHARACTER_COUNT:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64)
    hashes = shingles(text, WINDOW_CHARACTER_COUNT)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")[: len(hashes)]
    is_start = codes >= _FIRST_DENSE
    is_start[1:] |= codes[:-1] == _SPACE
    is_start[[0, -1]] = True
    starts = np.flatnonzero(is_start)
    return starts, hashes[starts]


def _kept(text: str, is_kept: NDArray[np.bool_]) -> str:
    """Return the marked parts of a text, separated by spaces."""
    edges = np.flatnonzero(np.diff(is_kept, prepend=False, append=False)).reshape(-1, 2)
    return " ".join(part for start, end in edges.tolist() if (part := text[start:end].strip()))

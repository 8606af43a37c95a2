"""Finds what requests share: instructions, examples and documents. Only the rest distinguishes a request from others.

Passages are windows of 24 characters: chance does not repeat them in twenty requests, and a shared document does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowai.finetune.dedup.shingles import shingle_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WINDOW_CHARACTER_COUNT = 24
"""Characters of a passage: four or five words."""

SHARED_REQUEST_COUNT = 20
"""Different requests from which on a passage counts as shared. Fewer are few enough to compare every two of them."""

CONTENT_LETTER_COUNT = 24
"""Minimum letters and digits of a request's own text that is compared without the shared text around it."""

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

    def add(self, requests: Sequence[str]) -> None:
        """Count the passages of requests, each once per request; add different requests only."""
        _, hashes, owners = _windows(requests)
        for table, slots in ((self._high, hashes >> self._shift), (self._low, hashes & self._mask)):
            keys = np.unique(owners.astype(np.uint64) << np.uint64(_MAX_BITS) | slots) & np.uint64((1 << _MAX_BITS) - 1)
            distinct, counts = np.unique(keys, return_counts=True)
            table[distinct] = np.minimum(table[distinct] + counts, _MAX_COUNT)

    def contents(self, requests: Sequence[str]) -> list[RequestContent]:
        """Return what distinguishes each request."""
        positions, hashes, owners = _windows(requests)
        counts = np.minimum(self._high[hashes >> self._shift], self._low[hashes & self._mask])
        shared = counts >= SHARED_REQUEST_COUNT
        ends = np.searchsorted(owners[shared], np.arange(len(requests) + 1))
        starts = positions[shared]
        return [
            _content(request, starts[ends[at] : ends[at + 1]]) if ends[at] < ends[at + 1] else _own_content(request)
            for at, request in enumerate(requests)
        ]


def _own_content(request: str) -> RequestContent:
    return RequestContent(text=request, own=request, is_framed=False)


def _content(request: str, starts: NDArray[np.int64]) -> RequestContent:
    """Return the content of a request in which shared passages begin at `starts`."""
    edges = np.zeros(len(request) + 1, dtype=np.int32)
    edges[starts] += 1
    edges[starts + WINDOW_CHARACTER_COUNT] -= 1
    is_own = np.cumsum(edges[:-1]) == 0
    if 2 * int(np.count_nonzero(is_own)) > len(request):
        return _own_content(request)
    own = _kept(request, is_own)
    own = own if letter_count(own) >= CONTENT_LETTER_COUNT else request
    return RequestContent(text=request, own=own, is_framed=True)


def letter_count(text: str) -> int:
    """Count letters and digits."""
    return sum(map(str.isalnum, text))


def _windows(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
    """Return the windows of texts that begin where words begin, the last window included.

    Each has its position in its text, its hash, and the number of its text.
    """
    batch = shingle_batch(
        [text if len(text) >= WINDOW_CHARACTER_COUNT else "" for text in texts], WINDOW_CHARACTER_COUNT
    )
    if not batch.hashes.size:
        return batch.positions, batch.hashes, batch.positions
    codes = np.frombuffer(batch.text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    is_start = codes >= _FIRST_DENSE
    is_start[1:] |= codes[:-1] == _SPACE
    filled = batch.counts > 0
    is_start[batch.starts[filled]] = True
    is_start[batch.starts[filled] + batch.counts[filled] - 1] = True
    chosen = is_start[batch.positions]
    owners = np.repeat(np.arange(len(texts)), batch.counts)[chosen]
    return batch.positions[chosen] - batch.starts[owners], batch.hashes[chosen], owners


def _kept(text: str, is_kept: NDArray[np.bool_]) -> str:
    """Return the marked parts of a text, separated by spaces."""
    edges = np.flatnonzero(np.diff(is_kept, prepend=False, append=False)).reshape(-1, 2)
    return " ".join(part for start, end in edges.tolist() if (part := text[start:end].strip()))

"""Index of the eight-letter n-grams of many texts: finds those that share n-grams with another text, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flowai.finetune.dedup.shingles import shingles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

GRAM_LETTER_COUNT = 8
"""Letters in an n-gram. In a text with one letter in twenty changed, one n-gram in ten survives between two changes, so
no text is missed."""

_MAX_TEXTS = 1_000
"""An n-gram in more texts than this is not selective (it is the frame of a generated suite) and is left out for texts
with rarer ones."""

_MAX_PLACES = 1_000_000
"""Maximum positions examined per text, the rarest first."""

_SLOTS_PER_GRAM = 16
_MIN_SLOT_BITS, _MAX_SLOT_BITS = 16, 24
_HASH_BITS = 64


class Hits(NamedTuple):
    """Positions where a text agrees with an indexed one."""

    text: int
    """Number of the indexed text."""
    places: NDArray[np.int64]
    """Offsets in the searched text, ascending."""
    shifts: NDArray[np.int64]
    """For each position, its offset minus the one in the indexed text."""

    def best_shift(self, slack: int) -> int:
        """Return the smallest of the shifts that most positions share; they may differ by `slack` letters."""
        ordered = np.sort(self.shifts)
        counts = np.searchsorted(ordered, ordered + slack, side="right") - np.arange(len(ordered))
        return int(ordered[counts.argmax()])

    def longest_run(self) -> int:
        """Return the length of the longest run of consecutive n-grams; 0 if it mostly repeats itself ("000000")."""
        breaks = np.flatnonzero(np.diff(self.places) != 1)
        edges = np.concatenate([[0], breaks + 1, [len(self.places)]])
        best = int(np.diff(edges).argmax())
        run = slice(int(edges[best]), int(edges[best + 1]))
        length = run.stop - run.start
        return length if 2 * len(np.unique((self.places - self.shifts)[run])) >= length else 0


class GramIndex:
    """Index of texts of letters and digits; needs about 20 bytes per letter.

    Texts shorter than an n-gram are never found. `shares` are, by text, the share of its n-grams that must match.
    """

    def __init__(self, texts: Sequence[str], shares: Sequence[float]) -> None:
        grams, owners, places = _all_grams(texts)
        keep = _selective_grams(grams, owners, len(texts))
        grams, owners, places = grams[keep], owners[keep], places[keep]
        self._owners, self._places = owners, places
        self._keys, self._starts, self._counts = np.unique(grams, return_index=True, return_counts=True)
        self._gram_counts = np.bincount(owners, minlength=len(texts))
        self._needed = np.maximum(1, (np.asarray(shares) * self._gram_counts).astype(np.int64))
        slot_bits = max(1, len(self._keys) * _SLOTS_PER_GRAM).bit_length()
        bits = min(max(slot_bits, _MIN_SLOT_BITS), _MAX_SLOT_BITS)
        self._shift = np.uint64(_HASH_BITS - bits)
        self._slots = np.zeros(1 << bits, dtype=bool)  # a filter: most n-grams of a text are in no other
        self._slots[self._keys >> self._shift] = True

    def search(self, text: str, *, max_needed: int, max_count: int) -> list[Hits]:
        """Return indexed texts that agree with a text, the greatest share first, then in order of the index.

        `max_needed` matches are always enough, because the text may be a part of a longer one.
        """
        grams = shingles(text, GRAM_LETTER_COUNT)
        offsets = np.flatnonzero(self._slots[grams >> self._shift])
        if not offsets.size:
            return []
        keys = np.searchsorted(self._keys, grams[offsets])
        keys[keys == len(self._keys)] = 0
        known = self._keys[keys] == grams[offsets]
        offsets, keys = offsets[known], keys[known]
        counts = self._counts[keys]
        if counts.sum() > _MAX_PLACES:
            rarest = np.argsort(counts, kind="stable")
            kept = np.sort(rarest[np.cumsum(counts[rarest]) <= _MAX_PLACES])
            offsets, keys, counts = offsets[kept], keys[kept], counts[kept]
        # the postings of each n-gram, concatenated
        flat = np.repeat(self._starts[keys] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        owners = self._owners[flat]
        hit_counts = np.bincount(owners, minlength=len(self._needed))
        enough = np.flatnonzero(hit_counts >= np.minimum(self._needed, max_needed))
        shares = hit_counts[enough] / np.minimum(self._gram_counts[enough], len(text))
        best = enough[np.argsort(-shares, kind="stable")[:max_count]]
        places = np.repeat(offsets, counts)
        shifts = places - self._places[flat]
        return [
            Hits(int(owner), places[matches], shifts[matches]) for owner in best if (matches := owners == owner).any()
        ]


def _all_grams(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int32]]:
    """Return the n-grams of all texts, sorted; of those that a text repeats only the first."""
    grams, owners, places = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.int32)]
    for owner, text in enumerate(texts):
        if len(text) < GRAM_LETTER_COUNT:
            continue
        distinct, first = np.unique(shingles(text, GRAM_LETTER_COUNT), return_index=True)
        grams.append(distinct)
        owners.append(np.full(len(distinct), owner, dtype=np.int32))
        places.append(first.astype(np.int32))
    every = np.concatenate(grams)
    order = np.argsort(every, kind="stable")
    return every[order], np.concatenate(owners)[order], np.concatenate(places)[order]


def _selective_grams(grams: NDArray[np.uint64], owners: NDArray[np.int32], text_count: int) -> NDArray[np.bool_]:
    """Return which entries are rare enough, or belong to a text without rarer ones."""
    _, inverse, counts = np.unique(grams, return_inverse=True, return_counts=True)
    rare = counts[inverse] <= _MAX_TEXTS
    has_rare = np.bincount(owners[rare], minlength=text_count) > 0
    kept: NDArray[np.bool_] = rare | ~has_rare[owners]
    return kept

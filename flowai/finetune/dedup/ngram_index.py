"""An index over the eight-letter stretches of many texts: which of them agree with another text, and where?"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flowai.finetune.dedup.shingles import shingles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

GRAM_LETTER_COUNT = 8
"""Letters in a stretch. In a text with one letter in twenty changed at least one stretch of ten survives between two
changes, so none is overlooked."""

_MAX_TEXTS = 1_000
"""A stretch that stands in more texts than this leads nowhere (it is the frame of a generated suite) and is left out of
those texts that have rarer ones."""

_MAX_PLACES = 1_000_000
"""Places that are looked at for one text, the rarest first: what stands in hundreds of texts is no clue."""

_SLOTS_PER_GRAM = 16
_LEAST_SLOT_BITS, _MOST_SLOT_BITS = 16, 24
_HASH_BITS = 64


class Hits(NamedTuple):
    """Places where a text agrees with one of the indexed ones."""

    text: int
    """Which of the indexed ones."""
    places: NDArray[np.int64]
    """Letters from the beginning of the text that was looked up, ascending."""
    shifts: NDArray[np.int64]
    """For each place, by how many letters it lies further on than in the indexed text."""

    def best_shift(self, slack: int) -> int:
        """Find the shift that most places agree in, give or take insertions.

        Args:
            slack: by how many letters places that agree may differ, >= 0.

        Returns:
            The least of the shifts that agree.
        """
        ordered = np.sort(self.shifts)
        counts = np.searchsorted(ordered, ordered + slack, side="right") - np.arange(len(ordered))
        return int(ordered[counts.argmax()])

    def longest_run(self) -> int:
        """Count the stretches that stand in the indexed text and follow each other letter by letter.

        Returns:
            The longest such run; 0 where it mostly repeats itself ("000000"): that is no passage of anything.
        """
        breaks = np.flatnonzero(np.diff(self.places) != 1)
        edges = np.concatenate([[0], breaks + 1, [len(self.places)]])
        best = int(np.diff(edges).argmax())
        run = slice(int(edges[best]), int(edges[best + 1]))
        length = run.stop - run.start
        return length if 2 * len(np.unique((self.places - self.shifts)[run])) >= length else 0


class GramIndex:
    """The index; some 20 bytes for each letter of the texts.

    Args:
        texts: letters and digits; those shorter than a stretch are never found.
        shares: for each text, the share of its stretches that must be in another one, above 0 to 1.
    """

    def __init__(self, texts: Sequence[str], shares: Sequence[float]) -> None:
        grams, owners, places = _all_grams(texts)
        keep = _is_selective(grams, owners, len(texts))
        grams, owners, places = grams[keep], owners[keep], places[keep]
        self._owners, self._places = owners, places
        self._keys, self._starts, self._counts = np.unique(grams, return_index=True, return_counts=True)
        self._gram_counts = np.bincount(owners, minlength=len(texts))
        self._needed = np.maximum(1, (np.asarray(shares) * self._gram_counts).astype(np.int64))
        wanted_bits = max(1, len(self._keys) * _SLOTS_PER_GRAM).bit_length()
        bits = min(max(wanted_bits, _LEAST_SLOT_BITS), _MOST_SLOT_BITS)
        self._shift = np.uint64(_HASH_BITS - bits)
        self._slots = np.zeros(1 << bits, dtype=bool)  # most stretches of a text are in no other: said in one look
        self._slots[self._keys >> self._shift] = True

    def search(self, text: str, *, most_needed: int, most_count: int) -> list[Hits]:
        """Find the indexed texts that agree with a text in enough places.

        Args:
            text: letters and digits.
            most_needed: how many places are always enough, >= 1: the text may be a part of a longer one.
            most_count: how many to give at most, >= 1.

        Returns:
            Those that agree in the greatest share first; of equal ones the first indexed.
        """
        grams = shingles(text, GRAM_LETTER_COUNT)
        where = np.flatnonzero(self._slots[grams >> self._shift])
        if not where.size:
            return []
        found = np.searchsorted(self._keys, grams[where])
        found[found == len(self._keys)] = 0
        known = self._keys[found] == grams[where]
        where, found = where[known], found[known]
        counts = self._counts[found]
        if counts.sum() > _MAX_PLACES:
            rarest = np.argsort(counts, kind="stable")
            kept = np.sort(rarest[np.cumsum(counts[rarest]) <= _MAX_PLACES])
            where, found, counts = where[kept], found[kept], counts[kept]
        # the postings of each stretch, one after the other
        flat = np.repeat(self._starts[found] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        owners = self._owners[flat]
        found_counts = np.bincount(owners, minlength=len(self._needed))
        enough = np.flatnonzero(found_counts >= np.minimum(self._needed, most_needed))
        shares = found_counts[enough] / np.minimum(self._gram_counts[enough], len(text))
        best = enough[np.argsort(-shares, kind="stable")[:most_count]]
        places = np.repeat(where, counts)
        shifts = places - self._places[flat]
        return [Hits(int(owner), places[mine], shifts[mine]) for owner in best if (mine := owners == owner).any()]


def _all_grams(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int32]]:
    """Give the stretches of all texts, sorted; of those that a text repeats only the first."""
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


def _is_selective(grams: NDArray[np.uint64], owners: NDArray[np.int32], text_count: int) -> NDArray[np.bool_]:
    """Tell which entries are rare enough, or belong to a text that has no rarer ones."""
    _, inverse, counts = np.unique(grams, return_inverse=True, return_counts=True)
    rare = counts[inverse] <= _MAX_TEXTS
    has_rare = np.bincount(owners[rare], minlength=text_count) > 0
    kept: NDArray[np.bool_] = rare | ~has_rare[owners]
    return kept

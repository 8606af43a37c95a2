"""Decides whether two pairs are near duplicates, from their folded texts.

Requests, answers and earlier turns are compared separately: a long document in two requests would otherwise outweigh
the questions, and a common "yes" the documents.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from flowai.finetune.dedup.shared_passages import CONTENT_LETTER_COUNT, letter_count
from flowai.finetune.dedup.shingles import shingles, similarity

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from flowai.finetune.dedup.shared_passages import RequestContent

THRESHOLD = 0.8
"""Minimum Jaccard similarity of 5-character shingles of two near duplicates: one letter in fifty differs, or one word
in ten."""

_EDIT_SIMILARITY = 0.85  # characters in order that two short requests share: one changed word spoils many shingles
_REPLACED_LETTER_COUNT = 16  # a longer passage replaced by another is another question, not a changed word
_LONG_ANSWER_LETTER_COUNT = 40  # equal answers this long are evidence; "yes" and labels are not
_TYPO_SIMILARITY = 0.75
_REPLACED_SIMILARITY = 0.5
_CACHED_PAIRS_COUNT = 2_048


@dataclass(frozen=True, kw_only=True)
class PairContent:
    """The folded texts of a pair."""

    request: RequestContent
    answer: str
    before: str

    @cached_property
    def own_shingles(self) -> NDArray[np.uint64]:
        """Distinct shingles of the request's own text."""
        return np.unique(shingles(self.request.own))

    @cached_property
    def request_shingles(self) -> NDArray[np.uint64]:
        """Distinct shingles of the whole request."""
        return np.unique(shingles(self.request.text))

    @cached_property
    def answer_shingles(self) -> NDArray[np.uint64]:
        """Distinct shingles of the answer."""
        return np.unique(shingles(self.answer))

    @property
    def has_own_text(self) -> bool:
        """Return whether a part of the request is compared, not all of it."""
        return self.request.own is not self.request.text


class Likeness:
    """Compares pairs by their rows; the last ones read stay in memory, with their shingles."""

    def __init__(self, read: Callable[[int], PairContent], threshold: float) -> None:
        self._read = read
        self._threshold = threshold
        self._cache: OrderedDict[int, PairContent] = OrderedDict()

    def is_near(self, row: int, other: int) -> bool:
        """Return whether two rows are near duplicates."""
        left, right = self._content(row), self._content(other)
        return (
            self._has_similar_answer(left, right)
            and self._has_similar_past(left, right)
            and self._has_similar_request(left, right)
        )

    def _content(self, row: int) -> PairContent:
        content = self._cache.pop(row, None) or self._read(row)
        self._cache[row] = content
        if len(self._cache) > _CACHED_PAIRS_COUNT:
            self._cache.popitem(last=False)
        return content

    def _has_similar_answer(self, left: PairContent, right: PairContent) -> bool:
        if left.answer == right.answer:
            return True
        return similarity(left.answer_shingles, right.answer_shingles) >= self._threshold

    def _has_similar_past(self, left: PairContent, right: PairContent) -> bool:
        if left.before == right.before:
            return True
        before = [np.unique(shingles(one.before)) for one in (left, right)]
        return similarity(*before) >= self._threshold

    def _has_similar_request(self, left: PairContent, right: PairContent) -> bool:
        texts = left.request.text, right.request.text
        if texts[0] == texts[1]:
            return True
        has_own_text = left.has_own_text and right.has_own_text
        share = _own_similarity(left, right) if has_own_text else similarity(*(map(_shingles_of, (left, right))))
        is_slot = not has_own_text and left.request.is_framed and right.request.is_framed
        has_evidence = min(letter_count(left.answer), letter_count(right.answer)) >= _LONG_ANSWER_LETTER_COUNT
        limit = 0 if is_slot and not has_evidence else _REPLACED_LETTER_COUNT
        old, new = _differing_words(*(text.split(" ") for text in texts))
        is_similar = share >= self._threshold or (
            self._threshold <= THRESHOLD and _is_edited(left.request.own, right.request.own, old, new)
        )
        return is_similar and not _is_replaced(old, new, limit)


def _shingles_of(content: PairContent) -> NDArray[np.uint64]:
    return content.request_shingles


def _own_similarity(left: PairContent, right: PairContent) -> float:
    """Return the share of the shingles of two requests' own texts that both requests have.

    A change inside a shared passage makes it the own text of one request only, so it is searched for in all of the
    other.
    """
    own = np.union1d(left.own_shingles, right.own_shingles)
    common = np.isin(own, left.request_shingles) & np.isin(own, right.request_shingles)
    return float(common.mean()) if own.size else 1.0


def _is_edited(left: str, right: str, old: list[str], new: list[str]) -> bool:
    """Return whether requests with these own texts differ in a few letters or a word, and in no number."""
    from rapidfuzz.distance import Indel  # loaded only when exports compare texts

    first, second = " ".join(old), " ".join(new)
    if min(letter_count(left), letter_count(right)) < CONTENT_LETTER_COUNT or _digits(first) != _digits(second):
        return False
    max_distance = int((1 - _EDIT_SIMILARITY) * (len(left) + len(right)))
    return Indel.distance(first, second, score_cutoff=max_distance) <= max_distance


def _is_replaced(old: list[str], new: list[str], max_letter_count: int) -> bool:
    """Return whether a passage stands where another passage is in the other text: a different question.

    Passages of at most `max_letter_count` letters are a changed word. An added passage replaces nothing.
    """
    from rapidfuzz.distance import Indel  # loaded only when exports compare texts

    first, second = " ".join(old), " ".join(new)
    if not old or not new or max(letter_count(first), letter_count(second)) <= max_letter_count:
        return False
    if not max_letter_count and _digits(first) != _digits(second):
        return True
    return (
        Indel.normalized_similarity(old, new) < _REPLACED_SIMILARITY
        and Indel.normalized_similarity(first, second) < _TYPO_SIMILARITY
    )


def _differing_words(left: list[str], right: list[str]) -> tuple[list[str], list[str]]:
    """Return two texts' words without those that they share at their beginning and end."""
    shorter = min(len(left), len(right))
    head = next((at for at in range(shorter) if left[at] != right[at]), shorter)
    left, right, shorter = left[head:], right[head:], shorter - head
    tail = next((at for at in range(shorter) if left[-1 - at] != right[-1 - at]), shorter)
    return left[: len(left) - tail], right[: len(right) - tail]


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))

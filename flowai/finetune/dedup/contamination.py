"""Finds evaluation cases in training texts: exact, with another layout, as a substring, or edited.

A case is the values of its variables, and the expected answer if it is a text; never the rendered prompt, whose fixed
text is in every pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from flowai.finetune.dedup.infix_distance import min_substring_edits
from flowai.finetune.dedup.ngram_index import GRAM_LETTER_COUNT, GramIndex, Hits
from flowai.finetune.dedup.shingles import containment, letters, shingles, word_count
from flowai.finetune.pairs.pair_text import all_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowai.finetune.records import Pair

WHOLE_LETTER_COUNT = 8
"""Minimum letters and digits of a case that is compared with whole messages: "hello" and "ok" identify no case."""

INSIDE_LETTER_COUNT = 12
"""Minimum letters and digits of a case that is searched for inside longer messages, if it has three words."""

NEAR_LETTER_COUNT = 16
"""Minimum letters and digits of a case that is also found when edited: one letter in twenty is about one letter."""

PART_LETTER_COUNT = 60
"""Minimum letters and digits of a message that is searched for inside longer cases."""

PASSAGE_LETTER_COUNT = 200
"""Letters and digits in a row that make a message a leak when it shares them with a case."""

NEAR_SHARE = 0.55
"""Minimum share of the shorter text's five-letter shingles close together in the longer one, for a leak: one letter in
twenty changed leaves 0.75, or 0.7 where neighbours changed places."""

EDIT_SHARE = 0.15
"""Maximum share of changed letters for a leak in a text below 60 letters: there a few changes spoil most shingles, and
sentences of one form share as many."""

_SHARED_LETTER_COUNT, _EDITED_LETTER_COUNT = 40, 60
_WHOLE_SHARE = 0.75
_PASSAGE_GRAM_COUNT = PASSAGE_LETTER_COUNT - GRAM_LETTER_COUNT + 1
_MIN_WORDS = 3
_LONG_WORD_LETTER_COUNT = 24  # one word this long is as rare as three
_HIT_SHARE = 0.2  # of the index's n-grams; half of them survive one changed letter in twenty
_CANDIDATE_COUNT = 32
_PIECE_LETTER_COUNT, _OVERLAP_LETTER_COUNT = 16_384, 4_096
_SLACK_SHARE, _SLACK_LETTER_COUNT = 0.1, 10
_REPEATED_TEXTS_COUNT, _REPEATED_CHARACTER_COUNT = 1_024, 4_096

MatchKind = Literal["leak_exact", "leak_normalised", "leak_substring", "leak_near"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalText:
    """A text of an evaluation case."""

    suite: str
    """Path of its file, as messages show it."""
    id: str
    text: str
    """A variable's value, or the expected answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContaminationHit:
    """An evaluation case inside a text."""

    reason: MatchKind
    """`leak_exact`: the text is the case. `leak_normalised`: except for case, space, punctuation, accents and Unicode
    forms. `leak_substring`: one contains the other, or they share a long passage. `leak_near`: it contains an edited
    copy."""
    case: EvalText
    """Of several cases with the same text, the first by suite and id."""


class ContaminationIndex:
    """Searches texts for evaluation cases; needs about 25 bytes of memory per letter of the cases."""

    def __init__(self, cases: Iterable[EvalText]) -> None:
        ordered = sorted(cases, key=lambda case: (case.suite, case.id, case.text))
        plain: dict[str, EvalText] = {}
        for case in ordered:
            plain.setdefault(letters(case.text), case)
        whole = {text: case for text, case in plain.items() if len(text) >= WHOLE_LETTER_COUNT}
        self.too_short = tuple(case for case in ordered if len(letters(case.text)) < WHOLE_LETTER_COUNT)
        """Cases that are not searched for: their leaks cannot be distinguished from chance."""
        self._exact = {case.text.strip(): case for case in reversed(ordered) if letters(case.text) in whole}
        self._whole = whole
        self._texts = [text for text, case in whole.items() if _is_rare(text, case.text)]
        # a case too short to be found edited must match with all its n-grams
        shares = [_HIT_SHARE if len(text) >= NEAR_LETTER_COUNT else 1.0 for text in self._texts]
        self._index = GramIndex(self._texts, shares)
        # a prompt's examples are in every pair
        self._find_often = lru_cache(maxsize=_REPEATED_TEXTS_COUNT)(self._find)

    def find_in(self, pair: Pair) -> ContaminationHit | None:
        """Return a case in any text of a pair; see `find`."""
        return next((leak for text in all_texts(pair) if (leak := self.find(text)) is not None), None)

    def find(self, text: str) -> ContaminationHit | None:
        """Return the best match of a case in a text, if any; in time linear in the text."""
        return self._find_often(text) if len(text) <= _REPEATED_CHARACTER_COUNT else self._find(text)

    def _find(self, text: str) -> ContaminationHit | None:
        if (case := self._exact.get(text.strip())) is not None:
            return ContaminationHit(reason="leak_exact", case=case)
        plain = letters(text)
        if (case := self._whole.get(plain)) is not None:
            return ContaminationHit(reason="leak_normalised", case=case)
        if len(plain) < INSIDE_LETTER_COUNT or not self._texts:
            return None
        return next((leak for piece in _pieces(plain) if (leak := self._find_inside(piece)) is not None), None)

    def _find_inside(self, piece: str) -> ContaminationHit | None:
        own = max(1, min(int(_HIT_SHARE * (len(piece) - GRAM_LETTER_COUNT + 1)), _PASSAGE_GRAM_COUNT))
        near: ContaminationHit | None = None
        for hit in self._index.search(piece, max_needed=own, max_count=_CANDIDATE_COUNT):
            reason = self._classify(piece, hit)
            if reason == "leak_substring":
                return ContaminationHit(reason=reason, case=self._whole[self._texts[hit.text]])
            if reason is not None and near is None:
                near = ContaminationHit(reason=reason, case=self._whole[self._texts[hit.text]])
        return near

    def _classify(self, piece: str, hit: Hits) -> MatchKind | None:
        case = self._texts[hit.text]
        shorter = min(len(case), len(piece))
        slack = int(_SLACK_SHARE * shorter) + _SLACK_LETTER_COUNT
        shift = hit.best_shift(slack)
        if _WHOLE_SHARE * len(case) <= len(piece):  # an edited copy may be shorter than the case
            small, large, begin, min_count = case, piece, shift, NEAR_LETTER_COUNT
        else:
            small, large, begin, min_count = piece, case, -shift - slack, PART_LETTER_COUNT
        if small in large and (small is case or len(small) >= PART_LETTER_COUNT):
            return "leak_substring"
        if len(small) >= min_count:
            begin = max(0, min(begin - slack, len(large) - len(small) - slack))
            window = large[begin : begin + len(small) + 3 * slack]
            if _is_near(small, window):
                return "leak_near"
        return "leak_substring" if hit.longest_run() >= _PASSAGE_GRAM_COUNT else None


def _is_near(small: str, window: str) -> bool:
    """Return whether a text is in another one, except for some edits."""
    if len(small) < _EDITED_LETTER_COUNT and min_substring_edits(small, window) <= EDIT_SHARE * len(small):
        return True
    return len(small) >= _SHARED_LETTER_COUNT and containment(shingles(small), shingles(window)) >= NEAR_SHARE


def _is_rare(plain: str, text: str) -> bool:
    """Return whether a case is too specific to be in a message by chance."""
    if len(plain) < INSIDE_LETTER_COUNT:
        return False
    return len(plain) >= _LONG_WORD_LETTER_COUNT or word_count(text) >= _MIN_WORDS


def _pieces(plain: str) -> Iterator[str]:
    """Yield overlapping pieces of a long text, so that each search is bounded."""
    step = _PIECE_LETTER_COUNT - _OVERLAP_LETTER_COUNT
    for start in range(0, max(1, len(plain) - _OVERLAP_LETTER_COUNT), step):
        yield plain[start : start + _PIECE_LETTER_COUNT]

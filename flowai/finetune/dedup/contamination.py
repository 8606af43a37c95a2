"""Finds the cases of evaluations in what a model would be trained on: whole, laid out otherwise, inside, or edited.

A case is what is particular to it: the values of its variables, and the expected answer where it is a text. Never hand
in the rendered prompt, whose fixed words stand in every pair.
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
"""Letters and digits from which on a whole message is a leak when it is a case: "hello" and "ok" are nobody's."""

INSIDE_LETTER_COUNT = 12
"""Letters and digits of a case from which on it is sought inside longer messages, when it has three words at least."""

NEAR_LETTER_COUNT = 16
"""Letters and digits of a case from which on it is also found when it was edited: one letter in twenty is about one."""

PART_LETTER_COUNT = 60
"""Letters and digits of a message from which on it is sought inside longer cases."""

PASSAGE_LETTER_COUNT = 200
"""Letters and digits that a message may share with a case, word for word and at one stretch, before it is a leak."""

NEAR_SHARE = 0.55
"""Share of the shorter text's five-letter stretches, close together in the longer one, from which on it is a leak: one
letter in twenty changed leaves 0.75, or 0.7 where neighbours changed places."""

EDIT_SHARE = 0.15
"""Letters changed, as a share of them all, up to which a text below 60 letters is a leak: in so short a one a few
changes spoil most stretches, and sentences of one form share as many."""

_SHARED_LETTER_COUNT, _EDITED_LETTER_COUNT = 40, 60
_WHOLE_SHARE = 0.75
_PASSAGE_GRAM_COUNT = PASSAGE_LETTER_COUNT - GRAM_LETTER_COUNT + 1
_MIN_WORDS = 3
_LONG_WORD_LETTER_COUNT = 24  # one word this long is as rare as three
_HIT_SHARE = 0.2  # of the index's stretches; half of them survive one changed letter in twenty
_CANDIDATE_COUNT = 32
_PIECE_LETTER_COUNT, _OVERLAP_LETTER_COUNT = 16_384, 4_096
_SLACK_SHARE, _SLACK_LETTER_COUNT = 0.1, 10
_REPEATED_TEXTS_COUNT, _REPEATED_CHARACTER_COUNT = 1_024, 4_096

MatchKind = Literal["leak_exact", "leak_normalised", "leak_substring", "leak_near"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalText:
    """A text of an evaluation."""

    suite: str
    """The file it is from, as people call it."""
    id: str
    """The case's id."""
    text: str
    """What is particular to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContaminationHit:
    """A case that a text gives away."""

    reason: MatchKind
    """`leak_exact`: the text is the case. `leak_normalised`: but for case, space, punctuation, accents and Unicode
    forms. `leak_substring`: one is inside the other, or they share a long passage. `leak_near`: an edited copy is in
    it."""
    case: EvalText
    """The case; of several with the same text the first by suite and id."""


class ContaminationIndex:
    """Knows the cases and looks for them; some 25 bytes of memory for each letter of the cases.

    Args:
        cases: in any order.
    """

    def __init__(self, cases: Iterable[EvalText]) -> None:
        ordered = sorted(cases, key=lambda case: (case.suite, case.id, case.text))
        plain: dict[str, EvalText] = {}
        for case in ordered:
            plain.setdefault(letters(case.text), case)
        whole = {text: case for text, case in plain.items() if len(text) >= WHOLE_LETTER_COUNT}
        self.too_short = tuple(case for case in ordered if len(letters(case.text)) < WHOLE_LETTER_COUNT)
        """Cases that are not looked for: one cannot tell their leaks from chance."""
        self._exact = {case.text.strip(): case for case in reversed(ordered) if letters(case.text) in whole}
        self._whole = whole
        self._texts = [text for text, case in whole.items() if _is_rare(text, case.text)]
        # a case too short to be found edited is there with all its stretches, or not at all
        shares = [_HIT_SHARE if len(text) >= NEAR_LETTER_COUNT else 1.0 for text in self._texts]
        self._index = GramIndex(self._texts, shares)
        # a prompt's examples come with every pair
        self._find_often = lru_cache(maxsize=_REPEATED_TEXTS_COUNT)(self._find)

    def find_in(self, pair: Pair) -> ContaminationHit | None:
        """Look for a case in every text of a pair; see `find`."""
        return next((leak for text in all_texts(pair) if (leak := self.find(text)) is not None), None)

    def find(self, text: str) -> ContaminationHit | None:
        """Look for a case in a text; in time linear in the text.

        Args:
            text: of any length.

        Returns:
            A case found, the plainest way first; None when there is none.
        """
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
        for hit in self._index.search(piece, most_needed=own, most_count=_CANDIDATE_COUNT):
            how = self._judge(piece, hit)
            if how == "leak_substring":
                return ContaminationHit(reason=how, case=self._whole[self._texts[hit.text]])
            if how is not None and near is None:
                near = ContaminationHit(reason=how, case=self._whole[self._texts[hit.text]])
        return near

    def _judge(self, piece: str, hit: Hits) -> MatchKind | None:
        case = self._texts[hit.text]
        shorter = min(len(case), len(piece))
        slack = int(_SLACK_SHARE * shorter) + _SLACK_LETTER_COUNT
        shift = hit.best_shift(slack)
        if _WHOLE_SHARE * len(case) <= len(piece):  # an edited copy may be shorter than the case
            small, large, begin, least = case, piece, shift, NEAR_LETTER_COUNT
        else:
            small, large, begin, least = piece, case, -shift - slack, PART_LETTER_COUNT
        if small in large and (small is case or len(small) >= PART_LETTER_COUNT):
            return "leak_substring"
        if len(small) >= least:
            begin = max(0, min(begin - slack, len(large) - len(small) - slack))
            window = large[begin : begin + len(small) + 3 * slack]
            if _is_near(small, window):
                return "leak_near"
        return "leak_substring" if hit.longest_run() >= _PASSAGE_GRAM_COUNT else None


def _is_near(small: str, window: str) -> bool:
    """Tell whether a text is in another one, give or take some edits."""
    if len(small) < _EDITED_LETTER_COUNT and min_substring_edits(small, window) <= EDIT_SHARE * len(small):
        return True
    return len(small) >= _SHARED_LETTER_COUNT and containment(shingles(small), shingles(window)) >= NEAR_SHARE


def _is_rare(plain: str, text: str) -> bool:
    """Tell whether a case is too particular to stand in a message by chance."""
    if len(plain) < INSIDE_LETTER_COUNT:
        return False
    return len(plain) >= _LONG_WORD_LETTER_COUNT or word_count(text) >= _MIN_WORDS


def _pieces(plain: str) -> Iterator[str]:
    """Cut a long text into pieces that overlap, so that what is searched at once is bounded."""
    step = _PIECE_LETTER_COUNT - _OVERLAP_LETTER_COUNT
    for start in range(0, max(1, len(plain) - _OVERLAP_LETTER_COUNT), step):
        yield plain[start : start + _PIECE_LETTER_COUNT]

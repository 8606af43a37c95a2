"""Detects toxic text locally, with a small classifier. The only module that imports alt-profanity-check.

The classifier knows English words, not their context, and was trained on short comments: long texts are classified in
pieces. Its model is a pickle inside its package, trusted like the package's code; no user data is ever unpickled.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.finetune.dedup.shingles import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

THRESHOLD = 0.5
"""Minimum probability of a toxic text; docs/explanation/cleaning.md lists what it finds and what it mistakes."""

_PIECE_WORD_COUNT = 40
# code, balls that are counted, and what programs do to each other; without it, `kill -9` has 0.77
_TECHNICAL = re.compile(
    r"```[^`]*```|\b(?:[0-9]+|golf|tennis|soccer|red|blue) ?balls?\b|"
    r"\bkill(?:s|ed|ing|all)?(?: -[a-z0-9]+| (?:the |a |all |your |that )?(?:(?:\w+ )?(?:process(?:es)?"
    r"|jobs?|threads?|servers?|sessions?"
    r"|containers?|pods?|tasks?|switch|signal|command|workers?)))\b",
    re.IGNORECASE,
)


def can_detect() -> bool:
    """Return whether alt-profanity-check is installed."""
    return find_spec("profanity_check") is not None


class Toxicity:
    """Classifier of toxic text; needs about 150 MB. Raises UsageError without alt-profanity-check."""

    def __init__(self) -> None:
        if not can_detect():
            raise UsageError("alt-profanity-check is not installed", hint="pip install 'flowai[finetune]'")
        from profanity_check import predict_prob

        self._predict = predict_prob

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Return the probability of each text's most toxic piece, 0 to 1.

        A call costs 4 ms and a text 0.05 ms, so pass some hundred texts at once.
        """
        pieces = [_pieces(text) for text in texts]
        flat = [piece for text_pieces in pieces for piece in text_pieces]
        if not flat:
            return []
        probabilities = iter(self._predict(flat).tolist())
        return [max(next(probabilities) for _ in text_pieces) for text_pieces in pieces]


def _pieces(text: str) -> list[str]:
    """Split a text into pieces of about 40 words; the last one is longer: two words alone are often misjudged."""
    words = _TECHNICAL.sub(" ", folded(text)).split()
    last = max(1, len(words) // _PIECE_WORD_COUNT) - 1
    pieces = [" ".join(words[at * _PIECE_WORD_COUNT : (at + 1) * _PIECE_WORD_COUNT]) for at in range(last)]
    return [*pieces, " ".join(words[last * _PIECE_WORD_COUNT :])]

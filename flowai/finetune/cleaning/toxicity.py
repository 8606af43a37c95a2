"""Tells how likely a text insults or swears, by a small classifier on this machine. Sole door to alt-profanity-check.

The classifier is English, knows words and not what they mean together, and was trained on comments: a long text drowns
an insult, so texts are looked at in pieces. Its model is a pickle in its own package: code of the package, trusted as
its other code is. Nothing of a user is ever unpickled.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.finetune.dedup.shingles import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

THRESHOLD = 0.9
"""Probability from which on a text is toxic; docs/explanation/cleaning.md says what it finds and what it mistakes."""

_PIECE_WORD_COUNT = 40


def can_detect() -> bool:
    """Tell whether alt-profanity-check is installed."""
    return find_spec("profanity_check") is not None


class Toxicity:
    """Holds the classifier; some 150 MB.

    Raises:
        UsageError: alt-profanity-check is not installed.
    """

    def __init__(self) -> None:
        if not can_detect():
            raise UsageError("alt-profanity-check is not installed", hint="pip install 'flowai[finetune]'")
        from profanity_check import predict_prob

        self._predict = predict_prob

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Give for each text how likely its worst piece is toxic, 0 to 1.

        Args:
            texts: some hundred at a time: a call costs 4 ms, a text 0.05 ms.
        """
        pieces = [_pieces(text) for text in texts]
        flat = [piece for some in pieces for piece in some]
        if not flat:
            return []
        found = iter(self._predict(flat).tolist())
        return [max(next(found) for _ in some) for some in pieces]


def _pieces(text: str) -> list[str]:
    """Cut a text into pieces of some 40 words; the last takes the rest, since two words alone are often misjudged."""
    words = folded(text).split()
    last = max(1, len(words) // _PIECE_WORD_COUNT) - 1
    pieces = [" ".join(words[at * _PIECE_WORD_COUNT : (at + 1) * _PIECE_WORD_COUNT]) for at in range(last)]
    return [*pieces, " ".join(words[last * _PIECE_WORD_COUNT :])]

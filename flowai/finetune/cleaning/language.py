"""Tells in which language a text is, on this machine. Sole door to py3langid."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from flowai.errors import UsageError, expected_one_of
from flowai.finetune.dedup.shingles import letters

if TYPE_CHECKING:
    from collections.abc import Collection

MIN_LETTER_COUNT = 20
"""Letters and digits below which nobody can tell a language from another."""

_SURE = 0.8  # how likely another language must be ...
_UNLIKELY = 0.1  # ... and all the expected ones together
_MAX_CHARACTER_COUNT = 2_000  # enough to be sure, and a long text takes no longer
_NO_LANGUAGE = "zxx"  # code, tables


def can_detect() -> bool:
    """Tell whether languages can be told at all: whether py3langid is installed."""
    return find_spec("py3langid") is not None


class Languages:
    """Knows the expected languages; holds some 110 MB.

    Args:
        expected: ISO 639-1 codes (`en`, `de`), at least one.

    Raises:
        UsageError: py3langid is not installed, or it does not know a language.
    """

    def __init__(self, expected: Collection[str]) -> None:
        if not can_detect():
            raise UsageError("py3langid is not installed", hint="pip install 'flowai[finetune]'")
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        known = sorted(set(self._identifier.labels) - {_NO_LANGUAGE})
        for language in expected:
            if language not in known:
                raise UsageError(f"there is no language `{language}`", hint=expected_one_of(known, found=language))
        self._expected = frozenset(expected)

    def other_language(self, text: str) -> str | None:
        """Give the language of a text that is surely in none of the expected ones.

        Args:
            text: an answer.

        Returns:
            Its ISO 639-1 code; None when it may be expected, too short, or no language at all.
        """
        beginning = text[:_MAX_CHARACTER_COUNT]
        if len(letters(beginning)) < MIN_LETTER_COUNT:
            return None
        ranked: list[tuple[str, float]] = self._identifier.rank(beginning)
        language, probability = ranked[0]
        hope = sum(share for name, share in ranked if name in self._expected)
        if language == _NO_LANGUAGE or probability < _SURE or hope > _UNLIKELY:
            return None
        return language

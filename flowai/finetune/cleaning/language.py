"""Detects the language of a text locally. The only module that imports py3langid."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from flowai.errors import UsageError, expected_one_of
from flowai.finetune.dedup.shingles import letters

if TYPE_CHECKING:
    from collections.abc import Collection

MIN_LETTER_COUNT = 20
"""Letters and digits below which the language cannot be detected."""

_SURE = 0.8  # minimum probability of another language ...
_UNLIKELY = 0.1  # ... and maximum of all expected ones together
_MAX_CHARACTER_COUNT = 2_000  # enough for a sure result, in bounded time
_NO_LANGUAGE = "zxx"  # code, tables


def can_detect() -> bool:
    """Return whether py3langid is installed."""
    return find_spec("py3langid") is not None


class Languages:
    """Detects answers in none of the expected languages (ISO 639-1 codes); needs about 110 MB.

    Raises UsageError if py3langid is not installed, or does not know a language.
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
        """Return the ISO 639-1 code of a text that is surely in no expected language, else None."""
        beginning = text[:_MAX_CHARACTER_COUNT]
        if len(letters(beginning)) < MIN_LETTER_COUNT:
            return None
        ranked: list[tuple[str, float]] = self._identifier.rank(beginning)
        language, probability = ranked[0]
        expected = sum(share for name, share in ranked if name in self._expected)
        if language == _NO_LANGUAGE or probability < _SURE or expected > _UNLIKELY:
            return None
        return language

"""Optional recognizer: names that installed spaCy models find; none is downloaded."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.privacy.spans import EntityType, Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GENRES = {"en": "web", "zh": "web"}  # the other languages' models were trained on news
_SIZES = ("lg", "md", "sm")
_PERSON_LABELS = frozenset({"PERSON", "PER", "persName", "PRS"})
_SCORE = 0.55  # below the rules', which know where a title ends


def spacy_model(language: str) -> str | None:
    """Return the largest installed spaCy model of a language; None without one."""
    genre = _GENRES.get(language, "news")
    names = [f"{language}_core_{genre}_{size}" for size in _SIZES] + ["xx_ent_wiki_sm"]
    return next((name for name in names if importlib.util.find_spec(name)), None)


class SpacyNameFinder:
    """Finds names with the largest installed model of each language; build it once, this takes seconds.

    Raises:
        UsageError: spaCy, or a model for one of the languages, is not installed.
    """

    def __init__(self, languages: Sequence[str] = ("en",)) -> None:
        if importlib.util.find_spec("spacy") is None:
            raise UsageError("spaCy is not installed", hint="pip install spacy, and a model: en_core_web_sm")
        import spacy

        models: list[str] = []
        for language in languages:
            model = spacy_model(language)
            if model is None:
                genre = _GENRES.get(language, "news")
                raise UsageError(
                    f"no spaCy model for the language `{language}` is installed",
                    hint=f"python -m spacy download {language}_core_{genre}_sm",
                )
            models.append(model)
        self._models = [
            spacy.load(model, exclude=["parser", "lemmatizer", "attribute_ruler"]) for model in dict.fromkeys(models)
        ]

    def find(self, text: str) -> Iterator[Span]:
        """Find names of people in a plain text."""
        for model in self._models:
            for entity in model(text).ents:
                if entity.label_ in _PERSON_LABELS:
                    yield Span(start=entity.start_char, end=entity.end_char, kind=EntityType.PERSON, score=_SCORE)

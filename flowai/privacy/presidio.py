"""Optional recognizer: Presidio's patterns, and the names that its language model finds.

An installed spaCy model is used, none is downloaded; without one, Presidio's patterns work alone. Not used are its
dates, nationalities and places, which identify no person, and its e-mail addresses and URLs, for which it downloads a
list of domains.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from flowai.errors import UsageError
from flowai.privacy.spans import EntityType, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {
    "CREDIT_CARD": EntityType.CARD,
    "PHONE_NUMBER": EntityType.PHONE,
    "IBAN_CODE": EntityType.IBAN,
    "US_SSN": EntityType.SSN,
    "IP_ADDRESS": EntityType.IP,
    "PERSON": EntityType.PERSON,
}
"""Presidio's entity types that are used, with ours."""

_MODELS = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm")
_MAX_SCORE = 0.55
_MIN_SCORE = 0.4  # Presidio's score for a pattern without context is lower


def is_presidio_installed() -> bool:
    """Return whether presidio-analyzer can be imported, without an import."""
    return importlib.util.find_spec("presidio_analyzer") is not None


class PresidioFinder:
    """Calls Presidio, with scores from `min_score` (0 to 1); build it once, this takes seconds."""

    def __init__(self, *, language: str = "en", min_score: float = _MIN_SCORE) -> None:
        if not is_presidio_installed():
            raise UsageError(
                "Presidio is not installed", hint="pip install presidio-analyzer, and a spaCy model to find names"
            )
        self._language = language
        self._min_score = min_score
        self._engine = _engine(language)
        supported = set(self._engine.get_supported_entities(language))
        self._entities = sorted(supported & KINDS.keys())

    def find(self, text: str) -> Iterator[Span]:
        """Find spans in a plain text."""
        for result in self._engine.analyze(
            text=text, language=self._language, entities=self._entities, score_threshold=self._min_score
        ):
            # our own recognizers check more: they win where both are confident
            score = min(_MAX_SCORE, result.score)
            yield Span(start=result.start, end=result.end, kind=KINDS[result.entity_type], score=score)


def _engine(language: str) -> Any:  # noqa: ANN401 - Presidio has no types
    """Build Presidio's engine on the best installed spaCy model, else on none: nothing is downloaded."""
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine

    model = next((name for name in _MODELS if importlib.util.find_spec(name)), None)
    configuration = NerModelConfiguration(labels_to_ignore=["CARDINAL", "ORDINAL", "QUANTITY", "PERCENT", "MONEY"])
    engine = SpacyNlpEngine(
        models=[{"lang_code": language, "model_name": model or ""}], ner_model_configuration=configuration
    )
    engine.nlp = {language: spacy.load(model) if model else spacy.blank(language)}
    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language], nlp_engine=engine if model else None)
    if not model:
        registry.remove_recognizer("SpacyRecognizer")
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language])

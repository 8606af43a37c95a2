"""Presidio beside our own detectors, where it is installed: its recognisers, and the names its language model finds.

Presidio needs a spaCy model for names, which is never downloaded: one that is installed is used, otherwise its
patterns work alone. Its dates, nationalities and places are left out, because they give nobody away; its e-mail
addresses and URLs too, because it asks the network for the list of domains, and our own detectors find them without.
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
"""Presidio's entities that we take, and what they are called here."""

_MODELS = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm")
_MAX_SCORE = 0.55
_MIN_SCORE = 0.4  # Presidio's own guess for a pattern without a cue is below


def is_presidio_installed() -> bool:
    """Tell whether presidio-analyzer can be imported; imports nothing."""
    return importlib.util.find_spec("presidio_analyzer") is not None


class PresidioFinder:
    """Asks Presidio; build it once, it takes seconds.

    Args:
        language: of the texts (`en`).
        least_score: how sure Presidio must be, 0 to 1.

    Raises:
        UsageError: Presidio is not installed.
    """

    def __init__(self, *, language: str = "en", least_score: float = _MIN_SCORE) -> None:
        if not is_presidio_installed():
            raise UsageError(
                "Presidio is not installed",
                hint="pip install presidio-analyzer, and a spaCy model where names should be found",
            )
        self._language = language
        self._least_score = least_score
        self._engine = _engine(language)
        supported = set(self._engine.get_supported_entities(language))
        self._entities = sorted(supported & KINDS.keys())

    def find(self, text: str) -> Iterator[Span]:
        """Find spans in a plain text.

        Args:
            text: plain text.
        """
        for found in self._engine.analyze(
            text=text, language=self._language, entities=self._entities, score_threshold=self._least_score
        ):
            # where both are sure of something, our own detectors' word counts: they check more
            yield Span(
                start=found.start, end=found.end, kind=KINDS[found.entity_type], score=min(_MAX_SCORE, found.score)
            )


def _engine(language: str) -> Any:  # noqa: ANN401 - Presidio ships no types we could lean on
    """Build Presidio's engine on the best spaCy model there is, or on none: nothing is downloaded."""
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

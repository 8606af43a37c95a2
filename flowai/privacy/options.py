"""Choices of scrubbing: which values are searched, and which of them stay."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.errors import UsageError, expected_one_of
from flowai.privacy.phones import REGIONS
from flowai.privacy.presidio import PresidioFinder, is_presidio_installed
from flowai.privacy.spacy_names import SpacyNameFinder
from flowai.privacy.spans import EntityType, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.privacy.spans import Recognizer

NAME_SOURCES = ("rules", "spacy", "presidio")
"""Sources of names. `spacy` and `presidio` add to the rules."""
LANGUAGES = ("ar", "hi", "ja", "ko", "ru", "tr", "zh")
"""Languages with rules of their own for names or addresses; the others share the rules of Latin script."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyOptions:
    """Choices of scrubbing. Raises UsageError for an unknown kind, language or source of names.

    Secrets are replaced whatever is chosen.
    """

    kinds: tuple[str, ...] = ()
    """Kinds to replace (`EMAIL`, `PHONE`); empty for all."""
    regions: tuple[str, ...] = ()
    """Numbering plans that a national phone number may follow (ISO 3166-1 alpha-2); empty for the default ones."""
    languages: tuple[str, ...] = ()
    """Languages of names and addresses (ISO 639-1); empty for all by rules, and English for models."""
    allow: tuple[str, ...] = ()
    """Texts that stay: public names, names of own products. Upper and lower case are the same."""
    names: str | None = None
    """Source of names, of `NAME_SOURCES`; None: Presidio where it is installed, else rules."""
    min_score: float = 0.0
    """Minimum confidence of a finding, 0 to 1; a secret counts whatever it has."""
    _wanted: frozenset[EntityType] = field(init=False, repr=False, compare=False, default=frozenset())

    def __post_init__(self) -> None:
        """Check the choices."""
        known = [kind.value for kind in EntityType if kind is not EntityType.SECRET]
        wanted = [kind.upper() for kind in self.kinds]
        for kind in wanted:
            if kind not in known:
                raise UsageError(f"no kind of private data `{kind}`", hint=expected_one_of(known, found=kind))
        if self.names is not None and self.names not in NAME_SOURCES:
            raise UsageError(f"no source of names `{self.names}`", hint=expected_one_of(NAME_SOURCES, found=self.names))
        for language in self.languages:
            if not re.fullmatch("[a-z]{2}", language):
                raise UsageError(
                    f"no language `{language}`", hint="languages are two small letters (ISO 639-1): en, de, zh"
                )
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"minimum score {self.min_score}", hint="a score is from 0 to 1")
        object.__setattr__(self, "_wanted", frozenset(map(EntityType, wanted or known)) | {EntityType.SECRET})

    @property
    def searched_regions(self) -> Sequence[str]:
        """The numbering plans that apply."""
        return self.regions or REGIONS

    @property
    def searched_languages(self) -> frozenset[str] | None:
        """The languages whose own rules apply; None for all."""
        return frozenset(self.languages) or None

    def is_searched(self, kind: EntityType) -> bool:
        """Return whether values of a kind are replaced."""
        return kind in self._wanted

    def recognizers(self) -> tuple[Recognizer, ...]:
        """Load the models for names; raises UsageError if the chosen one is not installed."""
        if self.names == "spacy":
            return (SpacyNameFinder(self.languages or ("en",)),)
        if self.names == "presidio" or (self.names is None and is_presidio_installed()):
            language = self.languages[0] if self.languages else "en"
            return (PresidioFinder(language=language),)
        return ()


class SpanFilter:
    """Keeps the spans that the options want; build it once."""

    def __init__(self, options: PrivacyOptions) -> None:
        self._options = options
        self._is_open = not (options.kinds or options.min_score)
        phrases = sorted(
            {" ".join(phrase.split()) for phrase in options.allow if phrase.strip()}, key=len, reverse=True
        )
        spelled = "|".join(r"\s+".join(map(re.escape, phrase.split())) for phrase in phrases)
        self._allowed = re.compile(rf"(?<!\w)(?:{spelled})(?!\w)", re.IGNORECASE) if phrases else None

    def keep(self, spans: Iterable[Span], text: str) -> list[Span]:
        """Return the spans of a text that are replaced."""
        kept = list(spans) if self._is_open else [span for span in spans if self._is_wanted(span)]
        if self._allowed is None or not kept:
            return kept
        allowed = [match.span() for match in self._allowed.finditer(text)]
        return [
            span
            for span in kept
            if span.kind is EntityType.SECRET
            or not any(start <= span.start and span.end <= end for start, end in allowed)
        ]

    def _is_wanted(self, span: Span) -> bool:
        return span.kind is EntityType.SECRET or (
            self._options.is_searched(span.kind) and span.score >= self._options.min_score
        )

"""Spans of private values in a text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


class EntityType(StrEnum):
    """Kind of private value; its value appears in placeholders and reports."""

    CARD = "CARD"
    PHONE = "PHONE"
    EMAIL = "EMAIL"
    IBAN = "IBAN"
    SSN = "SSN"
    IP = "IP"
    URL = "URL"
    PERSON = "PERSON"
    ADDRESS = "ADDRESS"
    SECRET = "SECRET"  # noqa: S105 - a kind, no secret


STRUCTURED = frozenset(EntityType) - {EntityType.PERSON, EntityType.ADDRESS, EntityType.SECRET}
"""Entity types with a form of their own, found without context."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Part of a text that is private."""

    start: int
    end: int
    """Index after the last character, > start."""
    kind: EntityType
    score: float
    """Confidence, 0 to 1; decides between spans that overlap in part."""
    name: str = ""
    """Name of the pattern, for secrets (`openai`); else empty."""


class Recognizer(Protocol):
    """Finds private values of some entity types."""

    def find(self, text: str) -> Iterable[Span]:
        """Find spans in a plain text."""


def person_span(start: int, end: int, score: float) -> Span:
    """Return the span of a name."""
    return Span(start=start, end=end, kind=EntityType.PERSON, score=score)


def address_span(start: int, end: int, score: float) -> Span:
    """Return the span of an address."""
    return Span(start=start, end=end, kind=EntityType.ADDRESS, score=score)


def disjoint_spans(spans: Iterable[Span]) -> list[Span]:
    """Return disjoint spans that cover the same characters, in order.

    A span within another is dropped. Of two that overlap in part, the one with the lower score loses the common part.
    """
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end, -span.score)):
        last = kept[-1] if kept else None
        if last is None or span.start >= last.end:
            kept.append(span)
        elif span.end > last.end:
            if span.score > last.score and span.start > last.start:
                kept[-1] = replace(last, end=span.start)
                kept.append(span)
            else:
                kept.append(replace(span, start=last.end))
    return kept

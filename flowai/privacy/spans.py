"""What a detector reports: a stretch of text, its kind and how sure it is; overlapping stretches made disjoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class EntityType(StrEnum):
    """What a stretch of text gives away; the value stands in placeholders and reports."""

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


STRUCTURED = frozenset(
    {
        EntityType.CARD,
        EntityType.PHONE,
        EntityType.EMAIL,
        EntityType.IBAN,
        EntityType.SSN,
        EntityType.IP,
        EntityType.URL,
    }
)
"""Kinds with a form of their own, found without knowing what the text is about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One stretch of a text."""

    start: int
    """Index of its first character."""
    end: int
    """Index after its last character, > start."""
    kind: EntityType
    """What it is."""
    score: float
    """How sure the detector is, 0 to 1; decides between stretches that overlap in part."""
    name: str = ""
    """Which key shape, for secrets (`openai`); empty otherwise."""


def disjoint(spans: Iterable[Span]) -> list[Span]:
    """Make spans disjoint, so that together they cover the same characters.

    A span within another goes. Of two that overlap in part the surer keeps its length, the other loses the common part.

    Args:
        spans: in any order, overlapping or not.

    Returns:
        Disjoint spans in order of their start.
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

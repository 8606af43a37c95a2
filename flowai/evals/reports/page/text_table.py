"""Texts of a page, each stored once and clipped so that the page stays small."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from flowai.rendering.html_page import escape_json

MAX_TEXT_CHARS = 20_000
MIN_TEXT_CHARS = 40
CASES_PER_BUDGET = 1_000
BUDGET_BYTES = {"answer": 2_000_000, "input": 700_000, "prompt": 500_000, "reason": 500_000}
"""Bytes of the texts of a kind per 1,000 cases."""


@dataclass(kw_only=True, slots=True)
class _Text:
    text: str
    """At most `MAX_TEXT_CHARS`."""
    char_count: int
    """Of the whole text."""
    bytes_per_char: float
    """Of the JSON that a page has."""


@dataclass(slots=True)
class TextTable:
    """Texts by number; equal texts of a kind have one number."""

    _texts: list[_Text] = field(default_factory=list)
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    _members: dict[str, list[_Text]] = field(default_factory=dict)

    def add(self, text: str, kind: str) -> int:
        """Return the number of a text; `kind` is a key of `BUDGET_BYTES`."""
        key = (kind, text)
        if key not in self._numbers:
            self._numbers[key] = len(self._texts)
            shown = text[:MAX_TEXT_CHARS]
            size = len(escape_json(json.dumps(shown, ensure_ascii=False)).encode())
            stored = _Text(text=shown, char_count=len(text), bytes_per_char=size / max(1, len(shown)))
            self._texts.append(stored)
            self._members.setdefault(kind, []).append(stored)
        return self._numbers[key]

    def clipped(self, case_count: int) -> tuple[list[str], dict[str, int]]:
        """Return the texts in order, and by number the count of characters left out of those that are clipped."""
        scale = max(1.0, case_count / CASES_PER_BUDGET)
        limits = {}
        for kind, members in self._members.items():
            limit = _limit(members, BUDGET_BYTES[kind] * scale)
            limits.update({id(member): limit for member in members})
        shown = [item.text[: limits[id(item)]] for item in self._texts]
        left_out = {
            str(number): item.char_count - len(text)
            for number, (item, text) in enumerate(zip(self._texts, shown, strict=True))
            if len(text) < item.char_count
        }
        return shown, left_out


def _limit(texts: list[_Text], budget_bytes: float) -> int:
    """Return the largest number of characters per text with which the texts fit into the budget."""
    low, high = MIN_TEXT_CHARS, MAX_TEXT_CHARS
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(len(item.text), middle) * item.bytes_per_char for item in texts) <= budget_bytes:
            low = middle
        else:
            high = middle - 1
    return low

"""Reads a list of texts that is written as one text with commas (`in stock, "1,000"`).

Source: promptfoo, "Deterministic metrics", section `contains-all` (its lists know quotes, doubled or with a backslash).
"""

from __future__ import annotations

import re

_SEPARATORS = re.compile(r"[\s,\ufeff]*")
_SPACES = re.compile(r"[^\S\r\n]*")
_QUOTED = re.compile(r'"((?:\\["\\]|""|[^"])*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])|""')
_PLAIN = re.compile(r"[^,\r\n]*")


def split_list(text: str) -> list[str]:
    r"""Split at commas and line ends; empty items are left out.

    An item that begins with a double quote ends at the next one; inside it `""` and `\"` are a quote, `\\` a backslash.
    Everywhere else a backslash is a character like any other.

    Raises:
        ValueError: a quote is open at the end, or an item goes on after its closing quote.
    """
    items: list[str] = []
    position = _end(_SEPARATORS, text, 0)
    while position < len(text):
        if text[position] == '"':
            item, position = _quoted(text, position)
        else:
            end = _end(_PLAIN, text, position)
            item, position = text[position:end].strip().strip("\ufeff"), end
        items.append(item)
        position = _end(_SEPARATORS, text, position)
    return items


def _quoted(text: str, start: int) -> tuple[str, int]:
    match = _QUOTED.match(text, start)
    if match is None:
        raise ValueError("a double quote is never closed")
    end = _end(_SPACES, text, match.end())
    if end < len(text) and text[end] not in ",\r\n":
        raise ValueError(f"expected a comma after {text[start : match.end()][:40]}")
    return _ESCAPED.sub(lambda escape: escape[1] or '"', match[1]), end


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return position if match is None else match.end()

"""Texts as JavaScript splits, trims and writes them, so that checks count what promptfoo counts."""

from __future__ import annotations

import json
import math
import re

SPACE = "\t\n\v\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
"""White space, as the content of a class of characters; Python's `\\s` also has 0x1C to 0x1F and 0x85."""

_SPACES = re.compile(f"[{SPACE}]+")
_MAX_PLAIN = 1e21
_MIN_PLAIN = 1e-6


def trim(text: str) -> str:
    """Return the text without white space at both ends."""
    return text.strip(
        "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
    )


def words_of(text: str) -> list[str]:
    """Return the words between white space; an empty text has none."""
    return [word for word in _SPACES.split(text) if word]


def split_at_spaces(text: str) -> list[str]:
    """Split at each run of white space; ends and empty texts give empty items."""
    return _SPACES.split(text)


def to_text(value: object) -> str:
    """Return a JSON value as JavaScript's `String(value)` does."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return ",".join("" if item is None else to_text(item) for item in value)
    return "[object Object]" if isinstance(value, dict) else str(value)


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(value).partition("e")
    if _MIN_PLAIN <= abs(value) < _MAX_PLAIN:
        return str(int(value)) if value.is_integer() else f"{value:.17f}".rstrip("0") if exponent else mantissa
    digits = mantissa.removesuffix(".0")
    if not exponent:
        digits, exponent = f"{value:e}".split("e")
    return f"{digits}e{int(exponent):+d}"

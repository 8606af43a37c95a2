"""JavaScript's texts and methods of JSON values, as templates in Nunjucks' syntax expect them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_WHOLE = 1e21
"""JavaScript writes larger numbers with an exponent."""


def to_text(value: object) -> str:
    """Return a value as JavaScript's string concatenation writes it, but an object as JSON."""
    if isinstance(value, str):
        return str(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, list | tuple):
        return ",".join(map(to_text, value))
    return to_json(value) if isinstance(value, dict) else ""


def number_text(value: float) -> str:
    """Return a number as JavaScript writes it: without `.0`."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < _MAX_WHOLE:
        return str(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return str(value).replace("e-0", "e-")


def to_json(value: object, indent: int | None = None) -> str:
    """Return a value as `JSON.stringify` writes it."""
    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(_plain(value), ensure_ascii=False, indent=indent or None, separators=separators)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < _MAX_WHOLE else value
    return value if value is None or isinstance(value, str | bool | int) else None


def is_true(value: object) -> bool:
    """Return JavaScript's truth of a value: empty lists and objects are true."""
    return isinstance(value, list | tuple | dict) or bool(value)


def is_equal(left: object, right: object) -> bool:
    """Compare as JavaScript's `==`: a number and the text of that number are equal."""
    if (
        isinstance(left, str) != isinstance(right, str)
        and isinstance(left, str | int | float)
        and isinstance(right, str | int | float)
    ):
        return number_of(left) == number_of(right)
    return left == right


def number_of(value: object) -> float:
    """Return a value as a number, NaN if it is none."""
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value.strip() or 0)
        except ValueError:
            return math.nan
    return 0.0 if value is None else math.nan


def is_less(left: object, right: object, *, or_equal: bool) -> bool:
    """Compare as JavaScript's `<` and `<=`: two texts as texts, anything else as numbers."""
    if isinstance(left, str) and isinstance(right, str):
        return left <= right if or_equal else left < right
    first, second = number_of(left), number_of(right)
    return first <= second if or_equal else first < second


def _slice(value: Any, start: int = 0, end: int | None = None) -> Any:  # noqa: ANN401 - a text or a list
    return value[start:end]


def _index_of(value: Any, part: Any) -> int:  # noqa: ANN401 - a text or a list
    return (
        value.find(to_text(part))
        if isinstance(value, str)
        else next((index for index, item in enumerate(value) if item == part), -1)
    )


def _split(text: str, separator: str | None = None) -> list[str]:
    if separator is None:
        return [text]
    return text.split(separator) if separator else list(text)


_TEXT_METHODS: dict[str, Callable[..., Any]] = {
    "toLowerCase": str.lower,
    "toUpperCase": str.upper,
    "trim": str.strip,
    "trimStart": str.lstrip,
    "trimEnd": str.rstrip,
    "split": _split,
    "slice": _slice,
    "substring": _slice,
    "includes": lambda text, part: to_text(part) in text,
    "startsWith": lambda text, part: text.startswith(to_text(part)),
    "endsWith": lambda text, part: text.endswith(to_text(part)),
    "indexOf": _index_of,
    "replace": lambda text, old, new: text.replace(to_text(old), to_text(new), 1),
    "replaceAll": lambda text, old, new: text.replace(to_text(old), to_text(new)),
    "charAt": lambda text, index=0: text[index : index + 1] if index >= 0 else "",
    "toString": str,
}
_LIST_METHODS: dict[str, Callable[..., Any]] = {
    "join": lambda items, separator=",": to_text(separator).join(map(to_text, items)),
    "slice": _slice,
    "includes": lambda items, part: part in items,
    "indexOf": _index_of,
    "concat": lambda items, other: [*items, *(other if isinstance(other, list) else [other])],
    "toString": to_text,
}


def member(value: Any, name: object, missing: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a member of a JSON value as JavaScript sees it: keys, positions, `length` and harmless methods only."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        return value[str(name)] if isinstance(name, int) and str(name) in value else missing
    if isinstance(value, str | list | tuple):
        return _sequence_member(value, name, missing)
    if isinstance(value, int | float) and name == "toFixed":
        return lambda digits=0: f"{value:.{min(max(int(digits), 0), 100)}f}"
    return missing


def _sequence_member(value: Any, name: object, missing: Any) -> Any:  # noqa: ANN401 - a text or a list
    if name == "length":
        return len(value)
    if isinstance(name, str) and name.isdecimal():
        name = int(name)
    if isinstance(name, int) and not isinstance(name, bool):
        return value[name] if 0 <= name < len(value) else missing
    methods = _TEXT_METHODS if isinstance(value, str) else _LIST_METHODS
    method = methods.get(name) if isinstance(name, str) else None
    return missing if method is None else lambda *arguments: method(value, *arguments)

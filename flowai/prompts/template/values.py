"""Values in the template language: members, emptiness, equality, formatting.

Source: Handlebars 4, language guide, built-in helpers; dotprompt's specification cases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


class Missing:
    """Value of a path that does not exist; falsy, and equal only to itself."""

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


def follow_path(value: object, names: Iterable[str]) -> object:
    """Return the value at a path, or MISSING."""
    for name in names:
        value = member(value, name)
    return value


def member(value: object, name: str) -> object:
    """Return a key of a map, a position of a list or its length, or MISSING; never an attribute."""
    if isinstance(value, Mapping):
        return value.get(name, MISSING)
    if isinstance(value, list | tuple):
        if name == "length":
            return len(value)
        if name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(value):  # noqa: PLR2004 - digits
            return value[int(name)]
    return MISSING


def is_number(value: object) -> bool:
    """Return whether a value is a number; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_empty(value: object) -> bool:
    """Return whether a value is empty, as in Handlebars: 0 and {} are not."""
    return not value and not is_number(value) and not isinstance(value, Mapping)


def is_same(left: object, right: object) -> bool:
    """Compare as JavaScript's `===`: 5 is not "5", true is not 1, missing is not null, two lists are never the same."""
    if (is_number(left) and is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
        return left == right
    return left is right


def describe_kind(value: object) -> str:
    """Describe a value's type for an error."""
    if value is MISSING:
        return "missing"
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "a boolean", str: "text", dict: "an object", list: "a list", tuple: "a list"}
    return names.get(type(value)) or ("a number" if is_number(value) else f"a Python `{type(value).__name__}`")


def as_json(value: object, indent: int | None) -> str:
    """Format a value as JSON, compact or indented; raise TypeError, ValueError (NaN included) or RecursionError."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, allow_nan=False)

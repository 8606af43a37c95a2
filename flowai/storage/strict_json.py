"""JSON as every reader takes it, not only Python's.

In: a text. Out: its value, or which rule it breaks. Must never know where the text stands.

Python's parser lets through what others refuse: NaN, keys that stand twice, numbers beyond 64 bits, half characters.
Source: RFC 8259, sections 4, 6 and 8.2; RFC 7493 (I-JSON).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST_LEVEL = 64

_LONGEST_DIGITS = 20
_LONGEST_NAME_COUNT = 40
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


class NotStrictError(ValueError):
    """A text is no JSON, or only some readers' JSON.

    Args:
        rule: which rule it breaks.
        what: what was found, for a person; empty where the rule says it all.
    """

    def __init__(self, rule: str, what: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.what = what


def parse_json(text: str) -> Any:  # noqa: ANN401 - JSON is anything
    """Parse a text.

    Raises:
        NotStrictError: it is not what every reader takes.
    """
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        rule = "json/trailing" if error.msg == "Extra data" else "json/syntax"
        raise NotStrictError(rule, f"{error.msg.lower()} at column {error.colno}") from None
    except RecursionError:
        raise NotStrictError("json/too_deep") from None
    if _ESCAPED_HALF.search(text) and any(_HALF.search(inner) for inner in strings_of(value)):
        raise NotStrictError("json/surrogate")
    if _is_deep(value):
        raise NotStrictError("json/too_deep")
    return value


def is_object(text: str) -> bool:
    """Say whether a text is a JSON object."""
    try:
        return isinstance(parse_json(text), dict)
    except NotStrictError:
        return False


def strings_of(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON is anything
    """Give every string of a value, keys of objects too; any depth."""
    open_values = [value]
    while open_values:
        item = open_values.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            open_values += item
            open_values += item.values()
        elif isinstance(item, list):
            open_values += item


def shown(name: str) -> str:
    """Write a name out of a file for a person: short, and without anything a terminal would obey."""
    if len(name) <= _LONGEST_NAME_COUNT and name.isascii() and name.isprintable():
        return name
    safe = name.encode("ascii", "backslashreplace").decode()
    printable = "".join(character if character.isprintable() else "?" for character in safe)
    return printable if len(printable) <= _LONGEST_NAME_COUNT else f"{printable[:_LONGEST_NAME_COUNT]}..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise NotStrictError("json/duplicate_key", f"`{shown(twice)}`")
    return made


def _constant(name: str) -> Any:  # noqa: ANN401 - never returns
    raise NotStrictError("json/nan", f"`{name}`")


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= _LONGEST_DIGITS else _LARGEST + 1
    if not _SMALLEST <= value <= _LARGEST:
        raise NotStrictError("json/huge_number", f"{len(digits)} digits")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise NotStrictError("json/huge_number", f"`{digits[:20]}`")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_number
)


def _is_deep(value: Any) -> bool:  # noqa: ANN401 - JSON is anything
    level = [value]
    for _ in range(DEEPEST_LEVEL):
        boxes = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for box in boxes for item in box]
        if not level:
            return False
    return True

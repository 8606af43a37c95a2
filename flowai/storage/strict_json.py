"""JSON parsed more strictly than Python's own reader does it, in one of four dialects; see `Dialect`.

Python's parser lets through what others refuse: NaN, keys that stand twice, numbers beyond 64 bits, half characters.
Source: RFC 8259, sections 4, 6 and 8.2; RFC 7493 (I-JSON).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Dialect = Literal["rfc8259", "readable", "lossless", "interoperable"]
"""Which texts are JSON:

- `rfc8259`: the grammar; an integer of thousands of digits is read as a float.
- `readable`: the grammar, without integers that Python refuses to read.
- `lossless`: as `readable`, without keys that occur twice and floats beyond 64 bits: the value can be written again.
- `interoperable`: every reader agrees on the value: as `lossless`, integers of 64 bits, whole characters, 64 levels.
"""

DEEPEST_LEVEL = 64

_MAX_WHOLE_DIGITS = 4000  # Python refuses to read longer integers at all
_MAX_DIGITS = 20
_MAX_NAME_COUNT = 40
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


class NotStrictError(ValueError):
    """A text is not JSON, or not of the dialect asked for; its message is one short line.

    Args:
        rule: which rule it breaks.
        what: what was found, for a person; empty where the rule says it all.
        problem: the message; default `what`.
        position: index of the character at which the parser stopped; None where it did not tell.
    """

    def __init__(self, rule: str, what: str = "", *, problem: str = "", position: int | None = None) -> None:
        super().__init__(problem or what)
        self.rule = rule
        self.what = what
        self.position = position


def parse_json(text: str, *, dialect: Dialect = "interoperable") -> Any:  # noqa: ANN401 - JSON is anything
    """Parse a text that is JSON from its first to its last character, space around it aside.

    Raises:
        NotStrictError: it is not, in this dialect.
    """
    try:
        value = _DECODERS[dialect].decode(text)
    except (ValueError, RecursionError) as error:
        raise _not_strict(error) from None
    if dialect == "interoperable":
        if _ESCAPED_HALF.search(text) and any(_HALF.search(inner) for inner in strings_of(value)):
            raise NotStrictError("json/surrogate")
        if _is_deep(value):
            raise NotStrictError("json/too_deep")
    return value


def parse_json_at(text: str, start: int, *, dialect: Dialect) -> tuple[Any, int]:
    """Parse the JSON value that begins at a character, whatever follows it.

    Returns:
        The value, and the index of the character after it.

    Raises:
        NotStrictError: no value of this dialect begins there.
    """
    try:
        return _DECODERS[dialect].raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise _not_strict(error) from None


def json_problem(answer: str) -> str | None:
    """Return why a model's answer is not JSON, and where; None when it is (dialect `readable`)."""
    try:
        parse_json(answer, dialect="readable")
    except NotStrictError as error:
        return str(error) if answer.strip() else "the answer is empty"
    return None


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


def printable(name: str) -> str:
    """Write a name out of a file for a person: short, and without anything a terminal would obey."""
    if len(name) <= _MAX_NAME_COUNT and name.isascii() and name.isprintable():
        return name
    safe = name.encode("ascii", "backslashreplace").decode()
    printable = "".join(character if character.isprintable() else "?" for character in safe)
    return printable if len(printable) <= _MAX_NAME_COUNT else f"{printable[:_MAX_NAME_COUNT]}..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise NotStrictError("json/duplicate_key", f"`{printable(twice)}`")
    return made


def _constant(name: str) -> Any:  # noqa: ANN401 - never returns
    raise NotStrictError("json/nan", f"`{name}`", problem=f"`{name}` is not a JSON number")


def _any_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_WHOLE_DIGITS else float(digits)


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= _MAX_DIGITS else _LARGEST + 1
    if not _SMALLEST <= value <= _LARGEST:
        raise NotStrictError("json/huge_number", f"{len(digits)} digits")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise NotStrictError("json/huge_number", f"`{digits[:20]}`")
    return value


_DECODERS: dict[Dialect, json.JSONDecoder] = {
    "rfc8259": json.JSONDecoder(parse_constant=_constant, parse_int=_any_integer),
    "readable": json.JSONDecoder(parse_constant=_constant),
    "lossless": json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object, parse_float=_number),
    "interoperable": json.JSONDecoder(
        parse_constant=_constant, object_pairs_hook=_object, parse_float=_number, parse_int=_integer
    ),
}


def _not_strict(error: ValueError | RecursionError) -> NotStrictError:
    """Build our error from one of Python's; our own, raised by a hook, stays."""
    if isinstance(error, NotStrictError):
        return error
    if isinstance(error, RecursionError):
        return NotStrictError("json/too_deep", problem="nested too deeply")
    if not isinstance(error, json.JSONDecodeError):  # an integer of thousands of digits
        return NotStrictError("json/huge_number", str(error))
    rule = "json/trailing" if error.msg == "Extra data" else "json/syntax"
    problem = error.msg[:1].lower() + error.msg[1:].removesuffix(" starting at").removesuffix(" at")
    line = f"line {error.lineno} " if error.lineno > 1 else ""
    return NotStrictError(rule, f"{problem} at {line}column {error.colno}", position=error.pos)


def _is_deep(value: Any) -> bool:  # noqa: ANN401 - JSON is anything
    level = [value]
    for _ in range(DEEPEST_LEVEL):
        boxes = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for box in boxes for item in box]
        if not level:
            return False
    return True

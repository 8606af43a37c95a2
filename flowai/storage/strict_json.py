"""Parses JSON more strictly than Python's own parser, in one of four dialects; see `Dialect`.

Python accepts what other parsers refuse: NaN, duplicate keys, numbers beyond 64 bits, unpaired surrogates.
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
"""Texts that count as JSON:

- `rfc8259`: the grammar; an integer of thousands of digits is read as a float.
- `readable`: the grammar, without integers that Python refuses to read.
- `lossless`: `readable` without duplicate keys and floats beyond 64 bits: the value can be written again.
- `interoperable`: every parser agrees on the value: `lossless`, integers of 64 bits, whole characters, 64 levels.
"""

MAX_DEPTH = 64

_MAX_WHOLE_DIGITS = 4000  # Python refuses to read longer integers
_MAX_DIGITS = 20
_MAX_NAME_CHARS = 40
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NotStrictError(ValueError):
    """A text is not JSON of the dialect; its message is one short line, `what` was found by default.

    `rule` is the id of the violated rule (`json/nan`), `position` the character at which the parser stopped.
    """

    def __init__(self, rule: str, what: str = "", *, problem: str = "", position: int | None = None) -> None:
        super().__init__(problem or what)
        self.rule = rule
        self.what = what
        self.position = position


def parse_json(text: str, *, dialect: Dialect = "interoperable") -> Any:  # noqa: ANN401 - JSON is anything
    """Parse a text that is one JSON value, or raise NotStrictError."""
    try:
        value = _DECODERS[dialect].decode(text)
    except (ValueError, RecursionError) as error:
        raise _not_strict(error) from None
    if dialect == "interoperable":
        if _ESCAPED_SURROGATE.search(text) and any(_SURROGATE.search(inner) for inner in strings_of(value)):
            raise NotStrictError("json/surrogate")
        if _is_deep(value):
            raise NotStrictError("json/too_deep")
    return value


def parse_json_at(text: str, start: int, *, dialect: Dialect) -> tuple[Any, int]:
    """Return the JSON value that begins at a character, and the index after it; anything may follow."""
    try:
        return _DECODERS[dialect].raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise _not_strict(error) from None


def json_problem(answer: str) -> str | None:
    """Return why a model's answer is not JSON (dialect `readable`), and where; None if it is."""
    try:
        parse_json(answer, dialect="readable")
    except NotStrictError as error:
        return str(error) if answer.strip() else "the answer is empty"
    return None


def is_object(text: str) -> bool:
    """Return whether a text is a JSON object."""
    try:
        return isinstance(parse_json(text), dict)
    except NotStrictError:
        return False


def strings_of(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON is anything
    """Yield every string of a value, keys of objects included; any depth."""
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
    """Return a name from a file in short, printable ASCII."""
    if len(name) <= _MAX_NAME_CHARS and name.isascii() and name.isprintable():
        return name
    safe = name.encode("ascii", "backslashreplace").decode()
    safe = "".join(character if character.isprintable() else "?" for character in safe)
    return safe if len(safe) <= _MAX_NAME_CHARS else f"{safe[:_MAX_NAME_CHARS]}..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        duplicate = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise NotStrictError("json/duplicate_key", f"`{printable(duplicate)}`")
    return value


def _constant(name: str) -> Any:  # noqa: ANN401 - never returns
    raise NotStrictError("json/nan", f"`{name}`", problem=f"`{name}` is not a JSON number")


def _any_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_WHOLE_DIGITS else float(digits)


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= _MAX_DIGITS else _MAX_INT + 1
    if not _MIN_INT <= value <= _MAX_INT:
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
    """Convert one of Python's errors to ours; ours, raised by a hook, is returned unchanged."""
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
    for _ in range(MAX_DEPTH):
        boxes = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for box in boxes for item in box]
        if not level:
            return False
    return True

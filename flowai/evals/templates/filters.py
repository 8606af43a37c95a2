"""Filters of Nunjucks for JSON values; each bounds its own work."""

from __future__ import annotations

import json
import math
import random
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flowai.evals.templates.script_values import is_true, member, number_of, to_json, to_text

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TEXT_CHARS = 10_000_000
MAX_WIDTH = 10_000
"""Limit of widths, counts and indents."""


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value
    return value if value is None or isinstance(value, str | int | float | list | tuple | dict | range) else None


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"a text is longer than {MAX_TEXT_CHARS:,} characters")
    return text


def _width(value: Any) -> int:  # noqa: ANN401 - any value
    width = number_of(_plain(value))
    if not 0 <= width <= MAX_WIDTH:
        raise ValueError(f"found {to_text(_plain(value))[:40]}; expected a number from 0 to {MAX_WIDTH:,}")
    return int(width)


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - any value
    plain = _plain(value)
    if isinstance(plain, dict):
        return [{"key": key, "value": part} for key, part in plain.items()]
    return list(plain) if isinstance(plain, str | list | tuple | range) else []


def _replace(value: Any, old: Any, new: Any = "", count: Any = -1) -> str:  # noqa: ANN401 - any values
    text, old, new = to_text(_plain(value)), to_text(_plain(old)), to_text(_plain(new))
    if (text.count(old) if old else len(text) + 1) * len(new) > MAX_TEXT_CHARS:
        raise ValueError(f"a text is longer than {MAX_TEXT_CHARS:,} characters")
    limit = number_of(_plain(count))
    return text.replace(old, new, int(limit) if math.isfinite(limit) else -1)


def _join(value: Any, separator: Any = "", attribute: Any = None) -> str:  # noqa: ANN401 - any values
    items = [member(item, attribute, None) if attribute else item for item in _list(value)]
    return _bounded(to_text(_plain(separator)).join(map(to_text, items)))


def _default(value: Any, fallback: Any = "", if_false: Any = False) -> Any:  # noqa: ANN401, FBT002 - template values
    missing = value is not None and _plain(value) is None
    return fallback if missing or (if_false and not is_true(_plain(value))) else value


def _indent(value: Any, width: Any = 4, is_first: Any = False) -> str:  # noqa: ANN401, FBT002 - template values
    space = " " * _width(width)
    lines = to_text(_plain(value)).split("\n")
    if len(lines) * len(space) > MAX_TEXT_CHARS:
        raise ValueError(f"a text is longer than {MAX_TEXT_CHARS:,} characters")
    return "\n".join(f"{space}{line}" if index or is_first else line for index, line in enumerate(lines))


def _truncate(value: Any, length: Any = 255, killwords: Any = False, end: Any = "...") -> str:  # noqa: ANN401, FBT002
    text, limit = to_text(_plain(value)), int(number_of(length))
    if len(text) <= limit:
        return text
    cut = text[:limit] if killwords else text[: text.rfind(" ", 0, limit + 1) if " " in text[: limit + 1] else limit]
    return cut + to_text(end)


def _round(value: Any, precision: Any = 0, method: Any = "") -> float:  # noqa: ANN401 - any values
    number, factor = number_of(_plain(value)), 10.0 ** _width(precision)
    scaled = number * factor
    if not math.isfinite(scaled):
        return number
    if method == "ceil":
        return math.ceil(scaled) / factor
    return math.floor(scaled if method == "floor" else scaled + 0.5) / factor


def _batch(value: Any, size: Any, fill: Any = None) -> list[list[Any]]:  # noqa: ANN401 - any values
    items, width = _list(value), max(_width(size), 1)
    rows = [items[start : start + width] for start in range(0, len(items), width)]
    if fill is not None and rows:
        rows[-1] += [fill] * (width - len(rows[-1]))
    return rows


def _slice(value: Any, count: Any) -> list[list[Any]]:  # noqa: ANN401 - any values
    items, columns = _list(value), max(_width(count), 1)
    each, more = divmod(len(items), columns)
    ends = [(index + 1) * each + min(index + 1, more) for index in range(columns)]
    return [items[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _sort(value: Any, is_reversed: Any = False, keeps_case: Any = False, attribute: Any = None) -> list[Any]:  # noqa: ANN401, FBT002
    def key(item: Any) -> tuple[bool, float, str]:  # noqa: ANN401 - any value
        part = member(item, attribute, None) if attribute else item
        if isinstance(part, str):
            return True, 0.0, part if keeps_case else part.lower()
        return False, number_of(part), ""

    return sorted(_list(value), key=key, reverse=bool(is_reversed))


def _reverse(value: Any) -> Any:  # noqa: ANN401 - any value
    return value[::-1] if isinstance(value, str) else _list(value)[::-1]


def _title(value: Any) -> str:  # noqa: ANN401 - any value
    return " ".join(word[:1].upper() + word[1:].lower() for word in to_text(_plain(value)).split(" "))


def _capitalize(value: Any) -> str:  # noqa: ANN401 - any value
    text = to_text(_plain(value)).lower()
    return text[:1].upper() + text[1:]


def _escape(value: Any) -> str:  # noqa: ANN401 - any value
    text = to_text(_plain(value))
    for char, entity in (("&", "&amp;"), ('"', "&quot;"), ("'", "&#39;"), ("<", "&lt;"), (">", "&gt;"), ("`", "&#96;")):
        text = text.replace(char, entity)
    return text


def _select(value: Any, attribute: Any, *, wanted: bool) -> list[Any]:  # noqa: ANN401 - any values
    return [item for item in _list(value) if is_true(member(item, attribute, None)) == wanted]


def _group(value: Any, attribute: Any) -> dict[str, list[Any]]:  # noqa: ANN401 - any values
    groups: dict[str, list[Any]] = {}
    for item in _list(value):
        groups.setdefault(to_text(member(item, attribute, None)), []).append(item)
    return groups


def _sum(value: Any, attribute: Any = None, start: Any = 0) -> float:  # noqa: ANN401 - any values
    items = _list(value)
    return number_of(start) + sum(number_of(member(item, attribute, None) if attribute else item) for item in items)


def _whole(value: Any, fallback: Any = 0) -> Any:  # noqa: ANN401 - any values
    number = number_of(re.sub(r"(?<=\d)[^\d.].*", "", to_text(_plain(value)), flags=re.DOTALL))
    return int(number) if math.isfinite(number) else fallback


def _decimal(value: Any, fallback: Any = 0.0) -> Any:  # noqa: ANN401 - any values
    number = number_of(_plain(value))
    return fallback if math.isnan(number) else number


def _length(value: Any) -> int:  # noqa: ANN401 - any value
    plain = _plain(value)
    return len(plain) if isinstance(plain, str | list | tuple | dict | range) else 0


def _strip_tags(value: Any) -> str:  # noqa: ANN401 - any value
    return re.sub(r"\s+", " ", re.sub(r"<!--[^>]*-->|</?[a-zA-Z][^<>]*>", "", to_text(_plain(value)))).strip()


def _dump(value: Any, indent: Any = None) -> str:  # noqa: ANN401 - any values
    return "" if value is not None and _plain(value) is None else to_json(value, _width(indent) if indent else None)


def _on_text(function: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: function(to_text(_plain(value)))


FILTERS: dict[str, Callable[..., Any]] = {
    "abs": lambda value: abs(number_of(_plain(value))),
    "batch": _batch,
    "capitalize": _capitalize,
    "center": lambda value, width=80: to_text(_plain(value)).center(_width(width)),
    "d": _default,
    "default": _default,
    "dictsort": lambda value: sorted(_plain(value).items()) if isinstance(value, dict) else [],
    "dump": _dump,
    "e": _escape,
    "escape": _escape,
    "first": lambda value: next(iter(_list(value)), None),
    "float": _decimal,
    "forceescape": _escape,
    "groupby": _group,
    "indent": _indent,
    "int": _whole,
    "join": _join,
    "json": _dump,
    "last": lambda value: next(iter(_list(value)[-1:]), None),
    "length": _length,
    "list": _list,
    "load": lambda value: json.loads(to_text(_plain(value))),
    "lower": _on_text(str.lower),
    "nl2br": _on_text(lambda text: re.sub(r"\r\n|\n", "<br />\n", text)),
    "random": lambda value: random.choice(items) if (items := _list(value)) else None,  # noqa: S311 - as promptfoo
    "reject": lambda value: [item for item in _list(value) if not is_true(item)],
    "rejectattr": lambda value, attribute: _select(value, attribute, wanted=False),
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "safe": lambda value: value,
    "select": lambda value: [item for item in _list(value) if is_true(item)],
    "selectattr": lambda value, attribute: _select(value, attribute, wanted=True),
    "slice": _slice,
    "sort": _sort,
    "string": _on_text(str),
    "striptags": _strip_tags,
    "sum": _sum,
    "title": _title,
    "tojson": _dump,
    "trim": _on_text(str.strip),
    "truncate": _truncate,
    "upper": _on_text(str.upper),
    "urlencode": _on_text(lambda text: quote(text, safe="~!*()'")),
    "wordcount": lambda value: len(re.findall(r"\w+", to_text(_plain(value)))),
}
"""By name; all of them are pure except `random`."""

"""Visits every text in JSON and messages, JSON inside strings included, and replaces texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.redaction import mark
from flowai.storage.strict_json import NotStrictError, parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_DEPTH = 64  # deeper nesting is an attack on the stack
_MIN_NUMBER = 1_000_000  # smaller numbers identify no person
_MAX_NUMBER_BITS = 128
# fields of a message without content
_STRUCTURAL_KEYS = frozenset({"role", "type", "id", "tool_call_id", "index", "finish_reason", "detail"})
_BRACKETS = {"{": "}", "[": "]", '"': '"'}
_DATA_URL_COUNT = 100  # characters in which a data URL is recognised


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonString:
    """A text in a JSON value; for a number, its digits."""

    text: str
    field: str = ""
    """Name of its field; empty outside objects."""
    role: str = ""
    """Role of its message; empty outside messages."""
    is_key: bool = False


class JsonTextWalk:
    """A pass over a value, always in the same order; `visit` returns the new text for a text."""

    def __init__(self, visit: Callable[[JsonString], str]) -> None:
        self._visit = visit
        self._role = ""

    def messages(self, messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Visit a conversation in OpenAI's chat format; roles, ids, types and names of functions stay."""
        walked = []
        for message in messages:
            self._role = str(message.get("role", ""))
            walked.append(self._message_fields(dict(message), MAX_DEPTH))
        self._role = ""
        return walked

    def value(self, value: Any, field: str = "", depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401 - JSON is anything
        """Visit a JSON value, whose field is `field`; deeper levels than `depth` are replaced by a mark."""
        if isinstance(value, str):
            return self._text(value, field, depth)
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(value, field)
        if not isinstance(value, dict | list | tuple):
            return value
        if depth == 0:
            return mark("nested too deeply")
        if isinstance(value, dict):
            return self._fields(value, depth)
        return [self.value(item, field, depth - 1) for item in value]

    def _message_fields(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - JSON is anything
        """Visit a message's own fields, except those without content."""
        if isinstance(value, list | tuple) and depth:
            return [self._message_fields(item, depth - 1) for item in value]
        if not isinstance(value, dict) or not depth:
            return self.value(value, "", depth)
        result: dict[Any, Any] = {}
        for key, item in value.items():
            if key in _STRUCTURAL_KEYS and isinstance(item, str | int):
                result[key] = item
            elif key == "function" and isinstance(item, dict):
                rest = {name: part for name, part in item.items() if name != "name"}
                walked = self._message_fields(rest, depth - 1)
                result[key] = {name: item[name] if name == "name" else walked[name] for name in item}
            elif isinstance(item, str) and item.startswith("data:") and ";base64," in item[:_DATA_URL_COUNT]:
                result[key] = item
            elif isinstance(item, dict | list | tuple):
                result[key] = self._message_fields(item, depth - 1)
            else:
                result[key] = self.value(item, str(key), depth - 1)
        return result

    def _fields(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key, item in value.items():
            name = self._visit(JsonString(text=key, role=self._role, is_key=True)) if isinstance(key, str) else key
            while name in result:  # two spellings of one value have the same placeholder
                name = f"{name}_"
            result[name] = self.value(item, str(key), depth - 1)
        return result

    def _number(self, value: int, field: str) -> int | str:
        if abs(value) < _MIN_NUMBER or value.bit_length() > _MAX_NUMBER_BITS:
            return value
        digits = str(value)
        new = self._visit(JsonString(text=digits, field=field, role=self._role))
        return value if new == digits else new

    def _text(self, text: str, field: str, depth: int) -> str:
        inner = _parsed(text) if depth else None
        if inner is None:
            return self._visit(JsonString(text=text, field=field, role=self._role))
        new = self.value(inner.value, field, depth - 1)
        return text if new == inner.value else json.dumps(new, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _ParsedJson:
    value: Any


def is_json_string(text: str) -> bool:
    """Return whether a text has the brackets of a JSON object, list or string; its inside is not checked."""
    bare = text.strip()
    return len(bare) > 1 and _BRACKETS.get(bare[0]) == bare[-1]


def _parsed(text: str) -> _ParsedJson | None:
    """Parse a string that is a JSON object, list or string; None if it is not, or if a round trip would change it."""
    if not is_json_string(text):
        return None
    bare = text.strip()
    try:
        return _ParsedJson(value=parse_json(bare, dialect="lossless"))
    except NotStrictError:
        return None

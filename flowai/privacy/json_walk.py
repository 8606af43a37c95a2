"""Walks through JSON and messages to every text in them, JSON inside strings included, and replaces texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.redaction import mark
from flowai.storage.strict_json import NotStrictError, parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DEEPEST_JSON = 64  # nesting beyond this is an attack on the stack, not an answer
_MIN_NUMBER = 1_000_000  # smaller numbers name nobody
_MAX_NUMBER_BITS = 128
# fields of a message that steer and say nothing
_STRUCTURAL_KEYS = frozenset({"role", "type", "id", "tool_call_id", "index", "finish_reason", "detail"})
_BORDERS = {"{": "}", "[": "]", '"': '"'}
_DATA_URL_COUNT = 100  # characters in which a data URL says that it is one


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonString:
    """One text."""

    text: str
    """Its characters; a number's digits."""
    field: str = ""
    """Name of the field it is the value of; empty where there is none."""
    speaker: str = ""
    """Role of the message it stands in; empty outside messages."""
    is_key: bool = False
    """Whether it is the name of a field itself."""


class JsonTextWalk:
    """One way through a value; the order of the texts is always the same.

    Args:
        visit: gives the new text for a text.
    """

    def __init__(self, visit: Callable[[JsonString], str]) -> None:
        self._visit = visit
        self._speaker = ""

    def messages(self, messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Walk through a conversation; roles, ids, types and names of functions stay.

        Args:
            messages: OpenAI's chat format.
        """
        found = []
        for message in messages:
            self._speaker = str(message.get("role", ""))
            found.append(self._framed(dict(message), DEEPEST_JSON))
        self._speaker = ""
        return found

    def value(self, value: Any, field: str = "", depth: int = DEEPEST_JSON) -> Any:  # noqa: ANN401 - JSON is anything
        """Walk through a JSON value.

        Args:
            value: dict, list, tuple, str, int, float, bool or None, nested.
            field: name of the field it is the value of.
            depth: how deep it may go on; what lies deeper is replaced by a mark.
        """
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

    def _framed(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - JSON is anything
        """Walk through a message's own fields, those that steer left out."""
        if isinstance(value, list | tuple) and depth:
            return [self._framed(item, depth - 1) for item in value]
        if not isinstance(value, dict) or not depth:
            return self.value(value, "", depth)
        found: dict[Any, Any] = {}
        for key, item in value.items():
            if key in _STRUCTURAL_KEYS and isinstance(item, str | int):
                found[key] = item
            elif key == "function" and isinstance(item, dict):
                rest = {name: part for name, part in item.items() if name != "name"}
                walked = self._framed(rest, depth - 1)
                found[key] = {name: item[name] if name == "name" else walked[name] for name in item}
            elif isinstance(item, str) and item.startswith("data:") and ";base64," in item[:_DATA_URL_COUNT]:
                found[key] = item
            elif isinstance(item, dict | list | tuple):
                found[key] = self._framed(item, depth - 1)
            else:
                found[key] = self.value(item, str(key), depth - 1)
        return found

    def _fields(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, item in value.items():
            name = (
                self._visit(JsonString(text=key, speaker=self._speaker, is_key=True)) if isinstance(key, str) else key
            )
            while name in found:  # two spellings of one value, and one mark for both
                name = f"{name}_"
            found[name] = self.value(item, str(key), depth - 1)
        return found

    def _number(self, value: int, field: str) -> int | str:
        if abs(value) < _MIN_NUMBER or value.bit_length() > _MAX_NUMBER_BITS:
            return value
        digits = str(value)
        found = self._visit(JsonString(text=digits, field=field, speaker=self._speaker))
        return value if found == digits else found

    def _text(self, text: str, field: str, depth: int) -> str:
        inner = _parsed(text) if depth else None
        if inner is None:
            return self._visit(JsonString(text=text, field=field, speaker=self._speaker))
        found = self.value(inner.value, field, depth - 1)
        return text if found == inner.value else json.dumps(found, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Inner:
    """What a string holds that is JSON."""

    value: Any
    """The JSON value."""


def is_json_string(text: str) -> bool:
    """Tell whether a text is bounded like an object, a list or a string of JSON; it need not be one.

    Args:
        text: any text.
    """
    bare = text.strip()
    return len(bare) > 1 and _BORDERS.get(bare[0]) == bare[-1]


def _parsed(text: str) -> _Inner | None:
    """Read a string that is an object, a list or a string of JSON; None where it is not, or would not survive it."""
    if not is_json_string(text):
        return None
    bare = text.strip()
    try:
        return _Inner(value=parse_json(bare, dialect="lossless"))
    except NotStrictError:
        return None

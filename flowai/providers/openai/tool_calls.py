"""Assembles tool calls from their streamed deltas."""

from __future__ import annotations

from typing import Any, TypeGuard

import msgspec

MAX_TOOL_CALLS = 2**53
"""Larger numbers are not exact in JSON, and ignored."""


class ToolCalls:
    """The tool calls of one answer so far; false while there are none."""

    def __init__(self) -> None:
        self._calls: dict[int, _ToolCall] = {}
        self._last = -1

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, deltas: Any) -> tuple[dict[str, Any], ...]:  # noqa: ANN401 - JSON is anything
        """Add the `tool_calls` of one chunk, and return them normalised: each with its `index`, all values texts.

        Values of other types are ignored.
        """
        if not isinstance(deltas, list):
            return ()
        return tuple(self._delta(item) for item in deltas if isinstance(item, dict))

    def as_json(self) -> list[dict[str, Any]]:
        """Return the complete calls, ordered by index."""
        return [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(call.arguments)}}
            for _, call in sorted(self._calls.items())
        ]

    def _delta(self, item: dict[str, Any]) -> dict[str, Any]:
        function = item.get("function")
        function = function if isinstance(function, dict) else {}
        name, arguments = text_of(function.get("name")), _arguments(function.get("arguments"))
        index, call_id = self._index(item), text_of(item.get("id"))
        call = self._calls.setdefault(index, _ToolCall())
        call.id = call.id or call_id
        call.name = call.name or name
        call.arguments.append(arguments)
        if call_id or name:
            return {
                "index": index,
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
        return {"index": index, "function": {"arguments": arguments}}

    def _index(self, item: dict[str, Any]) -> int:
        """Return the index of a delta's call; servers without an index send each call as a whole, with an id."""
        index = item.get("index")
        if is_count(index):
            self._last = index
        elif item.get("id") or self._last < 0:
            self._last += 1
        return self._last


class _ToolCall:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


def is_count(value: Any) -> TypeGuard[int]:  # noqa: ANN401 - JSON is anything
    """Return whether a value is a valid count."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_TOOL_CALLS


def text_of(value: Any) -> str:  # noqa: ANN401 - JSON is anything
    """Return a text, or the joined texts of a list of parts; empty for other types."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    return "".join(part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))


def _arguments(value: Any) -> str:  # noqa: ANN401 - JSON is anything
    """Return a call's arguments as text; some servers send an object."""
    if not isinstance(value, dict):
        return text_of(value)
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:  # nested to the limit of the stack
        return ""

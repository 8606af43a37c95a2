"""Assembles tool calls from their streamed deltas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import msgspec

from flowai.providers.openai.characters import CharacterJoiner

MAX_TOOL_CALLS = 2**53
"""Larger numbers are not exact in JSON, and ignored."""


def tool_call_problem(
    calls: Sequence[Mapping[str, Any]], finish_reason: str | None, *, may_lack_arguments: bool = False
) -> str | None:
    """Return why the tool calls of a finished answer cannot be run; None if they can, or if there are none."""
    if not calls:
        return "the answer ended with `tool_calls`, but no tool call came" if finish_reason == "tool_calls" else None
    for number, call in enumerate(calls, start=1):
        function = call.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not name:
            return f"tool call {number} of {len(calls)} has no name"
        is_lack_allowed = may_lack_arguments and not _has_arguments(call)
        if not is_lack_allowed and not _is_json_object(function.get("arguments")):
            return f"the arguments of tool call {number} of {len(calls)} are not a JSON object"
    return None


def repaired_calls(calls: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Return finished tool calls with `{}` in place of empty arguments, as some providers send for none."""
    if all(_has_arguments(call) for call in calls):
        return calls
    return tuple(
        call if _has_arguments(call) else {**call, "function": {**call["function"], "arguments": "{}"}}
        for call in calls
    )


def _has_arguments(call: Mapping[str, Any]) -> bool:
    """Return whether there is nothing to repair."""
    function = call.get("function")
    if not isinstance(function, Mapping):
        return True
    arguments = function.get("arguments")
    return arguments is not None and not (isinstance(arguments, str) and not arguments.strip())


def _is_json_object(arguments: object) -> bool:
    if not isinstance(arguments, str):
        return False
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


class ToolCalls:
    """The tool calls of one answer so far; false while there are none."""

    def __init__(self) -> None:
        self.problem: str | None = None
        """Why the calls cannot be told apart; None if they can."""
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
        added = (self._delta(item) for item in deltas if isinstance(item, dict))
        return tuple(delta for delta in added if delta is not None)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the complete calls, ordered by index."""
        return [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(call.arguments)}}
            for _, call in sorted(self._calls.items())
        ]

    def _delta(self, item: dict[str, Any]) -> dict[str, Any] | None:
        function = item.get("function")
        function = function if isinstance(function, dict) else {}
        name, index, call_id = text_of(function.get("name")), self._index(item), text_of(item.get("id"))
        arguments = _arguments(function.get("arguments"))
        if not (name or call_id or arguments or index in self._calls):
            return None  # nothing that could be a call
        call = self._calls.setdefault(index, _ToolCall())
        arguments = call.joiner.feed(arguments)
        if call.joiner.is_broken:
            self.problem = "the arguments of a tool call contain half of a character"
        if call.id and call_id and call.id != call_id:
            self.problem = f"two tool calls came under one index ({index})"
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
        self.joiner = CharacterJoiner()


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

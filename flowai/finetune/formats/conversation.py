"""Parses a pair's request into turns that every format can represent: one text each, and answered tool calls.

OpenAI's `developer` becomes `system`; a list of text parts becomes one text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from flowai.storage.strict_json import is_object

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.finetune.records import Pair

Role = Literal["system", "user", "assistant", "tool"]

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


@dataclass(frozen=True, slots=True)
class FormatViolation:
    """Reason why a format cannot represent a pair."""

    rule: str
    """Rule of `flowai finetune check` that it breaks."""
    detail: str
    """Explanation for a reader; never the text itself."""


class FormatViolationError(Exception):
    """Carries the first violation to `Format.rows`."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.violation = FormatViolation(rule, detail)


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnToolCall:
    """A tool call of an assistant."""

    id: str
    name: str
    arguments: str
    """JSON object as text, as the model wrote it."""

    def values(self) -> dict[str, Any]:
        """Return the arguments as JSON values, for consumers whose templates write the JSON themselves."""
        parsed: dict[str, Any] = json.loads(self.arguments)
        return parsed


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """A message of a conversation."""

    role: Role
    text: str
    """Empty only for a tool's empty answer, or an assistant's message with tool calls only."""
    calls: tuple[TurnToolCall, ...] = ()
    """Only of an assistant."""
    call_id: str = ""
    """Id of the answered tool call; only of a tool."""
    name: str = ""
    """Name of the participant or tool; empty without one."""


def parse_conversation(pair: Pair) -> tuple[Turn, ...]:
    """Return the turns of a pair's request, the last of them not an assistant's."""
    turns = [_turn(message, f"messages[{index}]") for index, message in enumerate(pair.messages)]
    _check_order(turns)
    return tuple(turns)


def check_system_turn_first(turns: Iterable[Turn]) -> None:
    """Check that no system message follows another one: chat templates know one, at the top."""
    for index, turn in enumerate(turns):
        if index and turn.role == "system":
            raise FormatViolationError("roles/system", f"messages[{index}]: a system message that is not the first")


def check_has_user_turn(turns: Iterable[Turn]) -> None:
    """Check that a turn is a user's or a tool's: chat templates require one before an answer."""
    if not any(turn.role in {"user", "tool"} for turn in turns):
        raise FormatViolationError("roles/no_request", "only a system message; a chat template requires a user's")


def checked_text(text: str | None, key: str) -> str:
    """Return a text for training that is not empty and can be encoded as UTF-8."""
    if text is None or not text.strip():
        raise FormatViolationError("content/empty", f"{key} is empty")
    return _encodable(text, key)


def _turn(message: dict[str, Any], key: str) -> Turn:
    role = _ROLES.get(str(message.get("role")))
    if role is None:
        raise FormatViolationError("role/unknown", f"{key}: no format has this role")
    text = _text(message.get("content"), f"{key}.content")
    calls = _tool_calls(message, key) if role == "assistant" else ()
    if not text.strip() and not calls and role != "tool":
        raise FormatViolationError("content/empty", f"{key}.content is empty")
    call_id = str(message.get("tool_call_id") or "") if role == "tool" else ""
    name = message.get("name")
    return Turn(
        role=role,
        text=text,
        calls=calls,
        call_id=call_id,
        name=name if isinstance(name, str) and _is_encodable(name) else "",
    )


def _text(content: Any, key: str) -> str:  # noqa: ANN401 - a message's content is a text, or parts
    parts = content if isinstance(content, list) else [content or ""]
    values = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else part for part in parts]
    texts = [text for text in values if isinstance(text, str)]
    if len(texts) < len(parts):
        raise FormatViolationError("content/part", f"{key} contains more than text")
    return _encodable("".join(texts), key)


def _tool_calls(message: dict[str, Any], key: str) -> tuple[TurnToolCall, ...]:
    return tuple(
        _tool_call(call, f"{key}.tool_calls[{index}]") for index, call in enumerate(message.get("tool_calls") or ())
    )


def _tool_call(call: Any, key: str) -> TurnToolCall:  # noqa: ANN401 - any JSON value
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise FormatViolationError("tools/call", f"{key} has no function")
    arguments = function.get("arguments") or "{}"
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if not is_object(arguments):
        raise FormatViolationError("tools/arguments", f"{key}: arguments are not a JSON object")
    id_, name = str(call.get("id") or ""), str(function.get("name") or "")
    if not id_ or not name or not _is_encodable(id_ + name + arguments):
        raise FormatViolationError("tools/call", f"{key} has no id or no name")
    return TurnToolCall(id=id_, name=name, arguments=arguments)


def _check_order(turns: list[Turn]) -> None:
    unanswered: set[str] = set()
    for index, turn in enumerate(turns):
        key = f"messages[{index}]"
        if turn.role == "tool" and turn.call_id in unanswered:
            unanswered.discard(turn.call_id)
            continue
        if turn.role == "tool" or unanswered:
            rule = "tools/without_call" if turn.role == "tool" else "tools/unanswered"
            raise FormatViolationError(rule, f"{key}: a tool's answer and its call do not match")
        if turn.role == "assistant" and index and turns[index - 1].role == "assistant":
            raise FormatViolationError("roles/order", f"{key}: an assistant's message after an assistant's")
        unanswered = {call.id for call in turn.calls}
        if len(unanswered) < len(turn.calls):
            raise FormatViolationError("tools/duplicate_id", f"{key}: two calls with the same id")
    if turns[-1].role == "assistant":
        raise FormatViolationError("roles/order", "the request ends with an assistant's message")
    if unanswered:
        raise FormatViolationError("tools/unanswered", "a call has no answer")


def _encodable(text: str, key: str) -> str:
    if not _is_encodable(text):
        raise FormatViolationError("json/surrogate", f"{key} has half a character")
    return text


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

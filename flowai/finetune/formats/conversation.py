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


@dataclass(frozen=True, kw_only=True, slots=True)
class FormatViolation:
    """Reason why a format cannot represent a pair."""

    rule: str
    """Rule of `flowai finetune check` that it breaks."""
    detail: str
    """Explanation for a reader; never the text itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnToolCall:
    """A tool call of an assistant."""

    id: str
    """Named by the tool's answer."""
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


def parse_conversation(pair: Pair) -> tuple[Turn, ...] | FormatViolation:
    """Return the turns of a pair's request, the last of them not an assistant's; or the first violation."""
    turns: list[Turn] = []
    for index, message in enumerate(pair.messages):
        turn = _turn(message, f"messages[{index}]")
        if isinstance(turn, FormatViolation):
            return turn
        turns.append(turn)
    return _order(turns) or tuple(turns)


def check_system_turn_first(turns: Iterable[Turn]) -> FormatViolation | None:
    """Return a violation if a system message is not the first: chat templates know one, at the top."""
    for index, turn in enumerate(turns):
        if index and turn.role == "system":
            return FormatViolation(
                rule="roles/system", detail=f"messages[{index}]: a system message that is not the first"
            )
    return None


def check_has_user_turn(turns: Iterable[Turn]) -> FormatViolation | None:
    """Return a violation if no turn is a user's or a tool's: chat templates require one before an answer."""
    if any(turn.role in {"user", "tool"} for turn in turns):
        return None
    return FormatViolation(rule="roles/no_request", detail="only a system message; a chat template requires a user's")


def check_text(text: str | None, key: str) -> str | FormatViolation:
    """Return a text for training, or a violation if it is empty or cannot be encoded as UTF-8."""
    if text is None or not text.strip():
        return FormatViolation(rule="content/empty", detail=f"{key} is empty")
    return text if _is_encodable(text) else FormatViolation(rule="json/surrogate", detail=f"{key} has half a character")


def _turn(message: dict[str, Any], key: str) -> Turn | FormatViolation:
    role = _ROLES.get(str(message.get("role")))
    if role is None:
        return FormatViolation(rule="role/unknown", detail=f"{key}: no format has this role")
    text = _text(message.get("content"), key)
    if isinstance(text, FormatViolation):
        return text
    calls = _tool_calls(message, key) if role == "assistant" else ()
    if isinstance(calls, FormatViolation):
        return calls
    if not text.strip() and not calls and role != "tool":
        return FormatViolation(rule="content/empty", detail=f"{key}.content is empty")
    call_id = str(message.get("tool_call_id") or "") if role == "tool" else ""
    return Turn(role=role, text=text, calls=calls, call_id=call_id, name=_name(message))


def _name(message: dict[str, Any]) -> str:
    name = message.get("name")
    return name if isinstance(name, str) and _is_encodable(name) else ""


def _text(content: Any, key: str) -> str | FormatViolation:  # noqa: ANN401 - a message's content is a text, or parts
    parts = content if isinstance(content, list) else [content or ""]
    values = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else part for part in parts]
    texts = [text for text in values if isinstance(text, str)]
    if len(texts) < len(parts):
        return FormatViolation(rule="content/part", detail=f"{key}.content contains more than text")
    joined = "".join(texts)
    return (
        joined
        if _is_encodable(joined)
        else FormatViolation(rule="json/surrogate", detail=f"{key}.content has half a character")
    )


def _tool_calls(message: dict[str, Any], key: str) -> tuple[TurnToolCall, ...] | FormatViolation:
    parsed: list[TurnToolCall] = []
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return FormatViolation(rule="tools/call", detail=f"{key}.tool_calls[{index}] has no function")
        arguments = function.get("arguments") or "{}"
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if not is_object(arguments):
            return FormatViolation(
                rule="tools/arguments", detail=f"{key}.tool_calls[{index}]: arguments are not a JSON object"
            )
        parsed_call = TurnToolCall(
            id=str(call.get("id") or ""), name=str(function.get("name") or ""), arguments=arguments
        )
        if (
            not parsed_call.id
            or not parsed_call.name
            or not _is_encodable(parsed_call.id + parsed_call.name + arguments)
        ):
            return FormatViolation(rule="tools/call", detail=f"{key}.tool_calls[{index}] has no id or no name")
        parsed.append(parsed_call)
    return tuple(parsed)


def _order(turns: list[Turn]) -> FormatViolation | None:
    unanswered: set[str] = set()
    for index, turn in enumerate(turns):
        key = f"messages[{index}]"
        if turn.role == "tool" and turn.call_id in unanswered:
            unanswered.discard(turn.call_id)
            continue
        if turn.role == "tool" or unanswered:
            rule = "tools/without_call" if turn.role == "tool" else "tools/unanswered"
            return FormatViolation(rule=rule, detail=f"{key}: a tool's answer and its call do not match")
        if turn.role == "assistant" and index and turns[index - 1].role == "assistant":
            return FormatViolation(rule="roles/order", detail=f"{key}: an assistant's message after an assistant's")
        unanswered = {call.id for call in turn.calls}
        if len(unanswered) < len(turn.calls):
            return FormatViolation(rule="tools/duplicate_id", detail=f"{key}: two calls with the same id")
    if turns[-1].role == "assistant":
        return FormatViolation(rule="roles/order", detail="the request ends with an assistant's message")
    return FormatViolation(rule="tools/unanswered", detail="a call has no answer") if unanswered else None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

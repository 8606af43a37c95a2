"""A pair's request as every format reads it: turns with one text each, and tool calls that have their answers.

Only what all consumers agree on is a turn: a system text, a user's, an assistant's, a tool's. OpenAI's `developer` is
the system of newer models; a list of text parts is one text.
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
    """Why a format cannot hold a pair."""

    rule: str
    """The rule it breaks, by the names of `flowai finetune check`."""
    detail: str
    """What was found, for a person; never the text itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One tool call of an assistant."""

    id: str
    """What the tool's answer names."""
    name: str
    """The function."""
    arguments: str
    """Its arguments, a JSON object as text, as the model wrote them."""

    def values(self) -> dict[str, Any]:
        """Give the arguments as values, for consumers whose templates write the JSON themselves."""
        parsed: dict[str, Any] = json.loads(self.arguments)
        return parsed


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One message."""

    role: Role
    """Who speaks."""
    text: str
    """What they say; empty only where a tool says nothing, or an assistant only calls tools."""
    calls: tuple[Call, ...] = ()
    """Tool calls, in order; only an assistant's."""
    call_id: str = ""
    """Which call is answered; only a tool's."""
    name: str = ""
    """The participant's or the tool's name; empty where there is none."""


def conversation_of(pair: Pair) -> tuple[Turn, ...] | FormatViolation:
    """Read a pair's request.

    Returns:
        At least one turn, the last of them not an assistant's; or the first thing that no format can hold.
    """
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
    """Return a violation if no turn is a user's or a tool's: chat templates want one before an answer."""
    if any(turn.role in {"user", "tool"} for turn in turns):
        return None
    return FormatViolation(rule="roles/no_request", detail="only a system message; a chat template wants a user's")


def to_text(text: str | None, key: str) -> str | FormatViolation:
    """Give a text that can be trained on: there is one, and it can be written as UTF-8."""
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
    calls = _calls(message, key) if role == "assistant" else ()
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
    found = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else part for part in parts]
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(parts):
        return FormatViolation(rule="content/part", detail=f"{key}.content holds more than text")
    joined = "".join(texts)
    return (
        joined
        if _is_encodable(joined)
        else FormatViolation(rule="json/surrogate", detail=f"{key}.content has half a character")
    )


def _calls(message: dict[str, Any], key: str) -> tuple[Call, ...] | FormatViolation:
    found: list[Call] = []
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return FormatViolation(rule="tools/call", detail=f"{key}.tool_calls[{index}] has no function")
        arguments = function.get("arguments") or "{}"
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if not is_object(arguments):
            return FormatViolation(
                rule="tools/arguments", detail=f"{key}.tool_calls[{index}]: arguments are no JSON object"
            )
        made = Call(id=str(call.get("id") or ""), name=str(function.get("name") or ""), arguments=arguments)
        if not made.id or not made.name or not _is_encodable(made.id + made.name + arguments):
            return FormatViolation(rule="tools/call", detail=f"{key}.tool_calls[{index}] has no id or no name")
        found.append(made)
    return tuple(found)


def _order(turns: list[Turn]) -> FormatViolation | None:
    waiting: set[str] = set()
    for index, turn in enumerate(turns):
        key = f"messages[{index}]"
        if turn.role == "tool" and turn.call_id in waiting:
            waiting.discard(turn.call_id)
            continue
        if turn.role == "tool" or waiting:
            rule = "tools/without_call" if turn.role == "tool" else "tools/unanswered"
            return FormatViolation(rule=rule, detail=f"{key}: a tool's answer and its call do not meet")
        if turn.role == "assistant" and index and turns[index - 1].role == "assistant":
            return FormatViolation(rule="roles/order", detail=f"{key}: an assistant's message after an assistant's")
        waiting = {call.id for call in turn.calls}
        if len(waiting) < len(turn.calls):
            return FormatViolation(rule="tools/duplicate_id", detail=f"{key}: two calls with one id")
    if turns[-1].role == "assistant":
        return FormatViolation(rule="roles/order", detail="the request ends with an assistant's message")
    return FormatViolation(rule="tools/unanswered", detail="a call has no answer") if waiting else None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Rules for a list of chat messages: their shape, their order, their tool calls."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from flowai.finetune.check.records import ProblemMatch
from flowai.storage.strict_json import NotStrictError, is_object, parse_json, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

JsonObject = dict[str, Any]

CHAT_ROLES = frozenset({"system", "user", "assistant", "tool"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """Messages that a consumer accepts."""

    roles: frozenset[str] = CHAT_ROLES
    keys: frozenset[str] | None = None
    """Allowed keys; None if unknown keys are ignored."""
    parts: frozenset[str] = frozenset({"text"})
    """Allowed types of content parts."""
    arguments_are_text: bool = False
    """Whether a tool call's arguments must be JSON as text."""
    allows_late_system: bool = False
    """Whether a system message may follow other messages."""


OPENAI = Dialect(
    roles=CHAT_ROLES | {"developer", "function"},
    keys=frozenset(
        {"role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal", "audio"}
    ),
    parts=frozenset({"text", "image_url", "refusal"}),
    arguments_are_text=True,
    allows_late_system=True,
)
CHAT_TEMPLATE_DIALECT = Dialect(parts=frozenset({"text", "image"}))

LastRole = Literal["answer", "request", "anything"]
"""Required end of a list of messages."""


def check_messages(value: Any, key: str, dialect: Dialect, *, ends: LastRole) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    """Yield the problems of a list of messages, found at `key`, which must end with `ends`."""
    if not isinstance(value, list):
        yield ProblemMatch("row/key_type", key, f"found {type_of(value)}, expected a list of messages")
        return
    if not value:
        yield ProblemMatch("messages/empty", key)
        return
    has_problem = False
    for index, message in enumerate(value):
        for problem in _shape(message, f"{key}[{index}]", dialect):
            has_problem = True
            yield problem
    if not has_problem:
        yield from _order(value, key, dialect, ends)
        yield from _tools(value, key, dialect)


def check_content(value: Any, key: str, dialect: Dialect, *, may_be_empty: bool) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    """Yield the problems of a message's content; `may_be_empty` is for tools and their calls."""
    if value is None:
        if not may_be_empty:
            yield ProblemMatch("content/null", key)
    elif isinstance(value, str):
        if not value.strip() and not may_be_empty:
            yield ProblemMatch("content/empty", key)
    elif isinstance(value, list):
        yield from _parts(value, key, dialect, may_be_empty=may_be_empty)
    else:
        yield ProblemMatch("content/type", key, f"found {type_of(value)}")


def messages_in(value: Any) -> list[JsonObject]:  # noqa: ANN401 - any file
    """Return the objects of a list; none for other values."""
    return [message for message in value if isinstance(message, dict)] if isinstance(value, list) else []


def type_of(value: Any) -> str:  # noqa: ANN401 - JSON is anything
    """Return the name of a JSON value's type, with its article."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def check_definitions(value: Any, key: str) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    """Yield the problems of tool definitions: a list of functions with names, or the same as JSON text."""
    if isinstance(value, str):
        try:
            value = parse_json(value) if value.strip() else []
        except NotStrictError:
            yield ProblemMatch("tools/definition", key, "found a text that is not JSON")
            return
    if value is None:
        return
    if not isinstance(value, list):
        yield ProblemMatch("tools/definition", key, f"found {type_of(value)}, expected a list")
        return
    for index, tool in enumerate(value):
        if not function_name(tool):
            yield ProblemMatch("tools/definition", f"{key}[{index}]", "no name")


def function_name(tool: Any) -> str:  # noqa: ANN401 - any file
    """Return the name of a tool's function; empty without one."""
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else ""


def _shape(message: Any, key: str, dialect: Dialect) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    if not isinstance(message, dict):
        yield ProblemMatch("message/type", key, f"found {type_of(message)}")
        return
    role = message.get("role")
    if "role" not in message:
        yield ProblemMatch("role/missing", key)
    elif not isinstance(role, str):
        yield ProblemMatch("role/type", f"{key}.role", f"found {type_of(role)}")
    elif role not in dialect.roles:
        expected = ", ".join(f"`{known}`" for known in sorted(dialect.roles))
        yield ProblemMatch("role/unknown", f"{key}.role", f"found `{printable(role)}`, expected {expected}")
    if dialect.keys is not None:
        for name in sorted(message.keys() - dialect.keys):
            yield ProblemMatch("message/unknown_key", key, f"`{printable(name)}`")
    has_calls = message.get("tool_calls") is not None or message.get("function_call") is not None
    if "content" not in message:
        if not has_calls:
            yield ProblemMatch("content/missing", key)
    else:
        may_be_empty = has_calls or role in ("tool", "function") or bool(message.get("refusal"))
        yield from check_content(message["content"], f"{key}.content", dialect, may_be_empty=may_be_empty)


def _parts(parts: list[Any], key: str, dialect: Dialect, *, may_be_empty: bool) -> Iterator[ProblemMatch]:
    has_problem, has_content = False, may_be_empty
    for index, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if (
            not isinstance(kind, str)
            or kind not in dialect.parts
            or (kind == "text" and not isinstance(part.get("text"), str))
        ):
            has_problem = True
            problem = (
                "a text part without its text" if kind == "text" else f"found a part of type `{printable(str(kind))}`"
            )
            yield ProblemMatch("content/part", f"{key}[{index}]", problem)
        else:
            has_content = has_content or kind != "text" or bool(part["text"].strip())
    if not has_problem and not has_content:
        yield ProblemMatch("content/empty", key)


def _order(messages: list[JsonObject], key: str, dialect: Dialect, ends: LastRole) -> Iterator[ProblemMatch]:
    roles = ["system" if message["role"] == "developer" else message["role"] for message in messages]
    for index, (before, role) in enumerate(pairwise(roles), start=1):
        place = f"{key}[{index}].role"
        if role == "system" and not dialect.allows_late_system:
            yield ProblemMatch("roles/system", place)
        elif role == before == "assistant" and not messages[index - 1].get("tool_calls"):
            yield ProblemMatch("roles/order", place, "an assistant's message after an assistant's")
        elif role == before and role in {"user", "system"}:
            yield ProblemMatch("roles/repeated", place, f"`{role}` after `{before}`")
    last = f"{key}[{len(roles) - 1}].role"
    if ends == "request" and roles[-1] == "assistant":
        yield ProblemMatch("roles/order", last, "the request ends with an answer")
    elif ends == "answer":
        yield from _answered(roles, key, last)
    if ends != "anything" and roles[0] == "assistant" and len(roles) == 1:
        yield ProblemMatch("roles/no_request", key)


def _answered(roles: list[str], key: str, last: str) -> Iterator[ProblemMatch]:
    if "assistant" not in roles:
        yield ProblemMatch("roles/no_answer", key)
    elif roles[-1] != "assistant":
        yield ProblemMatch("roles/last", last, f"found `{roles[-1]}`, expected `assistant`")


def _tools(messages: list[JsonObject], key: str, dialect: Dialect) -> Iterator[ProblemMatch]:
    """Yield unmatched tool calls and answers; calls of the last message are to be learned and need no answer."""
    unanswered: set[str] | None = set()  # None after invalid calls, whose answers cannot be matched
    for index, message in enumerate(messages):
        place = f"{key}[{index}]"
        if message["role"] == "tool":
            call_id = message.get("tool_call_id")
            if unanswered is not None and (not isinstance(call_id, str) or call_id not in unanswered):
                yield ProblemMatch("tools/without_call", place)
                unanswered = None
            elif unanswered is not None and isinstance(call_id, str):
                unanswered.discard(call_id)
            continue
        if unanswered:
            yield ProblemMatch("tools/unanswered", place, f"{len(unanswered)} calls have no answer")
        unanswered = set()
        calls = message.get("tool_calls")
        if calls is not None:
            problems = list(_calls(calls, f"{place}.tool_calls", message["role"], dialect))
            yield from problems
            unanswered = None if problems else set(_ids(calls))


def _ids(calls: Any) -> list[str]:  # noqa: ANN401 - any file
    ids = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return [id_ for id_ in ids if isinstance(id_, str)]


def _calls(calls: Any, key: str, role: str, dialect: Dialect) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    if not isinstance(calls, list) or not calls or role != "assistant":
        found = f"found {type_of(calls)}" if not isinstance(calls, list) else "empty" if not calls else f"on `{role}`"
        yield ProblemMatch("tools/calls", key, found)
        return
    ids = _ids(calls)
    if len(set(ids)) < len(ids):
        yield ProblemMatch("tools/duplicate_id", key)
    for index, call in enumerate(calls):
        yield from _call(call, f"{key}[{index}]", dialect)


def _call(call: Any, key: str, dialect: Dialect) -> Iterator[ProblemMatch]:  # noqa: ANN401 - any file
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        yield ProblemMatch("tools/call", key, "no function with a name")
        return
    if dialect.arguments_are_text and (not isinstance(call.get("id"), str) or call.get("type") != "function"):
        yield ProblemMatch("tools/call", key, "no `id`, or a `type` other than `function`")
    if not are_arguments_valid(function.get("arguments"), as_text=dialect.arguments_are_text):
        expected = "a JSON object written as a text" if dialect.arguments_are_text else "a JSON object"
        found = type_of(function.get("arguments"))
        yield ProblemMatch("tools/arguments", f"{key}.function.arguments", f"found {found}, expected {expected}")


def are_arguments_valid(value: Any, *, as_text: bool) -> bool:  # noqa: ANN401 - any file
    """Return whether a tool call's arguments are a JSON object, or one as text; with `as_text` only the latter."""
    return is_object(value) if isinstance(value, str) else isinstance(value, dict) and not as_text

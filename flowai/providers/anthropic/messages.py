"""Converts messages from OpenAI's chat format into Anthropic's, as LiteLLM does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.anthropic.unproven import UnprovenRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.providers.client import ChatMessage

Block = dict[str, Any]
"""One content block in Anthropic's format."""

EMPTY_TEXT = "[System: Empty message content sanitised to satisfy protocol]"
"""LiteLLM's replacement of an empty text, which Anthropic refuses."""
_SYSTEM_ROLES = ("system", "developer")
_KEYS = {
    "system": frozenset({"role", "content", "name", "cache_control"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name", "cache_control"}),
    "tool": frozenset({"role", "content", "name", "cache_control", "tool_call_id"}),
    "assistant": frozenset(
        {"role", "content", "name", "cache_control", "tool_calls", "thinking_blocks", "refusal", "reasoning_content"}
    ),
}
_CALL_KEYS = frozenset({"id", "type", "function", "index", "cache_control"})
_DOCUMENT_URL = re.compile("data:(?:application/pdf|text/plain)[;,]")
_FOREIGN_SIGNATURE = "litellm_"
"""Begin of signatures that LiteLLM makes up for other providers' thinking."""
_SERVER_CALL = "srvtoolu_"
"""Begin of the ids of calls that Anthropic executed itself."""


def convert_messages(messages: Sequence[ChatMessage]) -> tuple[list[Block], list[Block]]:
    """Return the system blocks and the messages in Anthropic's format.

    Neighbouring messages of one side are merged: in the protocol, user and assistant take turns.

    Raises:
        UnprovenRequestError: LiteLLM must convert them.
    """
    cleaned = [_without_empty_fields(message) for message in messages]
    start = next((index for index, message in enumerate(cleaned) if message["role"] not in _SYSTEM_ROLES), None)
    if start is None:
        raise UnprovenRequestError("no message but the system's")
    system = [block for message in cleaned[:start] for block in _system_blocks(message)]
    turns: list[Block] = []
    call_ids: set[str] = set()  # of the current assistant's turn
    for message in cleaned[start:]:
        role = "assistant" if message["role"] == "assistant" else "user"
        if not turns or turns[-1]["role"] != role:
            call_ids = set()
            turns.append({"role": role, "content": []})
        turns[-1]["content"] += _assistant_blocks(message, call_ids) if role == "assistant" else _user_blocks(message)
    if not all(turn["content"] for turn in turns):
        raise UnprovenRequestError("an empty turn")
    if turns[-1]["role"] == "assistant":
        for block in turns[-1]["content"]:
            if block["type"] == "text":
                block["text"] = block["text"].rstrip()  # Anthropic refuses a prefill that ends with a space
    return system, turns


def _without_empty_fields(message: ChatMessage) -> ChatMessage:
    fields = {key: value for key, value in message.items() if value is not None}
    keys = _KEYS.get(fields.get("role", ""))
    if keys is None or not fields.keys() <= keys:
        raise UnprovenRequestError("an unusual message")
    return fields


def _system_blocks(message: ChatMessage) -> list[Block]:
    content = message.get("content")
    if isinstance(content, str):
        return [_cached({"type": "text", "text": content}, message)] if content else []
    return [_text_block(part, text) for part in _parts(content) if (text := _text_of(part))]


def _user_blocks(message: ChatMessage) -> list[Block]:
    match message["role"]:
        case "tool":
            return [_tool_result(message)]
        case "user":
            content = message.get("content")
            if isinstance(content, str):
                return [_cached({"type": "text", "text": _filled(content)}, message)]
            return [_user_block(part) for part in _parts(content)]
    raise UnprovenRequestError("a system message within the conversation")


def _user_block(part: Block) -> Block:
    match part.get("type"):
        case "text":
            return _text_block(part, _filled(_text_of(part)))
        case "image_url":
            return _cached(_image(part), part)
        case "file":
            return _cached(_document(part), part)
    raise UnprovenRequestError("an unusual content part")


def _assistant_blocks(message: ChatMessage, call_ids: set[str]) -> list[Block]:
    blocks = _thinking_blocks(message.get("thinking_blocks", ()))
    content = message.get("content")
    if isinstance(content, str):
        blocks.append(_cached({"type": "text", "text": _filled(content)}, message))
    elif content is not None:
        blocks += [_text_block(part, _filled(_text_of(part))) for part in _parts(content)]
    for call in _parts(message.get("tool_calls", ())):
        block = _tool_use(call)
        if block["id"] not in call_ids:
            call_ids.add(block["id"])
            blocks.append(block)
    return blocks


def _thinking_blocks(value: Any) -> list[Block]:  # noqa: ANN401 - JSON is anything
    """Return the thinking that Anthropic signed; it refuses any other."""
    kept = []
    for block in _parts(value):
        match block:
            case {"type": "thinking", "thinking": str(), "signature": str(proof), **rest} if not rest:
                pass
            case {"type": "redacted_thinking", "data": str(proof), **rest} if proof and not rest:
                pass
            case _:
                raise UnprovenRequestError("an unusual thinking block")
        if proof.startswith(_FOREIGN_SIGNATURE):
            raise UnprovenRequestError("thinking of another provider")
        if proof:
            kept.append(block)
    return kept


def _tool_use(call: Block) -> Block:
    function = call.get("function")
    if call.get("type") != "function" or not isinstance(function, dict) or not call.keys() <= _CALL_KEYS:
        raise UnprovenRequestError("an unusual tool call")
    name, arguments = function.get("name"), function.get("arguments") or "{}"
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise UnprovenRequestError("an unusual tool call")
    call_id = _call_id(call.get("id"))
    return _cached({"type": "tool_use", "id": call_id, "name": name, "input": _raw_json(arguments)}, call)


def _raw_json(text: str) -> msgspec.Raw:
    """Return a call's arguments as they are, if they are JSON; LiteLLM repairs others."""
    data = text.strip() or "{}"
    try:
        msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise UnprovenRequestError("arguments that are not JSON") from None
    return msgspec.Raw(data.encode())


def _tool_result(message: ChatMessage) -> Block:
    content = message.get("content")
    block: Block = {"type": "tool_result", "tool_use_id": _call_id(message.get("tool_call_id"))}
    block["content"] = content if isinstance(content, str) else [_result_block(part) for part in _parts(content)]
    return _cached(block, message)


def _result_block(part: Block) -> Block:
    match part:
        case {"type": "text"}:
            return _text_block(part, _text_of(part))
        case {"type": "image_url"}:
            url = _image_url(part)
            if _DOCUMENT_URL.match(url):
                return _cached({"type": "document", "source": _base64_source(url, None)}, part)
            return _cached(_image(part), part)
        case {"type": "file"}:
            return _cached(_document(part), part)
    raise UnprovenRequestError("an unusual content part")


def _call_id(value: Any) -> str:  # noqa: ANN401 - JSON is anything
    """Return the id of a tool call with the characters that Anthropic accepts."""
    if not isinstance(value, str) or not value or value.startswith(_SERVER_CALL):
        raise UnprovenRequestError("an unusual id of a tool call")
    return re.sub("[^a-zA-Z0-9_-]", "_", value)


def _image(part: Block) -> Block:
    """Return an image block; Anthropic fetches an https address itself, LiteLLM one without encryption."""
    url = _image_url(part)
    if url.startswith("https://"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    given = part["image_url"]
    media_type = given.get("format") if isinstance(given, dict) else None
    return {"type": "image", "source": _base64_source(url, media_type)}


def _image_url(part: Block) -> str:
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise UnprovenRequestError("an image without an address")
    return url


def _document(part: Block) -> Block:
    file = part.get("file")
    if not isinstance(file, dict) or file.get("file_id") or not isinstance(file.get("file_data"), str):
        raise UnprovenRequestError("a file without its content")
    return {"type": "document", "source": _base64_source(file["file_data"], file.get("format"))}


def _base64_source(url: str, media_type: Any) -> Block:  # noqa: ANN401 - JSON is anything
    """Return the source of a `data:` address.

    Args:
        url: the address.
        media_type: wins over the address's own; may be None.
    """
    own_type, mark, data = url.removeprefix("data:").partition(";base64,")
    is_usual = url.startswith("data:") and mark and "data:" not in own_type + data and mark not in data
    if not is_usual or not isinstance(media_type or "", str):
        raise UnprovenRequestError("an unusual address")
    return {"type": "base64", "media_type": media_type or own_type.replace("\\/", "/"), "data": data}


def _text_block(part: Block, text: str) -> Block:
    return _cached({"type": "text", "text": text}, part)


def _text_of(part: Block) -> str:
    text = part.get("text")
    if part.get("type") != "text" or not isinstance(text, str):
        raise UnprovenRequestError("an unusual text part")
    return text


def _filled(text: str) -> str:
    return text if text.strip() else EMPTY_TEXT


def _cached(block: Block, source: Block) -> Block:
    """Return a block with the cache control of the message or part that it comes from."""
    if "cache_control" in source:
        if not isinstance(source["cache_control"], dict):
            raise UnprovenRequestError("an unusual cache control")
        block["cache_control"] = source["cache_control"]
    return block


def _parts(content: Any) -> list[Block]:  # noqa: ANN401 - JSON is anything
    if not isinstance(content, list | tuple) or not all(isinstance(part, dict) for part in content):
        raise UnprovenRequestError("an unusual content")
    return list(content)

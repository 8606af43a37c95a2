"""From the body of a Messages request to the gateway's request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.server.completion.conversation import Conversation, check_content_types, check_types, drop_no_op_params
from flowai.server.completion.endpoint import ParsedRequest
from flowai.server.completion.messages.bodies import (
    BLOCK_TYPES,
    EDIT_TYPES,
    NO_OP_VALUES,
    RESULT_TYPES,
    TOOL_TYPES,
    WHOLE_NUMBERS,
    Base64Image,
    CountTokensBody,
    ImageBlock,
    MessagesBody,
    SystemBlock,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from flowai.server.completion.messages.reply import MessagesFormat
from flowai.server.errors import error_response
from flowai.server.http.request_body import decode_body
from flowai.server.schemas.common import ExtensionOptions, without_nulls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.gateway.records import GatewayStatus
    from flowai.providers import ChatMessage
    from flowai.server.auth import Caller
    from flowai.server.completion.messages.bodies import ClientTool, MessageParam

_RESPONSE_SCHEMA = "answer"  # Anthropic's schemas have no name, OpenAI's must have one


def messages_request(value: dict[str, Any], gateway_status: GatewayStatus, caller: Caller) -> ParsedRequest:
    """Build a request for the gateway from a parsed body.

    Raises:
        RefusedError: 400 a parameter is wrong, contradicts another or cannot be honoured; 404 no such feature or model.
    """
    body = decode_body(_supported(value), MessagesBody)
    if body.system is not None and body.prompt_variables is not None:
        text = "`system` and `prompt_variables` exclude each other: a feature's prompt has its own messages"
        raise error_response(400, text, param="system")
    conversation = Conversation(
        model=body.model,
        messages=chat_messages(body) if body.messages else (),
        prompt_variables=body.prompt_variables,
        params=_params(body),
        response_format=_response_format(body),
        user=None if body.metadata is None else body.metadata.user_id,
        use_cache=(body.flowai or ExtensionOptions()).cache,
    )
    return ParsedRequest(
        ask=conversation.completion_request(gateway_status, caller),
        answer_format=MessagesFormat(),
        is_stream=bool(body.stream),
    )


def count_tokens_body(value: dict[str, Any]) -> CountTokensBody:
    """Check the body of a request for a token count.

    Raises:
        RefusedError: 400 a parameter is wrong or not supported.
    """
    body = decode_body(_supported(value), CountTokensBody)
    _check_tool_choice(body)
    return body


def chat_messages(body: MessagesBody | CountTokensBody) -> list[ChatMessage]:
    """Return system text and messages in the chat protocol."""
    messages: list[ChatMessage] = []
    if body.system is not None:
        messages.append({"role": "system", "content": _content(body.system)})
    for message in body.messages or ():
        _add_message(message, messages)
    return messages


def chat_tools(tools: Sequence[ClientTool]) -> list[dict[str, Any]]:
    """Return tools in the chat protocol."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                **({} if tool.description is None else {"description": tool.description}),
                "parameters": tool.input_schema,
                **({} if tool.strict is None else {"strict": tool.strict}),
            },
            **_cache_control(tool),
        }
        for tool in tools
    ]


def _supported(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse parameters, blocks and tools that are not supported, by name."""
    value = drop_no_op_params(value, NO_OP_VALUES, WHOLE_NUMBERS)
    check_types(value.get("tools"), "tools", TOOL_TYPES)
    thinking = value.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "enabled":
        text = "`thinking`: the type `enabled` is not supported; `output_config.effort` sets the effort"
        raise error_response(400, text, code="unsupported_parameter", param="thinking.type")
    management = value.get("context_management")
    if isinstance(management, dict):
        check_types(management.get("edits"), "context_management.edits", EDIT_TYPES)
    messages = value.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, dict):
            _check_blocks(message, f"messages.{index}.content")
    return value


def _check_blocks(message: dict[str, Any], path: str) -> None:
    check_content_types(message, path, BLOCK_TYPES)
    blocks = message.get("content")
    for index, block in enumerate(blocks if isinstance(blocks, list) else ()):
        if isinstance(block, dict) and block.get("type") == "tool_result":
            check_types(block.get("content"), f"{path}.{index}.content", RESULT_TYPES)


def _add_message(message: MessageParam, messages: list[ChatMessage]) -> None:
    """Append a message; each tool result becomes a message of its own, before the rest, as the chat protocol wants."""
    if isinstance(message.content, str):
        messages.append({"role": message.role, "content": message.content})
        return
    results = [block for block in message.content if isinstance(block, ToolResultBlock)]
    calls = [_tool_call(block) for block in message.content if isinstance(block, ToolUseBlock)]
    parts = [block for block in message.content if isinstance(block, TextBlock | ImageBlock)]
    messages += [_tool_message(result) for result in results]
    if calls:
        content = _content(parts) if parts else None
        messages.append({"role": message.role, "content": content, "tool_calls": calls})
    elif parts or not results:
        messages.append({"role": message.role, "content": _content(parts)})


def _tool_call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.input).decode()
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


def _tool_message(block: ToolResultBlock) -> ChatMessage:
    content = _content(block.content or "")
    if block.is_error:
        content = f"Error: {content}" if isinstance(content, str) else [{"type": "text", "text": "Error: "}, *content]
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": content, **_cache_control(block)}


def _content(content: str | Sequence[SystemBlock | TextBlock | ImageBlock]) -> str | list[dict[str, Any]]:
    """Return content in the chat protocol's parts; a single plain text as such, which more servers understand."""
    if isinstance(content, str):
        return content
    parts = [_part(block) for block in content]
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def _part(block: SystemBlock | TextBlock | ImageBlock) -> dict[str, Any]:
    if not isinstance(block, ImageBlock):
        return {"type": "text", "text": block.text, **_cache_control(block)}
    source = block.source
    url = f"data:{source.media_type};base64,{source.data}" if isinstance(source, Base64Image) else source.url
    return {"type": "image_url", "image_url": {"url": url}, **_cache_control(block)}


def _cache_control(owner: SystemBlock | TextBlock | ImageBlock | ToolResultBlock | ClientTool) -> dict[str, Any]:
    return {} if owner.cache_control is None else {"cache_control": without_nulls(owner.cache_control)}


def _params(body: MessagesBody) -> dict[str, Any]:
    choice = _check_tool_choice(body)
    is_serial = body.tool_choice is not None and body.tool_choice.disable_parallel_tool_use
    params: dict[str, Any] = {
        "max_tokens": body.max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "stop": body.stop_sequences or None,
        "tools": chat_tools(body.tools) if body.tools else None,
        "tool_choice": choice,
        "parallel_tool_calls": False if is_serial and body.tools else None,
        "reasoning_effort": None if body.output_config is None else body.output_config.effort,
    }
    return {name: value for name, value in params.items() if value is not None}


def _check_tool_choice(body: MessagesBody | CountTokensBody) -> str | dict[str, Any] | None:
    """Return the choice in the chat protocol; without tools, only one that cannot be met remains."""
    choice = body.tool_choice
    if choice is None:
        return None
    if (choice.type == "tool") == (choice.name is None):
        raise error_response(400, "`name` is required with the type `tool`, and only then", param="tool_choice.name")
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    if choice.type == "any":
        return "required"
    return choice.type if body.tools else None


def _response_format(body: MessagesBody) -> dict[str, Any] | None:
    output_format = None if body.output_config is None else body.output_config.format
    if output_format is None:
        return None
    schema = {"name": _RESPONSE_SCHEMA, "schema": output_format.schema, "strict": True}
    return {"type": "json_schema", "json_schema": schema}

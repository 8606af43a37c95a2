"""From the body of a Responses request to the gateway's request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.server.completion.conversation import Conversation, check_content_types, check_types, drop_no_op_params
from flowai.server.completion.endpoint import ParsedRequest
from flowai.server.completion.responses.bodies import (
    CONTENT_TYPES,
    INPUT_TYPES,
    ITEM_TYPES,
    NO_OP_VALUES,
    STATE_PARAMS,
    TOOL_TYPES,
    WHOLE_NUMBERS,
    FunctionCall,
    FunctionCallOutput,
    FunctionChoice,
    InputImage,
    InputItem,
    InputMessage,
    JsonSchemaFormat,
    OutputText,
    PlainFormat,
    Refusal,
    ResponsesBody,
)
from flowai.server.completion.responses.reply import ResponsesFormat
from flowai.server.errors import error_response
from flowai.server.http.request_body import decode_body
from flowai.server.schemas.common import ExtensionOptions, without_nulls

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.gateway.records import GatewayStatus
    from flowai.providers import ChatMessage
    from flowai.server.auth import Caller
    from flowai.server.completion.responses.bodies import FunctionTool, InputText


def responses_request(value: dict[str, Any], gateway_status: GatewayStatus, caller: Caller) -> ParsedRequest:
    """Build a request for the gateway from a parsed body.

    Raises:
        RefusedError: 400 a parameter is wrong, contradicts another or cannot be honoured; 404 no such feature or model.
    """
    value = drop_no_op_params(value, NO_OP_VALUES, WHOLE_NUMBERS)
    _check_supported(value)
    body = decode_body(value, ResponsesBody)
    conversation = Conversation(
        model=body.model,
        messages=_messages(body),
        prompt_variables=body.prompt_variables,
        messages_param="input",
        params=_params(body),
        response_format=_response_format(body),
        user=body.user or body.safety_identifier,
        use_cache=(body.flowai or ExtensionOptions()).cache,
    )
    return ParsedRequest(
        ask=conversation.completion_request(gateway_status, caller),
        answer_format=ResponsesFormat(body),
        is_stream=bool(body.stream),
    )


def _check_supported(value: dict[str, Any]) -> None:
    """Refuse parameters, items and tools that are not supported, by name; set the type of messages without one."""
    for name, advice in STATE_PARAMS.items():
        if name in value:
            text = f"`{name}` is not supported: {advice}"
            raise error_response(400, text, code="unsupported_parameter", param=name)
    check_types(value.get("tools"), "tools", TOOL_TYPES)
    choice = value.get("tool_choice")
    if isinstance(choice, dict) and isinstance(choice.get("type"), str) and choice["type"] not in TOOL_TYPES:
        text = f"`tool_choice`: the type `{choice['type'][:64]}` is not supported; only functions can be chosen"
        raise error_response(400, text, code="unsupported_parameter", param="tool_choice.type")
    items = value.get("input")
    if not isinstance(items, list):
        return
    value["input"] = items = [
        {"type": "message", **item} if isinstance(item, dict) and "role" in item else item for item in items
    ]
    check_types(items, "input", ITEM_TYPES)
    for index, item in enumerate(items):
        if isinstance(item, dict):
            check_content_types(item, f"input.{index}.content", CONTENT_TYPES)
            check_types(item.get("output"), f"input.{index}.output", INPUT_TYPES)


def _messages(body: ResponsesBody) -> list[ChatMessage]:
    messages: list[ChatMessage] = []
    if isinstance(body.input, str):
        messages.append({"role": "user", "content": body.input})
    for item in body.input if isinstance(body.input, list) else ():
        _add_item(item, messages)
    if body.instructions is None:
        return messages
    if body.prompt_variables is not None:
        text = "`instructions` and `prompt_variables` exclude each other: a feature's prompt has its own messages"
        raise error_response(400, text, param="instructions")
    return [{"role": "system", "content": body.instructions}, *messages] if messages else []


def _add_item(item: InputItem, messages: list[ChatMessage]) -> None:
    """Append an item as a message; calls join the assistant's message before them, as the chat protocol wants it."""
    if isinstance(item, InputMessage):
        messages.append({"role": item.role, "content": _content(item.content)})
    elif isinstance(item, FunctionCallOutput):
        messages.append({"role": "tool", "tool_call_id": item.call_id, "content": _content(item.output)})
    else:
        if not messages or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": None})
        messages[-1].setdefault("tool_calls", []).append(_tool_call(item))


def _tool_call(call: FunctionCall) -> dict[str, Any]:
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _content(content: str | Iterable[InputText | InputImage | OutputText | Refusal]) -> str | list[dict[str, Any]]:
    """Return content in the chat protocol's parts; a single text as such, which more servers understand."""
    if isinstance(content, str):
        return content
    parts = [_part(part) for part in content]
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(part: InputText | InputImage | OutputText | Refusal) -> dict[str, Any]:
    if isinstance(part, InputImage):
        detail = {} if part.detail is None else {"detail": part.detail}
        return {"type": "image_url", "image_url": {"url": part.image_url, **detail}}
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.refusal}
    return {"type": "text", "text": part.text}


def _params(body: ResponsesBody) -> dict[str, Any]:
    reasoning, text = body.reasoning, body.text
    params: dict[str, Any] = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "max_tokens": body.max_output_tokens,
        "tools": [_tool(tool) for tool in body.tools] if body.tools else None,
        "tool_choice": _tool_choice(body),
        "parallel_tool_calls": body.parallel_tool_calls if body.tools else None,
        "reasoning_effort": None if reasoning is None else reasoning.effort,
        "verbosity": None if text is None else text.verbosity,
    }
    return {name: value for name, value in params.items() if value is not None}


def _tool_choice(body: ResponsesBody) -> str | dict[str, Any] | None:
    """Return the choice; without tools, only one that cannot be met remains."""
    choice = body.tool_choice
    if isinstance(choice, FunctionChoice):
        return {"type": "function", "function": {"name": choice.name}}
    return choice if body.tools or choice == "required" else None


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return {"type": "function", "function": {k: v for k, v in without_nulls(tool).items() if k != "type"}}


def _response_format(body: ResponsesBody) -> dict[str, Any] | None:
    text_format = None if body.text is None else body.text.format
    if text_format is None or isinstance(text_format, PlainFormat):
        return None
    if not isinstance(text_format, JsonSchemaFormat):
        return {"type": "json_object"}
    schema = {name: value for name, value in without_nulls(text_format).items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}

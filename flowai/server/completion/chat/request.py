"""From the body of a chat completion to the gateway's request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.providers.openai.chat_messages import check_messages
from flowai.server.completion.chat.bodies import FORWARDED_PARAMS, NO_OP_VALUES, WHOLE_NUMBERS, ChatBody, ChatOptions
from flowai.server.completion.chat.reply import ChatFormat
from flowai.server.completion.conversation import Conversation, drop_no_op_params
from flowai.server.completion.endpoint import ParsedRequest
from flowai.server.errors import error_response
from flowai.server.http.request_body import decode_body

if TYPE_CHECKING:
    from flowai.gateway.records import GatewayStatus
    from flowai.server.auth import Caller


def chat_request(value: dict[str, Any], gateway_status: GatewayStatus, caller: Caller) -> ParsedRequest:
    """Build a request for the gateway from a parsed body.

    Raises:
        RefusedError: 400 a parameter is wrong, contradicts another or cannot be honoured; 404 no such feature or model.
        InvalidMessagesError: a message cannot be sent to any model.
    """
    value = drop_no_op_params(value, NO_OP_VALUES, WHOLE_NUMBERS)
    if isinstance(value.get("messages"), list):
        check_messages(value["messages"])  # its errors say more than the record's
    body = decode_body(value, ChatBody)
    _check_dependencies(body)
    options = body.flowai or ChatOptions()
    conversation = Conversation(
        model=body.model,
        messages=value.get("messages") or (),
        prompt_variables=body.prompt_variables,
        params={name: value[name] for name in FORWARDED_PARAMS if name in value},
        response_format=value.get("response_format"),
        user=body.user or body.safety_identifier,
        use_cache=options.cache,
    )
    return ParsedRequest(
        ask=conversation.completion_request(gateway_status, caller),
        answer_format=ChatFormat(include_usage=bool(body.stream_options and body.stream_options.include_usage)),
        is_stream=bool(body.stream),
        on_break=options.on_break,
    )


def _check_dependencies(body: ChatBody) -> None:
    if body.response_format is not None and (body.response_format.type == "json_schema") == (
        body.response_format.json_schema is None
    ):
        raise error_response(
            400, "`json_schema` is required with the type `json_schema`, and only then", param="response_format"
        )
    if body.stream_options is not None and not body.stream:
        raise error_response(400, "`stream_options` is valid only with `stream: true`", param="stream_options")

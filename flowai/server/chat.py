"""`POST /v1/chat/completions`: the answer is one body or server-sent events.

Source: OpenAI API reference, Create chat completion; WHATWG HTML, Server-sent events.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import FlowaiError, MalformedAnswerError, expected_one_of
from flowai.gateway.records import (
    CompletionRequest,
    CompletionResult,
    OnStreamBreak,
    StreamRestarted,
    StreamStarted,
    TextChunk,
)
from flowai.server.errors import INTERNAL_ERROR, ClientGoneError, RefusedError, error_response, error_response_for
from flowai.server.http.request_body import decode_body
from flowai.server.http.response_writer import send_whole
from flowai.server.response_headers import answer_headers
from flowai.server.schemas.requests import FORWARDED_PARAMS, NO_OP_VALUES, WHOLE_NUMBERS, ChatBody, FlowaiOptions
from flowai.server.schemas.responses import ChunkBuilder, chat_reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from flowai.gateway.records import GatewayStatus, StreamEvent
    from flowai.server.auth import Caller
    from flowai.server.http.in_flight import InFlightRequest
    from flowai.server.http.response_writer import ResponseWriter
    from flowai.server.prometheus import Metrics
    from flowai.server.protocol import GatewayProtocol

_STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # otherwise nginx buffers the chunks
}
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatRequest:
    """A parsed chat request."""

    ask: CompletionRequest
    is_stream: bool = False
    include_usage: bool = False
    on_break: OnStreamBreak = "error"


def chat_request(value: dict[str, Any], gateway_status: GatewayStatus, caller: Caller) -> ChatRequest:
    """Build a request for the gateway from a parsed body.

    Raises:
        RefusedError: 400 a parameter is wrong, contradicts another or cannot be honoured; 404 no such feature or model.
    """
    value = _drop_no_op_params(value)
    body = decode_body(value, ChatBody)
    is_feature = body.model in gateway_status.features
    if not is_feature and body.model not in gateway_status.models:
        raise unknown_model(body.model, gateway_status.features | gateway_status.models)
    if body.response_format is not None and (body.response_format.type == "json_schema") == (
        body.response_format.json_schema is None
    ):
        raise error_response(
            400, "`json_schema` is required with the type `json_schema`, and only then", param="response_format"
        )
    if body.stream_options is not None and not body.stream:
        raise error_response(400, "`stream_options` is valid only with `stream: true`", param="stream_options")
    options = body.flowai or FlowaiOptions()
    messages = value.get("messages") or None
    ask = CompletionRequest(
        feature=body.model if is_feature else None,
        model=None if is_feature else body.model,
        variables=_variables(body, is_feature=is_feature),
        messages=tuple(messages) if messages else None,
        params={name: value[name] for name in FORWARDED_PARAMS if name in value},
        response_format=value.get("response_format"),
        user=body.user or body.safety_identifier,
        tenant=caller.tenant,
        session=caller.session,
        headers=caller.headers,
        use_cache=options.cache,
    )
    return ChatRequest(
        ask=ask,
        is_stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        on_break=options.on_break,
    )


def _variables(body: ChatBody, *, is_feature: bool) -> dict[str, Any] | None:
    """Return the prompt's variables; exactly one of variables and messages is required."""
    if body.prompt_variables is None:
        if not body.messages:
            raise error_response(
                400,
                "send `messages`, or `prompt_variables` for the feature's own prompt",
                code="missing_required_parameter",
                param="messages",
            )
        return None
    if body.messages:
        text = "`messages` and `prompt_variables` exclude each other: a feature's prompt has its own messages"
        raise error_response(400, text, param="prompt_variables")
    if not is_feature:
        text = f"`{body.model}` is a model and has no prompt: `prompt_variables` need a feature"
        raise error_response(400, text, param="prompt_variables")
    return body.prompt_variables


def _drop_no_op_params(value: dict[str, Any]) -> dict[str, Any]:
    """Drop parameters with a value that has no effect, and refuse their other values."""
    params = {}
    for name, found in value.items():
        if found is None:  # means absent in OpenAI's API
            continue
        if name in NO_OP_VALUES:
            if not any(found == neutral and type(found) is type(neutral) for neutral in NO_OP_VALUES[name]):
                text = f"`{name}`: only {_format_values(NO_OP_VALUES[name])} is supported"
                raise error_response(400, text, code="unsupported_parameter", param=name)
        elif name in WHOLE_NUMBERS and isinstance(found, float) and found.is_integer():
            params[name] = int(found)
        else:
            params[name] = found
    return params


def _format_values(values: tuple[Any, ...]) -> str:
    return " or ".join(msgspec.json.encode(value).decode() for value in values)


def unknown_model(name: str, known: frozenset[str]) -> RefusedError:
    """Build the error for a name that is neither a feature nor a model, with OpenAI's code and status."""
    text = f"no feature or model `{name}`; {expected_one_of(known, found=name)}"
    return error_response(404, text, code="model_not_found", param="model")


class ChatEndpoint:
    """Endpoint for chat requests."""

    def __init__(self, gateway: GatewayProtocol, metrics: Metrics) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._encoder = msgspec.json.Encoder()

    async def answer(self, request: ChatRequest, slot: InFlightRequest, writer: ResponseWriter) -> None:
        """Answer one request, as one body or as a stream.

        Raises:
            FlowaiError: the call failed before anything was sent.
        """
        started_s = time.perf_counter()
        try:
            if request.is_stream:
                answer = await self._stream(request, slot, writer)
            else:
                answer = await self._gateway.complete_request(request.ask)
        except (FlowaiError, asyncio.CancelledError) as error:
            was_left = slot.ended_by is not None or isinstance(error, (ClientGoneError, asyncio.CancelledError))
            self._metrics.failed(
                feature=request.ask.feature,
                model=request.ask.model,
                error="Cancelled" if was_left else type(error).__name__,  # as in the call's event
                duration_s=time.perf_counter() - started_s,
            )
            if isinstance(error, FlowaiError) and writer.has_begun:
                return  # the stream has ended with an error event
            raise
        self._metrics.answered(answer)
        if not request.is_stream:
            body = self._encoder.encode(chat_reply(answer, int(time.time())))
            await send_whole(writer, 200, {"content-type": "application/json", **answer_headers(answer)}, body)

    async def _stream(self, request: ChatRequest, slot: InFlightRequest, writer: ResponseWriter) -> CompletionResult:
        """Send an answer in chunks; a stream that fails ends with an error event, without [DONE]."""
        try:
            async with aclosing(self._gateway.stream_request(request.ask, on_break=request.on_break)) as items:
                return await self._forward(items, request, writer)
        except FlowaiError as error:
            if writer.has_begun:
                await self._end_with_error(error, writer)
            raise
        except asyncio.CancelledError:
            if writer.has_begun and slot.ended_by is not None and not isinstance(slot.ended_by, ClientGoneError):
                await self._end_with_error(slot.ended_by, writer)
            raise
        except Exception:
            if writer.has_begun:  # a bug; the caller must not mistake a partial answer for a complete one
                await writer.end(self._frame(INTERNAL_ERROR.as_object()))
            raise

    async def _forward(
        self, items: AsyncGenerator[StreamEvent, None], request: ChatRequest, writer: ResponseWriter
    ) -> CompletionResult:
        builder: ChunkBuilder | None = None
        answer: CompletionResult | None = None
        async for item in items:
            if isinstance(item, StreamStarted):
                builder = ChunkBuilder(item, int(time.time()), include_usage=request.include_usage)
                await writer.begin(200, _STREAM_HEADERS | answer_headers(item))
                await writer.more(self._frame(builder.first(item)))
            elif builder is None:
                break
            elif isinstance(item, TextChunk):
                await writer.more(self._frame(builder.text(item)))
            elif isinstance(item, StreamRestarted):
                await writer.more(self._frame(builder.restarted(item)))
            else:
                answer = item
                await writer.more(b"".join(self._frame(chunk) for chunk in builder.last(item)))
        if answer is None:
            raise MalformedAnswerError("the stream ended without its end", provider="gateway", model="unknown")
        await writer.end(_DONE)
        return answer

    async def _end_with_error(self, error: FlowaiError, writer: ResponseWriter) -> None:
        await writer.end(self._frame(error_response_for(error).as_object()))

    def _frame(self, payload: object) -> bytes:
        return b"data: " + self._encoder.encode(payload) + b"\n\n"

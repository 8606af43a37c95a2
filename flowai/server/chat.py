"""`POST /v1/chat/completions`: a body becomes an Ask, the answer goes back whole or as server-sent events.

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
from flowai.server.schemas.requests import FORWARDED_PARAMS, NO_OP_VALUES, WHOLE_NUMBERS, ChatBody, SamplingParams
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
    "x-accel-buffering": "no",  # nginx would collect the pieces
}
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatRequest:
    """A chat request, understood."""

    ask: CompletionRequest
    """What to ask the gateway."""
    is_stream: bool = False
    """Whether the answer goes out piece by piece."""
    include_usage: bool = False
    """Whether a stream ends with the tokens used."""
    on_break: OnStreamBreak = "error"
    """What happens when a stream dies in the middle."""


def chat_request(value: dict[str, Any], standing: GatewayStatus, caller: Caller) -> ChatRequest:
    """Understand a body.

    Args:
        value: the parsed body.
        standing: which features and models there are.
        caller: who asks.

    Raises:
        RefusedError: 400 a parameter is wrong, contradicts another or cannot be honoured; 404 no such feature or model.
    """
    value = _plain(value)
    body = decode_body(value, ChatBody)
    is_feature = body.model in standing.features
    if not is_feature and body.model not in standing.models:
        raise unknown_model(body.model, standing.features | standing.models)
    if body.response_format is not None and (body.response_format.type == "json_schema") == (
        body.response_format.json_schema is None
    ):
        raise error_response(
            400, "`json_schema` goes with the type `json_schema`, and only with it", param="response_format"
        )
    if body.stream_options is not None and not body.stream:
        raise error_response(400, "`stream_options` goes with `stream: true` only", param="stream_options")
    wishes = body.flowai or SamplingParams()
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
        use_cache=wishes.cache,
    )
    return ChatRequest(
        ask=ask,
        is_stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        on_break=wishes.on_break,
    )


def _variables(body: ChatBody, *, is_feature: bool) -> dict[str, Any] | None:
    """Give the prompt's variables; exactly one of variables and messages must say what is asked."""
    if body.prompt_variables is None:
        if not body.messages:
            raise error_response(
                400,
                "give `messages`, or `prompt_variables` for the feature's own prompt",
                code="missing_required_parameter",
                param="messages",
            )
        return None
    if body.messages:
        text = "`messages` and `prompt_variables` exclude each other: a feature's prompt brings its own messages"
        raise error_response(400, text, param="prompt_variables")
    if not is_feature:
        text = f"`{body.model}` is a model and has no prompt: `prompt_variables` go with a feature"
        raise error_response(400, text, param="prompt_variables")
    return body.prompt_variables


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Drop parameters that ask for what happens anyway, and refuse the same where they ask for more."""
    kept = {}
    for name, given in value.items():
        if given is None:  # absent, in OpenAI's API; inside messages it may mean something
            continue
        if name in NO_OP_VALUES:
            if not any(given == neutral and type(given) is type(neutral) for neutral in NO_OP_VALUES[name]):
                text = f"`{name}`: only {_listed(NO_OP_VALUES[name])} is supported"
                raise error_response(400, text, code="unsupported_parameter", param=name)
        elif name in WHOLE_NUMBERS and isinstance(given, float) and given.is_integer():
            kept[name] = int(given)
        else:
            kept[name] = given
    return kept


def _listed(values: tuple[Any, ...]) -> str:
    return " or ".join(msgspec.json.encode(value).decode() for value in values)


def unknown_model(name: str, known: frozenset[str]) -> RefusedError:
    """Give the error for a name that is neither a feature nor a model; OpenAI's code and status."""
    text = f"no feature or model `{name}`; {expected_one_of(known, found=name)}"
    return error_response(404, text, code="model_not_found", param="model")


class ChatEndpoint:
    """Answers chat requests.

    Args:
        gateway: who answers.
        metrics: counts.
    """

    def __init__(self, gateway: GatewayProtocol, metrics: Metrics) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._encoder = msgspec.json.Encoder()

    async def answer(self, request: ChatRequest, slot: InFlightRequest, outlet: ResponseWriter) -> None:
        """Answer one request, whole or piece by piece.

        Raises:
            FlowaiError: nothing was sent yet, and the caller is to be told why.
        """
        begun_s = time.perf_counter()
        try:
            if request.is_stream:
                answer = await self._stream(request, slot, outlet)
            else:
                answer = await self._gateway.complete_request(request.ask)
        except (FlowaiError, asyncio.CancelledError) as error:
            was_left = slot.ended_by is not None or isinstance(error, (ClientGoneError, asyncio.CancelledError))
            self._metrics.failed(
                feature=request.ask.feature,
                model=request.ask.model,
                error="Cancelled" if was_left else type(error).__name__,  # as the event says it
                duration_s=time.perf_counter() - begun_s,
            )
            if isinstance(error, FlowaiError) and outlet.has_begun:
                return  # the stream has told its caller itself
            raise
        self._metrics.answered(answer)
        if not request.is_stream:
            body = self._encoder.encode(chat_reply(answer, int(time.time())))
            await send_whole(outlet, 200, {"content-type": "application/json", **answer_headers(answer)}, body)

    async def _stream(self, request: ChatRequest, slot: InFlightRequest, outlet: ResponseWriter) -> CompletionResult:
        """Send an answer piece by piece; one that cannot be finished ends with an error event, without [DONE]."""
        try:
            async with aclosing(self._gateway.stream_request(request.ask, on_break=request.on_break)) as items:
                return await self._forward(items, request, outlet)
        except FlowaiError as error:
            if outlet.has_begun:
                await self._end_badly(error, outlet)
            raise
        except asyncio.CancelledError:
            if outlet.has_begun and slot.ended_by is not None and not isinstance(slot.ended_by, ClientGoneError):
                await self._end_badly(slot.ended_by, outlet)
            raise
        except Exception:
            if outlet.has_begun:  # a bug of ours: its caller must not take half an answer for a whole one
                await outlet.end(self._frame(INTERNAL_ERROR.as_object()))
            raise

    async def _forward(
        self, items: AsyncGenerator[StreamEvent, None], request: ChatRequest, outlet: ResponseWriter
    ) -> CompletionResult:
        maker: ChunkBuilder | None = None
        answer: CompletionResult | None = None
        async for item in items:
            if isinstance(item, StreamStarted):
                maker = ChunkBuilder(item, int(time.time()), include_usage=request.include_usage)
                await outlet.begin(200, _STREAM_HEADERS | answer_headers(item))
                await outlet.more(self._frame(maker.first(item)))
            elif maker is None:
                break
            elif isinstance(item, TextChunk):
                await outlet.more(self._frame(maker.piece(item)))
            elif isinstance(item, StreamRestarted):
                await outlet.more(self._frame(maker.restarted(item)))
            else:
                answer = item
                await outlet.more(b"".join(self._frame(chunk) for chunk in maker.last(item)))
        if answer is None:
            raise MalformedAnswerError("the stream ended without its end", provider="gateway", model="unknown")
        await outlet.end(_DONE)
        return answer

    async def _end_badly(self, error: FlowaiError, outlet: ResponseWriter) -> None:
        await outlet.end(self._frame(error_response_for(error).as_object()))

    def _frame(self, payload: object) -> bytes:
        return b"data: " + self._encoder.encode(payload) + b"\n\n"

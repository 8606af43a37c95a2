"""Endpoint of completions, the same for every protocol: one body, or server-sent events.

Source: WHATWG HTML, Server-sent events.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flowai.errors import FlowaiError, MalformedAnswerError
from flowai.gateway.records import CompletionRequest, CompletionResult, OnStreamBreak, StreamRestarted, StreamStarted
from flowai.server.errors import INTERNAL_ERROR, ClientGoneError, error_response_for
from flowai.server.http.response_writer import send_whole
from flowai.server.response_headers import answer_headers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from flowai.gateway.records import StreamEvent, TextChunk
    from flowai.server.errors import ErrorResponse
    from flowai.server.http.in_flight import InFlightRequest
    from flowai.server.http.response_writer import ResponseWriter
    from flowai.server.prometheus import Metrics
    from flowai.server.protocol import GatewayProtocol

_STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # otherwise nginx buffers the chunks
}


class AnswerFormat(Protocol):
    """The answer of one request as bytes of its protocol."""

    def whole(self, answer: CompletionResult) -> bytes:
        """Return the body of a complete answer."""
        ...

    def started(self, started: StreamStarted) -> bytes:
        """Return the first events of a stream."""
        ...

    def text(self, chunk: TextChunk) -> bytes:
        """Return the events of a chunk; may be empty."""
        ...

    def restarted(self, restarted: StreamRestarted) -> bytes:
        """Return the event that voids all earlier ones."""
        ...

    def completed(self, answer: CompletionResult) -> bytes:
        """Return the last events of a complete stream."""
        ...

    def failed(self, problem: ErrorResponse) -> bytes:
        """Return the last event of a stream that fails."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedRequest:
    """A request that was checked, and the format of its answer."""

    ask: CompletionRequest
    answer_format: AnswerFormat
    is_stream: bool = False
    on_break: OnStreamBreak = "error"


class CompletionEndpoint:
    """Endpoint of completions."""

    def __init__(self, gateway: GatewayProtocol, metrics: Metrics) -> None:
        self._gateway = gateway
        self._metrics = metrics

    async def answer(
        self, request: ParsedRequest, slot: InFlightRequest, writer: ResponseWriter
    ) -> CompletionResult | None:
        """Answer one request, as one body or as a stream; return None if the stream failed after its start.

        Raises:
            FlowaiError: the call failed before anything was sent.
        """
        started_s = time.perf_counter()
        try:
            if request.is_stream:
                answer = await self._stream(request, slot, writer)
            else:
                answer = await self._gateway.complete_request(request.ask)
                body = request.answer_format.whole(answer)
        except (FlowaiError, asyncio.CancelledError) as error:
            was_left = slot.ended_by is not None or isinstance(error, (ClientGoneError, asyncio.CancelledError))
            self._metrics.failed(
                feature=request.ask.feature,
                model=request.ask.model,
                error="Cancelled" if was_left else type(error).__name__,  # as in the call's event
                duration_s=time.perf_counter() - started_s,
            )
            if isinstance(error, FlowaiError) and writer.has_begun:
                return None  # the stream has ended with an error event
            raise
        self._metrics.answered(answer)
        if not request.is_stream:
            await send_whole(writer, 200, {"content-type": "application/json", **answer_headers(answer)}, body)
        return answer

    async def _stream(self, request: ParsedRequest, slot: InFlightRequest, writer: ResponseWriter) -> CompletionResult:
        """Send an answer in chunks; a stream that fails ends with an error event."""
        failed = request.answer_format.failed
        try:
            async with aclosing(self._gateway.stream_request(request.ask, on_break=request.on_break)) as items:
                return await self._forward(items, request.answer_format, writer)
        except FlowaiError as error:
            if writer.has_begun:
                await writer.end(failed(error_response_for(error)))
            raise
        except asyncio.CancelledError:
            if writer.has_begun and slot.ended_by is not None and not isinstance(slot.ended_by, ClientGoneError):
                await writer.end(failed(error_response_for(slot.ended_by)))
            raise
        except Exception:
            if writer.has_begun:  # a bug; the caller must not mistake a partial answer for a complete one
                await writer.end(failed(INTERNAL_ERROR))
            raise

    async def _forward(
        self, items: AsyncGenerator[StreamEvent, None], answer_format: AnswerFormat, writer: ResponseWriter
    ) -> CompletionResult:
        answer: CompletionResult | None = None
        async for item in items:
            if isinstance(item, StreamStarted):
                await writer.begin(200, _STREAM_HEADERS | answer_headers(item))
                data = answer_format.started(item)
            elif not writer.has_begun:
                break
            elif isinstance(item, CompletionResult):
                answer = item
                data = answer_format.completed(item)
            elif isinstance(item, StreamRestarted):
                data = answer_format.restarted(item)
            else:
                data = answer_format.text(item)
            if data:
                await writer.more(data)
        if answer is None:
            raise MalformedAnswerError("the stream ended without its end", provider="gateway", model="unknown")
        await writer.end()
        return answer

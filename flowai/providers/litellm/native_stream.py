"""Reads streams through LiteLLM, for providers with their own protocol.

Streams of OpenAI-compatible endpoints are read below LiteLLM (`openai/transport.py`), with half the CPU time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from flowai.providers.litellm.cancellation import cancel_after_first_wait
from flowai.providers.openai.stream_parser import Delta
from flowai.providers.openai.tool_calls import ToolCalls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from flowai.providers.client import Request
    from flowai.providers.litellm.adapter import LiteLLMAdapter


class StreamAccumulator:
    """A streamed answer so far."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tool_calls = ToolCalls()
        self.has_started = False
        self.has_stalled = False  # the time limit until the next chunk has passed
        self.ttft_ms: float | None = None
        self.finish_reason: str | None = None
        self.served_model: str | None = None
        self.usage: Any = None
        self._source: Any = None

    def set_source(self, source: Any) -> None:  # noqa: ANN401 - LiteLLM's own
        """Set LiteLLM's stream, which knows whether the provider sent a finish reason."""
        self._source = source

    def add(self, chunk: Any) -> Delta | None:  # noqa: ANN401 - LiteLLM's own
        """Add a chunk and return its delta; None for a chunk without text, tool call or reasoning."""
        self.usage = getattr(chunk, "usage", None) or self.usage
        self.served_model = chunk.model or self.served_model
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        self.finish_reason = choice.finish_reason or self.finish_reason
        delta = choice.delta
        text = delta.content or ""
        self.texts.append(text)
        calls = self.tool_calls.add([call.model_dump() for call in delta.tool_calls or ()])
        if not (text or calls or getattr(delta, "reasoning_content", None)):
            return None
        self.has_started = True
        return Delta(text=text, tool_calls=calls)

    @property
    def is_finished(self) -> bool:
        """True when the provider sent a finish reason; LiteLLM sets `stop` for a stream that merely ended."""
        source = self._source
        if hasattr(source, "received_finish_reason"):
            return bool(source.received_finish_reason or source.intermittent_finish_reason)
        return self.finish_reason is not None


async def stream_deltas(
    request: Request, library: LiteLLMAdapter, draft: StreamAccumulator, elapsed_ms: Callable[[], float]
) -> AsyncGenerator[Delta]:
    """Yield the deltas of a stream within the request's time limits, and add them to the draft.

    Raises:
        Exception: one of `library.failures`; TimeoutError with `draft.has_stalled` if no chunk came in time.
    """
    now_s = asyncio.get_running_loop().time
    deadline_s = now_s() + request.total_timeout_s
    chunk_deadline_s = now_s() + request.first_token_timeout_s
    source: Any = None
    try:
        while True:
            # one limit per chunk: a limit must not be open while the caller runs
            limit = asyncio.timeout_at(min(chunk_deadline_s, deadline_s))
            try:
                async with limit:
                    if source is None:
                        arguments = {"stream": True, "stream_options": {"include_usage": True}}
                        call = library.module.acompletion(**library.arguments(request), **arguments)
                        source = await cancel_after_first_wait(call)
                        draft.set_source(source)
                    chunk = await anext(source, None)
            except library.failures:
                if draft.is_finished:
                    return  # only the end marker is missing
                draft.has_stalled = limit.expired() and chunk_deadline_s < deadline_s
                raise
            if chunk is None:
                return
            delta = draft.add(chunk)
            if delta is None:
                continue
            if draft.ttft_ms is None and (delta.text or delta.tool_calls):
                draft.ttft_ms = elapsed_ms()
            yield delta
            chunk_deadline_s = now_s() + request.first_token_timeout_s
    finally:
        if source is not None:
            await source.aclose()

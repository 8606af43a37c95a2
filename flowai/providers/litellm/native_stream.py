"""Listens to streams that LiteLLM reads: those of providers with a protocol of their own.

OpenAI-compatible endpoints are listened to beneath LiteLLM (`chat_transport`), at half the price.
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
    """A streamed answer as far as it has come."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tool_calls = ToolCalls()
        self.began = False
        self.is_silent = False  # a time limit between two pieces has passed
        self.ttft_ms: float | None = None
        self.finish_reason: str | None = None
        self.served_model: str | None = None
        self.usage: Any = None
        self._source: Any = None

    def feed(self, source: Any) -> None:  # noqa: ANN401 - LiteLLM's own
        """Note the stream the pieces come from."""
        self._source = source

    def add(self, piece: Any) -> Delta | None:  # noqa: ANN401 - LiteLLM's own
        """Take one piece in; give what it adds; None for one that is no sign of life."""
        self.usage = getattr(piece, "usage", None) or self.usage
        self.served_model = piece.model or self.served_model
        if not piece.choices:
            return None
        choice = piece.choices[0]
        self.finish_reason = choice.finish_reason or self.finish_reason
        delta = choice.delta
        text = delta.content or ""
        self.texts.append(text)
        calls = self.tool_calls.add([call.model_dump() for call in delta.tool_calls or ()])
        if not (text or calls or getattr(delta, "reasoning_content", None)):
            return None
        self.began = True
        return Delta(text=text, tool_calls=calls)

    @property
    def is_finished(self) -> bool:
        """Whether the provider gave a finish reason. LiteLLM puts `stop` where a stream merely ended."""
        source = self._source
        if hasattr(source, "received_finish_reason"):
            return bool(source.received_finish_reason or source.intermittent_finish_reason)
        return self.finish_reason is not None


async def deltas(
    request: Request, library: LiteLLMAdapter, draft: StreamAccumulator, elapsed_ms: Callable[[], float]
) -> AsyncGenerator[Delta]:
    """Give what a stream brings, under the time limits of the request, and take it into the draft.

    Raises:
        Exception: one of `library.failures`; TimeoutError with `draft.is_silent` for a limit between two pieces.
    """
    now_s = asyncio.get_running_loop().time
    last_moment_s = now_s() + request.total_timeout_s
    due_s = now_s() + request.first_token_timeout_s
    source: Any = None
    try:
        while True:
            # one limit per piece: a limit must not be left open while the caller has the floor
            limit = asyncio.timeout_at(min(due_s, last_moment_s))
            try:
                async with limit:
                    if source is None:
                        arguments = {"stream": True, "stream_options": {"include_usage": True}}
                        call = library.module.acompletion(**library.arguments(request), **arguments)
                        source = await cancel_after_first_wait(call)
                        draft.feed(source)
                    piece = await anext(source, None)
            except library.failures:
                if draft.is_finished:
                    return  # only the end marker is missing
                draft.is_silent = limit.expired() and due_s < last_moment_s
                raise
            if piece is None:
                return
            delta = draft.add(piece)
            if delta is None:
                continue
            if draft.ttft_ms is None and (delta.text or delta.tool_calls):
                draft.ttft_ms = elapsed_ms()
            yield delta
            due_s = now_s() + request.first_token_timeout_s
    finally:
        if source is not None:
            await source.aclose()

"""Reads one streamed answer through LiteLLM, within the request's time limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from flowai.providers.litellm.cancellation import cancel_after_first_wait
from flowai.providers.litellm.sent_request import SentRequest
from flowai.providers.openai.characters import CharacterJoiner
from flowai.providers.openai.stream_parser import BYTES_PER_PIECE, Delta, MalformedStreamError, max_answer_bytes
from flowai.providers.openai.tool_calls import ToolCalls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from flowai.providers.client import Request
    from flowai.providers.litellm.adapter import LiteLLMAdapter
    from flowai.providers.time_limits import TimeLimits

_STREAM = {"stream": True, "stream_options": {"include_usage": True}}


class StreamAccumulator:
    """A streamed answer so far.

    Args:
        max_tokens: limit of the request; None without one.
    """

    def __init__(self, *, max_tokens: int | None = None) -> None:
        self.texts: list[str] = []
        self.tool_calls = ToolCalls()
        self._finish_reason: str | None = None
        self.served_model: str | None = None
        self.fingerprint: str | None = None
        self.usage: Any = None
        self.character_count = 0
        """Characters of the answer so far, reasoning and arguments of tools included."""
        self._source: Any = None
        self._joiner = CharacterJoiner()
        self._size_bytes = 0
        self._max_bytes = max_answer_bytes(max_tokens)

    def set_source(self, source: Any) -> None:  # noqa: ANN401 - LiteLLM's own
        """Set LiteLLM's stream, which knows whether the provider sent a finish reason."""
        self._source = source

    def add(self, chunk: Any) -> Delta | None:  # noqa: ANN401 - LiteLLM's own
        """Add a chunk and return its delta; None for a chunk without text, tool call or reasoning.

        Raises:
            MalformedStreamError: the answer does not end, or it cannot be put together.
        """
        self.usage = getattr(chunk, "usage", None) or self.usage
        self.served_model = chunk.model or self.served_model
        self.fingerprint = getattr(chunk, "system_fingerprint", None) or self.fingerprint
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        self._finish_reason = choice.finish_reason or self._finish_reason
        delta = choice.delta
        text = self._joiner.feed(delta.content or "")
        self.texts.append(text)
        calls = self.tool_calls.add([call.model_dump() for call in delta.tool_calls or ()])
        if self._joiner.is_broken:
            raise MalformedStreamError("the answer contains half of a character")
        if self.tool_calls.problem is not None:
            raise MalformedStreamError(self.tool_calls.problem, is_complete=True)
        reasoning = getattr(delta, "reasoning_content", None)
        if not (text or calls or reasoning):
            return None
        length = len(text) + sum(len(call["function"]["arguments"]) for call in calls)
        self.character_count += length + (len(reasoning) if isinstance(reasoning, str) else 0)
        self._size_bytes += length + BYTES_PER_PIECE
        if self._size_bytes > self._max_bytes:
            raise MalformedStreamError(f"the answer does not end: more than {self._max_bytes:,} bytes came")
        return Delta(text=text, tool_calls=calls)

    def check_complete(self) -> None:
        """Raise MalformedStreamError if the answer has not ended."""
        if self.finish_reason is None:
            raise MalformedStreamError("the stream ended before the answer did (no finish reason)")
        if self._joiner.has_half:
            raise MalformedStreamError("the answer ends with half of a character")

    @property
    def finish_reason(self) -> str | None:
        """The provider's finish reason; None until it comes.

        LiteLLM's chunks have `stop` for unknown reasons, for failures, and for a stream that merely ended.
        """
        source, found = self._source, self._finish_reason
        if not hasattr(source, "received_finish_reason"):
            return found
        own: str | None = source.received_finish_reason or source.intermittent_finish_reason
        return own if found in (None, "stop") or own is None else found


class StreamCall:
    """A call and its answer so far.

    Args:
        request: the request.
        library: LiteLLM.
        answer: the answer.
        limits: the time limits.
    """

    def __init__(
        self, request: Request, library: LiteLLMAdapter, *, answer: StreamAccumulator, limits: TimeLimits
    ) -> None:
        self.answer = answer
        self.limits = limits
        self.ttft_ms: float | None = None
        self.sent = SentRequest(min(request.first_token_timeout_s, request.total_timeout_s))
        self._request = request
        self._library = library
        self._source: Any = None

    async def deltas(self) -> AsyncGenerator[Delta]:
        """Yield the deltas that have text or a tool call.

        Raises:
            TimedOutError: a time limit has passed.
            MalformedStreamError: the answer is not complete.
            Exception: one of `library.failures`.
        """
        try:
            while True:
                # one limit per chunk: a limit must not be open while the caller runs
                limit = asyncio.timeout_at(self.limits.deadline_s())
                try:
                    async with limit:
                        chunk = await self._next()
                except self._library.failures as error:
                    if self.answer.finish_reason is not None:
                        break  # only the end marker is missing
                    if limit.expired():
                        raise self.limits.error() from None
                    raise error from None
                if chunk is None:
                    break
                delta = self.answer.add(chunk)
                if delta is None:
                    continue
                if delta.text or delta.tool_calls:
                    if self.ttft_ms is None:
                        self.ttft_ms = self.limits.elapsed_s() * 1000
                    yield delta
                self.limits.restart()
            self.answer.check_complete()
        finally:
            if self._source is not None:
                await self._source.aclose()

    async def _next(self) -> Any:  # noqa: ANN401 - LiteLLM's own
        """Return the next chunk, None at the end; the first call sends the request."""
        if self._source is None:
            call = self._library.module.acompletion(**self._library.arguments(self._request, self.sent), **_STREAM)
            self._source = await cancel_after_first_wait(call)
            self.answer.set_source(self._source)
        return await anext(self._source, None)

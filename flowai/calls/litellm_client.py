"""Calls models through LiteLLM and gives answers in our records.

In: requests. Out: completions, chunks, embeddings, or CallErrors. Must never know prompts, features or retries: one
request here is one request to the provider.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flowai.calls.client import Chunk, Completion, Embeddings
from flowai.calls.litellm_errors import shown_address, translate
from flowai.calls.litellm_library import Library, StreamDraft, cost_usd, load, token_counts
from flowai.errors import CallError, ContentFilteredError, MalformedAnswerError, TimedOutError
from flowai.secrets import Redactor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from flowai.calls.client import EmbedRequest, Endpoint, Measure, Request


class LiteLLMClient:
    """Calls any provider LiteLLM knows. Use it within one event loop.

    Args:
        redactor: takes secrets out of error messages.
        shared_process: whether code other than flowai's may use LiteLLM in this process; see `litellm_library`.
        clock_s: a clock that never goes back, seconds.
        now: the time, UTC.
    """

    def __init__(
        self,
        *,
        redactor: Redactor | None = None,
        shared_process: bool = True,
        clock_s: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._redactor = redactor or Redactor()
        self._shared_process = shared_process
        self._clock_s = clock_s
        self._now = now
        self._library: Library | None = None
        self._loading = asyncio.Lock()

    async def complete(self, request: Request, *, measure: Measure = "whole") -> Completion:
        """Give the whole answer; see `Client.complete`."""
        if measure == "first_token":
            return await self._complete_streamed(request)
        library = await self._ready()
        started_s = self._clock_s()
        limit = asyncio.timeout(request.total_timeout_s)
        try:
            async with limit:
                answer = await library.module.acompletion(**library.arguments(request))
        except library.failures as error:
            if limit.expired():
                raise _too_late(request.endpoint, "no answer", request.total_timeout_s) from None
            raise self._failure(error, request.endpoint, started_s) from None
        return _whole(request.endpoint, answer, self._latency_ms(started_s))

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Give the answer piece by piece; see `Client.stream`."""
        library = await self._ready(stream=True)
        endpoint = request.endpoint
        started_s = self._clock_s()
        draft = StreamDraft()
        async with aclosing(self._pieces(request, library, draft, started_s)) as pieces:
            async for text in pieces:
                if draft.ttft_ms is None:
                    draft.ttft_ms = self._latency_ms(started_s)
                yield Chunk(text=text)
        latency_ms = self._latency_ms(started_s)
        if not draft.is_finished:
            raise _malformed(endpoint, "the stream ended before the answer did (no finish reason)")
        yield Chunk(text="", completion=_streamed(endpoint, library, draft, latency_ms))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Give one vector per text; see `Client.embed`."""
        library = await self._ready()
        endpoint = request.endpoint
        started_s = self._clock_s()
        limit = asyncio.timeout(request.total_timeout_s)
        try:
            async with limit:
                answer = await library.module.aembedding(
                    **library.address(endpoint), input=list(request.texts), encoding_format="float"
                )
        except library.failures as error:
            if limit.expired():
                raise _too_late(endpoint, "no vectors", request.total_timeout_s) from None
            raise self._failure(error, endpoint, started_s) from None
        rows = sorted(answer.data, key=lambda row: row["index"])
        vectors = tuple(tuple(float(number) for number in row["embedding"]) for row in rows)
        if len(vectors) != len(request.texts):
            raise _malformed(endpoint, f"{len(vectors)} vectors came for {len(request.texts)} texts")
        given, _ = token_counts(answer.usage)
        return Embeddings(vectors=vectors, input_tokens=given, cost_usd=cost_usd(answer, endpoint, given))

    async def aclose(self) -> None:
        """Close connections; may be called twice."""
        library, self._library = self._library, None
        if library is not None:
            await library.aclose()

    async def _ready(self, *, stream: bool = False) -> Library:
        """Give LiteLLM, imported and warm, so that its start is never counted as latency."""
        async with self._loading:
            if self._library is None:
                self._library = await load(shared_process=self._shared_process)
            if stream:
                await self._library.warm_up(stream=True)
        return self._library

    async def _complete_streamed(self, request: Request) -> Completion:
        async with aclosing(self.stream(request)) as chunks:
            async for chunk in chunks:
                if chunk.completion is not None:
                    return chunk.completion
        raise AssertionError("a stream ends with a completion or an error")

    async def _pieces(
        self, request: Request, library: Library, draft: StreamDraft, started_s: float
    ) -> AsyncGenerator[str]:
        """Give the texts of a stream under both time limits, and take its pieces into the draft."""
        loop_s = asyncio.get_running_loop().time()
        last_moment_s = loop_s + request.total_timeout_s
        first_moment_s = min(loop_s + request.first_token_timeout_s, last_moment_s)
        arguments = {**library.arguments(request), "stream": True, "stream_options": {"include_usage": True}}
        source: Any = None
        try:
            while True:
                # one limit per piece: a limit must not be left open while the caller has the floor
                limit = asyncio.timeout_at(last_moment_s if draft.began else first_moment_s)
                try:
                    async with limit:
                        if source is None:
                            source = await library.module.acompletion(**arguments)
                            draft.follow(source)
                        piece = await anext(source, None)
                except library.failures as error:
                    if limit.expired():
                        raise _silent(request, began=draft.began) from None
                    if draft.is_finished:
                        return  # only the end marker is missing
                    raise self._failure(error, request.endpoint, started_s) from None
                if piece is None:
                    return
                text = draft.add(piece)
                if text:
                    yield text
        finally:
            if source is not None:
                await source.aclose()

    def _latency_ms(self, started_s: float) -> float:
        return (self._clock_s() - started_s) * 1000

    def _failure(self, error: BaseException, endpoint: Endpoint, started_s: float) -> CallError:
        return translate(
            error,
            endpoint=endpoint,
            elapsed_s=self._clock_s() - started_s,
            now=self._now(),
            redactor=self._redactor,
        )


def _whole(endpoint: Endpoint, answer: Any, latency_ms: float) -> Completion:  # noqa: ANN401 - LiteLLM's own
    if not answer.choices:
        raise _malformed(endpoint, "the answer holds no choices")
    choice = answer.choices[0]
    text = choice.message.content or ""
    if choice.finish_reason == "content_filter" and not text:
        raise _withheld(endpoint)
    given, made = token_counts(getattr(answer, "usage", None))
    return Completion(
        text=text,
        model=endpoint.model,
        served_model=answer.model or endpoint.model,
        provider=endpoint.provider,
        finish_reason=choice.finish_reason,
        input_tokens=given,
        output_tokens=made,
        cost_usd=cost_usd(answer, endpoint, given),
        latency_ms=latency_ms,
        ttft_ms=None,
    )


def _streamed(endpoint: Endpoint, library: Library, draft: StreamDraft, latency_ms: float) -> Completion:
    text = "".join(draft.texts)
    if draft.finish_reason == "content_filter" and not text:
        raise _withheld(endpoint)
    given, made = token_counts(draft.usage)
    return Completion(
        text=text,
        model=endpoint.model,
        served_model=draft.served_model or endpoint.model,
        provider=endpoint.provider,
        finish_reason=draft.finish_reason,
        input_tokens=given,
        output_tokens=made,
        cost_usd=None if given is None else library.stream_cost_usd(endpoint, draft.usage),
        latency_ms=latency_ms,
        ttft_ms=draft.ttft_ms,
    )


def _silent(request: Request, *, began: bool) -> TimedOutError:
    if began or request.total_timeout_s <= request.first_token_timeout_s:
        return _too_late(request.endpoint, "no whole answer", request.total_timeout_s)
    return _too_late(request.endpoint, "no first token", request.first_token_timeout_s)


def _too_late(endpoint: Endpoint, what: str, limit_s: float) -> TimedOutError:
    address = shown_address(endpoint.api_base)
    return TimedOutError(
        f"{what} within {limit_s:g} s" + (f" from {address}" if address else ""),
        provider=endpoint.provider,
        model=endpoint.name,
        endpoint=address,
        hint="raise the feature's `timeout`, or try again",
    )


def _malformed(endpoint: Endpoint, what: str) -> MalformedAnswerError:
    return MalformedAnswerError(
        what, provider=endpoint.provider, model=endpoint.name, endpoint=shown_address(endpoint.api_base)
    )


def _withheld(endpoint: Endpoint) -> ContentFilteredError:
    return ContentFilteredError(
        "the provider's policy withheld the whole answer", provider=endpoint.provider, model=endpoint.name
    )

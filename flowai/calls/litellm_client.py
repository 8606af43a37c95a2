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
    from collections.abc import AsyncIterator, Callable

    from flowai.calls.client import EmbedRequest, Endpoint, Measure, Request


class LiteLLMClient:
    """Calls any provider LiteLLM knows.

    Use it within one event loop.

    Args:
        redactor: takes secrets out of error messages.
        clock_s: a clock that never goes back, seconds.
        now: the time, UTC.
    """

    def __init__(
        self,
        *,
        redactor: Redactor | None = None,
        clock_s: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._redactor = redactor or Redactor()
        self._clock_s = clock_s
        self._now = now
        self._library: Library | None = None
        self._warming = asyncio.Lock()

    async def complete(self, request: Request, *, measure: Measure = "whole") -> Completion:
        """Give the whole answer; see `Client.complete`."""
        if measure == "first_token":
            async with aclosing(self.stream(request)) as chunks:
                async for chunk in chunks:
                    if chunk.completion is not None:
                        return chunk.completion
            raise AssertionError("a stream ends with a completion or an error")
        library = await self._ready()
        started_s = self._clock_s()
        limit = asyncio.timeout(request.total_timeout_s)
        try:
            async with limit:
                answer = await library.module.acompletion(**library.arguments(request))
        except library.failures as error:
            if limit.expired():
                raise self._too_late(request.endpoint, "no answer", request.total_timeout_s) from None
            raise self._failure(error, request.endpoint, started_s) from None
        return self._whole(request, answer, self._latency_ms(started_s))

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Give the answer piece by piece; see `Client.stream`."""
        library = await self._ready()
        endpoint = request.endpoint
        started_s = self._clock_s()
        loop = asyncio.get_running_loop()
        last_moment = loop.time() + request.total_timeout_s
        first_moment = min(loop.time() + request.first_token_timeout_s, last_moment)
        draft = StreamDraft()
        source: Any = None
        try:
            while True:
                limit = asyncio.timeout_at(last_moment if draft.began else first_moment)
                try:
                    async with limit:
                        if source is None:
                            arguments = library.arguments(request)
                            options = {"stream": True, "stream_options": {"include_usage": True}}
                            source = await library.module.acompletion(**arguments, **options)
                        piece = await anext(source, None)
                except library.failures as error:
                    if limit.expired():
                        raise self._silent(request, began=draft.began) from None
                    if not _is_finished(source):
                        raise self._failure(error, endpoint, started_s, streamed=source is not None) from None
                    break  # the end marker is missing, the answer is not
                if piece is None:
                    break
                text = draft.add(piece)
                if text:
                    if draft.ttft_ms is None:
                        draft.ttft_ms = self._latency_ms(started_s)
                    yield Chunk(text=text)
        finally:
            if source is not None and hasattr(source, "aclose"):
                await source.aclose()
        latency_ms = self._latency_ms(started_s)
        if not _is_finished(source):
            raise MalformedAnswerError(
                "the stream ended before the answer did (no finish reason)",
                provider=endpoint.provider,
                model=endpoint.name,
                endpoint=shown_address(endpoint.api_base),
            )
        yield Chunk(text="", completion=self._streamed(request, library, draft, latency_ms))

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
                raise self._too_late(endpoint, "no vectors", request.total_timeout_s) from None
            raise self._failure(error, endpoint, started_s) from None
        rows = sorted(answer.data, key=lambda row: row["index"])
        vectors = tuple(tuple(float(number) for number in row["embedding"]) for row in rows)
        if len(vectors) != len(request.texts):
            raise self._malformed(endpoint, f"{len(vectors)} vectors came for {len(request.texts)} texts")
        given, _ = token_counts(answer.usage)
        return Embeddings(vectors=vectors, input_tokens=given, cost_usd=cost_usd(answer, endpoint, given))

    async def aclose(self) -> None:
        """Close the connections of OpenAI-compatible providers; the others' belong to LiteLLM, which closes them."""
        library, self._library = self._library, None
        if library is not None:
            await library.aclose()

    async def _ready(self) -> Library:
        """Give LiteLLM, imported and warm, so that its start is never counted as latency."""
        if self._library is None:
            async with self._warming:
                if self._library is None:
                    module = _load()
                    await module.acompletion(
                        model="openai/warm-up",
                        messages=[{"role": "user", "content": ""}],
                        mock_response="",  # LiteLLM answers this itself: nothing is sent
                        **{"no-log": True},
                    )
                    self._library = Library(module)
        return self._library

    def _whole(self, request: Request, answer: Any, latency_ms: float) -> Completion:  # noqa: ANN401 - LiteLLM's own
        endpoint = request.endpoint
        if not answer.choices:
            raise self._malformed(endpoint, "the answer holds no choices")
        choice = answer.choices[0]
        text = choice.message.content or ""
        if choice.finish_reason == "content_filter" and not text:
            raise self._filtered(endpoint)
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

    def _streamed(self, request: Request, library: Library, draft: StreamDraft, latency_ms: float) -> Completion:
        endpoint = request.endpoint
        text = "".join(draft.texts)
        if draft.finish_reason == "content_filter" and not text:
            raise self._filtered(endpoint)
        given, made = token_counts(draft.usage)
        return Completion(
            text=text,
            model=endpoint.model,
            served_model=draft.served_model or endpoint.model,
            provider=endpoint.provider,
            finish_reason=draft.finish_reason,
            input_tokens=given,
            output_tokens=made,
            cost_usd=library.stream_cost_usd(endpoint, draft.usage) if given is not None else None,
            latency_ms=latency_ms,
            ttft_ms=draft.ttft_ms,
        )

    def _latency_ms(self, started_s: float) -> float:
        return (self._clock_s() - started_s) * 1000

    def _failure(
        self, error: BaseException, endpoint: Endpoint, started_s: float, *, streamed: bool = False
    ) -> CallError:
        failure = translate(
            error,
            endpoint=endpoint,
            elapsed_s=self._clock_s() - started_s,
            now=self._now(),
            redactor=self._redactor,
            streamed=streamed,
        )
        failure.__suppress_context__ = True
        return failure

    def _silent(self, request: Request, *, began: bool) -> TimedOutError:
        if began:
            return self._too_late(request.endpoint, "no whole answer", request.total_timeout_s)
        return self._too_late(request.endpoint, "no first token", request.first_token_timeout_s)

    def _too_late(self, endpoint: Endpoint, what: str, limit_s: float) -> TimedOutError:
        return TimedOutError(
            f"{what} within {limit_s:g} s",
            provider=endpoint.provider,
            model=endpoint.name,
            endpoint=shown_address(endpoint.api_base),
            hint="raise the feature's `timeout`, or try again",
        )

    def _malformed(self, endpoint: Endpoint, what: str) -> MalformedAnswerError:
        return MalformedAnswerError(
            what, provider=endpoint.provider, model=endpoint.name, endpoint=shown_address(endpoint.api_base)
        )

    def _filtered(self, endpoint: Endpoint) -> ContentFilteredError:
        return ContentFilteredError(
            "the provider's policy withheld the whole answer", provider=endpoint.provider, model=endpoint.name
        )

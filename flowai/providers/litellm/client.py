"""Client that calls models through LiteLLM."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.client import Chunk, Completion, Embeddings
from flowai.providers.failures import (
    content_filtered_error,
    deadline_error,
    explain_malformed,
    malformed_error,
    stalled_error,
)
from flowai.providers.litellm.adapter import LiteLLMAdapter, cost_usd, load, token_counts
from flowai.providers.litellm.cancellation import cancel_after_first_wait
from flowai.providers.litellm.errors import translate
from flowai.providers.litellm.native_stream import StreamAccumulator, stream_deltas
from flowai.providers.openai.embeddings import vector
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from flowai.errors import CallError
    from flowai.providers.client import EmbedRequest, Endpoint, Request
    from flowai.providers.openai.stream_parser import Delta
    from flowai.providers.openai.transport import StreamMonitor

WITHHELD = "the provider's policy withheld the whole answer"


class LiteLLMClient:
    """Client for every provider of LiteLLM. Use it within one event loop.

    Args:
        redactor: removes secrets from error messages.
        shared_process: whether other code in this process may use LiteLLM; see `adapter`.
        clock_s: monotonic clock.
        now: returns the time, UTC.
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
        self._library: LiteLLMAdapter | None = None
        self._loading = asyncio.Lock()

    async def complete(self, request: Request) -> Completion:
        """Return the complete answer; see `Client.complete`."""
        library = await self._ready()
        if not library.uses_native_stream(request.endpoint):
            return await self._call(request, library, None)
        async with aclosing(self._native_stream(request, library)) as chunks:
            async for chunk in chunks:
                if chunk.completion is not None:
                    return chunk.completion
        raise AssertionError("a stream ends with a completion or an error")

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield the answer in chunks; see `Client.stream`."""
        library = await self._ready()
        is_native = library.uses_native_stream(request.endpoint)
        source = self._native_stream(request, library) if is_native else self._stream_of_call(request, library)
        async with aclosing(source) as chunks:
            async for chunk in chunks:
                yield chunk

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return one vector per text; see `Client.embed`."""
        library = await self._ready()
        endpoint = request.endpoint
        started_s = self._clock_s()
        limit = asyncio.timeout(request.total_timeout_s)
        try:
            async with limit:
                answer = await cancel_after_first_wait(
                    library.module.aembedding(
                        **library.address(endpoint), input=list(request.texts), encoding_format="float"
                    )
                )
        except library.failures as error:
            if limit.expired():
                raise deadline_error(endpoint, "no vectors", request.total_timeout_s) from None
            raise self._failure(error, endpoint, started_s) from None
        vectors = self._vectors(answer, request)
        input_tokens, _ = token_counts(answer.usage)
        return Embeddings(vectors=vectors, input_tokens=input_tokens, cost_usd=cost_usd(answer, endpoint, input_tokens))

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:  # noqa: ARG002 - none of them is on this machine
        """Import LiteLLM now; see `Client.warm_up`."""
        await self._ready()

    async def aclose(self) -> None:
        """Close connections; may be called twice."""
        library, self._library = self._library, None
        if library is not None:
            await library.aclose()

    async def _ready(self) -> LiteLLMAdapter:
        """Return LiteLLM, imported and warm, so that loading is not counted as latency."""
        async with self._loading:
            if self._library is None:
                self._library = await load(shared_process=self._shared_process)
        return self._library

    async def _call(
        self, request: Request, library: LiteLLMAdapter, on_delta: Callable[[Delta], None] | None
    ) -> Completion:
        """Run an unstreamed call of LiteLLM; if it uses OpenAI's client, flowai's transport reports the deltas."""
        from flowai.providers.openai.transport import (  # it needs httpx, which LiteLLM brings
            StreamMonitor,
            monitor_stream,
        )

        endpoint = request.endpoint
        started_s = self._clock_s()
        monitor = StreamMonitor(
            model=endpoint.model,
            max_tokens=_max_tokens(request),
            first_token_timeout_s=request.first_token_timeout_s,
            elapsed_ms=lambda: self._latency_ms(started_s),
            on_delta=on_delta,
        )
        limit = asyncio.timeout(request.total_timeout_s)
        try:
            with monitor_stream(monitor), library.without_logging():
                async with limit:
                    answer = await cancel_after_first_wait(library.module.acompletion(**library.arguments(request)))
        except library.failures as error:
            if limit.expired():
                raise deadline_error(
                    endpoint, "no complete answer", request.total_timeout_s, was_streaming=monitor.has_started
                ) from None
            if monitor.has_stalled:
                raise stalled_error(request, has_started=monitor.has_started) from None
            if monitor.malformed is not None:
                raise explain_malformed(monitor.malformed, endpoint=endpoint, redactor=self._redactor) from None
            raise self._failure(error, endpoint, started_s) from None
        completion = _completion(endpoint, answer, monitor, self._latency_ms(started_s))
        if on_delta is None:
            return completion
        # LiteLLM moves `<think>` parts out of a complete text, but the chunks have contained them
        return msgspec.structs.replace(completion, text=monitor.answer.text or completion.text)

    async def _stream_of_call(self, request: Request, library: LiteLLMAdapter) -> AsyncGenerator[Chunk]:
        """Run the unstreamed call in a task and yield the deltas that its transport reports."""
        deltas: asyncio.Queue[Delta | None] = asyncio.Queue()
        call = asyncio.create_task(self._call(request, library, deltas.put_nowait))
        call.add_done_callback(lambda _: deltas.put_nowait(None))
        was_streamed = False
        try:
            while (delta := await deltas.get()) is not None:
                was_streamed = True
                yield Chunk(text=delta.text, tool_calls=delta.tool_calls)
            completion = await call
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        if not was_streamed and (completion.text or completion.tool_calls):
            yield Chunk(text=completion.text, tool_calls=_to_deltas(completion.tool_calls))
        yield Chunk(text="", completion=completion)

    async def _native_stream(self, request: Request, library: LiteLLMAdapter) -> AsyncGenerator[Chunk]:
        """Yield the stream of a provider with its own protocol, which LiteLLM reads."""
        await library.warm_up(stream=True)
        endpoint = request.endpoint
        started_s = self._clock_s()
        draft = StreamAccumulator()
        source = stream_deltas(request, library, draft, lambda: self._latency_ms(started_s))
        try:
            async with aclosing(source) as deltas:
                async for delta in deltas:
                    if delta.text or delta.tool_calls:
                        yield Chunk(text=delta.text, tool_calls=delta.tool_calls)
        except library.failures as error:
            if isinstance(error, TimeoutError):
                if draft.has_stalled:
                    raise stalled_error(request, has_started=draft.has_started) from None
                raise deadline_error(
                    endpoint, "no complete answer", request.total_timeout_s, was_streaming=draft.has_started
                ) from None
            raise self._failure(error, endpoint, started_s) from None
        latency_ms = self._latency_ms(started_s)
        if not draft.is_finished:
            raise malformed_error(endpoint, "the stream ended before the answer did (no finish reason)")
        yield Chunk(text="", completion=_completion_from_stream(endpoint, library, draft, latency_ms))

    def _vectors(self, answer: Any, request: EmbedRequest) -> tuple[tuple[float, ...], ...]:  # noqa: ANN401 - LiteLLM's
        try:
            rows = sorted(answer.data, key=lambda row: row["index"])
            vectors = tuple(vector(row["embedding"]) for row in rows)
        except (KeyError, TypeError, ValueError):
            raise malformed_error(request.endpoint, "the answer contains no vectors of numbers") from None
        if len(vectors) != len(request.texts):
            raise malformed_error(request.endpoint, f"{len(vectors)} vectors came for {len(request.texts)} texts")
        if len({len(vector) for vector in vectors}) > 1:
            raise malformed_error(request.endpoint, "the vectors are of different lengths")
        return vectors

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


def _completion(endpoint: Endpoint, answer: Any, monitor: StreamMonitor, latency_ms: float) -> Completion:  # noqa: ANN401 - LiteLLM's
    if not answer.choices:
        raise malformed_error(endpoint, "the answer contains no choices")
    choice = answer.choices[0]
    text = choice.message.content or monitor.answer.refusal
    if not isinstance(text, str):
        raise malformed_error(endpoint, "the answer's content is not a text")
    tool_calls = tuple(call.model_dump(exclude_none=True) for call in choice.message.tool_calls or ())
    if choice.finish_reason == "content_filter" and not (text or tool_calls):
        raise content_filtered_error(endpoint, WITHHELD)
    input_tokens, output_tokens = token_counts(getattr(answer, "usage", None))
    return Completion(
        text=text,
        tool_calls=tool_calls,
        model=endpoint.model,
        served_model=monitor.answer.served_model or answer.model or endpoint.model,
        provider=endpoint.provider,
        finish_reason=monitor.answer.finish_reason or choice.finish_reason,  # LiteLLM turns unknown ones into `stop`
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost_usd(answer, endpoint, input_tokens),
        latency_ms=latency_ms,
        ttft_ms=monitor.ttft_ms,
    )


def _completion_from_stream(
    endpoint: Endpoint, library: LiteLLMAdapter, draft: StreamAccumulator, latency_ms: float
) -> Completion:
    text = "".join(draft.texts)
    if draft.finish_reason == "content_filter" and not (text or draft.tool_calls):
        raise content_filtered_error(endpoint, WITHHELD)
    input_tokens, output_tokens = token_counts(draft.usage)
    return Completion(
        text=text,
        tool_calls=tuple(draft.tool_calls.as_json()),
        model=endpoint.model,
        served_model=draft.served_model or endpoint.model,
        provider=endpoint.provider,
        finish_reason=draft.finish_reason,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=None if input_tokens is None else library.stream_cost_usd(endpoint, draft.usage),
        latency_ms=latency_ms,
        ttft_ms=draft.ttft_ms,
    )


def _max_tokens(request: Request) -> int | None:
    """Return the token limit of a request, by either of OpenAI's names."""
    limits = [request.params.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return max((limit for limit in limits if isinstance(limit, int)), default=None)


def _to_deltas(tool_calls: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple({"index": index, **call} for index, call in enumerate(tool_calls))

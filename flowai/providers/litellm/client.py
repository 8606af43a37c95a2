"""Client that calls models through LiteLLM: every provider with a protocol of its own."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import CallError, PartialUsage, TimedOutError
from flowai.providers.client import Chunk, Completion, Embeddings
from flowai.providers.failures import deadline_error, explain_malformed, malformed_error
from flowai.providers.litellm.adapter import LiteLLMAdapter, cost_usd, load, token_counts
from flowai.providers.litellm.cancellation import cancel_after_first_wait
from flowai.providers.litellm.errors import is_uncounted, translate, uncounted_error, unsent_error
from flowai.providers.litellm.media import check_media
from flowai.providers.litellm.sent_request import SentRequest
from flowai.providers.litellm.stream_call import StreamAccumulator, StreamCall
from flowai.providers.openai.stream_parser import MalformedStreamError
from flowai.providers.results import check_not_withheld, token_limit, tool_call_deltas, vectors_of, visible_text
from flowai.providers.time_limits import TimeLimits
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from flowai.providers.client import EmbedRequest, Endpoint, Request


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
        if not library.reads_stream_of(request.endpoint):
            return await self._unstreamed(request, library)
        async with aclosing(self._streamed(request, library)) as chunks:
            async for chunk in chunks:
                if chunk.completion is not None:
                    text = visible_text(chunk.completion.text)
                    return msgspec.structs.replace(chunk.completion, text=text)
        raise AssertionError("a stream ends with a completion or an error")

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield the answer in chunks; see `Client.stream`."""
        library = await self._ready()
        if not library.reads_stream_of(request.endpoint):
            completion = await self._unstreamed(request, library)
            if completion.text or completion.tool_calls:
                yield Chunk(text=completion.text, tool_calls=tool_call_deltas(completion.tool_calls))
            yield Chunk(text="", completion=completion)
            return
        async with aclosing(self._streamed(request, library)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return one vector per text; see `Client.embed`."""
        library = await self._ready()
        endpoint = request.endpoint
        started_s, sent = self._clock_s(), SentRequest(request.total_timeout_s)
        limit = asyncio.timeout(request.total_timeout_s)
        try:
            async with limit:
                answer = await cancel_after_first_wait(
                    library.module.aembedding(
                        **library.address(endpoint, sent), input=list(request.texts), encoding_format="float"
                    )
                )
        except Exception as error:  # noqa: BLE001 - LiteLLM's conversion of a request fails in any way
            if limit.expired():
                raise sent.checked(deadline_error(endpoint, "no vectors", request.total_timeout_s)) from None
            raise self._failure(error, endpoint, started_s, library, sent) from None
        vectors = vectors_of(answer.data, request)
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

    async def _unstreamed(self, request: Request, library: LiteLLMAdapter) -> Completion:
        """Return an answer that came as a whole; only the total time limit holds."""
        endpoint = request.endpoint
        check_media(request, library)
        started_s, sent = self._clock_s(), SentRequest(request.total_timeout_s)
        limit = asyncio.timeout(request.total_timeout_s)
        try:
            async with limit:
                answer = await cancel_after_first_wait(library.module.acompletion(**library.arguments(request, sent)))
        except Exception as error:  # noqa: BLE001 - LiteLLM's conversion of a request fails in any way
            if limit.expired():
                raise sent.checked(deadline_error(endpoint, "no complete answer", request.total_timeout_s)) from None
            raise self._failure(error, endpoint, started_s, library, sent) from None
        try:
            return _completion(endpoint, answer, (self._clock_s() - started_s) * 1000)
        except CallError as error:
            input_tokens, output_tokens = token_counts(getattr(answer, "usage", None))
            if input_tokens is not None:
                error.partial_usage = PartialUsage(
                    input_tokens=input_tokens,
                    output_tokens=output_tokens,
                    cost_usd=cost_usd(answer, endpoint, input_tokens),
                )
            raise

    async def _streamed(self, request: Request, library: LiteLLMAdapter) -> AsyncGenerator[Chunk]:
        """Yield an answer that LiteLLM streams."""
        await library.warm_up(stream=True)
        endpoint = request.endpoint
        check_media(request, library)
        started_s = self._clock_s()
        limits = TimeLimits(request, clock_s=self._clock_s)
        call = StreamCall(request, library, answer=StreamAccumulator(max_tokens=token_limit(request)), limits=limits)
        try:
            async with aclosing(call.deltas()) as deltas:
                async for delta in deltas:
                    yield Chunk(text=delta.text, tool_calls=delta.tool_calls)
            completion = _completion_from_stream(endpoint, library, call)
        except TimedOutError as error:
            raise _with_usage(call.sent.checked(error), endpoint, library, call) from None
        except CallError as error:
            raise _with_usage(error, endpoint, library, call) from None
        except MalformedStreamError as error:
            failure = explain_malformed(error, endpoint=endpoint, redactor=self._redactor)
            raise _with_usage(failure, endpoint, library, call) from None
        except Exception as error:  # noqa: BLE001 - LiteLLM's conversion of a request fails in any way
            failed = self._failure(error, endpoint, started_s, library, call.sent)
            raise (_with_usage(failed, endpoint, library, call) if isinstance(failed, CallError) else failed) from None
        yield Chunk(text="", completion=completion)

    def _failure(
        self, error: Exception, endpoint: Endpoint, started_s: float, library: LiteLLMAdapter, sent: SentRequest
    ) -> Exception:
        """Return the error to raise; an unknown exception of a request that went out is a bug and remains."""
        unsent = None if sent.was_sent else unsent_error(error, endpoint, self._redactor)
        if unsent is not None:
            return unsent
        if is_uncounted(error):
            return uncounted_error(error, endpoint, self._redactor)
        if not isinstance(error, library.failures):
            return error
        return translate(
            error,
            endpoint=endpoint,
            elapsed_s=self._clock_s() - started_s,
            now=self._now(),
            redactor=self._redactor,
        )


def _with_usage(error: CallError, endpoint: Endpoint, library: LiteLLMAdapter, call: StreamCall) -> CallError:
    """Return an error with the tokens that came before it."""
    answer = call.answer
    input_tokens, output_tokens = token_counts(answer.usage)
    if answer.character_count or input_tokens is not None:
        error.partial_usage = PartialUsage(
            character_count=answer.character_count,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=None if input_tokens is None else library.stream_cost_usd(endpoint, answer.usage),
        )
    return error


def _completion(endpoint: Endpoint, answer: Any, latency_ms: float) -> Completion:  # noqa: ANN401 - LiteLLM's
    if not answer.choices:
        raise malformed_error(endpoint, "the answer contains no choices")
    choice = answer.choices[0]
    text = choice.message.content or ""
    if not isinstance(text, str):
        raise malformed_error(endpoint, "the answer's content is not a text")
    tool_calls = tuple(call.model_dump(exclude_none=True) for call in choice.message.tool_calls or ())
    check_not_withheld(endpoint, choice.finish_reason, is_empty=not (text or tool_calls))
    input_tokens, output_tokens = token_counts(getattr(answer, "usage", None))
    return Completion(
        text=text,
        tool_calls=tool_calls,
        model=endpoint.model,
        served_model=answer.model or endpoint.model,
        provider=endpoint.provider,
        finish_reason=choice.finish_reason,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost_usd(answer, endpoint, input_tokens),
        latency_ms=latency_ms,
        ttft_ms=None,
        fingerprint=getattr(answer, "system_fingerprint", None) or None,
    )


def _completion_from_stream(endpoint: Endpoint, library: LiteLLMAdapter, call: StreamCall) -> Completion:
    answer = call.answer
    text = "".join(answer.texts)
    check_not_withheld(endpoint, answer.finish_reason, is_empty=not (text or answer.tool_calls))
    input_tokens, output_tokens = token_counts(answer.usage)
    return Completion(
        text=text,
        tool_calls=tuple(answer.tool_calls.as_json()),
        model=endpoint.model,
        served_model=answer.served_model or endpoint.model,
        provider=endpoint.provider,
        finish_reason=answer.finish_reason,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=None if input_tokens is None else library.stream_cost_usd(endpoint, answer.usage),
        latency_ms=call.limits.elapsed_s() * 1000,
        ttft_ms=call.ttft_ms,
        fingerprint=answer.fingerprint,
    )

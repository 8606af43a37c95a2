"""Client for endpoints that speak OpenAI's chat and embeddings protocol; it passes all other requests on."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import CallError, PartialUsage
from flowai.providers.catalog import ProviderCatalog
from flowai.providers.client import LOCAL_PROVIDER, Chunk, Completion, Embeddings
from flowai.providers.failures import (
    building_request,
    deadline_error,
    malformed_error,
    unbuildable_error,
)
from flowai.providers.openai.requests import chat_request, embedding_request, request_as_written
from flowai.providers.openai.stream_parser import ChatStreamParser
from flowai.providers.prices import PriceTable
from flowai.providers.results import check_not_withheld, token_limit, tool_call_deltas, vectors_of, visible_text
from flowai.providers.time_limits import TimeLimits
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from flowai.providers.catalog import DirectProvider
    from flowai.providers.client import Client, EmbedRequest, Endpoint, Request
    from flowai.providers.direct.chat_call import ChatCall, RequestMode
    from flowai.providers.http.connections import Connections
    from flowai.providers.wire import WireRequest


class OpenAIClient:
    """Client that calls endpoints with OpenAI's protocol over connections of its own.

    Args:
        other: client for the requests that this one does not know how to send.
        redactor: removes secrets from error messages.
        prices: prices of the models.
        clock_s: monotonic clock.
        now: returns the time, UTC.
    """

    def __init__(
        self,
        other: Client,
        *,
        redactor: Redactor | None = None,
        prices: PriceTable | None = None,
        clock_s: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._other = other
        self._redactor = redactor or Redactor()
        self._prices = prices or PriceTable()
        self._clock_s = clock_s
        self._now = now
        self._catalog = ProviderCatalog()
        self._modes: dict[tuple[str | None, str], RequestMode] = {}
        self._pool: Connections | None = None

    async def complete(self, request: Request) -> Completion:
        """Return the complete answer; see `Client.complete`."""
        call = self._chat_call(request)
        if call is None:
            return await self._other.complete(request)
        try:
            await call.read()
            return self._completion(request, call)
        except (CallError, *call.FAILURES) as error:
            raise self._failed_call(error, request.endpoint, call) from None

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield the answer in chunks; see `Client.stream` and `complete`."""
        call = self._chat_call(request)
        if call is None:
            async with aclosing(self._other.stream(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        try:
            async with aclosing(call.deltas()) as deltas:
                async for delta in deltas:
                    yield Chunk(text=delta.text, tool_calls=delta.tool_calls)
            completion = self._completion(request, call)
        except (CallError, *call.FAILURES) as error:
            raise self._failed_call(error, request.endpoint, call) from None
        if call.ttft_ms is None and (completion.text or completion.tool_calls):
            yield Chunk(text=completion.text, tool_calls=tool_call_deltas(completion.tool_calls))
        yield Chunk(text="", completion=completion)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return one vector per text; see `Client.embed` and `complete`."""
        endpoint = request.endpoint
        provider = self._provider(endpoint)
        with building_request(endpoint, self._redactor):
            wire = None if provider is None else embedding_request(request, provider)
        if wire is None:
            self._check_may_pass_on(endpoint)
            return await self._other.embed(request)
        connections = self._connections()
        from flowai.providers.direct.chat_call import FAILURES, read_body

        started_s = self._clock_s()
        limit = asyncio.timeout(request.total_timeout_s)
        try:
            async with limit:
                body = await read_body(wire, connections, is_local=endpoint.provider == LOCAL_PROVIDER)
        except FAILURES as error:
            if limit.expired():
                raise deadline_error(endpoint, "no vectors", request.total_timeout_s) from None
            raise self._call_error(error, endpoint, self._clock_s() - started_s) from None
        return self._embeddings(request, body)

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Import what calls need; warm up the other client if one of the endpoints needs it."""
        self._connections()
        others = [endpoint for endpoint in endpoints if self._provider(endpoint) is None]
        if others:
            await self._other.warm_up(others)

    async def aclose(self) -> None:
        """Close connections and the other client; may be called twice."""
        connections, self._pool = self._pool, None
        try:
            if connections is not None:
                await connections.aclose()
        finally:
            await self._other.aclose()

    def _connections(self) -> Connections:
        if self._pool is None:
            # late: aiohttp takes 0.1 s to import, and a cached run does not need it
            from flowai.providers.http.connections import Connections

            self._pool = Connections()
        return self._pool

    def _provider(self, endpoint: Endpoint) -> DirectProvider | None:
        """Return the provider of an endpoint; None if the other client calls it."""
        return None if endpoint.transport == "litellm" else self._catalog.direct(endpoint)

    def _chat_call(self, request: Request) -> ChatCall | None:
        """Return a call that can be sent; None if the other client must send it."""
        endpoint = request.endpoint
        provider = self._provider(endpoint)
        if provider is None:
            self._check_may_pass_on(endpoint)
            return None
        key = (endpoint.api_base, endpoint.model)
        mode = self._modes.get(key, "stream")
        with building_request(endpoint, self._redactor):
            wire = _wire_request(request, provider, mode)
        if wire is None:
            self._check_may_pass_on(endpoint)
            return None

        def rebuild(mode: RequestMode) -> WireRequest | None:
            self._modes[key] = mode
            return _wire_request(request, provider, mode)

        connections = self._connections()
        from flowai.providers.direct.chat_call import ChatCall

        return ChatCall(
            wire,
            connections,
            answer=ChatStreamParser(max_tokens=token_limit(request)),
            limits=TimeLimits(request, clock_s=self._clock_s),
            mode=mode,
            rebuild=rebuild,
            is_local=endpoint.provider == LOCAL_PROVIDER,
        )

    def _check_may_pass_on(self, endpoint: Endpoint) -> None:
        """Raise InvalidRequestError if only this client may call the endpoint."""
        if endpoint.transport == "direct":
            raise unbuildable_error(
                endpoint,
                "without LiteLLM, its provider, a value in it or its key is not usable",
                hint=f"remove `transport: direct` from model `{endpoint.name}`",
            )

    def _completion(self, request: Request, call: ChatCall) -> Completion:
        endpoint, answer = request.endpoint, call.answer
        usage = answer.usage
        text, tool_calls = visible_text(answer.text), answer.tool_calls
        check_not_withheld(endpoint, answer.finish_reason, is_empty=not (text or tool_calls))
        input_tokens, output_tokens = _token_counts(usage)
        return Completion(
            text=text,
            tool_calls=tool_calls,
            model=endpoint.model,
            served_model=answer.served_model or endpoint.model,
            provider=endpoint.provider,
            finish_reason=answer.finish_reason,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=self._cost_usd(endpoint, usage),
            latency_ms=call.limits.elapsed_s() * 1000,
            ttft_ms=call.ttft_ms,
            fingerprint=answer.fingerprint,
        )

    def _embeddings(self, request: EmbedRequest, body: bytes) -> Embeddings:
        try:
            answer = msgspec.json.decode(body, type=_Vectors)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise malformed_error(request.endpoint, f"the answer contains no vectors: {error}") from None
        usage = answer.usage or _VectorUsage()
        return Embeddings(
            vectors=vectors_of(answer.data, request),
            input_tokens=usage.prompt_tokens if usage.total_tokens else None,
            cost_usd=self._cost_usd(request.endpoint, msgspec.structs.asdict(usage)),
        )

    def _cost_usd(self, endpoint: Endpoint, usage: Mapping[str, Any] | None) -> float | None:
        """Return the cost of an answer; None without a price or without reported tokens."""
        if endpoint.provider == LOCAL_PROVIDER:
            return 0.0
        return self._prices.cost_usd(endpoint.model, usage) if usage and usage.get("total_tokens") else None

    def _failed_call(self, error: Exception, endpoint: Endpoint, call: ChatCall) -> CallError:
        """Return the error of a call, with the tokens that came before it."""
        failure = error
        if not isinstance(failure, CallError):
            failure = self._call_error(error, endpoint, call.limits.elapsed_s())
        answer = call.answer
        if answer.character_count or answer.usage:
            input_tokens, output_tokens = _token_counts(answer.usage)
            failure.partial_usage = PartialUsage(
                character_count=answer.character_count,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                is_final=answer.has_final_usage,
                cost_usd=self._cost_usd(endpoint, answer.usage),
            )
        return failure

    def _call_error(self, error: Exception, endpoint: Endpoint, elapsed_s: float) -> CallError:
        from flowai.providers.direct.call_errors import call_error

        return call_error(error, endpoint=endpoint, elapsed_s=elapsed_s, now=self._now(), redactor=self._redactor)


class _VectorUsage(msgspec.Struct):
    prompt_tokens: int = 0
    total_tokens: int = 0


class _Vectors(msgspec.Struct):
    data: list[Any]
    usage: _VectorUsage | None = None


def _wire_request(request: Request, provider: DirectProvider, mode: RequestMode) -> WireRequest | None:
    is_streamed, has_usage = mode != "plain", mode == "stream"
    wire = chat_request(request, provider, stream=is_streamed, usage=has_usage)
    if wire is None and request.endpoint.transport == "direct":
        wire = request_as_written(request, provider, stream=is_streamed, usage=has_usage)
    return wire


def _token_counts(usage: Mapping[str, Any] | None) -> tuple[int | None, int | None]:
    """Return input and output tokens; None for both if none were reported."""
    if usage is None or not usage["total_tokens"]:
        return None, None
    return usage["prompt_tokens"], usage["completion_tokens"]

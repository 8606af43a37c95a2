"""Runs the fallback chain: one deadline per call, one circuit breaker per provider, one retry policy."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import CallError, InfrastructureError, PartialUsage, RegistryError
from flowai.gateway.routing.attempts import AttemptPlanner, AttemptSuccess, FallbackRequest, PlannedAttempt, RoutingDeps
from flowai.gateway.routing.prefill import PrefillStripper, strip_prefill
from flowai.providers import Chunk, EmbedRequest, PriceTable
from flowai.providers.answer_check import checked_completion

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from flowai.gateway.records import OnStreamBreak
    from flowai.gateway.routing.circuit_breaker import CircuitBreakers
    from flowai.providers import Client, Completion, Embeddings

ATTEMPT_ERRORS = (CallError, InfrastructureError, RegistryError)
"""Errors of an attempt: its call failed, or its local model cannot be started. Any other exception is a bug."""


class FallbackChain:
    """Calls models in order until one answers."""

    def __init__(
        self,
        client: Client,
        breakers: CircuitBreakers,
        *,
        clock_s: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        rng: random.Random,
        prices: PriceTable | None = None,
    ) -> None:
        self._client = client
        self._deps = RoutingDeps(
            breakers=breakers, clock_s=clock_s, sleep=sleep, rng=rng, prices=prices or PriceTable()
        )

    async def complete(self, fallback: FallbackRequest) -> AttemptSuccess:
        """Return the first complete answer. If it raises CallError, the attempts are in `fallback.attempts`."""
        planner = AttemptPlanner(fallback, self._deps)
        while (attempt := await planner.next_attempt()) is not None:
            try:
                completion = _checked_completion(await self._client.complete(attempt.request), attempt)
            except ATTEMPT_ERRORS as error:
                await planner.record_failure(attempt, error)
            except BaseException:  # the caller left: release the lease now
                await planner.record_cancelled(attempt)
                raise
            else:
                await planner.record_success(attempt, first_token_s=_first_token_s(completion))
                return AttemptSuccess(completion=completion, candidate=attempt.candidate)
        raise planner.error()

    async def stream(
        self, fallback: FallbackRequest, *, on_break: OnStreamBreak
    ) -> AsyncGenerator[PlannedAttempt | Chunk | AttemptSuccess]:
        """Yield the PlannedAttempt whose model begins to answer, its chunks, and the AttemptSuccess last.

        A second PlannedAttempt means that the answer starts over: a stream broke after its first text, and `on_break`
        is not `error`. Otherwise that raises CallError, as in `complete`.
        """
        planner = AttemptPlanner(fallback, self._deps)
        while (attempt := await planner.next_attempt()) is not None:
            has_started = False
            first_token_s = 0.0
            try:
                async with aclosing(self._attempt_chunks(attempt)) as chunks:
                    async for chunk in chunks:
                        if not has_started:
                            has_started = True
                            yield attempt
                        if isinstance(chunk, AttemptSuccess):
                            first_token_s = _first_token_s(chunk.completion)
                        yield chunk
            except ATTEMPT_ERRORS as error:
                await planner.record_failure(attempt, error)
                if has_started and on_break == "error":
                    raise
            except BaseException:  # the caller left
                await planner.record_cancelled(attempt)
                raise
            else:
                await planner.record_success(attempt, first_token_s=first_token_s)
                return
        raise planner.error()

    async def embed(self, fallback: FallbackRequest, texts: tuple[str, ...]) -> Embeddings:
        """Return the vectors of texts. If it raises CallError, the attempts are in `fallback.attempts`."""
        planner = AttemptPlanner(fallback, self._deps)
        while (attempt := await planner.next_attempt()) is not None:
            request = EmbedRequest(
                endpoint=attempt.request.endpoint, texts=texts, total_timeout_s=attempt.request.total_timeout_s
            )
            try:
                vectors = await self._client.embed(request)
            except ATTEMPT_ERRORS as error:
                await planner.record_failure(attempt, error)
            except BaseException:  # the caller left: release the lease now
                await planner.record_cancelled(attempt)
                raise
            else:
                await planner.record_success(attempt, first_token_s=self._deps.clock_s() - attempt.started_s)
                return vectors
        raise planner.error()

    async def _attempt_chunks(self, attempt: PlannedAttempt) -> AsyncGenerator[Chunk | AttemptSuccess]:
        """Yield one model's non-empty chunks, and the complete answer last."""
        stripper = None if attempt.prefill is None else PrefillStripper(attempt.prefill)
        async with aclosing(self._client.stream(attempt.request)) as chunks:
            async for chunk in chunks:
                text = chunk.text if stripper is None else stripper.feed(chunk.text)
                if text or chunk.tool_calls:
                    yield chunk if text == chunk.text else msgspec.structs.replace(chunk, text=text)
                if chunk.completion is not None:
                    completion = _checked_completion(chunk.completion, attempt)
                    rest = "" if stripper is None else stripper.finish()
                    if rest:
                        yield Chunk(text=rest)
                    yield AttemptSuccess(completion=completion, candidate=attempt.candidate)


def _first_token_s(completion: Completion) -> float:
    """Return the time to the first token; of an answer that came as a whole, to its end."""
    return (completion.latency_ms if completion.ttft_ms is None else completion.ttft_ms) / 1000


def _checked_completion(completion: Completion, attempt: PlannedAttempt) -> Completion:
    """Return the answer, without a repeated prefill; raise if it is not whole."""
    try:
        checked = checked_completion(completion, attempt.request)
    except CallError as error:
        error.partial_usage = PartialUsage(
            character_count=len(completion.text),
            input_tokens=completion.input_tokens,
            output_tokens=completion.output_tokens,
            cost_usd=completion.cost_usd,
        )
        raise
    if attempt.prefill is None:
        return checked
    return msgspec.structs.replace(checked, text=strip_prefill(checked.text, attempt.prefill))

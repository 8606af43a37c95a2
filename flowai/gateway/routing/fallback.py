"""Runs the fallback chain: one deadline per call, one circuit breaker per provider, one retry policy."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import CallError, ContentFilteredError, InfrastructureError, MalformedAnswerError, RegistryError
from flowai.gateway.routing.attempts import AttemptPlanner, AttemptSuccess, FallbackRequest, PlannedAttempt, RoutingDeps
from flowai.gateway.routing.prefill import PrefillStripper, continuation
from flowai.providers import Chunk

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from flowai.gateway.records import OnStreamBreak
    from flowai.gateway.routing.circuit_breaker import CircuitBreakers
    from flowai.providers import Client, Completion

RETRYABLE_ERRORS = (CallError, InfrastructureError, RegistryError)
"""What a rung may end with: its call failed, or its local model cannot be started. Anything else is a bug."""


class FallbackChain:
    """Asks models in order until one answers.

    Args:
        client: calls models.
        breakers: says whether a provider may be asked.
        clock_s: a clock that never goes back, seconds.
        sleep: waits, seconds.
        rng: jitter of waits.
    """

    def __init__(
        self,
        client: Client,
        breakers: CircuitBreakers,
        *,
        clock_s: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        rng: random.Random,
    ) -> None:
        self._client = client
        self._climbing = RoutingDeps(breakers=breakers, clock_s=clock_s, sleep=sleep, rng=rng)

    async def complete(self, climb: FallbackRequest) -> AttemptSuccess:
        """Give the first whole answer.

        Args:
            climb: rungs, limits and requests of one call.

        Raises:
            CallError: no model answered, or the failure is the caller's; its attempts stand in `climb.attempts`.
        """
        ascent = AttemptPlanner(climb, self._climbing)
        while (step := await ascent.next_step()) is not None:
            try:
                completion = _classify_failure(await self._client.complete(step.request), step)
            except RETRYABLE_ERRORS as error:
                await ascent.record_failure(step, error)
            except BaseException:  # the caller left: the lease must not wait for its end
                await ascent.record_cancelled(step)
                raise
            else:
                await ascent.record_success(step)
                return AttemptSuccess(completion=completion, rung=step.rung)
        raise ascent.error()

    async def stream(
        self, climb: FallbackRequest, *, on_break: OnStreamBreak
    ) -> AsyncGenerator[PlannedAttempt | Chunk | AttemptSuccess]:
        """Give the first answer piece by piece.

        Args:
            climb: rungs, limits and requests of one call.
            on_break: what happens when it dies after its first text.

        Yields:
            The Step whose model begins to answer, before its first text; its chunks; the Climbed last. A second Step
            means that the answer starts afresh.

        Raises:
            CallError: as `complete`; also when a stream died after its first text and `on_break` says `error`.
        """
        ascent = AttemptPlanner(climb, self._climbing)
        while (step := await ascent.next_step()) is not None:
            has_begun = False
            try:
                async with aclosing(self._pieces(step)) as pieces:
                    async for piece in pieces:
                        if not has_begun:
                            has_begun = True
                            yield step
                        yield piece
            except RETRYABLE_ERRORS as error:
                await ascent.record_failure(step, error)
                if has_begun and on_break == "error":
                    raise
            except BaseException:  # the caller left
                await ascent.record_cancelled(step)
                raise
            else:
                await ascent.record_success(step)
                return
        raise ascent.error()

    async def _pieces(self, step: PlannedAttempt) -> AsyncGenerator[Chunk | AttemptSuccess]:
        """Give what one model streams: chunks that hold something, and the whole at the end."""
        strip = None if step.prefill is None else PrefillStripper(step.prefill)
        async with aclosing(self._client.stream(step.request)) as chunks:
            async for chunk in chunks:
                text = chunk.text if strip is None else strip.add(chunk.text)
                if text or chunk.tool_calls:
                    yield chunk if text == chunk.text else msgspec.structs.replace(chunk, text=text)
                if chunk.completion is not None:
                    completion = _classify_failure(chunk.completion, step)
                    rest = "" if strip is None else strip.finish()
                    if rest:
                        yield Chunk(text=rest)
                    yield AttemptSuccess(completion=completion, rung=step.rung)


def _classify_failure(completion: Completion, step: PlannedAttempt) -> Completion:
    """Refuse what is no answer: nothing at all, or one that the provider's policy cut off."""
    endpoint = step.request.endpoint
    if completion.finish_reason == "content_filter":
        raise ContentFilteredError(
            "the provider's policy cut the answer off", provider=endpoint.provider, model=endpoint.name
        )
    if not completion.text.strip() and not completion.tool_calls:
        raise MalformedAnswerError("the answer is empty", provider=endpoint.provider, model=endpoint.name)
    if step.prefill is None:
        return completion
    return msgspec.structs.replace(completion, text=continuation(completion.text, step.prefill))

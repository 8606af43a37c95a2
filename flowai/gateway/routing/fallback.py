"""Climbs the ladder of models a call may try until one answers: one deadline, each provider's breaker, one retry rule.

In: rungs, limits, and how to make the request of a rung. Out: a completion and every attempt, or the error the caller
gets. Must never know features, releases, caches or budgets.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import CallError, ContentFilteredError, InfrastructureError, MalformedAnswerError, RegistryError
from flowai.gateway.routing.attempts import Ascent, Climb, Climbed, Climbing, Step
from flowai.gateway.routing.prefill import Continuation, continuation
from flowai.providers import Chunk

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from flowai.gateway.records import OnBreak
    from flowai.gateway.routing.circuit_breaker import Breakers
    from flowai.providers import Client, Completion

FAILURES = (CallError, InfrastructureError, RegistryError)
"""What a rung may end with: its call failed, or its local model cannot be started. Anything else is a bug."""


class Ladder:
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
        breakers: Breakers,
        *,
        clock_s: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        rng: random.Random,
    ) -> None:
        self._client = client
        self._climbing = Climbing(breakers=breakers, clock_s=clock_s, sleep=sleep, rng=rng)

    async def complete(self, climb: Climb) -> Climbed:
        """Give the first whole answer.

        Args:
            climb: rungs, limits and requests of one call.

        Raises:
            CallError: no model answered, or the failure is the caller's; its attempts stand in `climb.attempts`.
        """
        ascent = Ascent(climb, self._climbing)
        while (step := await ascent.next_step()) is not None:
            try:
                completion = _judged(await self._client.complete(step.request), step)
            except FAILURES as error:
                await ascent.failed(step, error)
            except BaseException:  # the caller left: the lease must not wait for its end
                await ascent.left(step)
                raise
            else:
                await ascent.succeeded(step)
                return Climbed(completion=completion, rung=step.rung)
        raise ascent.error()

    async def stream(self, climb: Climb, *, on_break: OnBreak) -> AsyncGenerator[Step | Chunk | Climbed]:
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
        ascent = Ascent(climb, self._climbing)
        while (step := await ascent.next_step()) is not None:
            has_begun = False
            try:
                async with aclosing(self._pieces(step)) as pieces:
                    async for piece in pieces:
                        if not has_begun:
                            has_begun = True
                            yield step
                        yield piece
            except FAILURES as error:
                await ascent.failed(step, error)
                if has_begun and on_break == "error":
                    raise
            except BaseException:  # the caller left
                await ascent.left(step)
                raise
            else:
                await ascent.succeeded(step)
                return
        raise ascent.error()

    async def _pieces(self, step: Step) -> AsyncGenerator[Chunk | Climbed]:
        """Give what one model streams: chunks that hold something, and the whole at the end."""
        strip = None if step.prefill is None else Continuation(step.prefill)
        async with aclosing(self._client.stream(step.request)) as chunks:
            async for chunk in chunks:
                text = chunk.text if strip is None else strip.add(chunk.text)
                if text or chunk.tool_calls:
                    yield chunk if text == chunk.text else msgspec.structs.replace(chunk, text=text)
                if chunk.completion is not None:
                    completion = _judged(chunk.completion, step)
                    rest = "" if strip is None else strip.finish()
                    if rest:
                        yield Chunk(text=rest)
                    yield Climbed(completion=completion, rung=step.rung)


def _judged(completion: Completion, step: Step) -> Completion:
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

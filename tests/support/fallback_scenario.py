"""A fallback chain with a simulated clock, scripted models and real breakers in memory."""

from __future__ import annotations

import asyncio
import random
import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowai.errors import CallError
from flowai.gateway.routing.attempts import AttemptSuccess, FallbackRequest, ModelCandidate, PlannedAttempt
from flowai.gateway.routing.circuit_breaker import CircuitBreakers
from flowai.gateway.routing.fallback import FallbackChain
from flowai.providers import Chunk, Completion, Endpoint, Request
from flowai.registry.records import Retry
from flowai.state import BreakerRule
from flowai.state.memory_store import InMemoryStateStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from flowai.gateway.records import OnStreamBreak
    from flowai.providers import ChatMessage, Embeddings, EmbedRequest

Outcome = str | Completion | CallError | tuple[str, CallError]
"""Behaviour of a model: a text, a completion, a failure, or a text and then a failure."""


@dataclass(kw_only=True)
class Clock:
    """Clock that advances only by waits."""

    now_s: float = 1_000.0
    waits_s: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


class Models:
    """Client of scripted models: each call gets the next outcome, the last one repeats."""

    def __init__(self, clock: Clock) -> None:
        self.asked: list[Request] = []
        self.takes_s: dict[str, float] = {}
        self._clock = clock
        self._outcomes: dict[str, deque[Outcome]] = {}

    def will(self, name: str, *outcomes: Outcome) -> None:
        self._outcomes[name] = deque(outcomes)

    @property
    def asked_names(self) -> list[str]:
        return [request.endpoint.name for request in self.asked]

    def _next(self, request: Request) -> Outcome:
        self.asked.append(request)
        self._clock.now_s += self.takes_s.get(request.endpoint.name, 0.0)
        queue = self._outcomes[request.endpoint.name]
        return queue.popleft() if len(queue) > 1 else queue[0]

    async def complete(self, request: Request) -> Completion:
        outcome = self._next(request)
        if isinstance(outcome, tuple):
            raise outcome[1]
        if isinstance(outcome, CallError):
            raise outcome
        return outcome if isinstance(outcome, Completion) else said(outcome, request.endpoint)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        outcome = self._next(request)
        if isinstance(outcome, CallError):
            raise outcome
        text = outcome[0] if isinstance(outcome, tuple) else outcome if isinstance(outcome, str) else outcome.text
        for word in re.findall(r"\s*\S+", text):
            yield Chunk(text=word)
        if isinstance(outcome, tuple):
            raise outcome[1]
        whole = outcome if isinstance(outcome, Completion) else said(text, request.endpoint)
        yield Chunk(text="", completion=whole)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        raise NotImplementedError

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to do."""


def said(text: str, endpoint: Endpoint, **changes: Any) -> Completion:
    """Return a complete answer."""
    facts: dict[str, Any] = {
        "text": text,
        "model": endpoint.model,
        "served_model": endpoint.model,
        "provider": endpoint.provider,
        "finish_reason": "stop",
        "input_tokens": 10,
        "output_tokens": 2,
        "cost_usd": 0.001,
        "latency_ms": 1.0,
        "ttft_ms": 1.0,
    }
    return Completion(**{**facts, **changes})


def candidate(name: str, *, provider: str | None = None, **changes: Any) -> ModelCandidate:
    """Return a candidate; its provider is named like its model by default."""
    return ModelCandidate(endpoint=Endpoint(name=name, model=f"openai/{name}", provider=provider or name), **changes)


def fails(kind: type[CallError], what: str = "scripted", **facts: Any) -> CallError:
    """Return a failure."""
    return kind(what, provider="p", model="m", **facts)


class World:
    """A fallback chain with its dependencies."""

    def __init__(self, *, rule: BreakerRule | None = None) -> None:
        self.clock = Clock()
        self.models = Models(self.clock)
        self.state = InMemoryStateStore(self.clock)
        self.breakers = CircuitBreakers(self.state, environment="", clock_s=self.clock)
        self.rule = rule or BreakerRule()
        rng = random.Random(7)  # noqa: S311 - jitter
        self.chain = FallbackChain(self.models, self.breakers, clock_s=self.clock, sleep=self.clock.sleep, rng=rng)
        self.fallback: FallbackRequest

    def _fallback_request(
        self,
        *candidates: ModelCandidate,
        messages: tuple[ChatMessage, ...] = (),
        params: dict[str, Any] | None = None,
        **changes: Any,
    ) -> FallbackRequest:
        self.fallback = FallbackRequest(
            candidates=candidates,
            request=Request(
                endpoint=candidates[0].endpoint,
                messages=messages or ({"role": "user", "content": "hi"},),
                params=params or {},
            ),
            **{"first_token_s": 10.0, "total_s": 30.0, "retry": Retry(), "breaker_rule": self.rule, **changes},
        )
        return self.fallback

    def complete(self, *candidates: ModelCandidate, **changes: Any) -> AttemptSuccess:
        return asyncio.run(self.chain.complete(self._fallback_request(*candidates, **changes)))

    def stream(
        self, *candidates: ModelCandidate, on_break: OnStreamBreak = "error", **changes: Any
    ) -> list[PlannedAttempt | Chunk | AttemptSuccess]:
        async def gathered() -> list[PlannedAttempt | Chunk | AttemptSuccess]:
            return [
                item
                async for item in self.chain.stream(self._fallback_request(*candidates, **changes), on_break=on_break)
            ]

        return asyncio.run(gathered())

    @property
    def said(self) -> list[str]:
        """The attempts, as short words."""
        return [
            f"{attempt.model}:{attempt.reason or attempt.error_class or attempt.status}"
            for attempt in self.fallback.attempts
        ]

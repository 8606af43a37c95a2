"""Embeds texts for callers and for the semantic cache: budget, circuit breaker, retries, event.

There is no fallback: vectors of two models cannot be compared.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.errors import BudgetError, CallError, FlowaiError
from flowai.events import AlertEvent, EmbeddingEvent
from flowai.gateway.routing.attempts import CANCELLED, FallbackRequest, ModelCandidate
from flowai.providers import Request
from flowai.registry import Feature
from flowai.registry.records import Retry

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from flowai.events import AlertCause, EmbeddingPurpose, Origin
    from flowai.gateway.hot_reload import HotReloader
    from flowai.gateway.routing.budget import Budgets
    from flowai.gateway.routing.fallback import FallbackChain
    from flowai.gateway.telemetry.event_writer import EventWriter
    from flowai.providers import Embeddings, EmbedRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingService:
    """Runs requests for vectors with the parts of one gateway."""

    reloader: HotReloader
    budgets: Budgets
    fallback_chain: FallbackChain
    event_writer: EventWriter
    alert: Callable[[AlertEvent], None]
    clock_s: Callable[[], float]
    now: Callable[[], datetime]

    async def run(self, request: EmbedRequest, *, origin: Origin, purpose: EmbeddingPurpose) -> Embeddings:
        """Return one vector per text, and write the event; raises BudgetError or CallError."""
        at, started_s = self.now(), self.clock_s()
        fallback = self._fallback(request)

        def record(result: Embeddings | BaseException) -> None:
            latency_ms = max(0.0, (self.clock_s() - started_s) * 1000)
            self.event_writer.add(
                _event(request, result, fallback, at=at, origin=origin, purpose=purpose, latency_ms=latency_ms)
            )
            for alert in _alerts(request, result, fallback, at):
                self.alert(alert)

        try:
            vectors = await self._embed(request, fallback)
        except (FlowaiError, asyncio.CancelledError) as error:
            record(error)
            raise
        record(vectors)
        return vectors

    def _fallback(self, request: EmbedRequest) -> FallbackRequest:
        timeout_s, endpoint = request.total_timeout_s, request.endpoint
        return FallbackRequest(
            candidates=(ModelCandidate(endpoint=endpoint),),
            request=Request(endpoint=endpoint, messages=(), first_token_timeout_s=timeout_s, total_timeout_s=timeout_s),
            first_token_s=timeout_s,
            total_s=timeout_s,
            retry=Retry(),
            breaker_rule=self.reloader.snapshot.breaker_rule(Feature()),
        )

    async def _embed(self, request: EmbedRequest, fallback: FallbackRequest) -> Embeddings:
        name = request.endpoint.name
        entry = self.reloader.snapshot.registry.models.get(name)
        limit_usd = None if entry is None else entry.usd_per_day
        reserved = await self.budgets.reserve_embeddings(f"model {name}", limit_usd, request)
        paid_usd: float | None = 0.0
        try:
            vectors = await self.fallback_chain.embed(fallback, request.texts)
            paid_usd = vectors.cost_usd
        except asyncio.CancelledError:
            paid_usd = None  # the provider may bill them all the same
            raise
        finally:
            await self.budgets.settle(reserved, paid_usd)
        return vectors


def _event(
    request: EmbedRequest,
    result: Embeddings | BaseException,
    fallback: FallbackRequest,
    *,
    at: datetime,
    origin: Origin,
    purpose: EmbeddingPurpose,
    latency_ms: float,
) -> EmbeddingEvent:
    called = [attempt for attempt in fallback.attempts if attempt.status != "skipped"]
    fields: dict[str, Any] = {}
    if isinstance(result, BaseException):
        fields["error_class"] = type(result).__name__ if isinstance(result, FlowaiError) else CANCELLED
        fields["error_message"] = str(result) or None
    else:
        fields = {"input_tokens": result.input_tokens, "cost_usd": result.cost_usd}
    return EmbeddingEvent(
        at=at,
        origin=origin,
        purpose=purpose,
        requested_model=request.endpoint.name,
        provider=called[-1].provider if called else None,
        attempts=tuple(fallback.attempts),
        text_count=len(request.texts),
        latency_ms=latency_ms,
        **fields,
    )


def _alerts(
    request: EmbedRequest, result: Embeddings | BaseException, fallback: FallbackRequest, at: datetime
) -> list[AlertEvent]:
    """Build the alerts of a request: its failures that need a person, and a spent limit."""
    causes: list[tuple[AlertCause, FlowaiError]] = list(fallback.alerts)
    if isinstance(result, BudgetError) and result.is_spent:
        causes.append(("budget", result))
    return [
        AlertEvent(
            at=at,
            cause=cause,
            message=str(error),
            provider=error.provider if isinstance(error, CallError) else None,
            model=request.endpoint.name,
        )
        for cause, error in causes
    ]

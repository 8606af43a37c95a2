"""Embeds texts for callers and for the semantic cache: budget, circuit breaker, retries, event.

There is no fallback: vectors of two models cannot be compared.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from flowai.errors import BudgetError, CallError, FlowaiError
from flowai.events import AlertEvent, EmbeddingEvent
from flowai.gateway.routing.attempts import CANCELLED, FallbackRequest, ModelCandidate
from flowai.providers import Request
from flowai.registry import Feature
from flowai.registry.records import Retry

if TYPE_CHECKING:
    from datetime import datetime

    from flowai.events import AlertCause, EmbeddingPurpose, Origin
    from flowai.gateway.runtime import GatewayRuntime
    from flowai.providers import Embeddings, EmbedRequest


class EmbeddingRunner:
    """Runs one request for vectors.

    Args:
        runtime: the gateway's parts.
        request: the texts and their model.
        origin: source of the request, as events record it.
        purpose: its use.
    """

    def __init__(
        self, runtime: GatewayRuntime, request: EmbedRequest, *, origin: Origin, purpose: EmbeddingPurpose
    ) -> None:
        self._runtime = runtime
        self._request = request
        self._origin = origin
        self._purpose = purpose
        timeout_s, endpoint = request.total_timeout_s, request.endpoint
        self._fallback = FallbackRequest(
            candidates=(ModelCandidate(endpoint=endpoint),),
            request=Request(endpoint=endpoint, messages=(), first_token_timeout_s=timeout_s, total_timeout_s=timeout_s),
            first_token_s=timeout_s,
            total_s=timeout_s,
            retry=Retry(),
            breaker_rule=runtime.reloader.snapshot.breaker_rule(Feature()),
        )

    async def run(self) -> Embeddings:
        """Return one vector per text, and write the event; raises BudgetError or CallError."""
        at, started_s = self._runtime.now(), self._runtime.clock_s()
        try:
            vectors = await self._embed()
        except (FlowaiError, asyncio.CancelledError) as error:
            self._write_event(error, at, started_s)
            raise
        self._write_event(vectors, at, started_s)
        return vectors

    async def _embed(self) -> Embeddings:
        budgets, name = self._runtime.budgets, self._request.endpoint.name
        entry = self._runtime.reloader.snapshot.registry.models.get(name)
        limit_usd = None if entry is None else entry.usd_per_day
        reserved = await budgets.reserve_embeddings(f"model {name}", limit_usd, self._request)
        paid_usd: float | None = 0.0
        try:
            vectors = await self._runtime.fallback_chain.embed(self._fallback, self._request.texts)
            paid_usd = vectors.cost_usd
        except asyncio.CancelledError:
            paid_usd = None  # the provider may bill them all the same
            raise
        finally:
            await budgets.settle(reserved, paid_usd)
        return vectors

    def _write_event(self, result: Embeddings | BaseException, at: datetime, started_s: float) -> None:
        fallback, name = self._fallback, self._request.endpoint.name
        called = [attempt for attempt in fallback.attempts if attempt.status != "skipped"]
        fields: dict[str, Any] = {}
        if isinstance(result, BaseException):
            fields["error_class"] = type(result).__name__ if isinstance(result, FlowaiError) else CANCELLED
            fields["error_message"] = str(result) or None
        else:
            fields = {"input_tokens": result.input_tokens, "cost_usd": result.cost_usd}
        self._runtime.event_writer.add(
            EmbeddingEvent(
                at=at,
                origin=self._origin,
                purpose=self._purpose,
                requested_model=name,
                provider=called[-1].provider if called else None,
                attempts=tuple(fallback.attempts),
                text_count=len(self._request.texts),
                latency_ms=max(0.0, (self._runtime.clock_s() - started_s) * 1000),
                **fields,
            )
        )
        alerts: list[tuple[AlertCause, FlowaiError]] = list(fallback.alerts)
        if isinstance(result, BudgetError) and result.is_spent:
            alerts.append(("budget", result))
        for cause, error in alerts:
            provider = error.provider if isinstance(error, CallError) else None
            self._runtime.alert(AlertEvent(at=at, cause=cause, message=str(error), provider=provider, model=name))

"""One call under way: its caches, its flight, its money and its ladder, in order."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from flowai.gateway.call_event import CallOutcome, json_valid
from flowai.gateway.records import StreamRestarted, StreamStarted, TextChunk
from flowai.gateway.routing.attempts import AttemptSuccess, FallbackRequest, PlannedAttempt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from flowai.cache.cache_key import CacheHit, CacheQuery
    from flowai.gateway.plan import Plan
    from flowai.gateway.records import OnStreamBreak
    from flowai.gateway.runtime import GatewayRuntime
    from flowai.state import Reservation

CACHEABLE_FINISH_REASONS = frozenset({"stop", "tool_calls"})
"""Finish reasons of answers that may be given again: whole, and not filtered."""


class CallRunner:
    """One call under way.

    Args:
        parts: the gateway's parts.
        plan: the call.
        started_s: when it came, by the gateway's clock.
        warnings: pins that were passed over.
    """

    def __init__(self, parts: GatewayRuntime, plan: Plan, started_s: float, warnings: tuple[str, ...]) -> None:
        self.parts = parts
        self.plan = plan
        self.started_s = started_s
        self.warnings = warnings
        served = plan.served
        self.climb = FallbackRequest(
            rungs=served.rungs,
            request=plan.request,
            first_token_s=plan.request.first_token_timeout_s,
            total_s=plan.request.total_timeout_s,
            retry=served.feature.retry,
            rule=served.rule,
            goes_around_filter=served.feature.on_filtered == "next",
        )

    def check_tokens(self) -> None:
        """Refuse a request that is too long for its feature."""
        served = self.plan.served
        self.parts.budgets.check_tokens(served.name or "", served.feature.budget, self.plan.request)

    async def outcome(self) -> CallOutcome:
        """Get the answer: from a cache, from another call that is asking the same, or from a model."""
        lookup = self.plan.lookup
        if lookup is None:
            return await self._complete_with_fallback()
        found = await self.parts.cache.exact(lookup)
        if found is not None:
            return self._from_cache(found)
        outcome, is_shared = await self.parts.flights.run(lookup.key, lambda: self._complete(lookup))
        if is_shared:  # another caller paid for it a moment ago
            return replace(outcome, cache="exact", similarity=None)
        return outcome

    async def stream(
        self, on_break: OnStreamBreak
    ) -> AsyncGenerator[StreamStarted | TextChunk | StreamRestarted | CallOutcome]:
        """Get the answer piece by piece; the Outcome last."""
        lookup = self.plan.lookup
        if lookup is not None:
            found = await self.parts.cache.exact(lookup) or await self.parts.cache.find_similar(lookup)
            if found is not None:
                outcome = self._from_cache(found)
                yield self._started(outcome.model, is_degraded=False, outcome=outcome)
                yield TextChunk(text=outcome.completion.text, tool_calls=outcome.completion.tool_calls)
                yield outcome
                return
        await self._warm_up()
        reserved = await self._reserve()
        paid_usd: float | None = 0.0
        try:
            async with aclosing(self.parts.ladder.stream(self.climb, on_break=on_break)) as items:
                has_begun = False
                async for item in items:
                    if isinstance(item, PlannedAttempt):
                        yield (
                            self._restarted(item)
                            if has_begun
                            else self._started(item.rung.endpoint.name, is_degraded=item.rung.is_degraded)
                        )
                        has_begun = True
                    elif isinstance(item, AttemptSuccess):
                        paid_usd = item.completion.cost_usd
                        outcome = await self._store_in_cache(item)
                    else:
                        yield TextChunk(text=item.text, tool_calls=item.tool_calls)
        except (asyncio.CancelledError, GeneratorExit):
            paid_usd = None  # the provider may bill what it made until then
            raise
        finally:
            await self.parts.budgets.settle(reserved, paid_usd)
        yield outcome

    async def _complete(self, lookup: CacheQuery) -> CallOutcome:
        found = await self.parts.cache.find_similar(lookup)
        return await self._complete_with_fallback() if found is None else self._from_cache(found)

    async def _complete_with_fallback(self) -> CallOutcome:
        await self._warm_up()
        reserved = await self._reserve()
        paid_usd: float | None = 0.0  # failed attempts are never billed as completions
        try:
            climbed = await self.parts.ladder.complete(self.climb)
            paid_usd = climbed.completion.cost_usd
        except asyncio.CancelledError:
            paid_usd = None  # the provider may bill what it made until then
            raise
        finally:
            await self.parts.budgets.settle(reserved, paid_usd)
        return await self._store_in_cache(climbed)

    async def _warm_up(self) -> None:
        """Let the clock of the call stand still while this process gets ready: its start is nobody's latency."""
        if not self.parts.is_warm:
            began_s = self.parts.clock_s()
            await self.parts.warm_up()
            self.started_s += self.parts.clock_s() - began_s

    async def _reserve(self) -> Reservation | None:
        served = self.plan.served
        endpoints = (rung.endpoint for rung in served.rungs if rung.unavailable is None)
        return await self.parts.budgets.reserve(served.name or "", served.feature.budget, self.plan.request, endpoints)

    async def _store_in_cache(self, climbed: AttemptSuccess) -> CallOutcome:
        """Keep an answer where that is right: whole, of the model asked first, as promised, and without secrets."""
        outcome = CallOutcome(
            completion=climbed.completion,
            model=climbed.rung.endpoint.name,
            is_degraded=climbed.rung.is_degraded,
            json_valid=json_valid(self.plan, climbed.completion),
        )
        lookup, plan = self.plan.lookup, self.plan
        if (
            lookup is not None
            and climbed.rung is plan.served.rungs[0]
            and climbed.completion.finish_reason in CACHEABLE_FINISH_REASONS
            and outcome.json_valid is not False
            and not self._contains_secret(lookup, climbed)
        ):
            await self.parts.cache.store(lookup, climbed.completion)
        return outcome

    def _contains_secret(self, lookup: CacheQuery, climbed: AttemptSuccess) -> bool:
        """Tell whether what would be kept holds a key; a redacted one would be another answer."""
        text = lookup.text + msgspec.json.encode(climbed.completion).decode()
        return self.parts.live.snapshot.redactor.text(text) != text

    def _from_cache(self, found: CacheHit) -> CallOutcome:
        return CallOutcome(
            completion=found.completion,
            model=self.plan.served.rungs[0].endpoint.name,  # only its answers are kept
            cache=found.verdict,
            similarity=found.similarity,
            json_valid=json_valid(self.plan, found.completion),
        )

    def _started(self, model: str, *, is_degraded: bool, outcome: CallOutcome | None = None) -> StreamStarted:
        plan = self.plan
        return StreamStarted(
            call_id=plan.call_id,
            feature=plan.served.name,
            release=plan.release,
            variant=plan.variant,
            model=model,
            degraded=is_degraded,
            disclaimer=plan.served.disclaimer if is_degraded else None,
            cache="miss" if outcome is None else outcome.cache,
        )

    def _restarted(self, step: PlannedAttempt) -> StreamRestarted:
        failed = next((attempt for attempt in reversed(self.climb.attempts) if attempt.error_class), None)
        return StreamRestarted(
            model=step.rung.endpoint.name,
            degraded=step.rung.is_degraded,
            disclaimer=self.plan.served.disclaimer if step.rung.is_degraded else None,
            reason="unknown" if failed is None else f"{failed.provider}: {failed.message or failed.error_class}",
        )

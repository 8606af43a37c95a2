"""Runs one call: cache lookup, request coalescing, budget, then the fallback chain."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from flowai.events import WouldBeHit
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
"""Answers that are complete and unfiltered."""


class CallRunner:
    """Runs one call."""

    def __init__(self, runtime: GatewayRuntime, plan: Plan, started_s: float, warnings: tuple[str, ...]) -> None:
        self.runtime = runtime
        self.plan = plan
        self.started_s = started_s
        self.warnings = warnings
        self.cache_key: str | None = None
        """Key of the cached answer that was returned, or under which the answer is cached."""
        self.would_be_hit: WouldBeHit | None = None
        self._compared_hit: CacheHit | None = None
        resolved = plan.resolved
        self.fallback = FallbackRequest(
            candidates=resolved.candidates,
            request=plan.model_request,
            first_token_s=plan.model_request.first_token_timeout_s,
            total_s=plan.model_request.total_timeout_s,
            retry=resolved.feature.retry,
            breaker_rule=resolved.breaker_rule,
            fallback_on_filtered=resolved.feature.on_filtered == "next",
        )

    def check_tokens(self) -> None:
        """Check the request's length; raises BudgetError if it has more tokens than its feature allows."""
        resolved = self.plan.resolved
        self.runtime.budgets.check_tokens(resolved.name or "", resolved.feature.budget, self.plan.model_request)

    async def complete(self) -> CallOutcome:
        """Return the answer of a cache, of an equal call in flight, or of a model."""
        query = self.plan.cache_query
        if query is None:
            return await self._complete_with_fallback()
        hit = await self.runtime.cache.find_exact(query)
        if hit is not None:
            return self._from_cache(hit)
        outcome, is_shared = await self.runtime.single_flight.run(query.key, lambda: self._complete(query))
        if is_shared:  # another caller pays for it
            self.cache_key = query.key
            return replace(outcome, cache="exact", similarity=None)
        return outcome

    async def stream(
        self, on_break: OnStreamBreak
    ) -> AsyncGenerator[StreamStarted | TextChunk | StreamRestarted | CallOutcome]:
        """Yield the answer in chunks; the CallOutcome comes last."""
        query = self.plan.cache_query
        if query is not None:
            hit = await self.runtime.cache.find_exact(query) or await self._find_similar(query)
            if hit is not None:
                outcome = self._from_cache(hit)
                yield self._started(outcome.model, is_degraded=False, outcome=outcome)
                calls = ({"index": index, **call} for index, call in enumerate(outcome.completion.tool_calls))
                yield TextChunk(text=outcome.completion.text, tool_calls=tuple(calls))  # as deltas
                yield outcome
                return
        await self._warm_up()
        reserved = await self._reserve()
        paid_usd: float | None = 0.0
        try:
            async with aclosing(self.runtime.fallback_chain.stream(self.fallback, on_break=on_break)) as items:
                has_started = False
                async for item in items:
                    if isinstance(item, PlannedAttempt):
                        yield (
                            self._restarted(item)
                            if has_started
                            else self._started(item.candidate.endpoint.name, is_degraded=item.candidate.is_degraded)
                        )
                        has_started = True
                    elif isinstance(item, AttemptSuccess):
                        paid_usd = item.completion.cost_usd
                        outcome = self._store_in_cache(item)
                    else:
                        yield TextChunk(text=item.text, tool_calls=item.tool_calls)
        except (asyncio.CancelledError, GeneratorExit):
            paid_usd = None  # the provider may bill the tokens produced until then
            raise
        finally:
            await self.runtime.budgets.settle(reserved, self.fallback.cost_usd(paid_usd))
        yield outcome

    async def _complete(self, query: CacheQuery) -> CallOutcome:
        hit = await self._find_similar(query)
        return await self._complete_with_fallback() if hit is None else self._from_cache(hit)

    async def _find_similar(self, query: CacheQuery) -> CacheHit | None:
        """Return an answer to a similar request; one that may not be served is compared with the model's."""
        hit = await self.runtime.cache.find_similar(query)
        if hit is None or hit.is_served:
            return hit
        self._compared_hit = hit
        return None

    async def _complete_with_fallback(self) -> CallOutcome:
        await self._warm_up()
        reserved = await self._reserve()
        paid_usd: float | None = 0.0
        try:
            success = await self.runtime.fallback_chain.complete(self.fallback)
            paid_usd = success.completion.cost_usd
        except asyncio.CancelledError:
            paid_usd = None  # the provider may bill the tokens produced until then
            raise
        finally:
            await self.runtime.budgets.settle(reserved, self.fallback.cost_usd(paid_usd))
        return self._store_in_cache(success)

    async def _warm_up(self) -> None:
        """Exclude the warm-up of the first model from the call's latency."""
        first = self.plan.resolved.candidates[0].endpoint
        if not self.runtime.is_warm_for(first):
            began_s = self.runtime.clock_s()
            await self.runtime.warm_up(first)
            self.started_s += self.runtime.clock_s() - began_s

    async def _reserve(self) -> Reservation | None:
        resolved = self.plan.resolved
        endpoints = (candidate.endpoint for candidate in resolved.candidates if candidate.unavailable is None)
        return await self.runtime.budgets.reserve(
            resolved.account, resolved.feature.budget.usd_per_day, self.plan.model_request, endpoints
        )

    def _store_in_cache(self, success: AttemptSuccess) -> CallOutcome:
        """Store a complete, valid answer of the first model, if it contains no secret."""
        outcome = CallOutcome(
            completion=success.completion,
            model=success.candidate.endpoint.name,
            is_degraded=success.candidate.is_degraded,
            cost_usd=self.fallback.cost_usd(success.completion.cost_usd),
            json_valid=json_valid(self.plan, success.completion),
        )
        query, plan = self.plan.cache_query, self.plan
        if (
            query is not None
            and success.candidate is plan.resolved.candidates[0]
            and success.completion.finish_reason in CACHEABLE_FINISH_REASONS
            and outcome.json_valid is not False
        ):
            has_secret = self._contains_secret(query, success)
            if not has_secret:
                self.cache_key = query.key
                self.runtime.cache.store_soon(query, success.completion)
            self._compare(query, success, has_secret=has_secret)
        return outcome

    def _compare(self, query: CacheQuery, success: AttemptSuccess, *, has_secret: bool) -> None:
        """Compare the answer with that of the cache, which was not returned."""
        hit = self._compared_hit
        if hit is None:
            return
        compared = self.runtime.cache.compare_soon(
            query,
            hit,
            success.completion,
            call_id=self.plan.call_id,
            at_s=self.plan.at.timestamp(),
            has_secret=has_secret,
        )
        self.would_be_hit = WouldBeHit(
            cache_key=hit.key,
            similarity=compared.similarity,
            route=compared.route,
            outcome="equal" if compared.outcome == "equal" else "undecided",
            is_check=compared.is_check,
        )

    def _contains_secret(self, query: CacheQuery, success: AttemptSuccess) -> bool:
        """Return whether the stored text would contain a key; a redacted answer would be another answer."""
        text = query.text + msgspec.json.encode(success.completion).decode()
        return self.runtime.reloader.snapshot.redactor.text(text) != text

    def _from_cache(self, hit: CacheHit) -> CallOutcome:
        self.cache_key = hit.key
        return CallOutcome(
            completion=hit.completion,
            model=self.plan.resolved.candidates[0].endpoint.name,  # only its answers are stored
            cache=hit.cache,
            similarity=hit.similarity,
            json_valid=json_valid(self.plan, hit.completion),
        )

    def _started(self, model: str, *, is_degraded: bool, outcome: CallOutcome | None = None) -> StreamStarted:
        plan = self.plan
        return StreamStarted(
            call_id=plan.call_id,
            feature=plan.resolved.name,
            release=plan.release,
            variant=plan.variant,
            experiment=plan.experiment,
            arm=plan.arm,
            model=model,
            degraded=is_degraded,
            disclaimer=plan.resolved.disclaimer if is_degraded else None,
            cache="miss" if outcome is None else outcome.cache,
        )

    def _restarted(self, attempt: PlannedAttempt) -> StreamRestarted:
        failed = next((each for each in reversed(self.fallback.attempts) if each.error_class), None)
        return StreamRestarted(
            model=attempt.candidate.endpoint.name,
            degraded=attempt.candidate.is_degraded,
            disclaimer=self.plan.resolved.disclaimer if attempt.candidate.is_degraded else None,
            reason="unknown" if failed is None else f"{failed.provider}: {failed.message or failed.error_class}",
        )

"""Plans the attempts of one call: which candidate is next, after which wait, with how much time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import (
    AllModelsFailedError,
    CallError,
    ContentFilteredError,
    ContextTooLongError,
    InvalidRequestError,
    MissingKeyError,
    TimedOutError,
)
from flowai.events import Attempt
from flowai.gateway.routing.failure_policy import action_for
from flowai.gateway.routing.prefill import as_instruction, prefill_of
from flowai.providers.endpoint_price import partial_cost_usd
from flowai.providers.tokens import TokenCounter

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from flowai.errors import FlowaiError, PartialUsage
    from flowai.events import SkipReason
    from flowai.gateway.routing.circuit_breaker import CircuitBreakers
    from flowai.gateway.routing.failure_policy import FailureAction, FailureCause
    from flowai.providers import Completion, Endpoint, PriceTable, Request
    from flowai.registry.records import Retry
    from flowai.state import BreakerDecision, BreakerRule


CANCELLED = "Cancelled"
"""Error class of an attempt whose caller left: not a failure of the model."""
MAX_FIRST_WAIT_S = 0.5
"""Upper limit of the first wait before a retry of the same model; doubles with each further retry."""
RETRY_AFTER_MARGIN_S = 0.01
"""Added to a Retry-After, so that two clocks agree that it is over."""
CALLER_ERRORS = (ContextTooLongError, ContentFilteredError, InvalidRequestError)
"""Failures caused by the request."""
FALLBACK_TIME_SHARE = 1 / 3
"""Share of a call's time that is reserved for the models after one that never stops streaming."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCandidate:
    """Model that a fallback chain may call."""

    endpoint: Endpoint
    is_degraded: bool = False
    """It is the last resort (`degrade.to`)."""
    context_tokens: int | None = None
    """Longest request that it accepts; None when unknown."""
    unavailable: FlowaiError | None = None
    """Why it cannot be called (key not set, weights missing); None when it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FallbackRequest:
    """Fallback chain of one call."""

    candidates: tuple[ModelCandidate, ...]
    """The models in order; at least one."""
    request: Request
    """Template: endpoint and timeouts are set for each attempt."""
    first_token_s: float
    """Longest silence, seconds."""
    total_s: float
    """Deadline for all attempts together, seconds."""
    retry: Retry
    breaker_rule: BreakerRule
    fallback_on_filtered: bool = False
    """Another model is called after a content-policy rejection."""
    attempts: list[Attempt] = field(default_factory=list)
    """All attempts so far; added here, so that a failed call has its attempts too."""
    alerts: list[tuple[FailureCause, FlowaiError]] = field(default_factory=list)
    failed_costs_usd: list[float | None] = field(default_factory=list)
    """Cost of each failed attempt that the provider may bill; None where the price is unknown."""

    def cost_usd(self, answer_usd: float | None) -> float | None:
        """Return the cost of all attempts, the answer's included; None if one of them is unknown."""
        costs = (answer_usd, *self.failed_costs_usd)
        return None if None in costs else sum(cost for cost in costs if cost is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedAttempt:
    """Attempt that may start now."""

    candidate: ModelCandidate
    request: Request
    index: int
    """Position of the candidate in the chain, from 0."""
    started_s: float
    """Start by the call's clock."""
    is_short: bool
    """Earlier attempts left it less time than a model may be silent: a timeout proves nothing about its provider."""
    probe: str | None
    """Lease, when this attempt is the fleet's only probe."""
    prefill: str | None
    """Prefill that was asked for by instruction and must be stripped from the answer; None elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptSuccess:
    """Answer of a fallback chain."""

    completion: Completion
    candidate: ModelCandidate


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingDeps:
    """Dependencies that all calls share."""

    breakers: CircuitBreakers
    clock_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rng: random.Random
    prices: PriceTable


class AttemptPlanner:
    """Plans the attempts of one call: run `next_attempt`, record its result, repeat until it returns None."""

    def __init__(self, fallback: FallbackRequest, deps: RoutingDeps) -> None:
        self._fallback = fallback
        self._deps = deps
        self._began_s = deps.clock_s()
        self._deadline_s = self._began_s + fallback.total_s
        self._index = 0
        self._retry_count = 0
        self._wait_s = 0.0
        self._is_retry = False
        self._prefill: str | None = None
        self._skipped_providers: set[str] = set()
        self._too_small_context_tokens: int | None = None
        self._failures: list[FlowaiError] = []
        self._retry_in_s: list[float] = []

    async def next_attempt(self) -> PlannedAttempt | None:
        """Return the next attempt, after its wait; None when no candidate or no time is left."""
        if self._wait_s:
            await self._deps.sleep(self._wait_s)
            self._wait_s = 0.0
        await self._deps.breakers.refresh()
        while self._index < len(self._fallback.candidates):
            candidate = self._fallback.candidates[self._index]
            if self._deps.clock_s() >= self._deadline_s:
                break
            reason = None if self._is_retry else self._skip_reason(candidate)
            if reason is None:
                endpoint = candidate.endpoint
                decision = await self._deps.breakers.admit(
                    endpoint.provider, endpoint.name, self._fallback.breaker_rule
                )
                if decision.is_admitted:
                    return self._plan_attempt(candidate, decision)
                reason = decision.reason or "open"
                self._retry_in_s.append(decision.retry_in_s)
            self._skip(candidate, reason)
        return None

    async def record_success(self, attempt: PlannedAttempt, *, first_token_s: float) -> None:
        """Record an answer; a probe's closes the breaker."""
        self._append_attempt(attempt, None)
        breakers, provider = self._deps.breakers, attempt.candidate.endpoint.provider
        if attempt.probe is not None:
            await breakers.record_success(provider, probe=attempt.probe)
        else:
            breakers.count_answer(provider, self._fallback.breaker_rule, first_token_s=first_token_s)

    async def record_cancelled(self, attempt: PlannedAttempt) -> None:
        """Record that the caller left before an answer."""
        self._append_attempt(attempt, None, kind=CANCELLED)
        if attempt.probe is not None:
            await self._deps.breakers.release_probe(attempt.candidate.endpoint.provider, probe=attempt.probe)

    async def record_failure(self, attempt: PlannedAttempt, error: FlowaiError) -> None:
        """Record a failure and choose the next candidate; raises CallError if the request itself is at fault."""
        self._append_attempt(attempt, error)
        self._failures.append(error)
        if isinstance(error, CallError) and error.partial_usage is not None:
            self._fallback.failed_costs_usd.append(self._partial_cost_usd(attempt, error.partial_usage))
        if attempt.is_short and isinstance(error, TimedOutError):
            error.is_provider_fault = False
        action = action_for(
            error, is_primary=attempt.index == 0, fallback_on_filtered=self._fallback.fallback_on_filtered
        )
        await self._report(attempt, error, action)
        if action.alert is not None:
            self._fallback.alerts.append((action.alert, error))
        if action.is_caller_error:
            raise error
        if action.needs_larger_context:
            self._too_small_context_tokens = max(
                self._too_small_context_tokens or 0, attempt.candidate.context_tokens or 0
            )
        if self._should_retry_without_prefill(attempt, error) or await self._should_retry(attempt, error, action):
            return
        if action.skips_provider:
            self._skipped_providers.add(attempt.candidate.endpoint.provider)
        self._next_candidate()

    def error(self) -> FlowaiError:
        """Return the caller's error when no model answered."""
        last = self._fallback.candidates[min(self._index, len(self._fallback.candidates) - 1)].endpoint
        if not self._failures and self._deps.clock_s() >= self._deadline_s:
            return TimedOutError(
                f"no model could be called within {self._fallback.total_s:g} s", provider=last.provider, model=last.name
            )
        if len(self._fallback.attempts) == 1 and self._failures:
            return self._failures[0]
        if self._failures and all(isinstance(failure, CALLER_ERRORS) for failure in self._failures):
            return self._failures[0]  # every model that was called refused the request itself
        waits = [*self._retry_in_s, *(wait for wait in map(_retry_after_s, self._failures) if wait is not None)]
        details = ", ".join(f"`{attempt.model}` {_attempt_text(attempt)}" for attempt in self._fallback.attempts)
        return AllModelsFailedError(
            f"no model answered: {details}",
            failures=tuple(self._failures),
            provider=last.provider,
            model=last.name,
            retry_after_s=min(waits) if waits else None,
        )

    # --- next candidate ---

    def _skip_reason(self, candidate: ModelCandidate) -> SkipReason | None:
        """Return why a candidate is skipped in this call, apart from breakers."""
        if candidate.unavailable is not None:
            return "no_key" if isinstance(candidate.unavailable, MissingKeyError) else "no_weights"
        if candidate.endpoint.provider in self._skipped_providers:
            return "same_provider"
        context_tokens, too_small = candidate.context_tokens, self._too_small_context_tokens
        # an unknown context may be larger
        if too_small is not None and context_tokens is not None and context_tokens <= too_small:
            return "too_small"
        return None

    def _has_next(self) -> bool:
        """Return whether a later candidate can be called, as far as the local copy of the state shows."""
        later = self._fallback.candidates[self._index + 1 :]
        return any(
            self._skip_reason(candidate) is None
            and self._deps.breakers.skip_reason(candidate.endpoint.provider, candidate.endpoint.name) is None
            for candidate in later
        )

    def _should_retry_without_prefill(self, attempt: PlannedAttempt, error: FlowaiError) -> bool:
        """Retry the same model with an instruction when it refuses to continue a prefill."""
        if not isinstance(error, InvalidRequestError) or attempt.prefill is not None:
            return False
        self._prefill = prefill_of(self._fallback.request.messages)
        self._is_retry = self._prefill is not None
        return self._is_retry

    async def _should_retry(self, attempt: PlannedAttempt, error: FlowaiError, action: FailureAction) -> bool:
        """Retry the same model if the feature's policy says so, or if it is the last candidate.

        All processes together repeat no more calls than the registry's retry budget allows.
        """
        retry = self._fallback.retry
        allowed = retry.same_provider if self._has_next() else max(1, retry.same_provider)
        if not action.is_retryable or self._retry_count >= allowed:
            return False
        requested_s = _retry_after_s(error)
        if requested_s is None:
            wait_s = self._deps.rng.uniform(0.0, min(retry.max_wait_s, MAX_FIRST_WAIT_S * 2**self._retry_count))
        elif requested_s <= retry.max_wait_s:
            wait_s = requested_s + RETRY_AFTER_MARGIN_S
        else:
            return False
        if self._deps.clock_s() + wait_s >= self._deadline_s:
            return False
        provider = attempt.candidate.endpoint.provider
        if not await self._deps.breakers.admit_retry(provider, self._fallback.breaker_rule):
            return False
        self._retry_count += 1
        self._wait_s = wait_s
        self._is_retry = True
        return True

    def _next_candidate(self) -> None:
        self._index += 1
        self._retry_count = 0
        self._is_retry = False
        self._prefill = None

    def _skip(self, candidate: ModelCandidate, reason: SkipReason) -> None:
        if not self._is_retry:  # a model that was called is in the attempts already
            self._fallback.attempts.append(
                Attempt(
                    model=candidate.endpoint.name,
                    provider=candidate.endpoint.provider,
                    status="skipped",
                    reason=reason,
                    at_ms=self._at_ms(self._deps.clock_s()),
                )
            )
        self._next_candidate()

    # --- one attempt ---

    def _plan_attempt(self, candidate: ModelCandidate, decision: BreakerDecision) -> PlannedAttempt:
        fallback, now_s = self._fallback, self._deps.clock_s()
        remaining_s = self._deadline_s - now_s
        reserved_s = min(fallback.first_token_s, fallback.total_s * FALLBACK_TIME_SHARE) if self._has_next() else 0.0
        total_s = max(remaining_s - reserved_s, remaining_s / 2)
        messages = fallback.request.messages
        if self._prefill is not None:
            messages = as_instruction(messages, self._prefill)
        request = msgspec.structs.replace(
            fallback.request,
            endpoint=candidate.endpoint,
            messages=messages,
            first_token_timeout_s=min(fallback.first_token_s, total_s),
            total_timeout_s=total_s,
        )
        return PlannedAttempt(
            candidate=candidate,
            request=request,
            index=self._index,
            started_s=now_s,
            is_short=remaining_s < min(fallback.first_token_s, fallback.total_s),
            probe=decision.probe,
            prefill=self._prefill,
        )

    async def _report(self, attempt: PlannedAttempt, error: FlowaiError, action: FailureAction) -> None:
        """Update the breaker. A probe without a failure of the provider closes it, or returns its lease."""
        breakers, provider = self._deps.breakers, attempt.candidate.endpoint.provider
        if action.counts_for_breaker:
            await breakers.record_failure(provider, self._fallback.breaker_rule, probe=attempt.probe)
        elif attempt.probe is not None and _proves_health(attempt, error):
            await breakers.record_success(provider, probe=attempt.probe)
        elif attempt.probe is not None:
            await breakers.release_probe(provider, probe=attempt.probe)
        wait_s = _retry_after_s(error)
        if wait_s:
            await breakers.back_off(provider, attempt.candidate.endpoint.name, for_s=wait_s)

    def _partial_cost_usd(self, attempt: PlannedAttempt, usage: PartialUsage) -> float | None:
        characters = TokenCounter().upper_bound(attempt.request.messages)
        endpoint = attempt.candidate.endpoint
        return partial_cost_usd(endpoint, usage, self._deps.prices, input_characters=characters)

    def _append_attempt(self, attempt: PlannedAttempt, error: FlowaiError | None, *, kind: str | None = None) -> None:
        endpoint, error_class = attempt.candidate.endpoint, kind if error is None else type(error).__name__
        self._fallback.attempts.append(
            Attempt(
                model=endpoint.name,
                provider=endpoint.provider,
                status="ok" if error_class is None else "error",
                http_status=error.status if isinstance(error, CallError) else None,
                error_class=error_class,
                message=None if error is None else error.what,
                was_tried=error.was_tried if isinstance(error, CallError) else True,
                at_ms=self._at_ms(attempt.started_s),
                latency_ms=max(0.0, (self._deps.clock_s() - attempt.started_s) * 1000),
            )
        )

    def _at_ms(self, now_s: float) -> float:
        return max(0.0, (now_s - self._began_s) * 1000)


def _retry_after_s(error: FlowaiError) -> float | None:
    """Return the wait that the provider asks for, > 0; None for none, for zero and for a date in the past."""
    return (error.retry_after_s or None) if isinstance(error, CallError) else None


def _proves_health(attempt: PlannedAttempt, error: FlowaiError) -> bool:
    """Return whether the provider answers again, although it refuses, or its answer is too long or not whole."""
    if not isinstance(error, CallError) or attempt.is_short:
        return False
    return not error.retryable if error.status is not None else not error.is_provider_fault


def _attempt_text(attempt: Attempt) -> str:
    if attempt.status == "skipped":
        return f"was skipped ({(attempt.reason or 'skipped').replace('_', ' ')})"
    status = f" {attempt.http_status}" if attempt.http_status else ""
    return f"failed ({attempt.error_class}{status})"

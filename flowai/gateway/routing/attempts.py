"""One call's way up its ladder: which rung comes next, after which wait, with how much time."""

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

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable
    from typing import Literal

    from flowai.errors import FlowaiError
    from flowai.events import SkipReason
    from flowai.gateway.routing.circuit_breaker import CircuitBreakers
    from flowai.gateway.routing.failure_policy import FailureAction, FailureCause
    from flowai.providers import Completion, Endpoint, Request
    from flowai.registry.records import Retry
    from flowai.state import BreakerDecision, BreakerRule


CANCELLED = "Cancelled"
"""Error class of what ended because its caller left: no failure of a model."""
FIRST_WAIT_S = 0.5
"""Longest first wait before the same model is asked again; doubles with each further one."""
DEADLINE_MARGIN_S = 0.01
"""Added to a wait that a provider asked for, so that two clocks agree that it is over."""
CALLER_ERRORS = (ContextTooLongError, ContentFilteredError, InvalidRequestError)
"""Failures that lie in what was asked."""
MAX_SHARE_OF_DEADLINE = 1 / 3
"""Share of a call's time that is kept for the models after one that talks without end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCandidate:
    """One model a call may try."""

    endpoint: Endpoint
    """Whom to ask."""
    is_degraded: bool = False
    """Whether it is the last resort."""
    context_tokens: int | None = None
    """Longest request it takes; None when not known."""
    unavailable: FlowaiError | None = None
    """Why it cannot be asked at all (its key is not set, its weights are missing); None when it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FallbackRequest:
    """One call's ladder."""

    rungs: tuple[ModelCandidate, ...]
    """The models, in order; one at least."""
    request: Request
    """What to ask, whoever is asked: endpoint and limits are put in for each attempt."""
    first_token_s: float
    """Longest silence, seconds."""
    total_s: float
    """One deadline for all attempts, seconds."""
    retry: Retry
    """Whether the same model is asked again."""
    rule: BreakerRule
    """When a provider is left alone."""
    goes_around_filter: bool = False
    """Whether another model is asked after a content-policy rejection."""
    attempts: list[Attempt] = field(default_factory=list)
    """Every try so far; the climb adds to it, so that a failed call has its attempts too."""
    alerts: list[tuple[FailureCause, FlowaiError]] = field(default_factory=list)
    """Failures that a person is told of: the cause, model, provider and error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedAttempt:
    """One attempt that may start now."""

    rung: ModelCandidate
    """The model."""
    request: Request
    """What to ask it."""
    index: int
    """Which rung, from 0."""
    started_s: float
    """When, by the climb's clock."""
    probe: str | None
    """The lease, when this is the fleet's one probe."""
    prefill: str | None
    """Text to take off the answer's begin, where it was asked for in words; None elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptSuccess:
    """The end of a climb that went well."""

    completion: Completion
    """The answer."""
    rung: ModelCandidate
    """Whose it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingDeps:
    """What all climbs share."""

    breakers: CircuitBreakers
    """Says whether a provider may be asked."""
    clock_s: Callable[[], float]
    """A clock that never goes back, seconds."""
    sleep: Callable[[float], Awaitable[None]]
    """Waits, seconds."""
    rng: random.Random
    """Jitter of waits."""


class AttemptPlanner:
    """One climb under way: ask `next_step`, tell what came of it, until it gives None.

    Args:
        climb: the ladder of the call.
        climbing: what all climbs share.
    """

    def __init__(self, climb: FallbackRequest, climbing: RoutingDeps) -> None:
        self._climb = climb
        self._with = climbing
        self._began_s = climbing.clock_s()
        self._deadline_s = self._began_s + climb.total_s
        self._index = 0
        self._repeats = 0
        self._wait_s = 0.0
        self._is_repeat = False
        self._prefill: str | None = None
        self._left_providers: set[str] = set()
        self._more_than_tokens: int | None = None
        self._failures: list[FlowaiError] = []
        self._retry_in_s: list[float] = []

    async def next_step(self) -> PlannedAttempt | None:
        """Give the next attempt that may start; None when no model is left, or no time.

        Raises:
            CallError: the last failure was the caller's.
        """
        if self._wait_s:
            await self._with.sleep(self._wait_s)
            self._wait_s = 0.0
        await self._with.breakers.refresh()
        while self._index < len(self._climb.rungs):
            rung = self._climb.rungs[self._index]
            if self._with.clock_s() >= self._deadline_s:
                break
            why = None if self._is_repeat else self._skip_reason(rung)
            if why is None:
                admission = await self._with.breakers.admit(rung.endpoint.provider, self._climb.rule)
                if admission.is_admitted:
                    return self._step(rung, admission)
                why = admission.reason or "open"
                self._retry_in_s.append(admission.retry_in_s)
            self._skip(rung, why)
        return None

    async def record_success(self, step: PlannedAttempt) -> None:
        """Note a good answer; a good probe closes the breaker."""
        self._append_attempt(step, None)
        if step.probe is not None:
            await self._with.breakers.succeeded(step.rung.endpoint.provider, probe=step.probe)

    async def record_cancelled(self, step: PlannedAttempt) -> None:
        """Note that the caller left before there was an answer."""
        self._append_attempt(step, None, status="error", kind=CANCELLED)
        if step.probe is not None:
            await self._with.breakers.released(step.rung.endpoint.provider, probe=step.probe)

    async def record_failure(self, step: PlannedAttempt, error: FlowaiError) -> None:
        """Note a failure and decide where the call goes.

        Raises:
            CallError: the failure is the caller's, and passed on as it is.
        """
        self._append_attempt(step, error)
        self._failures.append(error)
        follows = action_for(error, is_primary=step.index == 0, goes_around_filter=self._climb.goes_around_filter)
        await self._report(step, error, follows)
        if follows.alert is not None:
            self._climb.alerts.append((follows.alert, error))
        if follows.is_callers:
            raise error
        if follows.needs_larger_context:
            self._more_than_tokens = max(self._more_than_tokens or 0, step.rung.context_tokens or 0)
        if self._should_retry_without_prefill(step, error) or self._should_retry(error, follows):
            return
        if follows.leaves_provider:
            self._left_providers.add(step.rung.endpoint.provider)
        self._next_candidate()

    def error(self) -> FlowaiError:
        """Give what the caller gets when no model answered."""
        last = self._climb.rungs[min(self._index, len(self._climb.rungs) - 1)].endpoint
        if not self._failures and self._with.clock_s() >= self._deadline_s:
            return TimedOutError(
                f"no model could be asked within {self._climb.total_s:g} s", provider=last.provider, model=last.name
            )
        if len(self._climb.attempts) == 1 and self._failures:
            return self._failures[0]
        if self._failures and all(isinstance(failure, CALLER_ERRORS) for failure in self._failures):
            return self._failures[0]  # everyone who was asked says that the request is at fault
        waits = [*self._retry_in_s, *(wait for wait in map(_retry_after_s, self._failures) if wait is not None)]
        told = ", ".join(f"`{attempt.model}` {_attempt_text(attempt)}" for attempt in self._climb.attempts)
        return AllModelsFailedError(
            f"no model answered: {told}",
            failures=tuple(self._failures),
            provider=last.provider,
            model=last.name,
            retry_after_s=min(waits) if waits else None,
        )

    # --- where to go ---

    def _skip_reason(self, rung: ModelCandidate) -> SkipReason | None:
        """Return why a model is skipped in this call, breakers aside; None where it is not."""
        if rung.unavailable is not None:
            return "no_key" if isinstance(rung.unavailable, MissingKeyError) else "no_weights"
        if rung.endpoint.provider in self._left_providers:
            return "same_provider"
        most_tokens, too_few_tokens = rung.context_tokens, self._more_than_tokens
        # a context that nobody knows may be larger
        if too_few_tokens is not None and most_tokens is not None and most_tokens <= too_few_tokens:
            return "too_small"
        return None

    def _has_next(self) -> bool:
        """Tell whether a later rung could be asked, as far as is known without asking."""
        later = self._climb.rungs[self._index + 1 :]
        return any(
            self._skip_reason(rung) is None and self._with.breakers.skip_reason(rung.endpoint.provider) is None
            for rung in later
        )

    def _should_retry_without_prefill(self, step: PlannedAttempt, error: FlowaiError) -> bool:
        """Ask the same model once more in other words when it refuses to continue a prefill."""
        if not isinstance(error, InvalidRequestError) or step.prefill is not None:
            return False
        self._prefill = prefill_of(self._climb.request.messages)
        self._is_repeat = self._prefill is not None
        return self._is_repeat

    def _should_retry(self, error: FlowaiError, follows: FailureAction) -> bool:
        """Ask the same model again where the feature wants it, and on the last rung."""
        retry = self._climb.retry
        allowed = retry.same_provider if self._has_next() else max(1, retry.same_provider)
        if not follows.may_repeat or self._repeats >= allowed:
            return False
        asked_s = _retry_after_s(error)
        if asked_s is None:
            wait_s = self._with.rng.uniform(0.0, min(retry.max_wait_s, FIRST_WAIT_S * 2**self._repeats))
        elif asked_s <= retry.max_wait_s:
            wait_s = asked_s + DEADLINE_MARGIN_S
        else:
            return False
        if self._with.clock_s() + wait_s >= self._deadline_s:
            return False
        self._repeats += 1
        self._wait_s = wait_s
        self._is_repeat = True
        return True

    def _next_candidate(self) -> None:
        self._index += 1
        self._repeats = 0
        self._is_repeat = False
        self._prefill = None

    def _skip(self, rung: ModelCandidate, why: SkipReason) -> None:
        if not self._is_repeat:  # a model that was asked already stands in the attempts
            self._climb.attempts.append(
                Attempt(
                    model=rung.endpoint.name,
                    provider=rung.endpoint.provider,
                    status="skipped",
                    reason=why,
                    at_ms=self._at_ms(self._with.clock_s()),
                )
            )
        self._next_candidate()

    # --- one attempt ---

    def _step(self, rung: ModelCandidate, admission: BreakerDecision) -> PlannedAttempt:
        climb, now_s = self._climb, self._with.clock_s()
        left_s = self._deadline_s - now_s
        kept_s = min(climb.first_token_s, climb.total_s * MAX_SHARE_OF_DEADLINE) if self._has_next() else 0.0
        total_s = max(left_s - kept_s, left_s / 2)
        messages = climb.request.messages
        if self._prefill is not None:
            messages = as_instruction(messages, self._prefill)
        request = msgspec.structs.replace(
            climb.request,
            endpoint=rung.endpoint,
            messages=messages,
            first_token_timeout_s=min(climb.first_token_s, total_s),
            total_timeout_s=total_s,
        )
        return PlannedAttempt(
            rung=rung,
            request=request,
            index=self._index,
            started_s=now_s,
            probe=admission.probe,
            prefill=self._prefill,
        )

    async def _report(self, step: PlannedAttempt, error: FlowaiError, follows: FailureAction) -> None:
        """Tell the breaker; a probe that met no failure of the provider closes it, or gives its lease back."""
        breakers, provider = self._with.breakers, step.rung.endpoint.provider
        if follows.counts:
            await breakers.failed(provider, self._climb.rule, probe=step.probe)
        elif step.probe is not None and isinstance(error, CallError) and error.status is not None:
            await breakers.succeeded(provider, probe=step.probe)  # it answers again, if only to refuse
        elif step.probe is not None:
            await breakers.released(provider, probe=step.probe)
        wait_s = _retry_after_s(error)
        if wait_s:
            await breakers.back_off(provider, for_s=wait_s)

    def _append_attempt(
        self,
        step: PlannedAttempt,
        error: FlowaiError | None,
        *,
        status: Literal["ok", "error"] = "ok",
        kind: str | None = None,
    ) -> None:
        endpoint = step.rung.endpoint
        self._climb.attempts.append(
            Attempt(
                model=endpoint.name,
                provider=endpoint.provider,
                status="error" if error is not None else status,
                http_status=error.status if isinstance(error, CallError) else None,
                error_class=kind if error is None else type(error).__name__,
                message=None if error is None else error.what,
                at_ms=self._at_ms(step.started_s),
                latency_ms=max(0.0, (self._with.clock_s() - step.started_s) * 1000),
            )
        )

    def _at_ms(self, now_s: float) -> float:
        return max(0.0, (now_s - self._began_s) * 1000)


def _retry_after_s(error: FlowaiError) -> float | None:
    return error.retry_after_s if isinstance(error, CallError) else None


def _attempt_text(attempt: Attempt) -> str:
    if attempt.status == "skipped":
        return f"was not asked ({(attempt.reason or 'skipped').replace('_', ' ')})"
    status = f" {attempt.http_status}" if attempt.http_status else ""
    return f"failed ({attempt.error_class}{status})"

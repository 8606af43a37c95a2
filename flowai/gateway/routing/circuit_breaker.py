"""Circuit breakers as one process sees them, nearly free while all providers are healthy.

A call reads a copy of the shared state that is at most `max_age_s` old, so that an open breaker stops this process
within that time; only a provider that is not closed and quiet costs a round trip. Answered calls are counted here,
where a rule has a share of them, and reported in batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError
from flowai.state import NO_CALLS, AnsweredCalls, BreakerDecision, SharedState

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.state import BreakerRule, BreakerView, StateStore

MAX_AGE_S = 0.02
ADMITTED = BreakerDecision(is_admitted=True)


class CircuitBreakers:
    """Circuit breakers of all providers, from a copy of the state at most `max_age_s` old when an attempt starts.

    The overlay of `environment` is read along; `clock_s` is monotonic. `on_bug` is called with unexpected exceptions of
    the store while it is read: the last copy stays.
    """

    def __init__(
        self,
        state: StateStore,
        *,
        environment: str,
        clock_s: Callable[[], float],
        max_age_s: float = MAX_AGE_S,
        on_bug: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self._state = state
        self._environment = environment
        self._clock_s = clock_s
        self._max_age_s = max_age_s
        self._on_bug = on_bug
        self._shared = SharedState()
        self._read_s: float | None = None
        self._unreported: dict[str, tuple[BreakerRule, AnsweredCalls]] = {}

    @property
    def shared(self) -> SharedState:
        """The last copy of the shared state."""
        return self._shared

    async def refresh(self) -> SharedState:
        """Return the copy, read again if it is too old."""
        now_s = self._clock_s()
        if self._read_s is None or now_s - self._read_s > self._max_age_s:
            try:
                self._shared = await self._state.shared(self._environment)
            except FlowaiError:
                raise
            except Exception as bug:  # noqa: BLE001 - a call must not fail for a record that this version cannot read
                self._on_bug(bug)
            self._read_s = now_s
        return self._shared

    def skip_reason(self, provider: str, model: str) -> BreakerDecision | None:
        """Return the refusal that the copy shows for a provider's model; None when it may be called."""
        view = self._shared.breakers.get(provider)
        if view is None:
            return None
        now_s = self._state_now_s()
        if view.status == "open" and view.open_until_s > now_s:
            return BreakerDecision(is_admitted=False, reason="open", retry_in_s=view.open_until_s - now_s)
        if view.status == "probing" and view.lease_until_s > now_s:
            return BreakerDecision(is_admitted=False, reason="probing", retry_in_s=view.lease_until_s - now_s)
        back_off_until_s = view.back_offs.get(model, 0.0)
        if back_off_until_s > now_s:
            return BreakerDecision(is_admitted=False, reason="backing_off", retry_in_s=back_off_until_s - now_s)
        return None

    async def admit(self, provider: str, model: str, rule: BreakerRule) -> BreakerDecision:
        """Return whether an attempt may start; see `StateStore.admit`."""
        await self.refresh()
        view = self._shared.breakers.get(provider)
        if view is None or (view.status == "closed" and view.back_offs.get(model, 0.0) <= self._state_now_s()):
            return ADMITTED
        return self.skip_reason(provider, model) or await self._state.admit(provider, model, rule)

    async def record_failure(self, provider: str, rule: BreakerRule, *, probe: str | None) -> None:
        """Count a failure; this process sees the result at once."""
        answered = self._pop_unreported(provider)
        self._update_view(provider, await self._state.record_failure(provider, rule, probe=probe, answered=answered))

    def count_answer(self, provider: str, rule: BreakerRule, *, first_token_s: float) -> None:
        """Count an answered call, for the next report."""
        if rule.counts_calls:
            _, known = self._unreported.get(provider, (rule, NO_CALLS))
            slow_count = known.slow_count + (first_token_s > rule.slow_s)
            counts = AnsweredCalls(call_count=known.call_count + 1, slow_count=slow_count)
            self._unreported[provider] = (rule, counts)

    async def report_answers(self) -> None:
        """Report the answered calls of all providers to the other processes."""
        while self._unreported:
            provider, (rule, answered) = self._unreported.popitem()
            view = await self._state.record_calls(provider, rule, answered)
            if view.status != "closed":
                self._update_view(provider, view)

    async def admit_retry(self, provider: str, rule: BreakerRule) -> bool:
        """Return whether a call may be repeated at the same model."""
        return rule.retry_rate is None or await self._state.admit_retry(provider, rule, self._pop_unreported(provider))

    def _pop_unreported(self, provider: str) -> AnsweredCalls:
        return self._unreported.pop(provider)[1] if provider in self._unreported else NO_CALLS

    async def record_success(self, provider: str, *, probe: str) -> None:
        """Close the breaker after a successful probe."""
        await self._state.record_success(provider, probe=probe)
        self._read_s = None

    async def release_probe(self, provider: str, *, probe: str) -> None:
        """Return a probe's lease without a result."""
        await self._state.release_probe(provider, probe=probe)
        self._read_s = None

    async def back_off(self, provider: str, model: str, *, for_s: float) -> None:
        """Start a back-off of a provider's model."""
        await self._state.back_off(provider, model, for_s=for_s)
        self._read_s = None

    def _update_view(self, provider: str, view: BreakerView) -> None:
        self._shared = msgspec.structs.replace(self._shared, breakers={**self._shared.breakers, provider: view})

    def _state_now_s(self) -> float:
        """Return the current time by the store's clock."""
        elapsed_s = 0.0 if self._read_s is None else self._clock_s() - self._read_s
        return self._shared.read_at_s + elapsed_s

"""Tells whether a provider may be asked now, from what all processes know, at next to no cost while all is well.

A call looks at a copy of the state that is at most `max_age_s` old, so an open breaker stops this process within that
time; only a provider that is not simply well costs a question of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.state import BreakerDecision, SharedState

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.state import BreakerRule, BreakerView, StateStore

MAX_AGE_S = 0.02
ALLOWED = BreakerDecision(is_admitted=True)


class CircuitBreakers:
    """The breakers of all providers, as one process sees them.

    Args:
        state: what processes share.
        environment: whose overlay is read along.
        clock_s: a clock that never goes back, seconds.
        max_age_s: how old the copy may be when an attempt starts, >= 0.
    """

    def __init__(
        self, state: StateStore, *, environment: str, clock_s: Callable[[], float], max_age_s: float = MAX_AGE_S
    ) -> None:
        self._state = state
        self._environment = environment
        self._clock_s = clock_s
        self._max_age_s = max_age_s
        self._shared = SharedState()
        self._read_s: float | None = None

    @property
    def shared(self) -> SharedState:
        """The copy as it was read last."""
        return self._shared

    async def refresh(self) -> SharedState:
        """Give the copy, read again if it is too old."""
        now_s = self._clock_s()
        if self._read_s is None or now_s - self._read_s > self._max_age_s:
            self._shared = await self._state.shared(self._environment)
            self._read_s = now_s
        return self._shared

    def skip_reason(self, provider: str) -> BreakerDecision | None:
        """Tell from the copy alone whether a provider is certain to be refused; None when it may be asked."""
        view = self._shared.breakers.get(provider)
        if view is None:
            return None
        now_s = self._state_now_s()
        if view.status == "open" and view.open_until_s > now_s:
            return BreakerDecision(is_admitted=False, reason="open", retry_in_s=view.open_until_s - now_s)
        if view.status == "probing" and view.lease_until_s > now_s:
            return BreakerDecision(is_admitted=False, reason="probing", retry_in_s=view.lease_until_s - now_s)
        if view.rest_until_s > now_s:
            return BreakerDecision(is_admitted=False, reason="resting", retry_in_s=view.rest_until_s - now_s)
        return None

    async def admit(self, provider: str, rule: BreakerRule) -> BreakerDecision:
        """Ask whether an attempt may start; see `State.admit`."""
        await self.refresh()
        view = self._shared.breakers.get(provider)
        if view is None or (view.status == "closed" and view.rest_until_s <= self._state_now_s()):
            return ALLOWED
        return self.skip_reason(provider) or await self._state.admit(provider, rule)

    async def failed(self, provider: str, rule: BreakerRule, *, probe: str | None) -> None:
        """Count a failure; this process knows the outcome at once."""
        self._note(provider, await self._state.failed(provider, rule, probe=probe))

    async def succeeded(self, provider: str, *, probe: str) -> None:
        """Close the breaker after a good probe."""
        await self._state.succeeded(provider, probe=probe)
        self._read_s = None

    async def released(self, provider: str, *, probe: str) -> None:
        """Give a probe's lease back without a verdict."""
        await self._state.released(provider, probe=probe)
        self._read_s = None

    async def back_off(self, provider: str, *, for_s: float) -> None:
        """Leave a provider alone for as long as it asked."""
        await self._state.back_off(provider, for_s=for_s)
        self._read_s = None

    def _note(self, provider: str, view: BreakerView) -> None:
        self._shared = msgspec.structs.replace(self._shared, breakers={**self._shared.breakers, provider: view})

    def _state_now_s(self) -> float:
        """Give the time by the store's clock: when the copy was read, and what has passed since."""
        passed_s = 0.0 if self._read_s is None else self._clock_s() - self._read_s
        return self._shared.read_at_s + passed_s

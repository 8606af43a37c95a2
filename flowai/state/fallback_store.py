"""Store that never fails a call: while the shared store is unreachable or refuses writes, each process uses its own.

Alone, a process keeps the last known breakers and overlay, counts failures by itself and has the whole day's budget.
A store that can be read but not written is half lost: breakers and overlay are still read from it, and the stricter of
both breakers counts. It is in use again when a write was stored, not when a read was answered.

The shared store is retried every `retry_interval_s`. Money reserved in one store and settled in the other is added
there as spent and stays reserved in the first until its lease ends; a probe's lease of the other store has no effect.

Overlays, resets and the list of processes have no local fallback: a wrong answer would mislead an operator. A bad
release that was seen stays bad even if the store comes back without it (`OverlayMemory`).
"""

from __future__ import annotations

from contextlib import suppress
from functools import wraps
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import msgspec

from flowai.errors import InfrastructureError
from flowai.state import circuit
from flowai.state.overlay_memory import OverlayMemory, RememberedOverlay
from flowai.state.store import MAX_LEASE_S, NO_CALLS, StateRefusedError, StateStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from flowai.state.memory_store import InMemoryStateStore
    from flowai.state.store import AnsweredCalls, BreakerRule, BreakerView, Heartbeat, Reservation, SharedState

T = TypeVar("T")
Parameters = ParamSpec("Parameters")


def _forward(
    method: Callable[Concatenate[StateStore, Parameters], Coroutine[Any, Any, T]], *, has_fallback: bool = True
) -> Callable[Concatenate[FallbackStateStore, Parameters], Coroutine[Any, Any, T]]:
    """Build a method that calls the shared store; while it cannot be used, the local one, or it raises the error."""

    @wraps(method)
    async def call(self: FallbackStateStore, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> T:
        operation = methodcaller(method.__name__, *args, **kwargs)
        return await (self._call(operation) if has_fallback else self._call_shared(operation))

    return call


class FallbackStateStore:
    """`StateStore` that falls back to a local store; `clock_s` is the local store's clock and cannot be set.

    The shared store is tried again after `retry_interval_s` > 0 seconds; no call waits for it in between.
    """

    def __init__(
        self,
        shared: StateStore,
        local: InMemoryStateStore,
        clock_s: Callable[[], float],
        *,
        retry_interval_s: float = 1.0,
        memory: OverlayMemory | None = None,
    ) -> None:
        self._shared = shared
        self._local = local
        self._clock_s = clock_s
        self._retry_interval_s = retry_interval_s
        self._memory = OverlayMemory() if memory is None else memory
        self._last_try_at_s = 0.0
        self._restored_at_s: float | None = None
        self._return_count = 0
        self._last_seen: dict[str, tuple[float, SharedState]] = {}  # by environment: when it was read, and the state
        self._is_readable = True
        self._is_writable = True
        self.degraded_since_s: float | None = None
        self.unavailable_reason: str | None = None

    @property
    def is_degraded(self) -> bool:
        """The shared store cannot be read or written, and this process uses its own."""
        return self.degraded_since_s is not None

    @property
    def memory_error(self) -> str | None:
        """Why a rollback's overlay cannot be remembered across restarts; None if it can."""
        return self._memory.error

    # --- which store ---

    def _should_retry_shared(self) -> bool:
        """Return whether to call the shared store; while it cannot be used, one caller per interval does."""
        if not self.is_degraded:
            return True
        now_s = self._clock_s()
        if 0 <= now_s - self._last_try_at_s < self._retry_interval_s:  # below 0: the clock was set back
            return False
        self._last_try_at_s = now_s
        return True

    async def _call_shared(
        self,
        operation: Callable[[StateStore], Awaitable[T]],
        *,
        is_write: bool = False,
        is_stored: Callable[[T], bool] = lambda _: False,
    ) -> T:
        """Call the shared store.

        Args:
            operation: what to call.
            is_write: whether a refusal means that the store cannot be written.
            is_stored: whether a result proves that something was written.
        """
        returns_before = self._return_count
        try:
            result = await operation(self._shared)
        except InfrastructureError as error:
            if returns_before == self._return_count:  # otherwise it has come back since: this failure is old
                self._switch_to_local(error, is_refused=is_write and isinstance(error, StateRefusedError))
            raise
        if self.is_degraded:
            self._is_readable = True
            self._is_writable = self._is_writable or is_stored(result)
            if self._is_writable:
                self._return_count += 1
                self.degraded_since_s = self.unavailable_reason = None
        return result

    def _switch_to_local(self, error: InfrastructureError, *, is_refused: bool) -> None:
        self._last_try_at_s = self._clock_s()
        self.unavailable_reason = str(error)
        was_degraded, was_readable = self.is_degraded, self._is_readable
        self._is_readable = is_refused
        self._is_writable = self._is_writable and not is_refused
        if not was_degraded:
            self.degraded_since_s = self._last_try_at_s
        elif self._is_readable or not was_readable:
            return
        for environment, (seen_at_s, state) in self._last_seen.items():
            self._local.load(environment, state, ahead_s=seen_at_s - state.read_at_s, keeps_open=was_degraded)

    async def _call(self, operation: Callable[[StateStore], Awaitable[T]]) -> T:
        """Call the shared store, or the local one; may write, but an answer does not prove it."""
        if self._is_writable and self._should_retry_shared():
            with suppress(InfrastructureError):  # reported by `is_degraded` and `unavailable_reason`
                return await self._call_shared(operation, is_write=True)
        return await operation(self._local)

    async def _write(self, operation: Callable[[StateStore], Awaitable[T]], is_stored: Callable[[T], bool]) -> T:
        """Write to the shared store, or to the local one."""
        if self._should_retry_shared():
            with suppress(InfrastructureError):  # as above
                return await self._call_shared(operation, is_write=True, is_stored=is_stored)
        return await operation(self._local)

    # --- what calls read ---

    async def shared(self, environment: str) -> SharedState:
        """Read what every call reads; a bad release that was seen before stays bad."""
        state = await self._read(environment)
        seen = RememberedOverlay(overlay=state.overlay, clear_count=state.overlay_clear_count)
        holds = self._memory.update(environment, seen)
        if holds == seen:
            return state
        if self._is_readable:
            await self._restore(environment, holds)
        return msgspec.structs.replace(state, overlay=holds.overlay, overlay_clear_count=holds.clear_count)

    async def _restore(self, environment: str, holds: RememberedOverlay) -> None:
        """Write a decision that the store has lost back into it."""
        now_s = self._clock_s()
        if holds.overlay is None or (
            self._restored_at_s is not None and 0 <= now_s - self._restored_at_s < self._retry_interval_s
        ):
            return
        self._restored_at_s = now_s
        with suppress(InfrastructureError):  # the next read tries again
            await self._shared.write_overlay(environment, holds.overlay, clear_count=holds.clear_count)

    async def _read(self, environment: str) -> SharedState:
        if self._is_readable or self._should_retry_shared():
            with suppress(InfrastructureError):  # reported by `is_degraded` and `unavailable_reason`
                return await self._read_shared(environment)
        return await self._local.shared(environment)

    async def _read_shared(self, environment: str) -> SharedState:
        state = await self._call_shared(lambda store: store.shared(environment))
        seen_at_s = self._clock_s()
        self._last_seen.pop(environment, None)  # the newest is last
        self._last_seen[environment] = (seen_at_s, state)
        if self._is_writable:
            return state
        own = await self._local.shared(environment)
        breakers = dict(state.breakers)
        for provider, view in own.breakers.items():
            breakers[provider] = circuit.merge_views(
                breakers.get(provider, circuit.CLOSED_VIEW), view, ahead_s=seen_at_s - state.read_at_s
            )
        return msgspec.structs.replace(state, breakers=breakers)

    # --- what calls write ---

    async def record_failure(
        self, provider: str, rule: BreakerRule, *, probe: str | None = None, answered: AnsweredCalls = NO_CALLS
    ) -> BreakerView:
        """Count a failure, in this process too: should the shared store be lost, its own count goes on."""
        if self._should_retry_shared():
            with suppress(InfrastructureError):  # reported by `is_degraded` and `unavailable_reason`
                view = await self._call_shared(
                    lambda store: store.record_failure(provider, rule, probe=probe, answered=answered),
                    is_write=True,
                    is_stored=lambda view: view.status == "closed",  # an open breaker does not count it
                )
                own = await self._local.record_failure(provider, rule, probe=probe, answered=answered)
                return own if self.is_degraded else view
        return await self._local.record_failure(provider, rule, probe=probe, answered=answered)

    async def record_success(self, provider: str, *, probe: str) -> None:
        """Close the breaker after a successful probe, in this process too."""
        await self._call(lambda store: store.record_success(provider, probe=probe))
        if not self.is_degraded:
            await self._local.reset_breaker(provider)

    async def reserve(
        self, account: str, amount_usd: float, *, limit_usd: float, lease_s: float = MAX_LEASE_S
    ) -> Reservation | None:
        """Reserve money for today."""
        return await self._write(
            lambda store: store.reserve(account, amount_usd, limit_usd=limit_usd, lease_s=lease_s),
            lambda held: held is not None,
        )

    async def settle(self, reservation: Reservation, *, actual_usd: float) -> None:
        """Replace a reservation by the real cost."""
        await self._write(lambda store: store.settle(reservation, actual_usd=actual_usd), lambda _: True)

    admit = _forward(StateStore.admit)
    release_probe = _forward(StateStore.release_probe)
    record_calls = _forward(StateStore.record_calls)
    admit_retry = _forward(StateStore.admit_retry)
    back_off = _forward(StateStore.back_off)
    balance = _forward(StateStore.balance)
    write_overlay = _forward(StateStore.write_overlay, has_fallback=False)
    clear_overlay = _forward(StateStore.clear_overlay, has_fallback=False)
    write_drill = _forward(StateStore.write_drill, has_fallback=False)
    processes = _forward(StateStore.processes, has_fallback=False)
    processes_known_for_s = _forward(StateStore.processes_known_for_s, has_fallback=False)
    heartbeats = _forward(StateStore.heartbeats, has_fallback=False)
    reset_breaker = _forward(StateStore.reset_breaker, has_fallback=False)

    # --- this process ---

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Announce that this process is alive; the shared store only."""
        if not self._should_retry_shared():
            raise InfrastructureError(self.unavailable_reason or "the shared state is unreachable")
        await self._call_shared(
            lambda store: store.heartbeat(heartbeat, lifetime_s=lifetime_s), is_write=True, is_stored=lambda _: True
        )

    async def deregister(self, environment: str, process: str) -> None:
        """Remove this process; a store that cannot be written keeps it as silent."""
        with suppress(InfrastructureError):
            await self._call_shared(lambda store: store.deregister(environment, process), is_write=True)

    async def warnings(self) -> Sequence[str]:
        """Return the settings of the shared store that endanger what it keeps; nothing while it cannot be read."""
        if not self._is_readable:
            return ()
        try:
            return await self._shared.warnings()
        except InfrastructureError:
            return ()

    async def aclose(self) -> None:
        """Close both stores."""
        await self._local.aclose()
        await self._shared.aclose()

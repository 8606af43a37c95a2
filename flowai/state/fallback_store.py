"""Store that never fails a call: while the shared store is unreachable, each process uses its own.

Alone, a process keeps the last known breakers and overlay, counts failures by itself and has the whole day's budget.
The shared store is retried every `retry_interval_s`. Nothing is reported twice: local failures are dropped; money
reserved in one store and settled in the other is added there as spent and stays reserved in the first until its lease
ends; a probe's lease of the other store has no effect.

Overlays, resets and the list of live processes have no local fallback: a wrong answer would mislead an operator.
"""

from __future__ import annotations

from functools import wraps
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from flowai.errors import InfrastructureError
from flowai.state.store import StateStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from flowai.state.memory_store import InMemoryStateStore
    from flowai.state.store import Heartbeat, SharedState

T = TypeVar("T")
Parameters = ParamSpec("Parameters")


def _forward(
    method: Callable[Concatenate[StateStore, Parameters], Coroutine[Any, Any, T]], *, has_fallback: bool = True
) -> Callable[Concatenate[FallbackStateStore, Parameters], Coroutine[Any, Any, T]]:
    """Build a method that calls the shared store; while it is unreachable, the local one, or it raises the error."""

    @wraps(method)
    async def call(self: FallbackStateStore, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> T:
        operation = methodcaller(method.__name__, *args, **kwargs)
        return await (self._call(operation) if has_fallback else self._call_shared(operation))

    return call


class FallbackStateStore:
    """`StateStore` that falls back to a local store, whose clock is `clock_s`.

    The shared store is tried again after `retry_interval_s` > 0 seconds; no call waits for it in between.
    """

    def __init__(
        self,
        shared: StateStore,
        local: InMemoryStateStore,
        clock_s: Callable[[], float],
        *,
        retry_interval_s: float = 1.0,
    ) -> None:
        self._shared = shared
        self._local = local
        self._clock_s = clock_s
        self._retry_interval_s = retry_interval_s
        self._last_try_at_s = 0.0
        self._return_count = 0
        self._last_seen: dict[str, tuple[float, SharedState]] = {}  # by environment: when it was read, and the state
        self.degraded_since_s: float | None = None
        self.unavailable_reason: str | None = None

    @property
    def is_degraded(self) -> bool:
        """The shared store is unreachable and this process uses its own."""
        return self.degraded_since_s is not None

    def _should_retry_shared(self) -> bool:
        """Return whether to call the shared store; while it is unreachable, one caller per interval does."""
        if not self.is_degraded:
            return True
        now_s = self._clock_s()
        if 0 <= now_s - self._last_try_at_s < self._retry_interval_s:  # below 0: the clock was set back
            return False
        self._last_try_at_s = now_s
        return True

    async def _call_shared(self, operation: Callable[[StateStore], Awaitable[T]]) -> T:
        returns_before = self._return_count
        try:
            result = await operation(self._shared)
        except InfrastructureError as error:
            if returns_before == self._return_count:  # otherwise it has come back since: this failure is old
                self._switch_to_local(error)
            raise
        if self.is_degraded:
            self._return_count += 1
            self.degraded_since_s = self.unavailable_reason = None
        return result

    def _switch_to_local(self, error: InfrastructureError) -> None:
        self._last_try_at_s = self._clock_s()
        self.unavailable_reason = str(error)
        if self.is_degraded:
            return
        self.degraded_since_s = self._last_try_at_s
        for environment, (seen_at_s, state) in self._last_seen.items():
            self._local.load(environment, state, ahead_s=seen_at_s - state.read_at_s)

    async def _call(self, operation: Callable[[StateStore], Awaitable[T]]) -> T:
        if self._should_retry_shared():
            try:
                return await self._call_shared(operation)
            except InfrastructureError:
                pass  # reported by `is_degraded` and `unavailable_reason`
        return await operation(self._local)

    async def shared(self, environment: str) -> SharedState:
        """Read what every call reads."""
        return await self._call(lambda store: self._read(store, environment))

    async def _read(self, store: StateStore, environment: str) -> SharedState:
        result = await store.shared(environment)
        if store is self._shared:
            self._last_seen.pop(environment, None)  # the newest is last
            self._last_seen[environment] = (self._clock_s(), result)
        return result

    admit = _forward(StateStore.admit)
    record_failure = _forward(StateStore.record_failure)
    record_success = _forward(StateStore.record_success)
    release_probe = _forward(StateStore.release_probe)
    record_calls = _forward(StateStore.record_calls)
    admit_retry = _forward(StateStore.admit_retry)
    back_off = _forward(StateStore.back_off)
    reserve = _forward(StateStore.reserve)
    settle = _forward(StateStore.settle)
    balance = _forward(StateStore.balance)
    spent_usd = _forward(StateStore.spent_usd)
    deregister = _forward(StateStore.deregister)
    write_overlay = _forward(StateStore.write_overlay, has_fallback=False)
    clear_overlay = _forward(StateStore.clear_overlay, has_fallback=False)
    heartbeats = _forward(StateStore.heartbeats, has_fallback=False)
    reset_breaker = _forward(StateStore.reset_breaker, has_fallback=False)

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Announce that this process is alive; the shared store only."""
        if not self._should_retry_shared():
            raise InfrastructureError(self.unavailable_reason or "the shared state is unreachable")
        await self._call_shared(lambda store: store.heartbeat(heartbeat, lifetime_s=lifetime_s))

    async def aclose(self) -> None:
        """Close both stores."""
        await self._local.aclose()
        await self._shared.aclose()

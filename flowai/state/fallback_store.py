"""A store that never fails a call: while the shared one is away, each process goes on alone.

What being alone means. A provider that the shared store left alone when it was last looked at is left alone here too,
and the live overlay stays in force; failures are counted by this process only; each process has a day's whole budget
to itself. A store that is back is noticed within `pause_s` of the next operation. Nothing is reported a second time:
failures counted alone are forgotten; money set aside by one store and settled with the other is added there as paid,
and stays spent where it was set aside; a lease of the other store is worth nothing, so its verdict changes nothing
and the next attempt probes.

What concerns the fleet does not go on alone, because a person would be told what is not so: overlays are written and
cleared, live processes heard and listed, in the shared store or not at all.
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

Found = TypeVar("Found")
Parameters = ParamSpec("Parameters")


def _on_either(
    method: Callable[Concatenate[StateStore, Parameters], Coroutine[Any, Any, Found]],
) -> Callable[Concatenate[FallbackStateStore, Parameters], Coroutine[Any, Any, Found]]:
    """Build the method that asks the shared store, or this process's own where it is away."""

    @wraps(method)
    async def call(self: FallbackStateStore, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Found:
        return await self._ask(methodcaller(method.__name__, *args, **kwargs))

    return call


def _on_shared(
    method: Callable[Concatenate[StateStore, Parameters], Coroutine[Any, Any, Found]],
) -> Callable[Concatenate[FallbackStateStore, Parameters], Coroutine[Any, Any, Found]]:
    """Build the method that asks the shared store; it raises InfrastructureError where the store is away."""

    @wraps(method)
    async def call(self: FallbackStateStore, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Found:
        return await self._ask_shared(methodcaller(method.__name__, *args, **kwargs))

    return call


class FallbackStateStore:
    """`StateStore` whose calls go on when the shared store is away.

    Args:
        shared: the store that processes share.
        alone: this process's own; used while the other is away.
        clock_s: the clock of `alone`, seconds since the epoch.
        pause_s: seconds between two attempts to reach a store that is away, > 0; meanwhile nobody waits for it.
    """

    def __init__(
        self, shared: StateStore, alone: InMemoryStateStore, clock_s: Callable[[], float], *, pause_s: float = 1.0
    ) -> None:
        self._shared = shared
        self._alone = alone
        self._clock_s = clock_s
        self._pause_s = pause_s
        self._tried_at_s = 0.0
        self._return_count = 0
        self._seen: dict[str, tuple[float, SharedState]] = {}  # by environment: what the store showed last, and when
        self.alone_since_s: float | None = None
        self.away_reason: str | None = None

    @property
    def is_degraded(self) -> bool:
        """Whether this process goes on alone, because the shared store is away."""
        return self.alone_since_s is not None

    def _should_retry_shared(self) -> bool:
        """Whether to ask the shared store; while it is away, one caller per pause does."""
        if not self.is_degraded:
            return True
        now_s = self._clock_s()
        if 0 <= now_s - self._tried_at_s < self._pause_s:  # below 0: the clock was set back
            return False
        self._tried_at_s = now_s
        return True

    async def _ask_shared(self, ask: Callable[[StateStore], Awaitable[Found]]) -> Found:
        began_at = self._return_count
        try:
            found = await ask(self._shared)
        except InfrastructureError as error:
            if began_at == self._return_count:  # else it came back since this was asked: old news
                self._use_local(error)
            raise
        if self.is_degraded:
            self._return_count += 1
            self.alone_since_s = self.away_reason = None
        return found

    def _use_local(self, error: InfrastructureError) -> None:
        self._tried_at_s = self._clock_s()
        self.away_reason = str(error)
        if self.is_degraded:
            return
        self.alone_since_s = self._tried_at_s
        for environment, (seen_at_s, seen) in self._seen.items():
            self._alone.load(environment, seen, ahead_s=seen_at_s - seen.read_at_s)

    async def _ask(self, ask: Callable[[StateStore], Awaitable[Found]]) -> Found:
        """Ask the shared store, or this process's own where it is away."""
        if self._should_retry_shared():
            try:
                return await self._ask_shared(ask)
            except InfrastructureError:
                pass  # said by `is_degraded` and `away_reason`
        return await ask(self._alone)

    async def shared(self, environment: str) -> SharedState:
        """Read what calls look at."""
        return await self._ask(lambda store: self._look(store, environment))

    async def _look(self, store: StateStore, environment: str) -> SharedState:
        found = await store.shared(environment)
        if store is self._shared:
            self._seen.pop(environment, None)  # the newest stands last
            self._seen[environment] = (self._clock_s(), found)
        return found

    admit = _on_either(StateStore.admit)
    failed = _on_either(StateStore.failed)
    succeeded = _on_either(StateStore.succeeded)
    released = _on_either(StateStore.released)
    back_off = _on_either(StateStore.back_off)
    reserve = _on_either(StateStore.reserve)
    settle = _on_either(StateStore.settle)
    spent_usd = _on_either(StateStore.spent_usd)
    deregister = _on_either(StateStore.deregister)
    write_overlay = _on_shared(StateStore.write_overlay)
    clear_overlay = _on_shared(StateStore.clear_overlay)
    heartbeats = _on_shared(StateStore.heartbeats)

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Say that this process lives, to all or to nobody.

        Raises:
            InfrastructureError: nobody has heard it: the shared store is away, or was when it was asked.
        """
        if not self._should_retry_shared():
            raise InfrastructureError(self.away_reason or "the shared state is away")
        await self._ask_shared(lambda store: store.heartbeat(heartbeat, lifetime_s=lifetime_s))

    async def aclose(self) -> None:
        """Close both stores."""
        await self._alone.aclose()
        await self._shared.aclose()

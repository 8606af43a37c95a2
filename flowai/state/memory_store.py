"""State store of one process, in dictionaries."""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING

from flowai.state import circuit
from flowai.state.money import (
    balance_of,
    limit_nano_usd,
    nano_usd,
    oldest_kept_day,
    oldest_settled_day,
    utc_day,
)
from flowai.state.store import (
    MAX_LEASE_S,
    NO_CALLS,
    SILENT_KEPT_S,
    Balance,
    BreakerDecision,
    BreakerView,
    Heartbeat,
    KnownProcess,
    Overlay,
    Reservation,
    SharedState,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.state.store import AnsweredCalls, BreakerRule


def random_id() -> str:
    """Return a unique id: 16 hex digits."""
    return secrets.token_hex(8)


class InMemoryStateStore:
    """`StateStore` of one process and one event loop.

    Intervals are measured by `clock_s`, days by `wall_s`; None for the same clock.
    """

    def __init__(
        self,
        clock_s: Callable[[], float],
        *,
        wall_s: Callable[[], float] | None = None,
        new_id: Callable[[], str] = random_id,
    ) -> None:
        self._clock_s = clock_s
        self._wall_s = wall_s or clock_s
        self._new_id = new_id
        self._windows: dict[str, circuit.CircuitWindow] = {}
        self._spent_nano: dict[tuple[str, str], int] = {}  # spent and reserved, by day and account
        self._reserved: dict[str, tuple[Reservation, float]] = {}  # by id, with the end of the lease
        self._overlays: dict[str, Overlay] = {}
        self._drills: dict[str, str] = {}
        self._clear_counts: dict[str, int] = {}
        self._processes: dict[tuple[str, str], tuple[float, float, Heartbeat]] = {}
        """By environment and process: last seen, end of life, heartbeat."""

    def load(self, environment: str, state: SharedState, *, ahead_s: float, keeps_open: bool) -> None:
        """Adopt the breakers and the overlay last read from another store; this store's own failures stay counted.

        This store's clock is `ahead_s` seconds ahead of the other's. With `keeps_open`, breakers that are open only
        here stay open; otherwise the other store has closed them.
        """
        adopted = {provider: _window_from_view(view, ahead_s) for provider, view in state.breakers.items()}
        for provider in {*adopted, *self._windows}:
            own = self._window(provider)
            if own.open_until_s and not keeps_open:
                own = circuit.EMPTY_WINDOW
            self._set_window(provider, circuit.merge(own, adopted.get(provider, circuit.EMPTY_WINDOW)))
        if state.overlay is None:
            self._overlays.pop(environment, None)
        else:
            self._overlays[environment] = state.overlay

    async def shared(self, environment: str) -> SharedState:
        """Read what every call reads."""
        now_s = self._clock_s()
        views: dict[str, BreakerView] = {}
        for provider, window in list(self._windows.items()):
            if (view := circuit.view(window, now_s=now_s)) is not None:
                views[provider] = view
            elif circuit.is_quiet(window, now_s=now_s):
                del self._windows[provider]
        return SharedState(
            breakers=views,
            overlay=self._overlays.get(environment),
            overlay_clear_count=self._clear_counts.get(environment, 0),
            drill=self._drills.get(environment, ""),
            read_at_s=now_s,
        )

    def _window(self, provider: str) -> circuit.CircuitWindow:
        return self._windows.get(provider, circuit.EMPTY_WINDOW)

    def _set_window(self, provider: str, window: circuit.CircuitWindow) -> None:
        if window != circuit.EMPTY_WINDOW:
            self._windows[provider] = window
        else:
            self._windows.pop(provider, None)

    async def admit(self, provider: str, model: str, rule: BreakerRule) -> BreakerDecision:
        """Return whether an attempt may start."""
        window, decision = circuit.admit(
            self._window(provider), rule, model=model, now_s=self._clock_s(), lease=self._new_id()
        )
        self._set_window(provider, window)
        return decision

    async def record_failure(
        self, provider: str, rule: BreakerRule, *, probe: str | None = None, answered: AnsweredCalls = NO_CALLS
    ) -> BreakerView:
        """Count a failure, and the answered calls."""
        now_s = self._clock_s()
        window = circuit.record_failure(self._window(provider), rule, now_s=now_s, probe=probe, answered=answered)
        self._set_window(provider, window)
        return circuit.view(window, now_s=now_s) or BreakerView()

    async def record_calls(self, provider: str, rule: BreakerRule, answered: AnsweredCalls) -> BreakerView:
        """Count answered calls."""
        now_s = self._clock_s()
        window = circuit.record_calls(self._window(provider), rule, now_s=now_s, answered=answered)
        self._set_window(provider, window)
        return circuit.view(window, now_s=now_s) or BreakerView()

    async def admit_retry(self, provider: str, rule: BreakerRule, answered: AnsweredCalls) -> bool:
        """Count a repeated call; return whether it may start."""
        window, is_admitted = circuit.admit_retry(
            self._window(provider), rule, now_s=self._clock_s(), answered=answered
        )
        self._set_window(provider, window)
        return is_admitted

    async def record_success(self, provider: str, *, probe: str) -> None:
        """Close the breaker after a successful probe."""
        self._set_window(provider, circuit.record_success(self._window(provider), probe=probe))

    async def release_probe(self, provider: str, *, probe: str) -> None:
        """Return a lease without a result."""
        self._set_window(provider, circuit.release_probe(self._window(provider), probe=probe))

    async def back_off(self, provider: str, model: str, *, for_s: float) -> None:
        """Start a back-off of a provider's model."""
        window = self._window(provider)
        self._set_window(provider, circuit.back_off(window, model=model, now_s=self._clock_s(), for_s=for_s))

    async def reset_breaker(self, provider: str) -> bool:
        """Close a provider's breaker and end the back-offs of its models."""
        window = self._windows.pop(provider, circuit.EMPTY_WINDOW)
        return circuit.view(window, now_s=self._clock_s()) is not None

    async def reserve(
        self, account: str, amount_usd: float, *, limit_usd: float, lease_s: float = MAX_LEASE_S
    ) -> Reservation | None:
        """Reserve money for today."""
        now_s = self._wall_s()
        self._return_expired()
        today = utc_day(now_s)
        spent_nano = self._spent_nano.get((today, account))
        if spent_nano is None:
            oldest = oldest_kept_day(now_s)
            self._spent_nano = {key: spent for key, spent in self._spent_nano.items() if key[0] >= oldest}
            spent_nano = 0
        total_nano = spent_nano + nano_usd(amount_usd)
        if total_nano > limit_nano_usd(limit_usd):
            return None
        self._spent_nano[today, account] = total_nano
        reservation = Reservation(account=account, day=today, amount_usd=amount_usd, id=self._new_id())
        self._reserved[reservation.id] = (reservation, self._clock_s() + lease_s)
        return reservation

    async def settle(self, reservation: Reservation, *, actual_usd: float) -> None:
        """Replace a reservation by the real cost."""
        actual_nano = nano_usd(actual_usd)
        is_held = self._reserved.pop(reservation.id, None) is not None
        if reservation.day >= oldest_settled_day(self._wall_s()):
            self._add(reservation, actual_nano - (nano_usd(reservation.amount_usd) if is_held else 0))

    def _add(self, reservation: Reservation, change_nano: int) -> None:
        key = (reservation.day, reservation.account)
        self._spent_nano[key] = max(0, self._spent_nano.get(key, 0) + change_nano)

    def _return_expired(self) -> None:
        now_s = self._clock_s()
        expired = [reservation for reservation, until_s in self._reserved.values() if until_s <= now_s]
        for reservation in expired:
            del self._reserved[reservation.id]
            self._add(reservation, -nano_usd(reservation.amount_usd))

    async def balance(self, account: str) -> Balance:
        """Return what is spent and what is reserved today."""
        now_s = self._wall_s()
        self._return_expired()
        today = utc_day(now_s)
        reserved = (held for held, _ in self._reserved.values() if (held.day, held.account) == (today, account))
        reserved_nano = sum(nano_usd(reservation.amount_usd) for reservation in reserved)
        return balance_of(self._spent_nano.get((today, account), 0), reserved_nano, now_s)

    async def write_overlay(self, environment: str, overlay: Overlay, *, clear_count: int = 0) -> None:
        """Write an overlay."""
        known = self._overlays.get(environment)
        if known is None or overlay.epoch >= known.epoch:
            self._overlays[environment] = overlay
        self._clear_counts[environment] = max(clear_count, self._clear_counts.get(environment, 0))

    async def clear_overlay(self, environment: str) -> None:
        """Remove the overlay on purpose."""
        self._overlays.pop(environment, None)
        self._clear_counts[environment] = self._clear_counts.get(environment, 0) + 1

    async def write_drill(self, environment: str, drill: str) -> None:
        """Write the id of a drill."""
        self._drills[environment] = drill

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Announce that this process is alive."""
        now_s = self._clock_s()
        known = self._processes.items()
        self._processes = {key: record for key, record in known if record[0] > now_s - SILENT_KEPT_S}
        self._processes[heartbeat.environment, heartbeat.process] = (now_s, now_s + lifetime_s, heartbeat)

    async def processes(self, environment: str) -> Sequence[KnownProcess]:
        """List the processes of an environment that have not deregistered."""
        now_s = self._clock_s()
        return [
            KnownProcess(heartbeat=heartbeat, silent_s=max(0.0, now_s - seen_at_s), is_live=until_s > now_s)
            for (place, _), (seen_at_s, until_s, heartbeat) in sorted(self._processes.items(), key=lambda item: item[0])
            if place == environment and seen_at_s > now_s - SILENT_KEPT_S
        ]

    async def processes_known_for_s(self, _: str) -> float:
        """Return infinity: this store does not lose processes unnoticed."""
        return math.inf

    async def heartbeats(self, environment: str) -> Sequence[Heartbeat]:
        """List the live processes of an environment."""
        return [process.heartbeat for process in await self.processes(environment) if process.is_live]

    async def deregister(self, environment: str, process: str) -> None:
        """Remove a process that exits."""
        self._processes.pop((environment, process), None)

    async def warnings(self) -> Sequence[str]:
        """Return nothing: memory has no settings."""
        return ()

    async def aclose(self) -> None:
        """Close nothing."""


def _window_from_view(view: BreakerView, ahead_s: float) -> circuit.CircuitWindow:
    """Convert a view to a window; another process's running probe counts as an open breaker."""
    open_until_s = max(view.open_until_s, view.lease_until_s)
    return circuit.CircuitWindow(
        open_until_s=open_until_s + ahead_s if open_until_s else 0.0,
        back_offs=tuple((model, until_s + ahead_s) for model, until_s in view.back_offs.items()),
    )

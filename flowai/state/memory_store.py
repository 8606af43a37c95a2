"""The store of one process: plain dictionaries."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from flowai.state import circuit as law
from flowai.state.money import limit_nano_usd, nano_usd, oldest_kept_day, settlement_delta, usd, utc_day
from flowai.state.store import BreakerDecision, BreakerView, Heartbeat, Overlay, Reservation, SharedState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.state.store import BreakerRule


def random_name() -> str:
    """Give a name that nothing else has."""
    return secrets.token_hex(8)


class InMemoryStateStore:
    """`StateStore` of one process and one event loop.

    Args:
        clock_s: seconds since the epoch.
        new_name: gives names that nothing else has, to leases and to this store.
    """

    def __init__(self, clock_s: Callable[[], float], *, new_name: Callable[[], str] = random_name) -> None:
        self._clock_s = clock_s
        self._new_name = new_name
        self._held_by = new_name()
        self._windows: dict[str, law.CircuitWindow] = {}
        self._spent_nano: dict[tuple[str, str], int] = {}  # by day and account
        self._overlays: dict[str, Overlay] = {}
        self._alive: dict[tuple[str, str], tuple[float, Heartbeat]] = {}  # by environment and process: until when

    def load(self, environment: str, seen: SharedState, *, ahead_s: float) -> None:
        """Take over what another store showed last, so that a provider it left alone is left alone here too.

        Args:
            environment: whose overlay `seen` holds.
            seen: what it showed; replaces all breakers.
            ahead_s: how far this store's clock is ahead of the other's.
        """
        self._windows = {provider: _adopted(view, ahead_s) for provider, view in seen.breakers.items()}
        if seen.overlay is None:
            self._overlays.pop(environment, None)
        else:
            self._overlays[environment] = seen.overlay

    async def shared(self, environment: str) -> SharedState:
        """Read what calls look at."""
        now_s = self._clock_s()
        views: dict[str, BreakerView] = {}
        for provider, window in list(self._windows.items()):
            if (view := law.view(window, now_s=now_s)) is not None:
                views[provider] = view
            else:
                del self._windows[provider]
        return SharedState(breakers=views, overlay=self._overlays.get(environment), read_at_s=now_s)

    def _window(self, provider: str) -> law.CircuitWindow:
        return self._windows.get(provider, law.EMPTY_WINDOW)

    def _keep(self, provider: str, window: law.CircuitWindow) -> None:
        if window != law.EMPTY_WINDOW:
            self._windows[provider] = window
        else:
            self._windows.pop(provider, None)

    async def admit(self, provider: str, rule: BreakerRule) -> BreakerDecision:
        """Ask whether an attempt may start."""
        window, admission = law.admit(self._window(provider), rule, now_s=self._clock_s(), lease=self._new_name())
        self._keep(provider, window)
        return admission

    async def failed(self, provider: str, rule: BreakerRule, *, probe: str | None = None) -> BreakerView:
        """Count a failure."""
        now_s = self._clock_s()
        window = law.failed(self._window(provider), rule, now_s=now_s, probe=probe)
        self._keep(provider, window)
        return law.view(window, now_s=now_s) or BreakerView()

    async def succeeded(self, provider: str, *, probe: str) -> None:
        """Close the breaker after a good probe."""
        self._keep(provider, law.succeeded(self._window(provider), probe=probe))

    async def released(self, provider: str, *, probe: str) -> None:
        """Give a lease back."""
        self._keep(provider, law.released(self._window(provider), probe=probe))

    async def back_off(self, provider: str, *, for_s: float) -> None:
        """Leave a provider alone for as long as it asked."""
        self._keep(provider, law.back_off(self._window(provider), now_s=self._clock_s(), for_s=for_s))

    async def reserve(self, account: str, amount_usd: float, *, limit_usd: float) -> Reservation | None:
        """Set money aside for today."""
        now_s = self._clock_s()
        today = utc_day(now_s)
        spent_nano = self._spent_nano.get((today, account))
        if spent_nano is None:
            self._forget_days_before(oldest_kept_day(now_s))
            spent_nano = 0
        total_nano = spent_nano + nano_usd(amount_usd)
        if total_nano > limit_nano_usd(limit_usd):
            return None
        self._spent_nano[today, account] = total_nano
        return Reservation(account=account, day=today, amount_usd=amount_usd, held_by=self._held_by)

    def _forget_days_before(self, oldest: str) -> None:
        self._spent_nano = {key: spent for key, spent in self._spent_nano.items() if key[0] >= oldest}

    async def settle(self, reservation: Reservation, *, actual_usd: float) -> None:
        """Replace what was set aside by what was paid."""
        key = (reservation.day, reservation.account)
        change = settlement_delta(reservation, actual_usd=actual_usd, held_by=self._held_by)
        if reservation.day >= oldest_kept_day(self._clock_s()):
            self._spent_nano[key] = max(0, self._spent_nano.get(key, 0) + change)

    async def spent_usd(self, account: str) -> float:
        """Give what was spent and set aside today."""
        return usd(self._spent_nano.get((utc_day(self._clock_s()), account), 0))

    async def write_overlay(self, environment: str, overlay: Overlay) -> None:
        """Put an overlay in force."""
        known = self._overlays.get(environment)
        if known is None or overlay.epoch >= known.epoch:
            self._overlays[environment] = overlay

    async def clear_overlay(self, environment: str) -> None:
        """Take the overlay away."""
        self._overlays.pop(environment, None)

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Say that this process lives."""
        now_s = self._clock_s()
        self._alive = {key: entry for key, entry in self._alive.items() if entry[0] > now_s}
        self._alive[heartbeat.environment, heartbeat.process] = (now_s + lifetime_s, heartbeat)

    async def heartbeats(self, environment: str) -> Sequence[Heartbeat]:
        """List the live processes of an environment."""
        now_s = self._clock_s()
        live = (entry for key, entry in self._alive.items() if key[0] == environment)
        return sorted((beat for until_s, beat in live if until_s > now_s), key=lambda beat: beat.process)

    async def deregister(self, environment: str, process: str) -> None:
        """Say that a process ended in good order."""
        self._alive.pop((environment, process), None)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to give back."""


def _adopted(view: BreakerView, ahead_s: float) -> law.CircuitWindow:
    """Make a record of a view; a probe that another process had under way is waited for like an open breaker."""
    open_until_s = max(view.open_until_s, view.lease_until_s)
    return law.CircuitWindow(
        open_until_s=open_until_s + ahead_s if open_until_s else 0.0,
        rest_until_s=view.rest_until_s + ahead_s if view.rest_until_s else 0.0,
    )

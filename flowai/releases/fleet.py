"""Reaches the processes of an environment through the store they share: overlay, heartbeats, confirmation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from flowai.errors import InfrastructureError
from flowai.releases.registry_source import state_address
from flowai.state import open_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from flowai.releases.registry_source import RegistrySource
    from flowai.state import Heartbeat, Overlay, StateStore

Found = TypeVar("Found")

LIMIT_S = 1.0
"""One question to the store; Redis itself gives up earlier."""
CONFIRM_LIMIT_S = 1.8
"""So that the whole command stays within two seconds."""
POLL_S = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """Which processes follow an overlay."""

    confirmed: tuple[Heartbeat, ...] = ()
    """Those that do."""
    unconfirmed: tuple[Heartbeat, ...] = ()
    """Those that do not, as they spoke last."""

    @property
    def count(self) -> int:
        """How many processes live."""
        return len(self.confirmed) + len(self.unconfirmed)


class Fleet:
    """The running processes of an environment; has an event loop of its own.

    Args:
        named: the store's place as a person names it; None for what the registry says.
        start: directory that a named place is relative to.
        now: the time, UTC.
    """

    def __init__(self, named: str | None, start: Path, *, now: Callable[[], datetime]) -> None:
        self._named = named
        self._start = start
        self._now = now
        self._runner = asyncio.Runner()
        self._state: StateStore | None = None
        self._environment = ""
        self.address = ""

    @property
    def is_open(self) -> bool:
        """Whether there is a store to ask."""
        return self._state is not None

    def open(self, source: RegistrySource) -> None:
        """Open the store of a registry; if its address has changed, the old store is closed.

        Raises:
            FlowaiError: the address is not known, or wrong.
        """
        address, directory = state_address(source, self._named, self._start)
        if self._state is None or address != self.address:
            self.disconnect()
            self._state = open_state(address, directory, clock_s=lambda: self._now().timestamp())
            self.address = address
        self._environment = source.environment or ""

    def look(self) -> tuple[Overlay | None, Sequence[Heartbeat]]:
        """Return the overlay in force and the live processes.

        Raises:
            InfrastructureError: the store is away.
        """

        async def read(state: StateStore) -> tuple[Overlay | None, Sequence[Heartbeat]]:
            shared = await _within(state.shared(self._environment))
            return shared.overlay, await _within(state.heartbeats(self._environment))

        return self._runner.run(read(self._opened()))

    def write_overlay(self, overlay: Overlay) -> None:
        """Put an overlay in force.

        Raises:
            InfrastructureError: the store is away.
        """
        self._runner.run(_within(self._opened().write_overlay(self._environment, overlay)))

    def confirm(self, overlay: Overlay, *, clock_s: Callable[[], float]) -> Confirmation:
        """Wait until every live process follows an overlay; not longer than the limit.

        Raises:
            InfrastructureError: the store is away.
        """
        return self._runner.run(_confirm(self._opened(), self._environment, overlay, clock_s=clock_s))

    def disconnect(self) -> None:
        """Close the store."""
        state, self._state = self._state, None
        if state is not None:
            with suppress(InfrastructureError):  # the command's end closes it all the same
                self._runner.run(_within(state.aclose()))

    def close(self) -> None:
        """Close the store and the event loop."""
        self.disconnect()
        self._runner.close()

    def _opened(self) -> StateStore:
        if self._state is None:
            raise InfrastructureError("what processes share is not open")
        return self._state


async def _confirm(
    state: StateStore, environment: str, overlay: Overlay, *, clock_s: Callable[[], float]
) -> Confirmation:
    end_s = clock_s() + CONFIRM_LIMIT_S
    while True:
        beats = await _within(state.heartbeats(environment))
        found = Confirmation(
            confirmed=tuple(beat for beat in beats if has_applied(beat, overlay)),
            unconfirmed=tuple(beat for beat in beats if not has_applied(beat, overlay)),
        )
        if not found.unconfirmed or clock_s() >= end_s:
            return found
        await asyncio.sleep(POLL_S)


def has_applied(beat: Heartbeat, overlay: Overlay) -> bool:
    """Tell whether a process serves what an overlay says."""
    serves = beat.release == overlay.release if overlay.release else beat.release not in overlay.bad
    return beat.overlay_epoch >= overlay.epoch and serves and beat.candidate not in overlay.bad


async def _within(act: Awaitable[Found]) -> Found:
    """Wait for the store, within its limit.

    Raises:
        InfrastructureError: it is away, or said nothing in time.
    """
    try:
        return await asyncio.wait_for(act, LIMIT_S)
    except TimeoutError:
        raise InfrastructureError(f"what processes share said nothing within {LIMIT_S:.0f} s") from None

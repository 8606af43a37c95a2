"""The running processes of an environment, reached through shared state: overlay, heartbeats, confirmation."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from flowai.errors import InfrastructureError
from flowai.releases.registry_source import state_address
from flowai.state import open_state
from flowai.state.machine import is_process_dead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from flowai.releases.registry_source import RegistrySource
    from flowai.state import Heartbeat, KnownProcess, Overlay, StateStore

Result = TypeVar("Result")

STATE_TIMEOUT_S = 1.0
"""Timeout of one request to the state store; the Redis client gives up earlier."""
CONFIRM_TIMEOUT_S = 1.8
"""Keeps the whole command within two seconds."""
ANNOUNCE_LIMIT_S = 1.6
"""Time in which every process has announced itself to a store that came back empty: a process tries it every second,
and reads it four times a second."""
POLL_INTERVAL_S = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """Processes that have not deregistered, by whether they follow an overlay."""

    confirmed: tuple[KnownProcess, ...] = ()
    unconfirmed: tuple[KnownProcess, ...] = ()
    """Live ones."""
    silent: tuple[KnownProcess, ...] = ()
    """Silent ones that had not confirmed: they may live on, cut off from the state."""
    ignored: tuple[str, ...] = ()
    """Silent ones that the user knows to be dead."""
    are_known: bool = True
    """False while the store may not know all processes, since it has just come back without its data."""

    @property
    def is_complete(self) -> bool:
        """True if every process follows the overlay."""
        return self.are_known and not (self.unconfirmed or self.silent)

    @property
    def count(self) -> int:
        """Number of processes."""
        return len(self.confirmed) + len(self.unconfirmed) + len(self.silent)

    def describe(self, release: str) -> str:
        """Describe how many processes confirm a release."""
        text = f"{len(self.confirmed)} of {self.count} confirm {release}" if self.count else "no live process seen"
        return text if self.are_known else f"{text}; the state has just come back empty: others may be missing"


class Fleet:
    """The running processes of an environment; owns an event loop.

    Args:
        named: address or directory of the state store, as typed; None for the registry's `state`.
        start: base directory of `named`.
        now: clock, UTC.
        clock_s: monotonic clock, seconds.
    """

    def __init__(
        self,
        named: str | None,
        start: Path,
        *,
        now: Callable[[], datetime],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._named = named
        self._start = start
        self._now = now
        self._clock_s = clock_s
        self._runner = asyncio.Runner()
        self._state: StateStore | None = None
        self._environment = ""
        self.address = ""

    @property
    def is_open(self) -> bool:
        """True while the state store is open."""
        return self._state is not None

    def open(self, source: RegistrySource) -> None:
        """Open the state store of a registry; close the previous store if the address changed.

        Raises:
            FlowaiError: the address is unknown or invalid.
        """
        address, directory = state_address(source, self._named, self._start)
        if self._state is None or address != self.address:
            self.disconnect()
            self._state = open_state(address, directory, clock_s=lambda: self._now().timestamp())
            self.address = address
        self._environment = source.environment or ""

    def read(self) -> tuple[Overlay | None, Sequence[Heartbeat]]:
        """Return the active overlay and the heartbeats of the live processes.

        Raises:
            InfrastructureError: the store is unreachable.
        """

        async def read(state: StateStore) -> tuple[Overlay | None, Sequence[Heartbeat]]:
            shared = await _within(state.shared(self._environment))
            return shared.overlay, await _within(state.heartbeats(self._environment))

        return self._runner.run(read(self._opened()))

    def write_overlay(self, overlay: Overlay) -> None:
        """Activate an overlay.

        Raises:
            InfrastructureError: the store is unreachable.
        """
        self._runner.run(_within(self._opened().write_overlay(self._environment, overlay)))

    def confirm(self, overlay: Overlay, *, ignored: Collection[str] = ()) -> Confirmation:
        """Wait until every live process follows an overlay, at most `CONFIRM_TIMEOUT_S`.

        Processes of this machine that are dead, and silent ones in `ignored`, are forgotten.

        Raises:
            InfrastructureError: the store is unreachable.
        """
        return self._runner.run(
            self._wait(lambda heartbeat: has_applied(heartbeat, overlay), ignored, waits_for_all=True)
        )

    def drill(self, drill: str, *, ignored: Collection[str] = ()) -> Confirmation:
        """Write the id of a drill where overlays are read; wait until every live process has repeated it.

        Raises:
            InfrastructureError: the store is unreachable.
        """
        self._runner.run(_within(self._opened().write_drill(self._environment, drill)))
        return self._runner.run(self._wait(lambda heartbeat: heartbeat.drill == drill, ignored, waits_for_all=True))

    def check(self, follows: Callable[[Heartbeat], bool], *, ignored: Collection[str] = ()) -> Confirmation:
        """Check that every process follows a decision; wait only for a store that may not know all of them yet.

        Raises:
            InfrastructureError: the store is unreachable.
        """
        return self._runner.run(self._wait(follows, ignored, waits_for_all=False))

    async def _wait(
        self, follows: Callable[[Heartbeat], bool], ignored: Collection[str], *, waits_for_all: bool
    ) -> Confirmation:
        end_s, dismissed = self._clock_s() + CONFIRM_TIMEOUT_S, dict[str, None]()
        while True:
            result = await self._check(self._opened(), follows, ignored)
            dismissed |= dict.fromkeys(result.ignored)  # they are forgotten: the next look does not list them
            if (result.are_known and not (waits_for_all and result.unconfirmed)) or self._clock_s() >= end_s:
                return replace(result, ignored=tuple(dismissed))
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _check(
        self, state: StateStore, is_confirmed: Callable[[Heartbeat], bool], ignored: Collection[str]
    ) -> Confirmation:
        confirmed, unconfirmed, silent, dismissed = [], [], [], []
        known_for_s = await _within(state.processes_known_for_s(self._environment))  # first: the list is newer
        for process in await _within(state.processes(self._environment)):
            heartbeat = process.heartbeat
            if is_confirmed(heartbeat):
                confirmed.append(process)
            elif is_process_dead(machine=heartbeat.machine, pid=heartbeat.pid, start=heartbeat.process_start):
                await self._forget(state, heartbeat.process)
            elif process.is_live:
                unconfirmed.append(process)
            elif heartbeat.process in ignored:
                dismissed.append(heartbeat.process)
                await self._forget(state, heartbeat.process)
            else:
                silent.append(process)
        return Confirmation(
            confirmed=tuple(confirmed),
            unconfirmed=tuple(unconfirmed),
            silent=tuple(silent),
            ignored=tuple(dismissed),
            are_known=known_for_s >= ANNOUNCE_LIMIT_S,
        )

    async def _forget(self, state: StateStore, process: str) -> None:
        with suppress(InfrastructureError):  # the next command tries again
            await _within(state.deregister(self._environment, process))

    def disconnect(self) -> None:
        """Close the store."""
        state, self._state = self._state, None
        if state is not None:
            with suppress(InfrastructureError):  # the end of the process closes it too
                self._runner.run(_within(state.aclose()))

    def close(self) -> None:
        """Close the store and the event loop."""
        self.disconnect()
        self._runner.close()

    def _opened(self) -> StateStore:
        if self._state is None:
            raise InfrastructureError("the shared state is not open")
        return self._state


def has_applied(heartbeat: Heartbeat, overlay: Overlay) -> bool:
    """Return whether a process serves the release of an overlay, and no bad one."""
    has_release = heartbeat.release == overlay.release if overlay.release else heartbeat.release not in overlay.bad
    return heartbeat.overlay_epoch >= overlay.epoch and has_release and heartbeat.candidate not in overlay.bad


async def _within(request: Awaitable[Result]) -> Result:
    try:
        return await asyncio.wait_for(request, STATE_TIMEOUT_S)
    except TimeoutError:
        raise InfrastructureError(f"the shared state did not answer within {STATE_TIMEOUT_S:.0f} s") from None

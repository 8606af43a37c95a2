"""Speaks to the running processes through what they share: puts an overlay in force and waits until each follows it.

In: a State. Out: the overlay and the processes as they are; who has confirmed. Must never know registries or plans.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeVar

    from flowai.state import Heartbeat, Overlay, State

    Found = TypeVar("Found")

LIMIT_S = 1.0
"""One question to the store; Redis itself gives up earlier."""
CONFIRM_LIMIT_S = 1.8
"""So that the whole command stays within two seconds."""
POLL_S = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """Which processes follow an overlay.

    Args:
        confirmed: those that do.
        silent: those that do not, as they spoke last.
    """

    confirmed: tuple[Heartbeat, ...] = ()
    silent: tuple[Heartbeat, ...] = ()

    @property
    def count(self) -> int:
        """How many processes live."""
        return len(self.confirmed) + len(self.silent)


async def look(state: State, environment: str) -> tuple[Overlay | None, Sequence[Heartbeat]]:
    """Give the overlay in force and the live processes.

    Raises:
        InfrastructureError: the store is away.
    """
    shared = await within(state.shared(environment))
    return shared.overlay, await within(state.heartbeats(environment))


async def confirm(state: State, environment: str, overlay: Overlay, *, clock_s: Callable[[], float]) -> Confirmation:
    """Wait until every live process follows an overlay; not longer than the limit.

    Raises:
        InfrastructureError: the store is away.
    """
    end_s = clock_s() + CONFIRM_LIMIT_S
    while True:
        beats = await within(state.heartbeats(environment))
        found = Confirmation(
            confirmed=tuple(beat for beat in beats if follows(beat, overlay)),
            silent=tuple(beat for beat in beats if not follows(beat, overlay)),
        )
        if not found.silent or clock_s() >= end_s:
            return found
        await asyncio.sleep(POLL_S)


def follows(beat: Heartbeat, overlay: Overlay) -> bool:
    """Tell whether a process serves what an overlay says."""
    serves = beat.release == overlay.release if overlay.release else beat.release not in overlay.bad
    return beat.overlay_epoch >= overlay.epoch and serves and beat.candidate not in overlay.bad


async def within(act: Awaitable[Found]) -> Found:
    """Wait for the store, but not for ever.

    Raises:
        InfrastructureError: it is away, or said nothing in time.
    """
    try:
        return await asyncio.wait_for(act, LIMIT_S)
    except TimeoutError:
        raise InfrastructureError(f"what processes share said nothing within {LIMIT_S:.0f} s") from None

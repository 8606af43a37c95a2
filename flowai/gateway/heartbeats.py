"""Heartbeats of this process, by which a rollback knows what it serves."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError
from flowai.state import Heartbeat
from flowai.state.machine import machine_id, process_start

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from flowai.events import Origin
    from flowai.state import FallbackStateStore

HEARTBEAT_INTERVAL_S = 3.0
HEARTBEAT_LIFETIME_S = 12.0
"""A process counts as silent after this time without a heartbeat."""


def process_identity(
    *, process: str, environment: str, origin: Origin, release: str, started_at: datetime
) -> Heartbeat:
    """Return the first heartbeat of this process, with what does not change."""
    pid = os.getpid()
    return Heartbeat(
        process=process,
        host=socket.gethostname(),
        pid=pid,
        environment=environment,
        origin=origin,
        release=release,
        machine=machine_id(),
        process_start=process_start(pid),
        started_at=started_at,
        at=started_at,
    )


class HeartbeatSender:
    """Sends a heartbeat when one is due, when what it reports has changed, or when the store has lost its processes.

    `clock_s` is monotonic: a wall clock that is set back would silence the process.
    """

    def __init__(self, state: FallbackStateStore, *, clock_s: Callable[[], float]) -> None:
        self._state = state
        self._clock_s = clock_s
        self._last: Heartbeat | None = None
        self._sent_at_s = 0.0
        self._processes_id = ""

    async def send(self, heartbeat: Heartbeat, *, processes_id: str = "") -> None:
        """Send a heartbeat if there is a reason to.

        `processes_id` changes when the store has lost the processes that it knew.
        """
        now_s = self._clock_s()
        if processes_id != self._processes_id:
            self._last, self._processes_id = None, processes_id
        # a store that was unreachable may come back without its data
        last = self._last = None if self._state.is_degraded else self._last
        is_changed = last is None or msgspec.structs.replace(last, at=heartbeat.at) != heartbeat
        if not is_changed and now_s - self._sent_at_s < HEARTBEAT_INTERVAL_S:
            return
        try:
            await self._state.heartbeat(heartbeat, lifetime_s=HEARTBEAT_LIFETIME_S)
            self._last, self._sent_at_s = heartbeat, now_s
        except InfrastructureError:
            self._last = None  # sent again at the next refresh

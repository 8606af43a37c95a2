"""Finds calls in the event log of today and yesterday, in a thread of its own: heartbeats and reloads never wait."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError
from flowai.events.call_index import CallIndex
from flowai.storage.worker_thread import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from flowai.events import CallEvent


class CallLookup:
    """Finds calls of all processes that write into one log; for one event loop.

    Args:
        directory: the event log.
        now: current time.
    """

    def __init__(self, directory: Path, *, now: Callable[[], datetime]) -> None:
        self._index = CallIndex(directory)
        self._now = now
        self._thread = WorkerThread("flowai-call-lookup", owner="the gateway")
        self._is_closed = False

    async def find(self, call_id: str, *, tenant: str | None, any_tenant: bool) -> CallEvent | None:
        """Return a call; None for an unknown one and, after the same time, for another tenant's.

        The first search reads the log of both days, a million lines in about 3 s; later ones read what is new.

        Args:
            call_id: the call.
            tenant: its tenant; None for a call without one.
            any_tenant: find the calls of all tenants.

        Raises:
            InfrastructureError: the gateway closes.
        """
        today = self._now().astimezone(UTC).date()
        days = [f"dt={day.isoformat()}" for day in (today - timedelta(days=1), today)]

        def is_match(event: CallEvent) -> bool:
            return any_tenant or event.tenant == tenant

        found = await self._thread.run(lambda: self._index.find(call_id, days, is_match=is_match))
        if found is None and self._is_closed:  # the search may have been cut short
            raise InfrastructureError("the gateway is closed")
        return found

    def close(self) -> None:
        """End running searches and the thread; may be called twice."""
        self._is_closed = True
        self._index.stop()
        self._thread.end()

"""Single flight: concurrent callers of the same work share one task."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


@dataclass(kw_only=True, slots=True)
class _Flight:
    task: asyncio.Future[Any]
    waiting_count: int = 0


class SingleFlight:
    """Tasks in flight, by key; for one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """Return the result of `work`, and whether another caller with an equal key had started it.

        The task outlives the caller who started it while others wait; it is cancelled when no caller waits. All waiting
        callers get the same error.
        """
        flight = self._flights.get(key)
        is_shared = flight is not None
        if flight is None:
            flight = _Flight(task=asyncio.ensure_future(work()))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda task: self._finish(key, task))
        flight.waiting_count += 1
        try:
            return await asyncio.shield(flight.task), is_shared
        finally:
            flight.waiting_count -= 1
            if flight.waiting_count == 0 and not flight.task.done():
                self._forget(key, flight.task)  # the next caller starts over, instead of joining a cancelled task
                flight.task.cancel()

    def _finish(self, key: str, task: asyncio.Future[Any]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the only caller may have left

    def _forget(self, key: str, task: asyncio.Future[Any]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]

"""Single flight: callers who want the same thing at the same time wait for one piece of work."""

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
    """Work under way, by key; used within one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """Do the work, or wait for whoever is doing it.

        The work outlives the caller who began it as long as others wait; when nobody does, it is cancelled.

        Args:
            key: what the work is about; equal keys share.
            work: makes the result; called by the first caller only.

        Returns:
            The result, and whether another caller had begun the work.

        Raises:
            Exception: whatever the work raised; all who wait get the same.
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
                self._forget(key, flight.task)  # who comes next begins anew, not with what is being cancelled
                flight.task.cancel()

    def _finish(self, key: str, task: asyncio.Future[Any]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            task.exception()  # marks it as seen: the one caller may have left while it failed

    def _forget(self, key: str, task: asyncio.Future[Any]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]

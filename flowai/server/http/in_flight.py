"""Running calls of a server, and their end when the caller disconnects or the server shuts down."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowai.server.errors import ClientGoneError, error_response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive

    from flowai.errors import FlowaiError
    from flowai.server.errors import RefusedError


def shutting_down() -> RefusedError:
    """Build the error for a request that arrives during the shutdown."""
    return error_response(503, "the gateway is shutting down", code="shutting_down", headers={"connection": "close"})


class InFlightRequest:
    """A running call; `ended_by` is the reason of an early end."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._disconnect_task: asyncio.Task[None] | None = None
        self.ended_by: FlowaiError | None = None

    def end(self, reason: FlowaiError) -> None:
        """Cancel the call; it raises the reason instead of a CancelledError."""
        if self.ended_by is None:
            self.ended_by = reason
            self._task.cancel()

    def watch_disconnect(self, receive: Receive) -> None:
        """End the call when its caller disconnects; from now on no other code may read the request."""
        self._disconnect_task = asyncio.create_task(self._until_gone(receive))

    def close(self) -> None:
        """Stop waiting for a disconnect."""
        if self._disconnect_task is not None:
            self._disconnect_task.cancel()

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end(ClientGoneError())


class InFlightRequests:
    """The running calls of one server; used within its event loop."""

    def __init__(self) -> None:
        self._slots: set[InFlightRequest] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False

    def __len__(self) -> int:
        return len(self._slots)

    @contextmanager
    def slot(self) -> Iterator[InFlightRequest]:
        """Register a call while the block runs; `Admission` limits their number.

        Raises:
            RefusedError: 503, the server shuts down.
            ClientGoneError: the caller disconnected.
        """
        if self.is_draining:
            raise shutting_down()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: servers run requests in tasks
        slot = InFlightRequest(task)
        self._slots.add(slot)
        self._idle.clear()
        try:
            yield slot
        except asyncio.CancelledError:
            if slot.ended_by is None:
                raise
            task.uncancel()
            raise slot.ended_by from None
        finally:
            slot.close()
            self._slots.discard(slot)
            if not self._slots:
                self._idle.set()

    async def drain(self, timeout_s: float) -> int:
        """Refuse new calls, wait for the running ones, and return how many were cut after `timeout_s` (>= 0)."""
        self.is_draining = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return self.cut()
        return 0

    def cut(self) -> int:
        """End all calls with an error; return their number."""
        self.is_draining = True
        slots = list(self._slots)
        for slot in slots:
            slot.end(error_response(503, "the gateway shut down before the answer was complete", code="shutting_down"))
        return len(slots)

"""Requests in flight of a server, and their end when the caller disconnects or the server shuts down."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowai.server.errors import ClientGoneError, error_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import Receive

    from flowai.errors import FlowaiError


class InFlightRequest:
    """A request from its head to the end of its answer; `ended_by` is the reason of an early end."""

    def __init__(self, requests: InFlightRequests, task: asyncio.Task[object], on_slot: Callable[[], None]) -> None:
        self._requests = requests
        self._on_slot = on_slot
        self._task = task
        self._disconnect_task: asyncio.Task[None] | None = None
        self.ended_by: FlowaiError | None = None

    def take_slot(self) -> None:
        """Count the request as a running call, after its body was read; `Admission` limits their number."""
        self._requests.take_slot(self)
        self._on_slot()

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
    """The requests in flight of one server; used within its event loop.

    A request has a slot once its body was read: a body that trickles takes none.
    """

    def __init__(self) -> None:
        self._requests: set[InFlightRequest] = set()
        self._slots: set[InFlightRequest] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False

    def __len__(self) -> int:
        """Return the number of running calls."""
        return len(self._slots)

    @contextmanager
    def request(self, *, on_slot: Callable[[], None]) -> Iterator[InFlightRequest]:
        """Register a request while the block runs; a drain waits for its end.

        Args:
            on_slot: called when the request takes its slot, if it does.

        Raises:
            RefusedError: 503, the server shuts down.
            ClientGoneError: the caller disconnected.
        """
        if self.is_draining:
            raise error_response(
                503, "the gateway is shutting down", code="shutting_down", headers={"connection": "close"}
            )
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: servers run requests in tasks
        request = InFlightRequest(self, task, on_slot)
        self._requests.add(request)
        self._idle.clear()
        try:
            yield request
        except asyncio.CancelledError:
            if request.ended_by is None:
                raise
            task.uncancel()
            raise request.ended_by from None
        finally:
            request.close()
            self._slots.discard(request)
            self._requests.discard(request)
            if not self._requests:
                self._idle.set()

    def take_slot(self, request: InFlightRequest) -> None:
        """See `InFlightRequest.take_slot`."""
        self._slots.add(request)

    async def drain(self, timeout_s: float) -> int:
        """Refuse new requests, wait for those in flight, and return how many were cut after `timeout_s` (>= 0)."""
        self.is_draining = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return self.cut()
        return 0

    def cut(self) -> int:
        """End all requests with an error; return their number."""
        self.is_draining = True
        requests = list(self._requests)
        for request in requests:
            request.end(
                error_response(503, "the gateway shut down before the answer was complete", code="shutting_down")
            )
        return len(requests)

"""Calls under way: how many there may be, and their end when the caller leaves or the server must."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowai.server.errors import ClientGoneError, error_response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive

    from flowai.errors import FlowaiError

_RETRY_AFTER_S = 1.0


class InFlightRequest:
    """One call's place; whoever ends it says why.

    Args:
        task: the call's own task.
    """

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._watch: asyncio.Task[None] | None = None
        self.ended_by: FlowaiError | None = None

    def end(self, reason: FlowaiError) -> None:
        """Cancel the call; it meets the reason instead of a cancellation."""
        if self.ended_by is None:
            self.ended_by = reason
            self._task.cancel()

    def watch_disconnect(self, receive: Receive) -> None:
        """End the call when its caller leaves; from now on nobody else may read the request."""
        self._watch = asyncio.create_task(self._until_gone(receive))

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end(ClientGoneError())


class InFlightRequests:
    """All calls of one server; used within its event loop."""

    def __init__(self) -> None:
        self._slots: set[InFlightRequest] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False

    def __len__(self) -> int:
        return len(self._slots)

    @contextmanager
    def slot(self, limit: int) -> Iterator[InFlightRequest]:
        """Hold a call's place while it runs.

        Args:
            limit: how many may run at one time.

        Raises:
            RefusedError: 503, the server is full or ends.
            ClientGoneError: the caller left meanwhile.
        """
        if self.is_draining:
            raise error_response(
                503, "the gateway is shutting down", code="shutting_down", headers={"connection": "close"}
            )
        if len(self._slots) >= limit:
            text = f"the gateway is answering {limit} calls already"
            raise error_response(503, text, code="overloaded", retry_after_s=_RETRY_AFTER_S)
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

    async def drain(self, for_s: float) -> int:
        """Let no call begin any more, and wait for those under way.

        Args:
            for_s: seconds to wait, >= 0.

        Returns:
            How many calls were cut because they took longer.
        """
        self.is_draining = True
        try:
            async with asyncio.timeout(for_s):
                await self._idle.wait()
        except TimeoutError:
            return self.cut()
        return 0

    def cut(self) -> int:
        """End every call now; give how many there were."""
        self.is_draining = True
        slots = list(self._slots)
        for slot in slots:
            slot.end(error_response(503, "the gateway shut down before the answer was whole", code="shutting_down"))
        return len(slots)

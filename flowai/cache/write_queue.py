"""Bounded queue of writes to a store; one thread writes everything that waits in one batch."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_QUEUED_COUNT = 256
"""Writes that wait for a slow or locked disk; later ones are dropped, since a cache may forget."""

Item = TypeVar("Item")


class WriteQueue(Generic[Item]):
    """Writes items in a thread of its own, which starts with the first item.

    Args:
        name: name of the thread.
        write: writes a batch, all of it or nothing; called in the thread only.
        release: called in the thread at the end, for connections.
    """

    def __init__(self, name: str, write: Callable[[Sequence[Item]], None], release: Callable[[], None]) -> None:
        self._name = name
        self._write = write
        self._release = release
        self._changed = threading.Condition()
        self._waiting: list[tuple[Item, Future[None]]] = []
        self._write_at_s = 0.0
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def add(self, item: Item, *, linger_s: float = 0.0) -> Future[None]:
        """Queue an item and return the result of its batch.

        The batch is written after `linger_s` at the latest, so that more items can join it. Raises InfrastructureError
        if the queue is full or closed.
        """
        future: Future[None] = Future()
        with self._changed:
            if self._is_closed:
                raise InfrastructureError("the cache is closed")
            if len(self._waiting) >= MAX_QUEUED_COUNT:
                raise InfrastructureError(
                    f"{MAX_QUEUED_COUNT} writes wait for the disk; later ones are dropped",
                    hint="is the disk slow or the file locked by another process?",
                )
            at_s = time.monotonic() + linger_s
            is_earlier = not self._waiting or at_s < self._write_at_s
            if is_earlier:
                self._write_at_s = at_s
            self._waiting.append((item, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            elif is_earlier:
                self._changed.notify()
        return future

    def close(self, limit_s: float) -> None:
        """Write what waits and end the thread, within `limit_s`; later items are refused."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(limit_s)

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._write_batch(batch)
        finally:
            self._release()

    def _next_batch(self) -> list[tuple[Item, Future[None]]]:
        """Wait for the next batch; empty once the queue is closed and written."""
        with self._changed:
            while not self._is_closed:
                wait_s = self._write_at_s - time.monotonic() if self._waiting else None
                if wait_s is not None and wait_s <= 0:
                    break
                self._changed.wait(wait_s)
            batch, self._waiting = self._waiting, []
            return batch

    def _write_batch(self, batch: list[tuple[Item, Future[None]]]) -> None:
        waited_for = [future for _, future in batch if future.set_running_or_notify_cancel()]
        try:
            self._write([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - the thread must go on; callers that wait get the error
            for future in waited_for:
                future.set_exception(error)
        else:
            for future in waited_for:
                future.set_result(None)

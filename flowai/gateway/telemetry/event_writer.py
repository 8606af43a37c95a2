"""Hands events to the log, and holds them while it cannot be written: a full disk fails no call and loses no event."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.events import Event, EventLog

MAX_BUFFERED_EVENTS = 10_000
RETRY_S = 1.0
"""Seconds between two tries to write what is held."""


class EventWriter:
    """Writes events, or holds the newest ones until they can be written.

    Args:
        log: the event log.
        clock_s: a clock that never goes back, seconds.
        on_event: told of each event, once.
    """

    def __init__(self, log: EventLog, *, clock_s: Callable[[], float], on_event: Callable[[Event], None]) -> None:
        self.log = log
        self.error: str | None = None
        """Why events are held; None while the log is well."""
        self.dropped_count = 0
        """Events lost, because more were held than there is room for."""
        self._clock_s = clock_s
        self._on_event = on_event
        self._held: deque[Event] = deque()
        self._next_try_s = 0.0

    @property
    def held_count(self) -> int:
        """Events that wait for the log."""
        return len(self._held)

    def add(self, event: Event) -> None:
        """Write an event, or hold it."""
        self._on_event(event)
        if not self._held:
            try:
                self.log.append(event)
            except InfrastructureError as error:
                self._buffer(event, error)
            return
        self._held.append(event)
        if len(self._held) > MAX_BUFFERED_EVENTS:
            self._held.popleft()
            self.dropped_count += 1
        if self._clock_s() >= self._next_try_s:
            self.flush()

    def write(self, event: Event) -> None:
        """Write an event that is acknowledged to somebody.

        Raises:
            InfrastructureError: it is not in the log.
        """
        self.flush()
        self.log.append(event)
        self._on_event(event)

    def flush(self) -> None:
        """Try to write what is held."""
        try:
            while self._held:
                self.log.append(self._held[0])
                self._held.popleft()
        except InfrastructureError as error:
            self._schedule_retry(error)
        else:
            self.error = None

    def _buffer(self, event: Event, error: InfrastructureError) -> None:
        self._held.append(event)
        self._schedule_retry(error)

    def _schedule_retry(self, error: InfrastructureError) -> None:
        self.error = str(error)
        self._next_try_s = self._clock_s() + RETRY_S

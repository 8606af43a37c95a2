"""Writes events, and buffers them while the log cannot be written: a full disk fails no call and loses no event."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.events import Event, EventLog

MAX_BUFFERED_EVENTS = 10_000
RETRY_S = 1.0
"""Time between two attempts to write buffered events."""


class EventWriter:
    """Writes events, or buffers the newest until they can be written."""

    def __init__(self, log: EventLog, *, clock_s: Callable[[], float], on_event: Callable[[Event], None]) -> None:
        self.log = log
        self.error: str | None = None
        """Why events are buffered; None while the log can be written."""
        self.dropped_count = 0
        """Events lost because the buffer was full."""
        self._clock_s = clock_s
        self._on_event = on_event
        self._buffered: deque[Event] = deque()
        self._next_try_s = 0.0

    @property
    def held_count(self) -> int:
        """Events that wait for the log."""
        return len(self._buffered)

    def add(self, event: Event) -> None:
        """Write an event, or buffer it."""
        self._on_event(event)
        if not self._buffered:
            try:
                self.log.append(event)
            except InfrastructureError as error:
                self._buffer(event, error)
            return
        self._buffered.append(event)
        if len(self._buffered) > MAX_BUFFERED_EVENTS:
            self._buffered.popleft()
            self.dropped_count += 1
        if self._clock_s() >= self._next_try_s:
            self.flush()

    def write(self, event: Event) -> None:
        """Write an event that a caller waits for; raises InfrastructureError if it is not in the log."""
        self.flush()
        self.log.append(event)
        self._on_event(event)

    def flush(self) -> None:
        """Try to write the buffered events."""
        try:
            while self._buffered:
                self.log.append(self._buffered[0])
                self._buffered.popleft()
        except InfrastructureError as error:
            self._schedule_retry(error)
        else:
            self.error = None

    def _buffer(self, event: Event, error: InfrastructureError) -> None:
        self._buffered.append(event)
        self._schedule_retry(error)

    def _schedule_retry(self, error: InfrastructureError) -> None:
        self.error = str(error)
        self._next_try_s = self._clock_s() + RETRY_S

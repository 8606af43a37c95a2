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
_UNWRITABLE = (InfrastructureError, OSError, MemoryError)  # later the same event may be written


class EventWriter:
    """Writes events, or buffers the newest until they can be written."""

    def __init__(
        self,
        log: EventLog,
        *,
        clock_s: Callable[[], float],
        on_event: Callable[[Event], None],
        on_bug: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self.log = log
        self.error: str | None = None
        """Why events are buffered; None while the log can be written."""
        self.dropped_count = 0
        """Events lost because the buffer was full, or no log can contain them."""
        self._clock_s = clock_s
        self._on_event = on_event
        self._on_bug = on_bug
        self._buffered: deque[Event] = deque()
        self._next_try_s = 0.0

    @property
    def held_count(self) -> int:
        """Events that wait for the log."""
        return len(self._buffered)

    def add(self, event: Event) -> None:
        """Write an event, or buffer it; raises nothing: the answer of a call must not depend on its record."""
        self._notify(event)
        if not self._buffered:
            try:
                self._append(event)
            except _UNWRITABLE as error:
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
        self._notify(event)

    def flush(self) -> None:
        """Try to write the buffered events."""
        try:
            while self._buffered:
                self._append(self._buffered[0])
                self._buffered.popleft()
        except _UNWRITABLE as error:
            self._schedule_retry(error)
        else:
            self.error = None

    def _notify(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception as bug:  # noqa: BLE001 - a listener must not fail the call that it is told of
            self._on_bug(bug)

    def _append(self, event: Event) -> None:
        """Write an event; drop one that cannot be written at all, or it would block all later ones."""
        try:
            self.log.append(event)
        except _UNWRITABLE:
            raise
        except Exception as bug:  # noqa: BLE001 - of the encoder: the next try would fail too
            self.dropped_count += 1
            self._on_bug(bug)

    def _buffer(self, event: Event, error: Exception) -> None:
        self._buffered.append(event)
        self._schedule_retry(error)

    def _schedule_retry(self, error: Exception) -> None:
        self.error = str(error) or type(error).__name__
        self._next_try_s = self._clock_s() + RETRY_S

"""Waits, and ends the wait when the process is told to stop: Ctrl-C or SIGTERM; a second one ends at once."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """A context manager for the main thread; what is under way when a signal comes is done to its end."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def is_interrupt(self) -> bool:
        """Whether a person stopped it by Ctrl-C."""
        return self._number == signal.SIGINT

    def wait(self, for_s: float) -> bool:
        """Wait; tells whether to stop.

        Args:
            for_s: seconds, >= 0.
        """
        return self._came.wait(for_s)

    def _come(self, number: int, _: FrameType | None) -> None:
        if self._came.is_set():
            raise KeyboardInterrupt
        self._number = number
        self._came.set()

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._come) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

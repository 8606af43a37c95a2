"""Waiting that Ctrl-C or SIGTERM ends; a second signal ends the process at once."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Context manager for the main thread; a running check is completed after the first signal."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._number: int | None = None
        self._previous_handlers: dict[int, Any] = {}

    @property
    def is_interrupt(self) -> bool:
        """True if the signal was Ctrl-C."""
        return self._number == signal.SIGINT

    def wait(self, for_s: float) -> bool:
        """Wait `for_s` seconds; return whether a signal arrived."""
        return self._stop.wait(for_s)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._number = number
        self._stop.set()

    def __enter__(self) -> Self:
        self._previous_handlers = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

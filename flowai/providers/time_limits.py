"""Time limits of one call, by the event loop's clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flowai.providers.failures import deadline_error, stalled_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.errors import TimedOutError
    from flowai.providers.client import Request

TAIL_S = 5.0
"""Time limit for usage and end marker after a complete answer."""
DRAIN_S = 0.05
"""Time limit after the end marker to read the rest, so that the connection can be reused."""


class TimeLimits:
    """Limits until the first token, between two deltas, after the finish reason, and in total.

    Args:
        request: has the limits.
        clock_s: monotonic clock of `elapsed_s`.
    """

    def __init__(self, request: Request, *, clock_s: Callable[[], float]) -> None:
        self._request = request
        self._clock_s = clock_s
        self._now_s = asyncio.get_running_loop().time
        self._started_s = clock_s()
        now_s = self._now_s()
        self._total_by_s = now_s + request.total_timeout_s
        self._next_by_s = now_s + request.first_token_timeout_s
        self._has_started = False

    def elapsed_s(self) -> float:
        """Return the time since the start of the call."""
        return self._clock_s() - self._started_s

    def deadline_s(self) -> float:
        """Return the time by which the next delta must come."""
        return min(self._next_by_s, self._total_by_s)

    def expect_no_deltas(self) -> None:
        """Drop the limits between deltas: the answer comes as a whole."""
        self._next_by_s = self._total_by_s

    def restart(self, *, is_finished: bool = False, is_done: bool = False) -> None:
        """Restart the limit until the next delta, or until the end after a finish reason or the end marker."""
        self._has_started = True
        limit_s = self._request.first_token_timeout_s
        if is_done:
            limit_s = min(limit_s, DRAIN_S)
        elif is_finished:
            limit_s = min(limit_s, TAIL_S)
        self._next_by_s = self._now_s() + limit_s

    def is_over(self) -> bool:
        """Return whether the total limit has passed."""
        return self._now_s() >= self._total_by_s

    def error(self) -> TimedOutError:
        """Build the error of the limit that has passed."""
        request = self._request
        if self._total_by_s <= self._next_by_s:
            return deadline_error(
                request.endpoint, "no complete answer", request.total_timeout_s, was_streaming=self._has_started
            )
        return stalled_error(request, has_started=self._has_started)

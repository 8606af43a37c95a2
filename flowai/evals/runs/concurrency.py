"""Adaptive concurrency: the number of calls in flight halves when a provider answers 429, and grows again slowly."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_RATE_LIMITED_ATTEMPTS = 8
"""Calls of one trial that were answered by 429, before the trial is an error."""
MAX_RETRY_AFTER_S = 120.0
"""A longer wait that a provider asks for is not waited for: the trial is an error."""
MAX_BACK_OFF_S = 30.0
_FIRST_BACK_OFF_S = 0.5


class CallSlots:
    """Slots for calls in flight; use it in one event loop.

    Args:
        max_count: the most calls at a time, >= 1; the limit begins there.
        clock_s: monotonic clock.
    """

    def __init__(self, max_count: int, clock_s: Callable[[], float]) -> None:
        self._max_count = self.limit = max_count
        self._clock_s = clock_s
        self._in_flight_count = 0
        self._success_count = 0
        self._epoch = 0
        self._paused_until_s = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> int:
        """Wait for a slot; return the epoch of the limit for `rate_limited`."""
        while self._in_flight_count >= self.limit or self._is_paused():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._wake()  # its turn goes to the next
                raise
        self._in_flight_count += 1
        return self._epoch

    def release(self) -> None:
        """Return a slot."""
        self._in_flight_count -= 1
        self._wake()

    def succeeded(self) -> None:
        """Count an answer; as many answers as the limit raise it by one."""
        if self.limit < self._max_count:
            self._success_count += 1
            if self._success_count >= self.limit:
                self.limit, self._success_count = self.limit + 1, 0
                self._wake()

    def rate_limited(self, epoch: int, *, retry_after_s: float | None, attempt: int) -> bool:
        """Halve the limit, once for all calls of an epoch, and pause every call; return whether to try again."""
        if epoch == self._epoch:
            self.limit, self._success_count = max(1, self.limit // 2), 0
            self._epoch += 1
        if attempt >= MAX_RATE_LIMITED_ATTEMPTS or (retry_after_s or 0.0) > MAX_RETRY_AFTER_S:
            return False
        back_off_s = min(_FIRST_BACK_OFF_S * 2 ** (attempt - 1), MAX_BACK_OFF_S)
        pause_s = back_off_s if retry_after_s is None else retry_after_s
        until_s = self._clock_s() + pause_s
        if until_s > self._paused_until_s:
            self._paused_until_s = until_s
            asyncio.get_running_loop().call_later(pause_s, self._wake)
        return True

    def _is_paused(self) -> bool:
        return self._paused_until_s > 0.0 and self._clock_s() < self._paused_until_s

    def _wake(self) -> None:
        if self._is_paused():
            left_s = self._paused_until_s - self._clock_s()
            if self._waiters:  # a timer of the loop may be early by its resolution
                asyncio.get_running_loop().call_later(max(left_s, 0.001), self._wake)
            return
        free_count = self.limit - self._in_flight_count
        while self._waiters and free_count > 0:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free_count -= 1

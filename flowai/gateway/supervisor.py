"""Runs the background tasks of a gateway and restarts each that raises: no task's error ends another, or a call."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from flowai.errors import describe_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

MAX_RESTART_S = 2.0
"""Longest wait before a failing task is tried again; far below the lifetime of a heartbeat."""
REPORT_REPEAT_S = 3600.0
"""Minimum time between two reports of one kind of exception in one task."""


def report_to_loop(error: BaseException) -> None:
    """Report an exception as asyncio reports those of any task: by default it logs the traceback."""
    asyncio.get_running_loop().call_exception_handler(
        {"message": "flowai: unexpected exception in the background; it is tried again", "exception": error}
    )


class Supervisor:
    """Background tasks of a process, each of which calls a function at an interval.

    Args:
        on_bug: called with unexpected exceptions, once an hour per task and class.
        clock_s: monotonic clock, seconds.
        sleep: waits for this many seconds.
    """

    def __init__(
        self,
        on_bug: Callable[[BaseException], None] = report_to_loop,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._on_bug = on_bug
        self._clock_s = clock_s
        self._sleep = sleep
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._errors: dict[str, str] = {}
        self._reported_at_s: dict[tuple[str, str], float] = {}

    @property
    def errors(self) -> Mapping[str, str]:
        """Tasks that fail now, by name, and their last exception."""
        return self._errors

    def start(self, name: str, tick: Callable[[], Awaitable[None]], *, interval_s: float) -> None:
        """Call `tick` now and then at an interval, until `stop`; after an exception, after a longer wait.

        Args:
            name: unique name of the task, for reports.
            tick: a function of which no call depends on an earlier one.
            interval_s: seconds between the end of a call and the next, > 0.
        """
        self._tasks[name] = asyncio.create_task(self._run(name, tick, interval_s), name=f"flowai-{name}")

    async def stop(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        tasks = [task for task in self._tasks.values() if task is not asyncio.current_task()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def report(self, name: str, error: BaseException) -> None:
        """Report an unexpected exception that was survived."""
        kind, now_s = (name, type(error).__name__), self._clock_s()
        if now_s - self._reported_at_s.get(kind, -REPORT_REPEAT_S) >= REPORT_REPEAT_S:
            self._reported_at_s[kind] = now_s
            with suppress(Exception):  # a closed stderr must not end the task that reports
                self._on_bug(error)

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        """Report an exception of the block and continue after it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a supervisor survives every exception
            self.report(name, error)

    async def _run(self, name: str, tick: Callable[[], Awaitable[None]], interval_s: float) -> None:
        delay_s = interval_s
        while True:
            try:
                await tick()
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    raise
                delay_s = self._failed(name, error, delay_s)  # something that the tick awaited was cancelled
            except Exception as error:  # noqa: BLE001 - as in `guard`
                delay_s = self._failed(name, error, delay_s)
            else:
                self._errors.pop(name, None)
                delay_s = interval_s
            await self._sleep(delay_s)

    def _failed(self, name: str, error: BaseException, delay_s: float) -> float:
        """Record a failed call; return the wait before the next."""
        self._errors[name] = describe_error(error)
        self.report(name, error)
        return max(delay_s, min(2 * delay_s, MAX_RESTART_S))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0

"""The supervisor: a task that raises is reported once and tried again after a bounded wait; cancellation ends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from flowai.gateway.supervisor import MAX_RESTART_S, REPORT_REPEAT_S, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that sleeping moves; it stops the test after `sleep_count` sleeps."""

    def __init__(self, sleep_count: int) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []
        self.is_done = asyncio.Event()
        self._left = sleep_count

    async def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.now_s += wait_s
        self._left -= 1
        if self._left <= 0:
            self.is_done.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)


def supervised(work: Callable[[], None], sleep_count: int) -> tuple[Supervisor, Clock, list[BaseException]]:
    """Run one task with an interval of 0.25 s for some rounds; return what it left."""
    bugs: list[BaseException] = []

    async def run() -> tuple[Supervisor, Clock]:
        clock = Clock(sleep_count)
        supervisor = Supervisor(bugs.append, clock_s=lambda: clock.now_s, sleep=clock.sleep)

        async def tick() -> None:
            work()

        supervisor.start("task", tick, interval_s=0.25)
        async with asyncio.timeout(60):
            await clock.is_done.wait()
            await supervisor.stop()
        return supervisor, clock

    return *asyncio.run(run()), bugs


def raising(*errors: BaseException | None) -> Callable[[], None]:
    """Return work that raises these, one at a call; nothing after them."""
    left = list(errors)

    def work() -> None:
        error = left.pop(0) if left else None
        if error is not None:
            raise error

    return work


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError("deep"), MemoryError(), asyncio.CancelledError()])
def test_a_task_goes_on_after_an_exception(error: BaseException) -> None:
    supervisor, clock, bugs = supervised(raising(None, error, None, None), 4)
    assert bugs == [error]
    assert clock.slept == [0.25, 0.5, 0.25, 0.25]
    assert supervisor.errors == {}, "it works again"


def test_a_task_that_always_fails_is_tried_again_after_a_bounded_wait_and_reported_once() -> None:
    supervisor, clock, bugs = supervised(raising(*[ValueError(f"bad\n{number}") for number in range(100)]), 20)
    assert clock.slept[:4] == [0.5, 1.0, 2.0, 2.0]
    assert max(clock.slept) == MAX_RESTART_S
    assert len(bugs) == 1
    assert supervisor.errors == {"task": "unexpected ValueError: bad 19"}


def test_each_kind_is_reported_and_again_after_an_hour() -> None:
    count = int(REPORT_REPEAT_S / MAX_RESTART_S)
    _, _, bugs = supervised(raising(KeyError("x"), *[ValueError(number) for number in range(count + 10)]), count + 5)
    assert [type(bug) for bug in bugs] == [KeyError, ValueError, ValueError]


def test_a_task_that_waits_longer_than_the_limit_keeps_its_interval() -> None:
    async def run() -> list[float]:
        clock = Clock(3)
        supervisor = Supervisor(lambda _: None, clock_s=lambda: clock.now_s, sleep=clock.sleep)

        async def tick() -> None:
            raise OSError

        supervisor.start("task", tick, interval_s=60.0)
        async with asyncio.timeout(60):
            await clock.is_done.wait()
            await supervisor.stop()
        return clock.slept

    assert asyncio.run(run()) == [60.0, 60.0, 60.0]


def test_an_exception_of_the_report_does_not_end_the_task() -> None:
    async def run() -> int:
        clock, count = Clock(3), 0

        def report(_: BaseException) -> None:
            raise BrokenPipeError

        async def tick() -> None:
            nonlocal count
            count += 1
            raise KeyError

        supervisor = Supervisor(report, clock_s=lambda: clock.now_s, sleep=clock.sleep)
        supervisor.start("task", tick, interval_s=0.25)
        async with asyncio.timeout(60):
            await clock.is_done.wait()
            await supervisor.stop()
        return count

    assert asyncio.run(run()) == 3


def test_cancellation_ends_it_also_between_failures() -> None:
    async def run() -> bool:
        supervisor = Supervisor(lambda _: None)

        async def tick() -> None:
            raise KeyError

        supervisor.start("task", tick, interval_s=30.0)
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await supervisor.stop()
        return len(asyncio.all_tasks()) == 1

    assert asyncio.run(run())

"""Single flight: one piece of work for all who want the same, whoever leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flowai.gateway.single_flight import SingleFlight

if TYPE_CHECKING:
    import pytest


class Work:
    """Work that waits to be let go, and counts."""

    def __init__(self) -> None:
        self.begun_count = 0
        self.cancelled_count = 0
        self.go = asyncio.Event()

    async def __call__(self) -> str:
        self.begun_count += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled_count += 1
            raise
        return "done"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_hundred_callers_share_one_task() -> None:
    async def scene() -> None:
        flight, work = SingleFlight(), Work()
        callers = [asyncio.ensure_future(flight.run("k", work)) for _ in range(100)]
        await settle()
        work.go.set()
        results = await asyncio.gather(*callers)
        assert work.begun_count == 1
        assert [text for text, _ in results] == ["done"] * 100
        assert sorted(shared for _, shared in results) == [False] + [True] * 99

    asyncio.run(scene())


def test_other_keys_and_later_callers_start_new_tasks() -> None:
    async def scene() -> None:
        flight, work = SingleFlight(), Work()
        work.go.set()
        assert await flight.run("k", work) == ("done", False)
        assert await flight.run("k", work) == ("done", False)
        await asyncio.gather(flight.run("a", work), flight.run("b", work))
        assert work.begun_count == 4

    asyncio.run(scene())


def test_the_task_outlives_its_first_caller() -> None:
    async def scene() -> None:
        flight, work = SingleFlight(), Work()
        first, second = (asyncio.ensure_future(flight.run("k", work)) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        assert first.cancelled()
        work.go.set()
        assert await second == ("done", True)
        assert work.begun_count == 1
        assert work.cancelled_count == 0

    asyncio.run(scene())


def test_a_task_without_waiters_is_cancelled_and_the_next_caller_starts_over() -> None:
    async def scene() -> None:
        flight, work = SingleFlight(), Work()
        callers = [asyncio.ensure_future(flight.run("k", work)) for _ in range(3)]
        await settle()
        for caller in callers:
            caller.cancel()
        await settle()
        assert work.cancelled_count == 1
        work.go.set()
        assert await flight.run("k", work) == ("done", False)

    asyncio.run(scene())


def test_a_caller_during_the_cancellation_starts_a_new_task() -> None:
    async def scene() -> None:
        flight, work = SingleFlight(), Work()
        leaving = asyncio.ensure_future(flight.run("k", work))
        await settle()
        leaving.cancel()
        await asyncio.sleep(0)  # the caller has left, the work has not yet seen its cancellation
        coming = asyncio.ensure_future(flight.run("k", work))
        await settle()
        work.go.set()
        assert await coming == ("done", False)

    asyncio.run(scene())


def test_all_callers_get_the_error() -> None:
    async def fail() -> str:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def scene() -> None:
        flight = SingleFlight()
        results = await asyncio.gather(*(flight.run("k", fail) for _ in range(3)), return_exceptions=True)
        assert [str(result) for result in results] == ["no"] * 3

    asyncio.run(scene())


def test_an_error_without_waiters_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        flight, go = SingleFlight(), asyncio.Event()

        async def stubborn() -> None:
            try:
                await go.wait()
            except asyncio.CancelledError:
                raise ValueError("late") from None

        caller = asyncio.ensure_future(flight.run("k", stubborn))
        await settle()
        caller.cancel()
        await settle()

    asyncio.run(scene())
    assert not caplog.records

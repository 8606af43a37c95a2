"""Adaptive concurrency and the cost limit, by a clock that the test advances."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from flowai.errors import RateLimitedError, TimedOutError, UnreachableError
from flowai.evals.execution.concurrency import MAX_RATE_LIMITED_ATTEMPTS, CallSlots
from flowai.evals.execution.limits import ConnectionErrors, CostLimit, RunStoppedError
from flowai.providers import Endpoint, Request

if TYPE_CHECKING:
    from flowai.errors import CallError

REQUEST = Request(endpoint=Endpoint(name="m", model="openai/m", provider="openai"), messages=())


def failure(kind: type[CallError]) -> CallError:
    return kind("no", provider="openai", model="m")


def test_429_halves_the_limit_once_for_all_calls_in_flight_and_answers_raise_it_again() -> None:
    async def run() -> None:
        slots = CallSlots(8, asyncio.get_running_loop().time)
        epochs = [await slots.acquire() for _ in range(8)]
        for epoch in epochs:
            assert slots.rate_limited(epoch, retry_after_s=0.01, attempt=1)
            slots.release()
        assert slots.limit == 4
        epoch = await slots.acquire()
        assert slots.rate_limited(epoch, retry_after_s=0.01, attempt=2)
        assert slots.limit == 2
        for _ in range(2 + 3 + 4):
            slots.succeeded()
        assert slots.limit == 5

    asyncio.run(run())


def test_retry_after_pauses_every_call() -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        slots = CallSlots(4, loop.time)
        epoch = await slots.acquire()
        slots.rate_limited(epoch, retry_after_s=0.2, attempt=1)
        slots.release()
        started_s = loop.time()
        await slots.acquire()
        return loop.time() - started_s

    assert asyncio.run(run()) >= 0.19


def test_a_long_wait_and_many_attempts_are_not_waited_for() -> None:
    async def run() -> None:
        slots = CallSlots(4, asyncio.get_running_loop().time)
        assert not slots.rate_limited(await slots.acquire(), retry_after_s=3600, attempt=1)
        assert not slots.rate_limited(await slots.acquire(), retry_after_s=None, attempt=MAX_RATE_LIMITED_ATTEMPTS)

    asyncio.run(run())


def test_a_cancelled_waiter_passes_its_turn_on() -> None:
    async def run() -> None:
        slots = CallSlots(1, asyncio.get_running_loop().time)
        await slots.acquire()
        first, second = asyncio.create_task(slots.acquire()), asyncio.create_task(slots.acquire())
        await asyncio.sleep(0)
        first.cancel()
        slots.release()
        await asyncio.wait_for(second, timeout=5)

    asyncio.run(run())


def test_connection_errors_end_a_run_only_in_a_row() -> None:
    errors = ConnectionErrors(concurrency=2)
    assert errors.max_count == 10
    for _ in range(9):
        errors.note(failure(UnreachableError))
    errors.note(None)
    errors.note(failure(RateLimitedError))
    for _ in range(9):
        errors.note(failure(TimedOutError))
    with pytest.raises(RunStoppedError) as stopped:
        errors.note(failure(UnreachableError))
    assert stopped.value.reason.kind == "unreachable"
    assert "10 calls in a row" in stopped.value.reason.what


def test_silent_addresses_end_a_run_after_half_as_many_calls() -> None:
    errors = ConnectionErrors(concurrency=8)
    silent = failure(UnreachableError)
    assert isinstance(silent, UnreachableError)
    silent.is_silent = True
    for _ in range(7):
        errors.note(silent)
    with pytest.raises(RunStoppedError) as stopped:
        errors.note(silent)
    assert "8 calls in a row" in stopped.value.reason.what


def test_a_call_that_might_exceed_the_cost_waits_for_those_in_flight() -> None:
    limit = CostLimit(1.0, lambda _: 0.4)
    first, second = limit.reserve(REQUEST), limit.reserve(REQUEST)
    assert first == second == 0.4
    assert limit.reserve(REQUEST) is None, "two calls in flight may cost less than estimated"
    limit.settle(0.4, 0.1)
    third = limit.reserve(REQUEST)
    assert third is not None
    limit.release(third)
    limit.settle(0.4, None)
    assert limit.spent_usd == pytest.approx(0.5), "an unknown cost counts as estimated"
    limit.settle(limit.reserve(REQUEST) or 0.0, 0.4)
    with pytest.raises(RunStoppedError) as stopped:
        limit.reserve(REQUEST)
    assert stopped.value.reason.kind == "max_cost"


def test_the_estimate_learns_from_what_calls_cost() -> None:
    limit = CostLimit(1.0, lambda _: None)
    assert limit.reserve(REQUEST) == 0.0
    limit.settle(0.0, 0.7)
    with pytest.raises(RunStoppedError, match="--max-cost"):
        limit.reserve(REQUEST)

"""A call that is cancelled while LiteLLM prepares it in a thread ends cleanly: no coroutine is lost."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from flowai.providers.litellm.cancellation import cancel_after_first_wait

Prepare = Callable[[], Any]


async def call_through_thread(prepare: Prepare) -> str:
    """Do what LiteLLM does: build the coroutine of the call in a thread, then await it."""
    prepared = await asyncio.get_running_loop().run_in_executor(None, prepare)
    return str(await prepared if asyncio.iscoroutine(prepared) else prepared)


async def cancel_while_preparing(result: Callable[[], Any]) -> asyncio.Task[str]:
    """Cancel a call while its thread runs, let the thread end, and return the ended task."""
    started, release = threading.Event(), threading.Event()

    def prepare() -> Any:
        started.set()
        release.wait(10)
        return result()

    async def work() -> str:
        return await cancel_after_first_wait(call_through_thread(prepare))

    task = asyncio.create_task(work())
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    release.set()
    await asyncio.wait([task])
    return task


def cancelled(result: Callable[[], Any]) -> asyncio.Task[str]:
    task = asyncio.run(cancel_while_preparing(result))
    gc.collect()  # a lost coroutine would warn now, and a warning is an error
    return task


def test_a_cancellation_reaches_the_prepared_call() -> None:
    events: list[str] = []

    async def request() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise
        return "answer"

    assert cancelled(request).cancelled()
    assert events == ["cancelled"]


async def answer_at_once() -> str:
    return "answer"


def fail() -> Coroutine[Any, Any, str]:
    raise ValueError("no such model")


@pytest.mark.parametrize("result", [answer_at_once, lambda: "answer", fail], ids=["coroutine", "value", "error"])
def test_a_call_that_does_not_wait_again_is_cancelled_too(result: Callable[[], Any]) -> None:
    assert cancelled(result).cancelled()


def test_a_time_limit_during_the_preparation_is_a_timeout() -> None:
    async def work() -> None:
        release = threading.Event()

        def prepare() -> Coroutine[Any, Any, str]:
            release.wait(10)
            return answer_at_once()

        asyncio.get_running_loop().call_later(0.05, release.set)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await cancel_after_first_wait(call_through_thread(prepare))
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
        await asyncio.sleep(0)  # no cancellation is left over

    asyncio.run(work())


def test_without_a_cancellation_results_and_errors_pass() -> None:
    async def work(prepare: Prepare) -> str:
        return await cancel_after_first_wait(call_through_thread(prepare))

    assert asyncio.run(work(answer_at_once)) == "answer"
    with pytest.raises(ValueError, match="no such model"):
        asyncio.run(work(fail))


def test_a_coroutine_that_never_waits_returns_its_result() -> None:
    async def work() -> str:
        return await cancel_after_first_wait(answer_at_once())

    assert asyncio.run(work()) == "answer"

"""Cancels LiteLLM's calls without losing coroutines.

LiteLLM prepares a call in a thread whose result is the coroutine of the call. A cancellation during that time drops the
coroutine, and Python warns that it was never awaited.
"""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

Result = TypeVar("Result")


@types.coroutine
def cancel_after_first_wait(call: Coroutine[Any, Any, Result]) -> Generator[Any, Any, Result]:
    """Run a coroutine whose first wait is for a thread; a cancellation during that wait is delivered after it.

    Raises:
        CancelledError: the task was cancelled, at the latest when the coroutine ends.
    """
    try:
        thread: asyncio.Future[object] | None = call.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    was_cancelled = False
    if thread is not None:
        was_cancelled = yield from _wait_until_done(thread).__await__()
    if not was_cancelled:
        result = yield from call
        return result
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()  # the count of requests must stay the same: `asyncio.timeout` compares it
        task.cancel()
    try:
        result = yield from call
        return result
    finally:
        yield from asyncio.sleep(0).__await__()  # raises if the coroutine ended without another wait


async def _wait_until_done(thread: asyncio.Future[object]) -> bool:
    """Return whether the task was cancelled meanwhile."""
    was_cancelled = False
    while not thread.done():
        try:
            await asyncio.wait([thread])
        except asyncio.CancelledError:
            was_cancelled = True
    return was_cancelled

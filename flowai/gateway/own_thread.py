"""A thread of one's own, for what may wait for a disk: the event loop goes on meanwhile.

In: work. Out: its result. Must never know what the work is.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class OwnThread:
    """Does one piece of work after the other, always in the same thread; the thread starts with the first.

    Args:
        name: of the thread, for debuggers.
    """

    def __init__(self, name: str) -> None:
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work; it is finished even when the caller leaves.

        Raises:
            InfrastructureError: the thread has been ended.
            Exception: whatever the work raised.
        """
        if self._pool is None:
            raise InfrastructureError("the cache is closed")
        return await asyncio.shield(asyncio.wrap_future(self._pool.submit(work)))

    async def end(self, last: Callable[[], None]) -> None:
        """Do the last piece of work and end the thread; does nothing the second time."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            await asyncio.wrap_future(pool.submit(last))
        finally:
            pool.shutdown(wait=False)

"""A thread of its own for blocking work, so that slow work of one part never delays another part's."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class WorkerThread:
    """Runs work items one after the other in one thread, which starts with the first.

    Args:
        name: of the thread; a second one with the same name is allowed.
        owner: the part that uses it, for the error after its end.
    """

    def __init__(self, name: str, *, owner: str) -> None:
        self._owner = owner
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """Run a work item, which completes even if the caller leaves; raises InfrastructureError once closed."""
        if self._pool is None:
            raise InfrastructureError(f"{self._owner} is closed")
        return await asyncio.shield(asyncio.wrap_future(self._pool.submit(work)))

    async def close(self, last: Callable[[], None]) -> None:
        """Run a last work item and end the thread; does nothing the second time."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            await asyncio.wrap_future(pool.submit(last))
        finally:
            pool.shutdown(wait=False)

    def end(self) -> None:
        """End the thread after its current work items, without waiting; may be called twice."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None

"""Stores of the caches on disk for the gateway: neither a slow disk nor a locked file keeps a call waiting."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from flowai.cache.exact import ExactCache
from flowai.cache.sqlite_vectors import DiskVectors
from flowai.cache.write_queue import WriteQueue
from flowai.errors import InfrastructureError
from flowai.storage.worker_thread import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from flowai.cache.shadow.comparison import AnswerComparison
    from flowai.cache.stats import CacheUsage
    from flowai.cache.vector_store import CacheEntry, Neighbour
    from flowai.providers import Completion

_OPEN_LIMIT_S = 0.25
_READ_LIMIT_S = 0.02
_PAUSE_S = 1.0  # after a failed read or opening, lookups fail at once for this time
_CLOSE_LIMIT_S = 5.0


class DiskExactStore:
    """The exact cache on disk. Reads are inline and take microseconds; a thread writes.

    A file that cannot be opened is tried again later, in a thread; `error` is the reason.
    """

    def __init__(self, directory: Path, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock_s = clock_s
        self._cache: ExactCache | None = None
        self._is_closed = False
        self._opening: asyncio.Task[None] | None = None
        self._try_at_s = 0.0
        self.error: InfrastructureError | None = None
        self._open()

    async def get(self, key: str) -> Completion | None:
        """See `ExactStore`."""
        if self.error is not None and self._clock_s() < self._try_at_s:
            raise self.error
        cache = self._opened()
        try:
            completion = cache.read(key)
        except InfrastructureError as error:
            self._fail(error)
            raise
        self.error = None
        return completion

    async def put(self, key: str, completion: Completion, *, ttl_s: float) -> None:
        """See `ExactStore`."""
        await _result(self._opened().store(key, completion, ttl_s=ttl_s))

    async def forget(self, key: str) -> None:
        """See `ExactStore`."""
        await _result(self._opened().forget(key))

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """See `ExactStore`."""
        await _result(self._opened().add_usage(features))

    async def aclose(self) -> None:
        """See `ExactStore`."""
        self._is_closed = True
        if self._opening is not None:
            await asyncio.wait({self._opening})
        if self._cache is not None:
            await asyncio.to_thread(self._cache.close)
            self._cache.release()
            self._cache = None

    def _opened(self) -> ExactCache:
        """Return the open cache; starts to open it, and raises the last error, if it is not."""
        if self._cache is not None:
            return self._cache
        if self._opening is None and not self._is_closed and self._clock_s() >= self._try_at_s:
            self._opening = asyncio.create_task(self._reopen())
        raise self.error or InfrastructureError("the cache is closed")

    async def _reopen(self) -> None:
        try:
            await asyncio.to_thread(self._open_elsewhere)
        finally:
            self._opening = None

    def _open_elsewhere(self) -> None:
        self._open()
        if self._cache is not None:
            self._cache.release()

    def _open(self) -> None:
        try:
            self._cache = ExactCache(self._directory, open_limit_s=_OPEN_LIMIT_S, read_limit_s=_READ_LIMIT_S)
        except InfrastructureError as error:
            self._fail(error)
        else:
            self.error = None

    def _fail(self, error: InfrastructureError) -> None:
        self.error, self._try_at_s = error, self._clock_s() + _PAUSE_S


class DiskVectorStore:
    """The semantic cache's file, opened at its first use: by one thread that reads and by one that writes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._vectors: DiskVectors | None = None
        self._thread = WorkerThread("flowai-semantic-cache", owner="the cache")
        self._writer: DiskVectors | None = None
        self._queue = WriteQueue("flowai-semantic-cache-writer", self._write, self._release_writer)

    async def nearest(self, partition: str, vector: bytes, *, above: float) -> Sequence[Neighbour]:
        """See `VectorStore`."""
        return await self._thread.run(lambda: self._open().nearest(partition, vector, above=above))

    async def add(self, entry: CacheEntry) -> None:
        """See `VectorStore`."""
        await self._write_soon(lambda vectors: vectors.insert(entry))

    async def forget(self, key: str) -> None:
        """See `VectorStore`."""
        await self._write_soon(lambda vectors: vectors.delete(key))

    async def record(self, comparison: AnswerComparison, *, ttl_s: float) -> None:
        """See `VectorStore`."""
        await self._write_soon(lambda vectors: vectors.record(comparison, ttl_s))

    async def comparisons(self, scope: str) -> Sequence[AnswerComparison]:
        """See `VectorStore`."""
        return await self._thread.run(lambda: self._open().comparisons(scope))

    async def warm_up(self) -> None:
        """See `VectorStore`."""
        await self._thread.run(self._open)

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """See `VectorStore`."""
        await self._write_soon(lambda vectors: vectors.add_usage(features))

    async def aclose(self) -> None:
        """See `VectorStore`."""
        await asyncio.to_thread(self._queue.close, _CLOSE_LIMIT_S)
        await self._thread.close(self._close)

    def _open(self) -> DiskVectors:
        if self._vectors is None:
            self._vectors = DiskVectors(self._file, busy_limit_s=_OPEN_LIMIT_S)
        return self._vectors

    def _close(self) -> None:
        if self._vectors is not None:
            self._vectors.close()
            self._vectors = None

    async def _write_soon(self, operation: Callable[[DiskVectors], object]) -> None:
        await _result(self._queue.add(operation))

    def _write(self, operations: Sequence[Callable[[DiskVectors], object]]) -> None:
        if self._writer is None:
            self._writer = DiskVectors(self._file)
        writer = self._writer
        writer.write([partial(operation, writer) for operation in operations])

    def _release_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()


async def _result(written: Future[None]) -> None:
    """Wait for a queued write, which goes on if the caller leaves."""
    await asyncio.shield(asyncio.wrap_future(written))

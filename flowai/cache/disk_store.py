"""Stores of the caches on disk for the gateway: disk writes never block its event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.cache.exact import ExactCache
from flowai.cache.sqlite_vectors import DiskVectors
from flowai.storage.worker_thread import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flowai.cache.stats import CacheUsage
    from flowai.cache.vector_store import CacheEntry, Neighbour
    from flowai.providers import Completion


class DiskExactStore:
    """The exact cache on disk. Reads are inline and take microseconds; writes run in a thread."""

    def __init__(self, directory: Path) -> None:
        self._cache = ExactCache(directory)
        self._thread = WorkerThread("flowai-exact-cache", owner="the cache")

    async def get(self, key: str) -> Completion | None:
        """See `ExactStore`."""
        return self._cache.read(key)

    async def put(self, key: str, completion: Completion, *, ttl_s: float) -> None:
        """See `ExactStore`."""
        await self._thread.run(lambda: self._cache.put(key, completion, ttl_s=ttl_s))

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """See `ExactStore`."""
        await self._thread.run(lambda: self._cache.add_usage(features))

    async def aclose(self) -> None:
        """See `ExactStore`."""
        await self._thread.close(self._cache.close)  # each thread has its own connection
        self._cache.close()


class DiskVectorStore:
    """The semantic cache's file, opened at its first use, in a thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._vectors: DiskVectors | None = None
        self._thread = WorkerThread("flowai-semantic-cache", owner="the cache")

    async def nearest(self, partition: str, vector: bytes, *, above: float) -> Sequence[Neighbour]:
        """See `VectorStore`."""
        return await self._thread.run(lambda: self._open().nearest(partition, vector, above=above))

    async def add(self, entry: CacheEntry) -> None:
        """See `VectorStore`."""
        await self._thread.run(lambda: self._open().add(entry))

    async def warm_up(self) -> None:
        """See `VectorStore`."""
        await self._thread.run(self._open)

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """See `VectorStore`."""
        await self._thread.run(lambda: self._open().add_usage(features))

    async def aclose(self) -> None:
        """See `VectorStore`."""
        await self._thread.close(self._close)

    def _open(self) -> DiskVectors:
        if self._vectors is None:
            self._vectors = DiskVectors(self._file)
        return self._vectors

    def _close(self) -> None:
        if self._vectors is not None:
            self._vectors.close()
            self._vectors = None

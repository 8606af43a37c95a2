"""The caches' stores on disk as the gateway uses them: never an event loop that waits for a disk to write.

In: a directory. Out: stores. Must never know which calls are cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.gateway.disk_vectors import DiskVectors
from flowai.gateway.exact_cache import ExactCache
from flowai.gateway.own_thread import OwnThread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flowai.calls import Completion
    from flowai.gateway.cache_usage import Usage
    from flowai.gateway.vector_stores import Entry, Near


class DiskExactStore:
    """The exact cache on disk: read in place, which takes a few microseconds; written in a thread of its own.

    Args:
        directory: where it lies; made when missing.

    Raises:
        InfrastructureError: it is damaged, or cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self._cache = ExactCache(directory)
        self._thread = OwnThread("flowai-exact-cache")

    async def get(self, key: str) -> Completion | None:
        """See `ExactStore`."""
        return self._cache.read(key)

    async def put(self, key: str, completion: Completion, *, ttl_s: float) -> None:
        """See `ExactStore`."""
        await self._thread.run(lambda: self._cache.put(key, completion, ttl_s=ttl_s))

    async def add_usage(self, features: Mapping[str, Usage]) -> None:
        """See `ExactStore`."""
        await self._thread.run(lambda: self._cache.add_usage(features))

    async def aclose(self) -> None:
        """See `ExactStore`."""
        await self._thread.end(self._cache.close)  # each thread has a connection of its own
        self._cache.close()


class DiskVectorStore:
    """The semantic cache's file, opened with the first use and used in a thread of its own.

    Args:
        file: the SQLite file; made when missing.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._vectors: DiskVectors | None = None
        self._thread = OwnThread("flowai-semantic-cache")

    async def near(self, partition: str, vector: bytes, *, above: float) -> Sequence[Near]:
        """See `VectorStore`."""
        return await self._thread.run(lambda: self._opened().near(partition, vector, above=above))

    async def add(self, entry: Entry) -> None:
        """See `VectorStore`."""
        await self._thread.run(lambda: self._opened().add(entry))

    async def add_usage(self, features: Mapping[str, Usage]) -> None:
        """See `VectorStore`."""
        await self._thread.run(lambda: self._opened().add_usage(features))

    async def aclose(self) -> None:
        """See `VectorStore`."""
        await self._thread.end(self._close)

    def _opened(self) -> DiskVectors:
        if self._vectors is None:
            self._vectors = DiskVectors(self._file)
        return self._vectors

    def _close(self) -> None:
        if self._vectors is not None:
            self._vectors.close()
            self._vectors = None

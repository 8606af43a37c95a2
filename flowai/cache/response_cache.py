"""The gateway's caches as one: exact and semantic, on disk or on Redis; none of their failures is a call's.

Counts of hits and misses are gathered here and written with the next answer that is kept, after every hundred lookups,
and at the end: a killed process loses at most those.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from flowai.cache.cache_key import CacheHit, CacheQuery, build_cache_query
from flowai.cache.disk_store import DiskExactStore, DiskVectorStore
from flowai.cache.redis_store import RedisExactStore, is_redis, open_redis
from flowai.cache.redis_vectors import RedisVectors
from flowai.cache.semantic import SemanticCache
from flowai.cache.sqlite_vectors import SEMANTIC_FILE
from flowai.cache.stats import CacheUsage, cache_hit_usage
from flowai.errors import FlowaiError, InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path
    from random import Random

    from flowai.cache.embedder import Embedder
    from flowai.cache.stats import CacheKind
    from flowai.providers import Completion

__all__ = [
    "CacheHit",
    "CacheQuery",
    "ExactStore",
    "ResponseCache",
    "SemanticCache",
    "build_cache_query",
    "open_response_cache",
]

_JITTER = 0.1  # answers that were kept together do not all expire together
_COUNTS_PER_WRITE = 100
_MAX_PENDING_WRITES = 64
_CLOSE_LIMIT_S = 5.0


class ExactStore(Protocol):
    """Where the exact cache keeps its answers. A store that cannot be used raises InfrastructureError."""

    async def get(self, key: str) -> Completion | None:
        """Look an answer up; None when it is not there or too old."""
        ...

    async def put(self, key: str, completion: Completion, *, ttl_s: float) -> None:
        """Keep an answer."""
        ...

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to what each feature asked."""
        ...

    async def aclose(self) -> None:
        """Give files and connections back; may be called twice."""
        ...


class ResponseCache:
    """Both caches; used within one event loop.

    Args:
        exact: the exact cache's store; None where it could not be opened.
        semantic: the semantic cache; None where there is none.
        rng: for the jitter of times to live.
        error: why there is no exact store.
        semantic_error: why there is no semantic cache.
    """

    def __init__(
        self,
        *,
        exact: ExactStore | None,
        semantic: SemanticCache | None,
        rng: Random,
        error: str | None = None,
        semantic_error: str | None = None,
    ) -> None:
        self._exact = exact
        self._semantic = semantic
        self._rng = rng
        self._counts: dict[CacheKind, dict[str, CacheUsage]] = {"exact": {}, "semantic": {}}
        self._counted = 0
        self._background: set[asyncio.Task[None]] = set()
        self.error = error
        self.semantic_error = semantic_error

    async def exact(self, lookup: CacheQuery) -> CacheHit | None:
        """Look for an answer to the same request."""
        if self._exact is None:
            return None
        completion = None
        try:
            completion = await self._exact.get(lookup.key)
            self.error = None
        except FlowaiError as error:
            self.error = str(error)
        self._count("exact", lookup.feature, completion)
        return None if completion is None else CacheHit(completion=completion, verdict="exact", similarity=None)

    async def find_similar(self, lookup: CacheQuery) -> CacheHit | None:
        """Look for an answer to a request that means the same."""
        if self._semantic is None or lookup.kind != "semantic":
            return None
        found = None
        try:
            found = await self._semantic.find(lookup)
            self.semantic_error = None
        except FlowaiError as error:
            self.semantic_error = str(error)
        self._count("semantic", lookup.feature, None if found is None else found.completion)
        return found

    async def store(self, lookup: CacheQuery, completion: Completion) -> None:
        """Keep an answer in both; what still needs a vector goes on in the background."""
        ttl_s = lookup.ttl_s * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
        if self._semantic is not None and lookup.kind == "semantic":
            keeping = self._keep_semantic(self._semantic, lookup, completion, ttl_s)
            if self._semantic.has_vector(lookup):
                await keeping
            else:
                self._spawn(keeping)
        if self._exact is not None:
            try:
                await self._exact.put(lookup.key, completion, ttl_s=ttl_s)
                self.error = None
            except FlowaiError as error:
                self.error = str(error)

    async def flush(self) -> None:
        """Write the counts, and wait until what is being kept is kept."""
        if self._background:
            await asyncio.wait(set(self._background), timeout=_CLOSE_LIMIT_S)
        await self._write_counts()

    async def aclose(self) -> None:
        """Write the counts and give everything back; may be called twice."""
        await self.flush()
        for task in self._background:
            task.cancel()
        if self._exact is not None:
            await self._exact.aclose()
        if self._semantic is not None:
            await self._semantic.aclose()
        self._exact = self._semantic = None

    async def _keep_semantic(
        self, semantic: SemanticCache, lookup: CacheQuery, completion: Completion, ttl_s: float
    ) -> None:
        try:
            await semantic.store(lookup, completion, ttl_s=ttl_s)
            self.semantic_error = None
        except FlowaiError as error:
            self.semantic_error = str(error)

    def _count(self, kind: CacheKind, feature: str, completion: Completion | None) -> None:
        counts = self._counts[kind]
        before = counts.get(feature)
        counts[feature] = cache_hit_usage(completion) if before is None else before.__add__(cache_hit_usage(completion))
        self._counted += 1
        if self._counted >= _COUNTS_PER_WRITE:
            self._spawn(self._write_counts())

    async def _write_counts(self) -> None:
        taken, self._counts, self._counted = self._counts, {"exact": {}, "semantic": {}}, 0
        try:
            if taken["exact"] and self._exact is not None:
                await self._exact.add_usage(taken["exact"])
        except (
            FlowaiError
        ) as error:  # the counts are lost: they matter less than memory that grows while a disk is full
            self.error = str(error)
        try:
            if taken["semantic"] and self._semantic is not None:
                await self._semantic.add_usage(taken["semantic"])
        except FlowaiError as error:
            self.semantic_error = str(error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on in the background; when too much is under way already, leave it: a cache may forget."""
        if len(self._background) >= _MAX_PENDING_WRITES:
            work.close()
            return
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def open_response_cache(
    *, named_state: str, directory: Path, embed: Embedder | None, rng: Random, semantic_error: str | None = None
) -> ResponseCache:
    """Open the caches where the registry's `state` says: on Redis, else in files. What cannot be opened is left out.

    Args:
        named_state: the registry's `state`: `redis://...`, or a directory.
        directory: where files lie.
        embed: makes vectors; None for no semantic cache.
        rng: for the jitter of times to live.
        semantic_error: why there is no embedder, for `/readyz`.

    Returns:
        The caches; `error` and `semantic_error` say what is off.
    """
    if is_redis(named_state):
        return _on_redis(named_state, embed, rng, semantic_error)
    error = None
    exact: ExactStore | None = None
    try:
        exact = DiskExactStore(directory)
    except InfrastructureError as found:
        error = str(found)
    semantic = None
    if embed is not None:
        semantic = SemanticCache(store=DiskVectorStore(directory / SEMANTIC_FILE), embedder=embed)
    return ResponseCache(
        exact=exact, semantic=semantic, rng=rng, error=error, semantic_error=_unavailable_reason(embed, semantic_error)
    )


def _on_redis(url: str, embed: Embedder | None, rng: Random, semantic_error: str | None) -> ResponseCache:
    semantic_error = _unavailable_reason(embed, semantic_error)
    try:
        connection = open_redis(url)
    except InfrastructureError as found:
        return ResponseCache(exact=None, semantic=None, rng=rng, error=str(found), semantic_error=semantic_error)
    semantic = None if embed is None else SemanticCache(store=RedisVectors(connection), embedder=embed)
    return ResponseCache(exact=RedisExactStore(connection), semantic=semantic, rng=rng, semantic_error=semantic_error)


def _unavailable_reason(embed: Embedder | None, error: str | None) -> str | None:
    return None if embed is not None else error or "no embedding model"

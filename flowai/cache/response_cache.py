"""The gateway's caches, exact and semantic, on disk or on Redis. A failing cache never fails a call.

Hits and misses are counted in memory and written after every hundred lookups and at the end: a killed process loses at
most those.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from flowai.cache.cache_key import CacheHit, CacheQuery, build_cache_query
from flowai.cache.disk_store import DiskExactStore, DiskVectorStore
from flowai.cache.redis_store import RedisExactStore, is_redis, open_redis
from flowai.cache.redis_vectors import RedisVectors
from flowai.cache.semantic import SemanticCache
from flowai.cache.shadow.comparison import AnswerComparison, ComparedTexts, compare_answers
from flowai.cache.sqlite_vectors import SEMANTIC_FILE
from flowai.cache.stats import CacheUsage, cache_hit_usage
from flowai.errors import FlowaiError, InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path
    from random import Random

    from flowai.cache.embedder import Embedder
    from flowai.cache.stats import CacheKind
    from flowai.cache.vector_store import VectorStore
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

_JITTER = 0.1  # answers that were stored together do not all expire together
_COUNTS_PER_WRITE = 100
_MAX_PENDING_WRITES = 256  # of answers, and of the vectors that they wait for
_CLOSE_LIMIT_S = 5.0
_NO_KEY = "warm-up"  # keys of answers are hexadecimal


class ExactStore(Protocol):
    """Store of the exact cache. An unusable store raises InfrastructureError."""

    async def get(self, key: str) -> Completion | None:
        """Return a stored answer; None when it is missing or expired."""

    async def put(self, key: str, completion: Completion, *, ttl_s: float) -> None:
        """Store an answer."""

    async def forget(self, key: str) -> None:
        """Delete the answer of a key, if there is one."""

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to each feature's usage."""

    async def aclose(self) -> None:
        """Close files and connections; may be called twice."""


class ResponseCache:
    """Both caches; for one event loop."""

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
        self._lookup_count = 0
        self._background: set[asyncio.Task[None]] = set()
        self._unwritten: dict[str, Completion] = {}
        self._read_error = error
        self._write_error: str | None = None
        self._semantic_error = semantic_error

    @property
    def semantic_error(self) -> str | None:
        """Why the semantic cache answers nothing now; None while it can."""
        return self._semantic_error or (None if self._semantic is None else self._semantic.trouble)

    @property
    def error(self) -> str | None:
        """Why the exact cache cannot be read or written; None while it can."""
        return self._read_error or self._write_error

    async def find_exact(self, query: CacheQuery) -> CacheHit | None:
        """Return the stored answer to the same request."""
        if self._exact is None:
            return None
        completion = self._unwritten.get(query.key)
        if completion is None:
            try:
                completion = await self._exact.get(query.key)
                self._read_error = None
            except FlowaiError as error:
                self._read_error = str(error)
        self._count("exact", query.feature, completion)
        if completion is None:
            return None
        return CacheHit(completion=completion, cache="exact", similarity=None, key=query.key)

    async def find_similar(self, query: CacheQuery) -> CacheHit | None:
        """Return a stored answer to a request with the same meaning; unless `is_served`, only to be compared."""
        if self._semantic is None or query.kind != "semantic":
            return None
        hit = None
        try:
            hit = await self._semantic.find(query)
            self._semantic_error = None
        except FlowaiError as error:
            self._semantic_error = str(error)
        self._count("semantic", query.feature, hit.completion if hit is not None and hit.is_served else None)
        return hit

    def compare_soon(
        self, query: CacheQuery, hit: CacheHit, paid: Completion, *, call_id: str, at_s: float, has_secret: bool
    ) -> AnswerComparison:
        """Compare the answer of a hit that was not served with the one that was paid for; store that soon."""
        outcome = compare_answers(paid, hit.completion)
        texts = None
        if outcome == "undecided" and not has_secret:
            texts = ComparedTexts(
                asked=query.text, cached_asked=hit.asked, answer=paid.text, cached_answer=hit.completion.text
            )
        comparison = AnswerComparison(
            call_id=call_id,
            scope=query.scope,
            feature=query.feature,
            key=hit.key,
            at_s=at_s,
            similarity=hit.similarity or 0.0,
            route=hit.route,
            outcome=outcome,
            is_check=hit.is_check,
            cost_usd=hit.completion.cost_usd or 0.0,
            texts=texts,
        )
        if self._semantic is not None:
            self._spawn(self._record(self._semantic, comparison, query.ttl_s))
        return comparison

    async def forget(self, key: str) -> None:
        """Delete the answer of a key from both caches, so that no later call gets it."""
        if self._unwritten.pop(key, None) is not None and self._background:
            await asyncio.wait(set(self._background), timeout=_CLOSE_LIMIT_S)  # it may be half stored
        if self._exact is not None:
            try:
                await self._exact.forget(key)
            except FlowaiError as error:
                self._write_error = str(error)
        if self._semantic is not None:
            try:
                await self._semantic.forget(key)
            except FlowaiError as error:
                self._semantic_error = str(error)

    def store_soon(self, query: CacheQuery, completion: Completion) -> None:
        """Store an answer in the background; the next lookup finds it at once."""
        if len(self._unwritten) >= _MAX_PENDING_WRITES:
            self._write_error = f"{_MAX_PENDING_WRITES} answers wait to be stored; later ones are dropped"
            return
        self._unwritten[query.key] = completion
        self._start(self._store_and_forget(query, completion))

    async def store(self, query: CacheQuery, completion: Completion) -> None:
        """Store an answer in both caches; a missing vector is computed in the background."""
        ttl_s = query.ttl_s * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
        if self._semantic is not None and query.kind == "semantic":
            work = self._store_semantic(self._semantic, query, completion, ttl_s)
            if self._semantic.has_vector(query):
                await work
            else:
                self._spawn(work)
        if self._exact is not None:
            try:
                await self._exact.put(query.key, completion, ttl_s=ttl_s)
                self._write_error = None
            except FlowaiError as error:
                self._write_error = str(error)

    async def _store_and_forget(self, query: CacheQuery, completion: Completion) -> None:
        try:
            await self.store(query, completion)
        finally:
            if self._unwritten.get(query.key) is completion:
                del self._unwritten[query.key]

    async def warm_up(self) -> None:
        """Open now what the first call would wait for; `error` and `semantic_error` report a failure."""
        try:
            if self._exact is not None:
                await self._exact.get(_NO_KEY)
                self._read_error = None
        except FlowaiError as error:
            self._read_error = str(error)
        try:
            if self._semantic is not None:
                await self._semantic.warm_up()
        except FlowaiError as error:
            self._semantic_error = str(error)

    async def flush(self) -> None:
        """Write the counts, after all answers in the background are stored."""
        if self._background:
            await asyncio.wait(set(self._background), timeout=_CLOSE_LIMIT_S)
        await self._write_counts()

    async def aclose(self) -> None:
        """Write the counts and close everything; may be called twice."""
        await self.flush()
        for task in self._background:
            task.cancel()
        if self._exact is not None:
            await self._exact.aclose()
        if self._semantic is not None:
            await self._semantic.aclose()
        self._exact = self._semantic = None

    async def _store_semantic(
        self, semantic: SemanticCache, query: CacheQuery, completion: Completion, ttl_s: float
    ) -> None:
        try:
            await semantic.store(query, completion, ttl_s=ttl_s)
            self._semantic_error = None
        except FlowaiError as error:
            self._semantic_error = str(error)

    async def _record(self, semantic: SemanticCache, comparison: AnswerComparison, ttl_s: float) -> None:
        try:
            await semantic.record(comparison, ttl_s=ttl_s)
        except FlowaiError as error:
            self._semantic_error = str(error)

    def _count(self, kind: CacheKind, feature: str, completion: Completion | None) -> None:
        counts = self._counts[kind]
        before = counts.get(feature)
        counts[feature] = cache_hit_usage(completion) if before is None else before + cache_hit_usage(completion)
        self._lookup_count += 1
        if self._lookup_count >= _COUNTS_PER_WRITE:
            self._spawn(self._write_counts())

    async def _write_counts(self) -> None:
        counts, self._counts, self._lookup_count = self._counts, {"exact": {}, "semantic": {}}, 0
        try:
            if counts["exact"] and self._exact is not None:
                await self._exact.add_usage(counts["exact"])
        except (
            FlowaiError
        ) as error:  # the counts are lost: they matter less than memory that grows while a disk is full
            self._write_error = str(error)
        try:
            if counts["semantic"] and self._semantic is not None:
                await self._semantic.add_usage(counts["semantic"])
        except FlowaiError as error:
            self._semantic_error = str(error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work in the background; above the limit it is dropped, since a cache may forget."""
        if len(self._background) >= _MAX_PENDING_WRITES:
            work.close()
            return
        self._start(work)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def open_response_cache(
    *, state: str, directory: Path, embedder: Embedder | None, rng: Random, semantic_error: str | None = None
) -> ResponseCache:
    """Open the caches at the address `state` (see `cache_address`): on Redis, otherwise in files in `directory`.

    `embedder` is None for no semantic cache, `semantic_error` says why; `rng` is the source of the lifetimes' jitter.
    The result's `error` and `semantic_error` report caches that could not be opened.
    """
    error = None
    exact: ExactStore | None = None
    vectors: VectorStore | None = None
    try:
        if is_redis(state):
            connection = open_redis(state)
            exact, vectors = RedisExactStore(connection), RedisVectors(connection)
        else:
            vectors = DiskVectorStore(directory / SEMANTIC_FILE)
            disk = DiskExactStore(directory)
            exact, error = disk, None if disk.error is None else str(disk.error)
    except InfrastructureError as failure:
        error = str(failure)
    return ResponseCache(
        exact=exact,
        semantic=None
        if vectors is None or embedder is None
        else SemanticCache(store=vectors, embedder=embedder, rng=rng),
        rng=rng,
        error=error,
        semantic_error=None if embedder is not None else semantic_error or "no embedding model",
    )

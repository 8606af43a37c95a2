"""The semantic cache: a request with the same meaning as an earlier one is paid once.

Two gates: the vectors' similarity is above a threshold, and the texts are one sentence (`equivalence`), because
embeddings place opposites close together. Then the evidence decides (`serving`): an answer is served, or a model
answers and both answers are compared.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from flowai.cache.cache_key import CacheHit
from flowai.cache.equivalence.compare import find_mismatch
from flowai.cache.shadow.serving import CHECK_RATE, LEARNING_FLOOR, ScopeEvidence
from flowai.cache.vector_store import CacheEntry
from flowai.errors import FlowaiError, InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from flowai.cache.cache_key import CacheQuery
    from flowai.cache.embedder import Embedder
    from flowai.cache.shadow.comparison import AnswerComparison
    from flowai.cache.stats import CacheUsage
    from flowai.cache.vector_store import Neighbour, VectorStore
    from flowai.providers import Completion

_MAX_REMEMBERED_VECTORS = 512
_EMBED_TIMEOUT_S = 2.0
_SEARCH_TIMEOUT_S = 0.5  # the disk or Redis may be locked; the call has other work to do
_EVIDENCE_AGE_S = 10.0  # after which the comparisons of other processes are read, in the background
_MAX_SCOPES = 256


class SemanticCache:
    """Answers by meaning; a call waits at most `embed_timeout_s` for its text's vector.

    All methods raise InfrastructureError if the store is unusable or a text cannot be embedded in time.
    """

    def __init__(
        self, *, store: VectorStore, embedder: Embedder, rng: Random, embed_timeout_s: float = _EMBED_TIMEOUT_S
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._rng = rng
        self._embed_timeout_s = embed_timeout_s
        self._vectors: OrderedDict[bytes, bytes] = OrderedDict()  # a miss embeds, and soon after stores, the same text
        self._evidence: OrderedDict[str, _LoadedEvidence] = OrderedDict()
        self._reading: set[asyncio.Task[None]] = set()

    @property
    def trouble(self) -> str | None:
        """Why no text can be embedded yet; None when the model is loaded. Reading this starts to load it."""
        if self._embedder.is_ready:
            return None
        return f"`{self._embedder.name}` is not loaded yet; until then models answer"

    async def find(self, query: CacheQuery) -> CacheHit | None:
        """Return a stored answer to a text with the same meaning; None at once while a model is loading.

        Unless `is_served`, it is for comparison only.
        """
        if not self._embedder.is_ready:
            return None
        try:
            vector = await asyncio.wait_for(self._vector(query.text), self._embed_timeout_s)
        except TimeoutError:
            raise InfrastructureError(
                f"`{self._embedder.name}` gave no vector within {self._embed_timeout_s:g} s"
            ) from None
        if vector is None:
            return None
        try:
            async with asyncio.timeout(_SEARCH_TIMEOUT_S):
                evidence = await self._evidence_of(query.scope)
                neighbours = await self._store.nearest(
                    self._partition(query), vector, above=min(query.threshold, LEARNING_FLOOR)
                )
        except TimeoutError:
            raise InfrastructureError(f"the semantic cache found nothing within {_SEARCH_TIMEOUT_S:g} s") from None
        for neighbour in neighbours:
            if find_mismatch(query.text, neighbour.text) is None:
                hit = self._hit(query, neighbour, evidence)
                if hit is not None:
                    return hit
        return None

    def _hit(self, query: CacheQuery, neighbour: Neighbour, evidence: ScopeEvidence) -> CacheHit | None:
        route = evidence.route(neighbour.key, neighbour.similarity, query.threshold)
        if route is None:
            return None
        may_serve = query.serves and route != "below" and evidence.is_within(route, query.max_false_hit_rate)
        is_check = may_serve and self._rng.random() < CHECK_RATE
        return CacheHit(
            completion=neighbour.completion,
            cache="semantic",
            similarity=neighbour.similarity,
            key=neighbour.key,
            asked=neighbour.text,
            route=route,
            is_served=may_serve and not is_check,
            is_check=is_check,
        )

    async def record(self, comparison: AnswerComparison, *, ttl_s: float) -> None:
        """Store a comparison; it counts at once in this process."""
        loaded = self._evidence.get(comparison.scope)
        if loaded is not None:
            loaded.evidence.add(msgspec.structs.replace(comparison, texts=None))
        await self._store.record(comparison, ttl_s=ttl_s)

    async def forget(self, key: str) -> None:
        """Delete the answer of a key."""
        await self._store.forget(key)

    async def _evidence_of(self, scope: str) -> ScopeEvidence:
        """Return the comparisons of a scope; those of other processes are some seconds old."""
        loaded = self._evidence.get(scope)
        if loaded is None:
            await self._read_evidence(scope)
        elif time.monotonic() - loaded.read_at_s > _EVIDENCE_AGE_S:
            loaded.read_at_s = time.monotonic()
            task = asyncio.create_task(self._read_evidence(scope))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)
        return self._evidence[scope].evidence

    async def _read_evidence(self, scope: str) -> None:
        evidence = ScopeEvidence()
        with suppress(FlowaiError):  # an unusable store is reported by the search
            evidence = ScopeEvidence(await self._store.comparisons(scope))
            self._evidence[scope] = _LoadedEvidence(evidence)
            while len(self._evidence) > _MAX_SCOPES:
                self._evidence.popitem(last=False)
        self._evidence.setdefault(scope, _LoadedEvidence(evidence))

    def has_vector(self, query: CacheQuery) -> bool:
        """Return whether the text's vector is known, so that storing its answer needs no wait."""
        return _key(query.text) in self._vectors

    async def store(self, query: CacheQuery, completion: Completion, *, ttl_s: float) -> None:
        """Store an answer; waits until the model is loaded."""
        vector = await self._vector(query.text)
        if vector is not None:
            entry = CacheEntry(
                partition=self._partition(query),
                feature=query.feature,
                key=query.key,
                text=query.text,
                vector=vector,
                completion=completion,
                ttl_s=ttl_s,
            )
            await self._store.add(entry)

    async def warm_up(self) -> None:
        """Open the store and load the embedder; calls never wait for that."""
        await self._store.warm_up()
        await self._embedder.warm_up()

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to each feature's usage."""
        await self._store.add_usage(features)

    async def aclose(self) -> None:
        """Close the store and the embedder."""
        for task in self._reading:
            task.cancel()
        await self._store.aclose()
        await self._embedder.aclose()

    def _partition(self, query: CacheQuery) -> str:
        """Add the embedding model to the partition: vectors of two models cannot be compared."""
        return hashlib.sha256(f"{query.partition} {self._embedder.name}".encode()).hexdigest()

    async def _vector(self, text: str) -> bytes | None:
        from flowai.cache.vector_math import normalised_bytes  # numpy only for searches

        text = text.encode("utf-8", "replace").decode()  # tokenizers refuse half a surrogate pair
        key = _key(text)
        if (vector := self._vectors.get(key)) is not None:
            self._vectors.move_to_end(key)
            return vector
        vectors = await self._embedder.embed([text])
        if len(vectors) != 1:
            raise InfrastructureError(f"`{self._embedder.name}` gave {len(vectors)} vectors for one text")
        unit_vector = normalised_bytes(vectors[0])
        if unit_vector is not None:
            self._vectors[key] = unit_vector
            if len(self._vectors) > _MAX_REMEMBERED_VECTORS:
                self._vectors.popitem(last=False)
        return unit_vector


class _LoadedEvidence:
    """Evidence of a scope, and when it was read."""

    __slots__ = ("evidence", "read_at_s")

    def __init__(self, evidence: ScopeEvidence) -> None:
        self.evidence = evidence
        self.read_at_s = time.monotonic()


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()

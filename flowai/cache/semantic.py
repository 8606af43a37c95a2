"""The semantic cache: a request with the same meaning as an earlier one is paid once.

Two gates: the vectors' similarity is above the threshold, and the texts agree in numbers, names, units, negations and
words (`equivalence`), because embeddings place opposites close together.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from flowai.cache.cache_key import CacheHit
from flowai.cache.equivalence.compare import find_mismatch
from flowai.cache.vector_store import CacheEntry
from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.cache.cache_key import CacheQuery
    from flowai.cache.embedder import Embedder
    from flowai.cache.stats import CacheUsage
    from flowai.cache.vector_store import VectorStore
    from flowai.providers import Completion

_MAX_REMEMBERED_VECTORS = 512
_EMBED_TIMEOUT_S = 2.0
_SEARCH_TIMEOUT_S = 0.5  # the disk or Redis may be locked; the call has other work to do


class SemanticCache:
    """Answers by meaning; a call waits at most `embed_timeout_s` for its text's vector.

    All methods raise InfrastructureError if the store is unusable or a text cannot be embedded in time.
    """

    def __init__(self, *, store: VectorStore, embedder: Embedder, embed_timeout_s: float = _EMBED_TIMEOUT_S) -> None:
        self._store = store
        self._embedder = embedder
        self._embed_timeout_s = embed_timeout_s
        self._vectors: OrderedDict[bytes, bytes] = OrderedDict()  # a miss embeds, and soon after stores, the same text

    async def find(self, query: CacheQuery) -> CacheHit | None:
        """Return a stored answer to a text with the same meaning; None at once while a model is loading."""
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
            search = self._store.nearest(self._partition(query), vector, above=query.threshold)
            neighbours = await asyncio.wait_for(search, _SEARCH_TIMEOUT_S)
        except TimeoutError:
            raise InfrastructureError(f"the semantic cache found nothing within {_SEARCH_TIMEOUT_S:g} s") from None
        for neighbour in neighbours:
            if find_mismatch(query.text, neighbour.text) is None:
                return CacheHit(completion=neighbour.completion, cache="semantic", similarity=neighbour.similarity)
        return None

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
                text=query.text,
                vector=vector,
                completion=completion,
                ttl_s=ttl_s,
            )
            await self._store.add(entry)

    async def warm_up(self) -> None:
        """Open the store, and begin to load the embedder; calls never wait for that."""
        _ = self._embedder.is_ready
        await self._store.warm_up()

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to each feature's usage."""
        await self._store.add_usage(features)

    async def aclose(self) -> None:
        """Close the store and the embedder."""
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


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()

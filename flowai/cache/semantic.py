"""The semantic cache: a request that means the same as an earlier one is paid once.

Two gates: the similarity of the vectors is above the threshold, and then the texts agree in numbers, names, units,
negations and words (`agreement`), because embeddings put opposites close together.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from flowai.cache.cache_key import CacheHit
from flowai.cache.equivalence.compare import is_equivalent
from flowai.cache.vector_store import CacheEntry
from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.cache.cache_key import CacheQuery
    from flowai.cache.embedder import Embedder
    from flowai.cache.stats import CacheUsage
    from flowai.cache.vector_store import VectorStore
    from flowai.providers import Completion

_REMEMBERED_COUNT = 512
_EMBED_LIMIT_S = 2.0


class SemanticCache:
    """Answers found by meaning.

    Args:
        store: keeps vectors and answers.
        embedder: makes vectors.
        embed_limit_s: seconds a call waits for the vector of its text before it goes on without, > 0.
    """

    def __init__(self, *, store: VectorStore, embedder: Embedder, embed_limit_s: float = _EMBED_LIMIT_S) -> None:
        self._store = store
        self._embedder = embedder
        self._embed_limit_s = embed_limit_s
        self._vectors: OrderedDict[bytes, bytes] = OrderedDict()  # a miss asks, and soon after keeps, the same text

    async def find(self, lookup: CacheQuery) -> CacheHit | None:
        """Look for an answer to a text that means the same; None at once while a model is being loaded.

        Raises:
            InfrastructureError: no vector could be made in time, or the store cannot be used.
        """
        if not self._embedder.is_ready:
            return None
        try:
            vector = await asyncio.wait_for(self._vector(lookup.text), self._embed_limit_s)
        except TimeoutError:
            raise InfrastructureError(
                f"`{self._embedder.name}` gave no vector within {self._embed_limit_s:g} s"
            ) from None
        if vector is None:
            return None
        for near in await self._store.nearest(self._partition(lookup), vector, above=lookup.threshold):
            if is_equivalent(lookup.text, near.text) is None:
                return CacheHit(completion=near.completion, verdict="semantic", similarity=near.similarity)
        return None

    def has_vector(self, lookup: CacheQuery) -> bool:
        """Whether the text's vector is there, so that keeping its answer does not wait for one."""
        return _key(lookup.text) in self._vectors

    async def store(self, lookup: CacheQuery, completion: Completion, *, ttl_s: float) -> None:
        """Keep an answer; waits for the model to be loaded.

        Raises:
            InfrastructureError: no vector could be made, or the store cannot be used.
        """
        vector = await self._vector(lookup.text)
        if vector is not None:
            entry = CacheEntry(
                partition=self._partition(lookup),
                feature=lookup.feature,
                text=lookup.text,
                vector=vector,
                completion=completion,
                ttl_s=ttl_s,
            )
            await self._store.add(entry)

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to what each feature asked.

        Raises:
            InfrastructureError: the store cannot be used.
        """
        await self._store.add_usage(features)

    async def aclose(self) -> None:
        """Give back the store and the embedder."""
        await self._store.aclose()
        await self._embedder.aclose()

    def _partition(self, lookup: CacheQuery) -> str:
        """Part by the embedding model, too: its vectors are a space of their own."""
        return hashlib.sha256(f"{lookup.partition} {self._embedder.name}".encode()).hexdigest()

    async def _vector(self, text: str) -> bytes | None:
        from flowai.cache.vector_math import normalised_bytes  # numpy, for those who search only

        text = text.encode("utf-8", "replace").decode()  # half of a surrogate pair is no text for a tokenizer
        key = _key(text)
        if (vector := self._vectors.get(key)) is not None:
            self._vectors.move_to_end(key)
            return vector
        vectors = await self._embedder.embed([text])
        if len(vectors) != 1:
            raise InfrastructureError(f"`{self._embedder.name}` gave {len(vectors)} vectors for one text")
        made = normalised_bytes(vectors[0])
        if made is not None:
            self._vectors[key] = made
            if len(self._vectors) > _REMEMBERED_COUNT:
                self._vectors.popitem(last=False)
        return made


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()

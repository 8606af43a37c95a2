"""Records and protocol of the semantic cache's stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from flowai.providers import Completion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.cache.shadow.comparison import AnswerComparison
    from flowai.cache.stats import CacheUsage

MAX_NEIGHBOURS = 8
"""Results of a search: the nearest may fail the equivalence gate, and a later one pass."""

MAX_ENTRIES = 20_000
"""Stored answers before the oldest are evicted: about 30 MB of vectors of 384 dimensions, 1 ms per search."""


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Answer with the text that it answers."""

    partition: str
    """Hex; only searches in the same partition find it."""
    feature: str
    key: str = ""
    """Key of the exact cache; empty if the answer cannot be named."""
    text: str
    vector: bytes
    """Its unit vector, 32-bit floats, little-endian."""
    completion: Completion
    ttl_s: float
    """Lifetime, seconds, > 0."""


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a similar text."""

    similarity: float
    """Cosine, 0 to 1."""
    key: str
    text: str
    completion: Completion


class CachedValue(msgspec.Struct, frozen=True, kw_only=True):
    """JSON that stores keep next to a vector."""

    partition: str
    """The entry's partition, checked again when it is read."""
    key: str = ""
    text: str
    completion: Completion


class VectorStore(Protocol):
    """Store of the semantic cache. An unusable store raises InfrastructureError."""

    async def nearest(self, partition: str, vector: bytes, *, above: float) -> Sequence[Neighbour]:
        """Return at most `MAX_NEIGHBOURS` unexpired answers that are more similar than a limit, most similar first."""

    async def add(self, entry: CacheEntry) -> None:
        """Store an answer; it replaces one to the same text in the same partition."""

    async def forget(self, key: str) -> None:
        """Delete the answer of a key, if there is one."""

    async def record(self, comparison: AnswerComparison, *, ttl_s: float) -> None:
        """Store a comparison, its texts for `ttl_s`; it replaces one of the same call."""

    async def comparisons(self, scope: str) -> Sequence[AnswerComparison]:
        """Return the newest comparisons of a scope, oldest first, without their texts."""

    async def warm_up(self) -> None:
        """Open what the first search needs."""

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to each feature's usage."""

    async def aclose(self) -> None:
        """Close files and connections; may be called twice."""

"""What every store of the semantic cache promises, and the records that go in and come out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from flowai.providers import Completion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.cache.stats import CacheUsage

MAX_NEIGHBOURS = 8
"""How many candidates a search gives at most: the nearest may fail the second gate, and one behind it pass."""

MAX_ENTRIES = 20_000
"""How many answers are kept before the oldest go: about 30 MB of vectors of 384 dimensions, 1 ms per search."""


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, with the text it answers."""

    partition: str
    """Hex; only searches in the same partition find it."""
    feature: str
    """For the counts."""
    text: str
    """The text that was embedded."""
    vector: bytes
    """Its unit vector, 32-bit floats, little-endian."""
    completion: Completion
    """The answer."""
    ttl_s: float
    """Seconds it may be given again, > 0."""


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """An answer whose text is near."""

    similarity: float
    """Cosine, 0 to 1."""
    text: str
    """The text it answers."""
    completion: Completion
    """The answer."""


class CachedValue(msgspec.Struct, frozen=True, kw_only=True):
    """What stores keep beside a vector, as JSON."""

    partition: str
    """The entry's partition, checked again when it is read."""
    text: str
    """The text it answers."""
    completion: Completion
    """The answer."""


class VectorStore(Protocol):
    """Where the semantic cache keeps its answers. A store that cannot be used raises InfrastructureError."""

    async def nearest(self, partition: str, vector: bytes, *, above: float) -> Sequence[Neighbour]:
        """Give the answers more similar than a limit that have not expired: the most similar, in order.

        Args:
            partition: hex; only entries of the same are looked at.
            vector: a unit vector.
            above: the limit, 0 to 1.

        Returns:
            At most `MAX_NEIGHBOURS`.
        """
        ...

    async def add(self, entry: CacheEntry) -> None:
        """Keep an answer; one to the very same text in the same partition is replaced."""
        ...

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to what each feature asked."""
        ...

    async def aclose(self) -> None:
        """Give files and connections back; may be called twice."""
        ...

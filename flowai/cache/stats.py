"""Statistics of the caches: entries and savings, as stores keep them and `flowai cache stats` shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from flowai.providers import Completion

CacheKind = Literal["exact", "semantic"]
"""`exact`: the same request. `semantic`: a request with the same meaning."""

Store = Literal["disk", "redis"]


class CacheUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Lookups and savings of one feature since the cache was cleared."""

    hit_count: int = 0
    miss_count: int = 0
    saved_tokens: int = 0
    """Input and output tokens."""
    saved_usd: float = 0.0
    """US dollars, where the price is known."""
    saved_s: float = 0.0
    """Latency of the original calls, seconds."""

    def __add__(self, other: CacheUsage) -> CacheUsage:
        """Add two usages."""
        return CacheUsage(
            hit_count=self.hit_count + other.hit_count,
            miss_count=self.miss_count + other.miss_count,
            saved_tokens=self.saved_tokens + other.saved_tokens,
            saved_usd=self.saved_usd + other.saved_usd,
            saved_s=self.saved_s + other.saved_s,
        )

    @property
    def hit_rate(self) -> float | None:
        """Hits per lookup, 0 to 1; None without lookups."""
        lookup_count = self.hit_count + self.miss_count
        return self.hit_count / lookup_count if lookup_count else None


MISS = CacheUsage(miss_count=1)


def cache_hit_usage(completion: Completion | None) -> CacheUsage:
    """Return the usage of one lookup: a miss, or a hit with the answer's original cost."""
    if completion is None:
        return MISS
    return CacheUsage(
        hit_count=1,
        saved_tokens=(completion.input_tokens or 0) + (completion.output_tokens or 0),
        saved_usd=completion.cost_usd or 0.0,
        saved_s=completion.latency_ms / 1000,
    )


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """Entries and savings of one cache in one store."""

    cache: CacheKind = "exact"
    store: Store = "disk"
    entry_count: int = 0
    """Stored answers, all features."""
    size_bytes: int | None = 0
    """Size on disk; None where the store does not report it."""
    entry_counts: dict[str, int] = {}
    """Stored answers by feature."""
    features: dict[str, CacheUsage] = {}
    """Usage by feature."""
    error: str | None = None
    """Why the store cannot be read."""


def stats_of(
    cache: CacheKind,
    store: Store,
    *,
    size_bytes: int | None,
    entry_counts: dict[str, int],
    features: dict[str, CacheUsage],
) -> CacheStats:
    """Build the statistics, features sorted by name."""
    return CacheStats(
        cache=cache,
        store=store,
        entry_count=sum(entry_counts.values()),
        size_bytes=size_bytes,
        entry_counts=dict(sorted(entry_counts.items())),
        features=dict(sorted(features.items())),
    )

"""What the caches hold and what they saved: the records that stores keep and `flowai cache stats` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from flowai.providers import Completion

CacheKind = Literal["exact", "semantic"]
"""`exact`: the same request. `semantic`: a request that means the same."""

Store = Literal["disk", "redis"]
"""Where a cache keeps its entries."""


class CacheUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What one feature asked of a cache, since it was last cleared."""

    hit_count: int = 0
    """Answers found."""
    miss_count: int = 0
    """Answers not found."""
    saved_tokens: int = 0
    """Input and output tokens that were not paid again."""
    saved_usd: float = 0.0
    """US dollars not paid again, where the price is known."""
    saved_s: float = 0.0
    """Seconds of waiting not spent again."""

    def __add__(self, other: CacheUsage) -> CacheUsage:
        """Add two usages up."""
        return CacheUsage(
            hit_count=self.hit_count + other.hit_count,
            miss_count=self.miss_count + other.miss_count,
            saved_tokens=self.saved_tokens + other.saved_tokens,
            saved_usd=self.saved_usd + other.saved_usd,
            saved_s=self.saved_s + other.saved_s,
        )

    @property
    def hit_rate(self) -> float | None:
        """Hits among all questions, 0 to 1; None when nothing was asked."""
        asked_count = self.hit_count + self.miss_count
        return self.hit_count / asked_count if asked_count else None


MISS = CacheUsage(miss_count=1)


def cache_hit_usage(completion: Completion | None) -> CacheUsage:
    """Give what one question to a cache adds: a miss, or a hit with what the answer had cost."""
    if completion is None:
        return MISS
    return CacheUsage(
        hit_count=1,
        saved_tokens=(completion.input_tokens or 0) + (completion.output_tokens or 0),
        saved_usd=completion.cost_usd or 0.0,
        saved_s=completion.latency_ms / 1000,
    )


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """What one cache holds in one store, and what it saved."""

    cache: CacheKind = "exact"
    """`exact` or `semantic`."""
    store: Store = "disk"
    """`disk` or `redis`."""
    entry_count: int = 0
    """Answers kept, all features."""
    size_bytes: int | None = 0
    """On disk; None where the store does not say."""
    entry_counts: dict[str, int] = {}
    """Answers kept, by feature."""
    features: dict[str, CacheUsage] = {}
    """Usage by feature."""
    error: str | None = None
    """Why the store could not be read; None when it could."""


def stats_of(
    cache: CacheKind,
    store: Store,
    *,
    size_bytes: int | None,
    entry_counts: dict[str, int],
    features: dict[str, CacheUsage],
) -> CacheStats:
    """Make the record of what was counted, features in order of their names."""
    return CacheStats(
        cache=cache,
        store=store,
        entry_count=sum(entry_counts.values()),
        size_bytes=size_bytes,
        entry_counts=dict(sorted(entry_counts.items())),
        features=dict(sorted(features.items())),
    )

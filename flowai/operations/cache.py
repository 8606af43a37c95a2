"""What `flowai cache` does: counts and empties the exact cache of a project.

In: a project. Out: CacheStats, or the number of entries forgotten. Must never know how it is shown.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from flowai.gateway.exact_cache import CacheStats, ExactCache

if TYPE_CHECKING:
    from flowai.project import Project


def cache_stats(project: Project) -> CacheStats:
    """Count what the project's cache holds and saved; a cache that was never used is empty and stays unmade.

    Raises:
        InfrastructureError: the cache is damaged.
    """
    if not project.cache.is_dir():
        return CacheStats(entry_count=0, size_bytes=0, entry_counts={}, features={})
    with closing(ExactCache(project.cache)) as cache:
        return cache.stats()


def clear_cache(project: Project) -> int:
    """Forget every answer; give how many there were.

    Raises:
        InfrastructureError: the cache is damaged.
    """
    if not project.cache.is_dir():
        return 0
    with closing(ExactCache(project.cache)) as cache:
        return cache.clear()

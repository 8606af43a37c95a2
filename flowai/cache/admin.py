"""Statistics and clearing of a project's caches, on disk and on the Redis of its registry, for `flowai cache`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from flowai.cache.exact import EXACT_FILE, ExactCache
from flowai.cache.redis_store import clear_redis, is_redis, redis_stats
from flowai.cache.sqlite_vectors import SEMANTIC_FILE, clear_disk_vectors, disk_vector_stats
from flowai.cache.stats import CacheStats
from flowai.errors import InfrastructureError
from flowai.registry import cache_address, environment_of, load_registry
from flowai.state.urls import shown_address
from flowai.storage.sqlite_files import delete_database

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from flowai.project import Project
    from flowai.registry.records import CachePolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Caches:
    """Caches of a project."""

    project: Project
    """Its files hold the caches of evaluations, and the gateway's where there is no Redis."""
    redis_url: str | None
    """The Redis of the registry's `cache.url`, or of its `state`."""
    policies: Mapping[str, CachePolicy] = field(default_factory=dict)
    """Caches of the registry's features."""

    @property
    def redis_shown(self) -> str:
        """The Redis URL without its password."""
        return "" if self.redis_url is None else shown_address(self.redis_url)


def find_caches(project: Project, *, env: str | None, environ: Mapping[str, str]) -> Caches:
    """Return a project's caches. Raises ProjectError if the registry is wrong or names a variable that is not set."""
    if project.is_standalone:
        return Caches(project=project, redis_url=None)
    variables = environment_of(project, environ)
    registry = load_registry(project, env=env, environ=variables)
    address = cache_address(registry, variables)
    return Caches(
        project=project,
        redis_url=address if is_redis(address) else None,
        policies={name: feature.cache for name, feature in registry.features.items()},
    )


def cache_stats(caches: Caches) -> tuple[CacheStats, ...]:
    """Count entries and savings of each cache; a cache that was never used is empty and is not created.

    Exact and semantic on disk, then both on Redis, if there is one; an unreachable Redis is reported in `error`.
    """
    directory = caches.project.cache
    exact = CacheStats()
    if (directory / EXACT_FILE).is_file():
        with closing(ExactCache(directory)) as cache:
            exact = cache.stats()
    stats = (exact, disk_vector_stats(directory / SEMANTIC_FILE))
    if caches.redis_url is None:
        return stats
    import asyncio  # needed only for Redis

    try:
        return (*stats, *asyncio.run(redis_stats(caches.redis_url)))
    except InfrastructureError as error:
        unreachable = (
            CacheStats(cache=kind, store="redis", size_bytes=None, error=str(error)) for kind in ("exact", "semantic")
        )
        return (*stats, *unreachable)


def clear_caches(caches: Caches, *, feature: str | None = None) -> int:
    """Delete all answers, counts and comparisons, or those of a feature; return the number of answers.

    A damaged or refused file is deleted, and its answers do not count. If a cache cannot be cleared, those before it
    are.
    """
    directory = caches.project.cache
    count = _clear_file(directory / SEMANTIC_FILE, partial(clear_disk_vectors, feature=feature))
    count += _clear_file(directory / EXACT_FILE, partial(_clear_exact, feature=feature))
    if caches.redis_url is not None:
        import asyncio  # as above

        count += asyncio.run(clear_redis(caches.redis_url, feature=feature))
    return count


def _clear_exact(file: Path, *, feature: str | None) -> int:
    with closing(ExactCache(file.parent)) as cache:
        return cache.clear(feature=feature)


def _clear_file(file: Path, clear: Callable[[Path], int]) -> int:
    if not file.is_file() and not file.is_symlink():
        return 0
    try:
        return clear(file)
    except InfrastructureError as error:
        is_in_use = isinstance(error.__cause__, (sqlite3.OperationalError, OSError))
        if is_in_use or file.parent.is_symlink():
            raise
        delete_database(file)
        return 0

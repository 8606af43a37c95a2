"""What `flowai cache` does: counts and empties the caches of a project, on disk and on the Redis its registry names."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.cache.exact import ExactCache
from flowai.cache.sqlite_vectors import SEMANTIC_FILE, clear_disk_vectors, disk_vector_stats
from flowai.cache.stats import CacheStats
from flowai.errors import InfrastructureError
from flowai.registry import environment_of, load_registry
from flowai.registry.environment import fill
from flowai.state.urls import REDIS_SCHEMES, scheme_of, shown_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.project import Project


@dataclass(frozen=True, kw_only=True, slots=True)
class Caches:
    """Which caches a project has."""

    project: Project
    """Its files hold what evaluations keep, and what the gateway keeps where there is no Redis."""
    redis_url: str | None
    """The Redis that the registry's `state` names; None for none."""

    @property
    def redis_shown(self) -> str:
        """The Redis without its password."""
        return "" if self.redis_url is None else shown_address(self.redis_url)


def find_caches(project: Project, *, env: str | None, environ: Mapping[str, str]) -> Caches:
    """Look up which caches a project has.

    Raises:
        ProjectError: the registry is wrong, or names a variable that is not set.
        UsageError: there is no such environment.
    """
    variables = environment_of(project, environ)
    state = fill(load_registry(project, env=env, environ=variables).state, variables, owner="`state`")
    return Caches(project=project, redis_url=state if scheme_of(state) in REDIS_SCHEMES else None)


def cache_stats(caches: Caches) -> tuple[CacheStats, ...]:
    """Count what each cache holds and saved; one that was never used is empty and stays unmade.

    Returns:
        Exact and semantic on disk, then both on Redis where there is one; a Redis that is away says so in `error`.

    Raises:
        InfrastructureError: a file is damaged.
    """
    directory = caches.project.cache
    exact = CacheStats()
    if (directory / "cache.db").is_file():
        with closing(ExactCache(directory)) as cache:
            exact = cache.stats()
    found = (exact, disk_vector_stats(directory / SEMANTIC_FILE))
    if caches.redis_url is None:
        return found
    import asyncio  # only where there is a Redis to ask

    from flowai.cache.redis_store import redis_stats  # as above

    try:
        return (*found, *asyncio.run(redis_stats(caches.redis_url)))
    except InfrastructureError as error:
        away = (
            CacheStats(cache=kind, store="redis", size_bytes=None, error=str(error)) for kind in ("exact", "semantic")
        )
        return (*found, *away)


def clear_caches(caches: Caches) -> int:
    """Forget every answer and every count, everywhere; give how many answers there were.

    Raises:
        InfrastructureError: a file is damaged, or the Redis is away; what could be emptied before is empty.
    """
    directory = caches.project.cache
    count = clear_disk_vectors(directory / SEMANTIC_FILE)
    if (directory / "cache.db").is_file():
        with closing(ExactCache(directory)) as cache:
            count += cache.clear()
    if caches.redis_url is not None:
        import asyncio  # as above

        from flowai.cache.redis_store import clear_redis  # as above

        count += asyncio.run(clear_redis(caches.redis_url))
    return count

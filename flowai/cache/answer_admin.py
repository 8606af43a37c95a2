"""Single cached answers and their comparisons, for `flowai cache show`, `clear --key`, `review` and `stats`."""

from __future__ import annotations

from contextlib import aclosing, closing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from flowai.cache.exact import EXACT_FILE, ExactCache
from flowai.cache.redis_store import RedisExactStore, open_redis
from flowai.cache.redis_vectors import RedisVectors, redis_answer
from flowai.cache.shadow.redis_comparisons import all_comparisons, record_comparison
from flowai.cache.shadow.serving import evidence_of
from flowai.cache.sqlite_vectors import (
    SEMANTIC_FILE,
    DiskVectors,
    clear_disk_vectors,
    disk_answer,
    disk_comparisons,
)
from flowai.cache.stats import CacheKind, Store
from flowai.errors import UsageError
from flowai.providers import Completion
from flowai.registry.records import CachePolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from flowai.cache.admin import Caches
    from flowai.cache.shadow.comparison import AnswerComparison, Outcome, Route
    from flowai.state.redis_connection import RedisConnection

T = TypeVar("T")

_SERVED_ROUTES: tuple[Route, ...] = ("threshold", "learnt")


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Cached answer in one store."""

    key: str
    cache: CacheKind
    store: Store
    text: str | None
    """Text that it answers; None in the exact cache, which keeps only a hash of the request."""
    completion: Completion


class SimilarRequests(msgspec.Struct, frozen=True, kw_only=True):
    """Similar requests of one prompt, and how often their cached answers were wrong."""

    feature: str
    scope: str
    """`feature/` and 64 hex digits over prompt, model and parameters."""
    route: str
    """`threshold`, or `learnt` for requests above an entry's own threshold."""
    mode: str
    """The feature's mode: `shadow` or `serve`."""
    is_serving: bool
    """Cached answers are returned."""
    max_rate: float
    """The feature's `max_false_hits`, as a share."""
    comparison_count: int
    """Would-be hits whose answer was compared with the model's."""
    equal_count: int
    same_count: int
    different_count: int
    undecided_count: int
    """Unequal answers that were not judged."""
    rate: float | None
    """Measured false-hit rate, as a share; None if nothing was judged."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of its 95 % interval."""
    would_save_usd: float
    """US dollars that the compared hits would have saved, where the price is known."""


def find_answers(caches: Caches, key: str) -> tuple[CachedAnswer, ...]:
    """Return the stored answers of a key, of each cache."""
    directory = caches.project.cache
    found: list[CachedAnswer] = []
    if (directory / EXACT_FILE).is_file():
        with closing(ExactCache(directory)) as cache:
            completion = cache.read(key)
        if completion is not None:
            found.append(CachedAnswer(key=key, cache="exact", store="disk", text=None, completion=completion))
    similar = disk_answer(directory / SEMANTIC_FILE, key)
    if similar is not None:
        found.append(CachedAnswer(key=key, cache="semantic", store="disk", text=similar[0], completion=similar[1]))

    async def find(connection: RedisConnection) -> list[CachedAnswer]:
        exact, semantic = await RedisExactStore(connection).get(key), await redis_answer(connection, key)
        return [
            CachedAnswer(key=key, cache=cache, store="redis", text=text, completion=completion)
            for cache, text, completion in (("exact", None, exact), ("semantic", *(semantic or (None, None))))
            if completion is not None
        ]

    nothing: list[CachedAnswer] = []
    return (*found, *_on_redis(caches, find, nothing))


def forget_answer(caches: Caches, key: str) -> int:
    """Delete the answer of a key from all caches; return the number of stores that had it."""
    count = len(find_answers(caches, key))
    directory = caches.project.cache
    if (directory / EXACT_FILE).is_file():
        with closing(ExactCache(directory)) as cache:
            cache.forget(key).result()
    clear_disk_vectors(directory / SEMANTIC_FILE, key=key)

    async def forget(connection: RedisConnection) -> None:
        await RedisExactStore(connection).forget(key)
        await RedisVectors(connection).forget(key)

    _on_redis(caches, forget, None)
    return count


def answer_key(key: str, feature: str | None) -> str:
    """Return the full key, `FEATURE/HEX`. Raises UsageError if the feature is missing or another."""
    own, has_feature, rest = key.rpartition("/")
    if not has_feature and feature is None:
        raise UsageError(
            f"the key `{key}` names no feature",
            hint="`--feature NAME`, or the key as `flowai calls show` shows it",
        )
    if has_feature and feature not in {None, own}:
        raise UsageError(f"the key `{key}` is not of the feature `{feature}`")
    return f"{own or feature}/{rest}"


def find_comparisons(caches: Caches) -> list[AnswerComparison]:
    """Return all comparisons with the texts that are still kept, oldest first."""
    on_disk = disk_comparisons(caches.project.cache / SEMANTIC_FILE)
    nothing: list[AnswerComparison] = []
    return sorted([*on_disk, *_on_redis(caches, all_comparisons, nothing)], key=lambda comparison: comparison.at_s)


def decide_comparisons(caches: Caches, outcomes: Mapping[str, Outcome]) -> list[AnswerComparison]:
    """Store decisions by call id. Raises UsageError if a call has no comparison."""

    def decided(comparisons: Iterable[AnswerComparison]) -> list[AnswerComparison]:
        return [
            msgspec.structs.replace(each, outcome=outcomes[each.call_id], texts=None)
            for each in comparisons
            if each.call_id in outcomes
        ]

    file = caches.project.cache / SEMANTIC_FILE
    on_disk = decided(disk_comparisons(file))
    if on_disk:
        with closing(DiskVectors(file)) as vectors:
            vectors.write([partial(vectors.record, each, 0.0) for each in on_disk])

    async def record(connection: RedisConnection) -> list[AnswerComparison]:
        found = decided(await all_comparisons(connection))
        for each in found:
            await record_comparison(connection, each, ttl_s=0.0)
        return found

    nothing: list[AnswerComparison] = []
    stored = [*on_disk, *_on_redis(caches, record, nothing)]
    missing = sorted(set(outcomes) - {each.call_id for each in stored})
    if missing:
        raise UsageError(f"no comparison of the call `{missing[0]}`", hint="`flowai cache review` lists the open ones")
    return stored


def similar_requests(caches: Caches) -> tuple[SimilarRequests, ...]:
    """Measure how often cached answers to similar requests were wrong, by prompt."""
    by_scope: dict[str, list[AnswerComparison]] = {}
    for comparison in find_comparisons(caches):
        by_scope.setdefault(comparison.scope, []).append(comparison)
    return tuple(
        _similar_requests(comparisons, route, caches.policies.get(comparisons[0].feature, CachePolicy()))
        for _, comparisons in sorted(by_scope.items())
        for route in _SERVED_ROUTES
        if any(comparison.route == route for comparison in comparisons)
    )


def _similar_requests(comparisons: Sequence[AnswerComparison], route: Route, policy: CachePolicy) -> SimilarRequests:
    max_rate = policy.max_false_hit_rate
    evidence = evidence_of(comparisons, route, max_rate)
    interval = evidence.interval(max_rate)
    return SimilarRequests(
        feature=comparisons[0].feature,
        scope=comparisons[0].scope,
        route=route,
        mode=policy.mode,
        is_serving=policy.mode == "serve" and interval.high <= max_rate,
        max_rate=max_rate,
        comparison_count=evidence.total,
        equal_count=evidence.equal_count,
        same_count=evidence.same_count,
        different_count=evidence.different_count,
        undecided_count=evidence.undecided_count,
        rate=interval.estimate,
        low=interval.low,
        high=interval.high,
        would_save_usd=sum(comparison.cost_usd for comparison in comparisons if comparison.route == route),
    )


def _on_redis(caches: Caches, work: Callable[[RedisConnection], Awaitable[T]], otherwise: T) -> T:
    """Run work on the caches' Redis; return `otherwise` without one."""
    url = caches.redis_url
    if url is None:
        return otherwise

    import asyncio  # needed only for Redis

    async def run() -> T:
        async with aclosing(open_redis(url)) as connection:
            return await work(connection)

    return asyncio.run(run())

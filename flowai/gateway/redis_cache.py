"""The exact cache on Redis, and the one connection that both caches share.

In: keys and completions. Out: completions, and what the caches hold. Must never know which calls are cached.

Keys:
    flowai:cache:answer:FEATURE/KEY          JSON of a completion; goes when its time to live ends
    flowai:cache:usage:KIND:FEATURE          hash: what `Usage` counts
    flowai:cache:semantic:...                see `redis_vectors`
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from flowai.calls import Completion
from flowai.errors import InfrastructureError
from flowai.gateway.cache_usage import CacheStats, Usage, stats_of
from flowai.state.address import REDIS_SCHEMES, redis_host, scheme_of, shown_address, without_password

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from redis.asyncio import Redis

    from flowai.gateway.cache_usage import CacheKind

T = TypeVar("T")

PREFIX = "flowai:cache:"
_ANSWER = PREFIX + "answer:"
_USAGE = PREFIX + "usage:"
SEMANTIC_VALUE = PREFIX + "semantic:value:"

_LIMIT_S = 0.25  # an answer that takes longer is worth little: a model is asked instead
_PAUSE_S = 1.0
_CONNECTION_COUNT = 16
_SCAN_COUNT = 1000


def is_redis(named_state: str) -> bool:
    """Whether the registry's `state` names a Redis."""
    return scheme_of(named_state) in REDIS_SCHEMES


class RedisLink:
    """The connections to one Redis. While it is away, nobody waits for it: one attempt per second is made.

    Args:
        redis: the library's client; connects at the first use.
        url: its address, for messages without the password.
        clock_s: a clock that never goes back, seconds.
    """

    def __init__(self, redis: Redis, url: str, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        from redis.exceptions import RedisError, ResponseError

        self._redis = redis
        self._url = url
        self._clock_s = clock_s
        self._refusals = (ResponseError,)
        self._failures = (RedisError, OSError)  # a TimeoutError is an OSError
        self._away: str | None = None
        self._try_at_s = 0.0

    async def run(self, work: Callable[[Redis], Awaitable[T]]) -> T:
        """Ask Redis something.

        Raises:
            InfrastructureError: it is away, slow, or refuses.
        """
        if self._away is not None:
            if self._clock_s() < self._try_at_s:
                raise InfrastructureError(self._away)
            self._try_at_s = self._clock_s() + _PAUSE_S
        try:
            async with asyncio.timeout(_LIMIT_S):
                found = await work(self._redis)
        except self._refusals as error:  # it is there, and full or forbids this: other questions may be answered
            raise InfrastructureError(
                f"the cache at `{shown_address(self._url)}` refused: {self._said(error)}"
            ) from None
        except self._failures as error:
            said = self._said(error) or f"no answer within {_LIMIT_S} s"
            self._away = f"the cache at `{shown_address(self._url)}` is away: {said}"
            self._try_at_s = self._clock_s() + _PAUSE_S
            raise InfrastructureError(self._away) from None  # the library's error may quote the password
        self._away = None
        return found

    def _said(self, error: Exception) -> str:
        return without_password(str(error), self._url)

    async def aclose(self) -> None:
        """Close the connections; may be called twice."""
        await self._redis.aclose()


def open_link(url: str) -> RedisLink:
    """Open connections to a Redis; none is made before the first use.

    Args:
        url: `redis://` or `rediss://`.

    Raises:
        InfrastructureError: the extra `redis` is not installed, or the address cannot be read.
    """
    try:
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as AwayError
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise InfrastructureError("the Redis client is not installed", hint="pip install 'flowai[redis]'") from None
    try:
        redis_host(url)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTION_COUNT,
            timeout=_LIMIT_S,
            socket_connect_timeout=_LIMIT_S,
            socket_timeout=_LIMIT_S,
            # once more and at once: after a restart every kept connection fails once
            retry=Retry(NoBackoff(), 1, supported_errors=(AwayError,)),
            protocol=2,
            driver_info=None,
        )
        pool.connection_class(**pool.connection_kwargs)  # what it does not take shows only here
    except (TypeError, ValueError):
        raise InfrastructureError(f"`{shown_address(url)}` is no address of a Redis") from None
    return RedisLink(Redis.from_pool(pool), url)


class RedisExactStore:
    """The exact cache on Redis.

    Args:
        link: the connections; closed with the store.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._decoder = msgspec.json.Decoder(Completion)

    async def get(self, key: str) -> Completion | None:
        """See `ExactStore`."""
        data = await self._link.run(lambda redis: redis.get(_ANSWER + key))
        try:
            return None if data is None else self._decoder.decode(data)
        except msgspec.DecodeError:  # written by another version: as good as absent
            return None

    async def put(self, key: str, completion: Completion, *, ttl_s: float) -> None:
        """See `ExactStore`."""
        data = msgspec.json.encode(completion)
        await self._link.run(lambda redis: redis.set(_ANSWER + key, data, px=milliseconds(ttl_s)))

    async def add_usage(self, features: Mapping[str, Usage]) -> None:
        """See `ExactStore`."""
        await add_usage(self._link, "exact", features)

    async def aclose(self) -> None:
        """See `ExactStore`."""
        await self._link.aclose()


def milliseconds(ttl_s: float) -> int:
    """Give a time to live as Redis counts it: whole milliseconds, at least one."""
    return max(1, round(ttl_s * 1000))


async def add_usage(link: RedisLink, cache: CacheKind, features: Mapping[str, Usage]) -> None:
    """Add to what each feature asked of a cache.

    Raises:
        InfrastructureError: Redis is away.
    """

    async def add(redis: Redis) -> None:
        pipeline = redis.pipeline(transaction=True)
        for feature, more in features.items():
            key = f"{_USAGE}{cache}:{feature}"
            for field, amount in msgspec.structs.asdict(more).items():
                if amount:
                    pipeline.hincrbyfloat(key, field, amount)
        await pipeline.execute()

    await link.run(add)


async def redis_stats(url: str) -> tuple[CacheStats, CacheStats]:
    """Count what both caches hold on a Redis and what they saved: the exact one, then the semantic one.

    Raises:
        InfrastructureError: Redis is away, or the extra is not installed.
    """
    link = open_link(url)
    try:
        return (
            await _stats(link, "exact", _ANSWER),
            await _stats(link, "semantic", SEMANTIC_VALUE),
        )
    finally:
        await link.aclose()


async def clear_redis(url: str) -> int:
    """Forget every answer and every count of both caches; give the number of answers forgotten.

    Raises:
        InfrastructureError: Redis is away, or the extra is not installed.
    """
    link = open_link(url)
    try:
        count = 0
        for key in await _keys(link, PREFIX):
            await link.run(lambda redis, key=key: redis.unlink(key))  # type: ignore[misc] # a default binds the loop's value
            count += key.startswith((_ANSWER, SEMANTIC_VALUE))
        return count
    finally:
        await link.aclose()


async def _stats(link: RedisLink, cache: CacheKind, prefix: str) -> CacheStats:
    entry_counts: dict[str, int] = {}
    for key in await _keys(link, prefix):
        feature = key.removeprefix(prefix).partition("/")[0]
        entry_counts[feature] = entry_counts.get(feature, 0) + 1
    features = {}
    usage_prefix = f"{_USAGE}{cache}:"
    for key in await _keys(link, usage_prefix):
        fields: dict[bytes, bytes] = await link.run(lambda redis, key=key: redis.hgetall(key))  # type: ignore[misc] # as above
        features[key.removeprefix(usage_prefix)] = _usage(
            {name.decode(): float(value) for name, value in fields.items()}
        )
    return stats_of(cache, "redis", size_bytes=None, entry_counts=entry_counts, features=features)


def _usage(fields: dict[str, float]) -> Usage:
    return Usage(
        hit_count=round(fields.get("hit_count", 0)),
        miss_count=round(fields.get("miss_count", 0)),
        saved_tokens=round(fields.get("saved_tokens", 0)),
        saved_usd=fields.get("saved_usd", 0.0),
        saved_s=fields.get("saved_s", 0.0),
    )


async def _keys(link: RedisLink, prefix: str) -> list[str]:
    """List keys, a thousand per question, so that a large Redis is never held up; SCAN may name one twice."""
    found: set[str] = set()
    cursor: Any = 0
    while True:
        cursor, keys = await link.run(
            lambda redis, cursor=cursor: redis.scan(cursor, match=_escaped(prefix) + "*", count=_SCAN_COUNT)  # type: ignore[misc] # as above
        )
        found.update(key.decode("utf-8", "replace") for key in keys)
        if not cursor:
            return sorted(found)


def _escaped(prefix: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]\\^" else character for character in prefix)

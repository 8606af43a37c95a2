"""The exact cache on Redis, and the connection of both caches.

Keys:
    flowai:cache:answer:FEATURE/KEY          JSON of a completion; expires
    flowai:cache:usage:KIND:FEATURE          hash: fields of `CacheUsage`
    flowai:cache:semantic:...                see `redis_vectors`
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.cache.stats import CacheStats, CacheUsage, stats_of
from flowai.errors import InfrastructureError
from flowai.providers import Completion
from flowai.state.urls import REDIS_SCHEMES, scheme_of, shown_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.cache.stats import CacheKind
    from flowai.state.redis_connection import Command, RedisConnection

PREFIX = "flowai:cache:"
_ANSWER = PREFIX + "answer:"
_USAGE = PREFIX + "usage:"
SEMANTIC_VALUE = PREFIX + "semantic:value:"
SEMANTIC_KEY = PREFIX + "semantic:key:"
COMPARISON_DATA = PREFIX + "comparison:data:"
COMPARISON_ORDER = PREFIX + "comparison:order:"

_PAUSE_S = 1.0
_SCAN_COUNT = 1000


def is_redis(address: str) -> bool:
    """Return whether the address of the caches is a Redis URL."""
    return scheme_of(address) in REDIS_SCHEMES


def open_redis(url: str) -> RedisConnection:
    """Return a connection that opens at its first use. Raises InfrastructureError without the extra `redis`."""
    try:
        from flowai.state.redis_connection import RedisConnection
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise InfrastructureError("the Redis client is not installed", hint="pip install 'flowai[redis]'") from None
    try:
        return RedisConnection(url, purpose="the cache", pause_s=_PAUSE_S)
    except ValueError:
        raise InfrastructureError(f"`{shown_address(url)}` is not a valid Redis URL") from None


class RedisExactStore:
    """The exact cache on Redis."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._decoder = msgspec.json.Decoder(Completion)

    async def get(self, key: str) -> Completion | None:
        """See `ExactStore`."""
        (data,) = await self._connection.run(("GET", _ANSWER + key))
        try:
            return None if data is None else self._decoder.decode(data)
        except msgspec.DecodeError:  # written by another version: counts as missing
            return None

    async def put(self, key: str, completion: Completion, *, ttl_s: float) -> None:
        """See `ExactStore`."""
        await self._connection.run(("SET", _ANSWER + key, msgspec.json.encode(completion), "PX", milliseconds(ttl_s)))

    async def forget(self, key: str) -> None:
        """See `ExactStore`."""
        await self._connection.run(("UNLINK", _ANSWER + key))

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """See `ExactStore`."""
        await add_usage(self._connection, "exact", features)

    async def aclose(self) -> None:
        """See `ExactStore`."""
        await self._connection.aclose()


def milliseconds(ttl_s: float) -> int:
    """Return a lifetime in Redis' unit: whole milliseconds, at least one."""
    return max(1, round(ttl_s * 1000))


async def add_usage(connection: RedisConnection, cache: CacheKind, features: Mapping[str, CacheUsage]) -> None:
    """Add to each feature's usage of a cache."""
    commands: list[Command] = [
        ("HINCRBYFLOAT", f"{_USAGE}{cache}:{feature}", field, amount)
        for feature, more in features.items()
        for field, amount in msgspec.structs.asdict(more).items()
        if amount
    ]
    await connection.run_transaction(*commands)


async def redis_stats(url: str) -> tuple[CacheStats, CacheStats]:
    """Count entries and savings of both caches on a Redis: the exact one, then the semantic one."""
    async with aclosing(open_redis(url)) as connection:
        return await _stats(connection, "exact", _ANSWER), await _stats(connection, "semantic", SEMANTIC_VALUE)


async def clear_redis(url: str, *, feature: str | None = None) -> int:
    """Delete all answers, counts and comparisons, or those of a feature; return the number of answers."""
    prefixes = [PREFIX]
    if feature is not None:
        of_feature = (_ANSWER, SEMANTIC_VALUE, SEMANTIC_KEY, COMPARISON_DATA, COMPARISON_ORDER)
        prefixes = [f"{prefix}{feature}/" for prefix in of_feature]
    async with aclosing(open_redis(url)) as connection:
        count = 0
        for prefix in prefixes:
            for key in await redis_keys(connection, prefix):
                await connection.run(("UNLINK", key))
                count += key.startswith((_ANSWER, SEMANTIC_VALUE))
        if feature is not None:
            await connection.run(*(("UNLINK", f"{_USAGE}{cache}:{feature}") for cache in ("exact", "semantic")))
        return count


async def _stats(connection: RedisConnection, cache: CacheKind, prefix: str) -> CacheStats:
    entry_counts: dict[str, int] = {}
    for key in await redis_keys(connection, prefix):
        feature = key.removeprefix(prefix).partition("/")[0]
        entry_counts[feature] = entry_counts.get(feature, 0) + 1
    features = {}
    usage_prefix = f"{_USAGE}{cache}:"
    for key in await redis_keys(connection, usage_prefix):
        (fields,) = await connection.run(("HGETALL", key))
        features[key.removeprefix(usage_prefix)] = _usage(
            {name.decode(): float(value) for name, value in zip(fields[::2], fields[1::2], strict=True)}
        )
    return stats_of(cache, "redis", size_bytes=None, entry_counts=entry_counts, features=features)


def _usage(fields: dict[str, float]) -> CacheUsage:
    return CacheUsage(
        hit_count=round(fields.get("hit_count", 0)),
        miss_count=round(fields.get("miss_count", 0)),
        saved_tokens=round(fields.get("saved_tokens", 0)),
        saved_usd=fields.get("saved_usd", 0.0),
        saved_s=fields.get("saved_s", 0.0),
    )


async def redis_keys(connection: RedisConnection, prefix: str) -> list[str]:
    """List keys, a thousand per command, so that a large Redis is never blocked; SCAN may return one twice."""
    names: set[str] = set()
    cursor: Any = 0
    while True:
        ((cursor, keys),) = await connection.run(
            ("SCAN", cursor, "MATCH", _escaped(prefix) + "*", "COUNT", _SCAN_COUNT)
        )
        names.update(key.decode("utf-8", "replace") for key in keys)
        if int(cursor) == 0:
            return sorted(names)


def _escaped(prefix: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]\\^" else character for character in prefix)

"""Comparisons on Redis.

Keys:
    flowai:cache:comparison:data:SCOPE       hash: call id -> JSON of a comparison
    flowai:cache:comparison:order:SCOPE      sorted set: call ids by time
    flowai:cache:comparison:texts:CALL_ID    JSON of its texts; expires with the cached answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.cache.redis_store import COMPARISON_DATA, COMPARISON_ORDER, PREFIX, milliseconds, redis_keys
from flowai.cache.shadow.comparison import MAX_AGE_S, MAX_COMPARISONS, AnswerComparison, ComparedTexts

if TYPE_CHECKING:
    from flowai.state.redis_connection import Command, RedisConnection

_TEXTS = PREFIX + "comparison:texts:"

_decoder = msgspec.json.Decoder(AnswerComparison)
_texts_decoder = msgspec.json.Decoder(ComparedTexts)


async def record_comparison(connection: RedisConnection, comparison: AnswerComparison, *, ttl_s: float) -> None:
    """Store a comparison in place of one of the same call, and drop what is too old or too much."""
    data, order = COMPARISON_DATA + comparison.scope, COMPARISON_ORDER + comparison.scope
    texts_key, texts = _TEXTS + comparison.call_id, comparison.texts
    encoded = msgspec.json.encode(msgspec.structs.replace(comparison, texts=None))
    texts_command: Command = ("UNLINK", texts_key)
    if texts is not None:
        texts_command = ("SET", texts_key, msgspec.json.encode(texts), "PX", milliseconds(ttl_s))
    await connection.run_transaction(
        ("HSET", data, comparison.call_id, encoded),
        ("ZADD", order, comparison.at_s, comparison.call_id),
        texts_command,
        ("PEXPIRE", data, milliseconds(MAX_AGE_S)),
        ("PEXPIRE", order, milliseconds(MAX_AGE_S)),
    )
    old, many = await connection.run(
        ("ZRANGEBYSCORE", order, "-inf", comparison.at_s - MAX_AGE_S), ("ZRANGE", order, 0, -MAX_COMPARISONS - 1)
    )
    dropped = [*old, *many]
    if dropped:
        await connection.run_transaction(("ZREM", order, *dropped), ("HDEL", data, *dropped))


async def comparisons_of(connection: RedisConnection, scope: str) -> list[AnswerComparison]:
    """Return the comparisons of a scope, oldest first, without texts."""
    (fields,) = await connection.run(("HVALS", COMPARISON_DATA + scope))
    found = []
    for data in fields:
        try:
            found.append(_decoder.decode(data))
        except msgspec.DecodeError:  # written by another version
            continue
    return sorted(found, key=lambda comparison: comparison.at_s)


async def all_comparisons(connection: RedisConnection) -> list[AnswerComparison]:
    """Return the comparisons of all scopes, with the texts that are still kept."""
    found: list[AnswerComparison] = []
    for key in await redis_keys(connection, COMPARISON_DATA):
        found += await comparisons_of(connection, key.removeprefix(COMPARISON_DATA))
    return [
        msgspec.structs.replace(comparison, texts=await _texts(connection, comparison.call_id))
        if comparison.outcome == "undecided"
        else comparison
        for comparison in found
    ]


async def _texts(connection: RedisConnection, call_id: str) -> ComparedTexts | None:
    (data,) = await connection.run(("GET", _TEXTS + call_id))
    try:
        return None if data is None else _texts_decoder.decode(data)
    except msgspec.DecodeError:  # as above
        return None

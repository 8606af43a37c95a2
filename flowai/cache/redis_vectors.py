"""The semantic cache on Redis: vector sets where the server has them (Redis 8), otherwise vectors searched in process.

Keys, by partition:
    flowai:cache:semantic:value:FEATURE/ID   JSON of the text and its answer; expires
    flowai:cache:semantic:key:KEY            name of the value with this key of the exact cache; expires
    flowai:cache:semantic:set:PARTITION      vector set: unit vectors, unquantised, under the names of their values
    flowai:cache:semantic:list:PARTITION     stream (before Redis 8): the same, oldest first; each process reads
                                             the entries that are new to it

A vector whose value has expired matches nothing. The ID is a hash of partition and text, so that a text has one answer.

Source: redis.io/docs/latest/commands/vsim: a vector set's score is (1 + cosine) / 2; ours is the cosine.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from flowai.cache.redis_store import PREFIX, SEMANTIC_KEY, SEMANTIC_VALUE, add_usage, milliseconds
from flowai.cache.shadow.redis_comparisons import comparisons_of, record_comparison
from flowai.cache.vector_store import MAX_ENTRIES, MAX_NEIGHBOURS, CachedValue, CacheEntry, Neighbour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.cache.shadow.comparison import AnswerComparison
    from flowai.cache.stats import CacheUsage
    from flowai.cache.vector_math import VectorTable
    from flowai.providers import Completion
    from flowai.state.redis_connection import Command, RedisConnection

_SET = PREFIX + "semantic:set:"
_LIST = PREFIX + "semantic:list:"
_READ_COUNT = 1000
_HNSW_CANDIDATES = 200  # HNSW candidates: nearly always finds the true nearest among tens of thousands
_MAX_SEARCHES = 4  # searches without the expired entries found before


class RedisVectors:
    """Answers on Redis, shared by processes and machines.

    Above `max_entries` (>= 1) vectors in one partition, each new one evicts another.
    """

    def __init__(self, connection: RedisConnection, *, max_entries: int = MAX_ENTRIES) -> None:
        self._connection = connection
        self._max_entries = max_entries
        self._index: _VectorSets | _ListVectors | None = None
        self._decoder = msgspec.json.Decoder(CachedValue)

    async def nearest(self, partition: str, vector: bytes, *, above: float) -> Sequence[Neighbour]:
        """See `VectorStore`."""
        backend = await self._backend()
        for _ in range(_MAX_SEARCHES):
            candidates = await backend.candidates(partition, vector, above)
            values = await self._values(partition, [name for name, _ in candidates])
            expired = [name for name, _ in candidates if name not in values]
            if not expired:
                return [
                    Neighbour(
                        similarity=similarity,
                        key=values[name].key,
                        text=values[name].text,
                        completion=values[name].completion,
                    )
                    for name, similarity in candidates
                ]
            await backend.drop(partition, expired)
        return []

    async def add(self, entry: CacheEntry) -> None:
        """See `VectorStore`."""
        backend = await self._backend()
        text = entry.text.encode("utf-8", "replace")
        name = f"{entry.feature}/{hashlib.sha256(entry.partition.encode() + text).hexdigest()}"
        data = msgspec.json.encode(
            CachedValue(partition=entry.partition, key=entry.key, text=text.decode(), completion=entry.completion)
        )
        await backend.add(name, data, entry)
        if entry.key:
            await self._connection.run(("SET", SEMANTIC_KEY + entry.key, name, "PX", milliseconds(entry.ttl_s)))

    async def forget(self, key: str) -> None:
        """See `VectorStore`; the vector goes when a search finds no value."""
        (name,) = await self._connection.run(("GET", SEMANTIC_KEY + key))
        if name is not None:
            await self._connection.run(("UNLINK", SEMANTIC_VALUE + name.decode(), SEMANTIC_KEY + key))

    async def record(self, comparison: AnswerComparison, *, ttl_s: float) -> None:
        """See `VectorStore`."""
        await record_comparison(self._connection, comparison, ttl_s=ttl_s)

    async def comparisons(self, scope: str) -> Sequence[AnswerComparison]:
        """See `VectorStore`."""
        return await comparisons_of(self._connection, scope)

    async def warm_up(self) -> None:
        """See `VectorStore`."""
        await self._backend()

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """See `VectorStore`."""
        await add_usage(self._connection, "semantic", features)

    async def aclose(self) -> None:
        """See `VectorStore`."""
        await self._connection.aclose()

    async def _backend(self) -> _VectorSets | _ListVectors:
        """Return the search backend, after asking the server once whether it supports vector sets."""
        if self._index is None:
            kind = _VectorSets if await _has_vector_sets(self._connection) else _ListVectors
            self._index = kind(self._connection, self._max_entries)
        return self._index

    async def _values(self, partition: str, names: list[str]) -> dict[str, CachedValue]:
        if not names:
            return {}
        (found,) = await self._connection.run(("MGET", *(SEMANTIC_VALUE + name for name in names)))
        values = {}
        for name, data in zip(names, found, strict=True):
            try:
                value = None if data is None else self._decoder.decode(data)
            except msgspec.DecodeError:  # written by another version: counts as missing
                continue
            if value is not None and value.partition == partition:
                values[name] = value
        return values


async def redis_answer(connection: RedisConnection, key: str) -> tuple[str, Completion] | None:
    """Return the text and the answer of a key; None without one."""
    (name,) = await connection.run(("GET", SEMANTIC_KEY + key))
    if name is None:
        return None
    (data,) = await connection.run(("GET", SEMANTIC_VALUE + name.decode()))
    try:
        value = None if data is None else msgspec.json.decode(data, type=CachedValue)
    except msgspec.DecodeError:  # written by another version
        return None
    return None if value is None else (value.text, value.completion)


async def _has_vector_sets(connection: RedisConnection) -> bool:
    (reply,) = await connection.send(("VCARD", _SET + "none"))
    return not isinstance(reply, Exception)  # unknown command, or not allowed for this user


class _VectorSets:
    """Redis 8: the server searches."""

    def __init__(self, connection: RedisConnection, max_entries: int) -> None:
        self._connection = connection
        self._max_entries = max_entries

    async def candidates(self, partition: str, vector: bytes, above: float) -> list[tuple[str, float]]:
        """Return names and similarities above the limit, most similar first."""
        options = ("FP32", vector, "WITHSCORES", "COUNT", MAX_NEIGHBOURS, "EF", _HNSW_CANDIDATES)
        (reply,) = await self._connection.send(("VSIM", _SET + partition, *options))
        if isinstance(reply, Exception) and "dimension" in str(reply).lower():
            return []  # vectors of another model under the same name: none is near
        found = self._connection.check_reply(reply)
        scores = zip(found[::2], found[1::2], strict=True)
        pairs = [(name.decode(), min(max(2 * float(score) - 1, 0.0), 1.0)) for name, score in scores]
        return [(name, similarity) for name, similarity in pairs if similarity > above]

    async def add(self, name: str, data: bytes, entry: CacheEntry) -> None:
        """Store value and vector in one transaction."""
        key = _SET + entry.partition
        ttl_ms = milliseconds(entry.ttl_s)

        *_, entry_count = await self._connection.run_transaction(
            ("SET", SEMANTIC_VALUE + name, data, "PX", ttl_ms),
            ("VADD", key, "FP32", entry.vector, name, "NOQUANT"),
            *_match_expiry(key, ttl_ms),
            ("VCARD", key),
        )
        if entry_count > self._max_entries:
            await self._drop_any(key, but=name)

    async def drop(self, partition: str, names: list[str]) -> None:
        """Delete vectors whose values have expired."""
        await self._connection.run(*(("VREM", _SET + partition, name) for name in names))

    async def _drop_any(self, key: str, *, but: str) -> None:
        """Delete any vector but the newest: a vector set has no order."""
        (names,) = await self._connection.run(("VRANDMEMBER", key, 2))
        for name in names:
            if name.decode() != but:
                await self._connection.run(("VREM", key, name), ("UNLINK", SEMANTIC_VALUE + name.decode()))
                return


def _match_expiry(key: str, ttl_ms: int) -> tuple[Command, Command]:
    """Return the commands that keep a partition's vectors as long as its longest-lived answer."""
    return ("PEXPIRE", key, ttl_ms, "NX"), ("PEXPIRE", key, ttl_ms, "GT")


class _ListVectors:
    """Before Redis 8: each process reads the vectors once and searches them.

    `max_entries` also limits the vectors of all partitions that this process has read.
    """

    def __init__(self, connection: RedisConnection, max_entries: int) -> None:
        self._connection = connection
        self._max_entries = max_entries
        self._reads: OrderedDict[str, _ReadPosition] = OrderedDict()

    async def candidates(self, partition: str, vector: bytes, above: float) -> list[tuple[str, float]]:
        """Return names and similarities above the limit, most similar first."""
        from flowai.cache.vector_math import FLOAT_BYTES, VectorTable  # numpy only for searches

        read = self._reads.get(partition)
        if read is None or len(read.table) > 2 * self._max_entries:  # expired entries make up half of it
            read = _ReadPosition(VectorTable(len(vector) // FLOAT_BYTES))
            self._reads[partition] = read
        self._reads.move_to_end(partition)
        await self._read_new(partition, read)
        while len(self._reads) > 1 and sum(len(each.table) for each in self._reads.values()) > self._max_entries:
            self._reads.popitem(last=False)
        found = read.table.nearest(vector, above=above, max_count=MAX_NEIGHBOURS)
        best: dict[str, float] = {}
        for number, similarity in found:  # a text that was stored twice is in the list twice
            best.setdefault(read.names[number], similarity)
        return list(best.items())

    async def add(self, name: str, data: bytes, entry: CacheEntry) -> None:
        """Store value and vector in one transaction."""
        key = _LIST + entry.partition
        ttl_ms = milliseconds(entry.ttl_s)

        await self._connection.run_transaction(
            ("SET", SEMANTIC_VALUE + name, data, "PX", ttl_ms),
            ("XADD", key, "MAXLEN", "~", self._max_entries, "*", "name", name, "vector", entry.vector),
            *_match_expiry(key, ttl_ms),
        )

    async def drop(self, partition: str, names: list[str]) -> None:
        """Delete vectors whose values have expired, in this process; the list evicts its oldest itself."""
        read = self._reads.get(partition)
        if read is not None:
            expired = {number for number, name in read.names.items() if name in names}
            read.table.drop(expired)
            for number in expired:
                del read.names[number]

    async def _read_new(self, partition: str, read: _ReadPosition) -> None:
        while True:
            after = f"({read.newest}" if read.newest else "-"
            (rows,) = await self._connection.run(("XRANGE", _LIST + partition, after, "+", "COUNT", _READ_COUNT))
            for at, pairs in rows:
                fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
                if at.decode() == read.newest or b"name" not in fields or b"vector" not in fields:
                    continue
                read.newest = at.decode()
                read.count += 1
                read.table.add(read.count, fields[b"vector"])
                read.names[read.count] = fields[b"name"].decode()
            if len(rows) < _READ_COUNT:
                return


class _ReadPosition:
    """Entries of a partition's list that this process has read."""

    __slots__ = ("count", "names", "newest", "table")

    def __init__(self, table: VectorTable) -> None:
        self.table = table
        self.names: dict[int, str] = {}
        self.newest = ""
        self.count = 0

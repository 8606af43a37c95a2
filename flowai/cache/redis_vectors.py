"""The semantic cache on Redis: vector sets where the server has them (Redis 8), else vectors searched in process.

Keys, by partition:
    flowai:cache:semantic:value:FEATURE/ID   JSON of the text and its answer; goes when its time to live ends
    flowai:cache:semantic:set:PARTITION      vector set: unit vectors, unquantised, under the names of their values
    flowai:cache:semantic:list:PARTITION     stream (before Redis 8): the same, oldest first; each process reads on
                                             from what it has read

A vector whose value has gone finds nothing: an expired answer is never given. The ID is a hash of partition and text,
so that the same text has one answer.

Source: redis.io/docs/latest/commands/vsim: a vector set's score is (1 + cosine) / 2; ours is the cosine itself.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from flowai.cache.redis_store import PREFIX, SEMANTIC_VALUE, add_usage, milliseconds
from flowai.cache.vector_store import MAX_ENTRIES, MAX_NEIGHBOURS, CachedValue, CacheEntry, Neighbour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.cache.stats import CacheUsage
    from flowai.cache.vector_math import VectorTable
    from flowai.state.redis_connection import Command, RedisConnection

_SET = PREFIX + "semantic:set:"
_LIST = PREFIX + "semantic:list:"
_READ_COUNT = 1000
_EXPLORED_COUNT = 200  # of HNSW's candidates: nearly always the true nearest among tens of thousands
_SEARCHES_COUNT = 4  # how often a search goes on without the dead it has met


class RedisVectors:
    """Answers on Redis, shared by processes and machines.

    Args:
        connection: the exact cache has it too.
        most_entries_count: vectors of one partition; above it one goes for each that comes, >= 1.
    """

    def __init__(self, connection: RedisConnection, *, most_entries_count: int = MAX_ENTRIES) -> None:
        self._connection = connection
        self._most_entries_count = most_entries_count
        self._ways: _VectorSets | _ListVectors | None = None
        self._decoder = msgspec.json.Decoder(CachedValue)

    async def nearest(self, partition: str, vector: bytes, *, above: float) -> Sequence[Neighbour]:
        """See `VectorStore`."""
        way = await self._backend()
        for _ in range(_SEARCHES_COUNT):
            candidates = await way.candidates(partition, vector, above)
            values = await self._values(partition, [name for name, _ in candidates])
            dead = [name for name, _ in candidates if name not in values]
            if not dead:
                return [
                    Neighbour(similarity=similarity, text=values[name].text, completion=values[name].completion)
                    for name, similarity in candidates
                ]
            await way.drop(partition, dead)
        return []

    async def add(self, entry: CacheEntry) -> None:
        """See `VectorStore`."""
        way = await self._backend()
        text = entry.text.encode("utf-8", "replace")
        name = f"{entry.feature}/{hashlib.sha256(entry.partition.encode() + text).hexdigest()}"
        data = msgspec.json.encode(
            CachedValue(partition=entry.partition, text=text.decode(), completion=entry.completion)
        )
        await way.add(name, data, entry)

    async def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """See `VectorStore`."""
        await add_usage(self._connection, "semantic", features)

    async def aclose(self) -> None:
        """See `VectorStore`."""
        await self._connection.aclose()

    async def _backend(self) -> _VectorSets | _ListVectors:
        """Ask the server once whether it knows vector sets."""
        if self._ways is None:
            kind = _VectorSets if await _has_vector_sets(self._connection) else _ListVectors
            self._ways = kind(self._connection, self._most_entries_count)
        return self._ways

    async def _values(self, partition: str, names: list[str]) -> dict[str, CachedValue]:
        if not names:
            return {}
        (found,) = await self._connection.run(("MGET", *(SEMANTIC_VALUE + name for name in names)))
        values = {}
        for name, data in zip(names, found, strict=True):
            try:
                value = None if data is None else self._decoder.decode(data)
            except msgspec.DecodeError:  # written by another version: as good as absent
                continue
            if value is not None and value.partition == partition:
                values[name] = value
        return values


async def _has_vector_sets(connection: RedisConnection) -> bool:
    (reply,) = await connection.ask(("VCARD", _SET + "none"))
    return not isinstance(reply, Exception)  # no such command, or not for this user


class _VectorSets:
    """Redis 8: the server searches.

    Args:
        connection: shared.
        most_entries_count: vectors of one partition.
    """

    def __init__(self, connection: RedisConnection, most_entries_count: int) -> None:
        self._connection = connection
        self._most_entries_count = most_entries_count

    async def candidates(self, partition: str, vector: bytes, above: float) -> list[tuple[str, float]]:
        """Give names and similarities above the limit, most similar first."""
        search_for = ("FP32", vector, "WITHSCORES", "COUNT", MAX_NEIGHBOURS, "EF", _EXPLORED_COUNT)
        (reply,) = await self._connection.ask(("VSIM", _SET + partition, *search_for))
        if isinstance(reply, Exception) and "dimension" in str(reply).lower():
            return []  # another model took the name of this one: near to none of them
        found = self._connection.accepted(reply)
        scores = zip(found[::2], found[1::2], strict=True)
        pairs = [(name.decode(), min(max(2 * float(score) - 1, 0.0), 1.0)) for name, score in scores]
        return [(name, similarity) for name, similarity in pairs if similarity > above]

    async def add(self, name: str, data: bytes, entry: CacheEntry) -> None:
        """Keep value and vector in one step."""
        key = _SET + entry.partition
        life = milliseconds(entry.ttl_s)

        *_, entry_count = await self._connection.run_transaction(
            ("SET", SEMANTIC_VALUE + name, data, "PX", life),
            ("VADD", key, "FP32", entry.vector, name, "NOQUANT"),
            *_match_expiry(key, life),
            ("VCARD", key),
        )
        if entry_count > self._most_entries_count:
            await self._drop_any(key, but=name)

    async def drop(self, partition: str, names: list[str]) -> None:
        """Forget vectors whose values have gone."""
        await self._connection.run(*(("VREM", _SET + partition, name) for name in names))

    async def _drop_any(self, key: str, *, but: str) -> None:
        """Forget one vector, any but the newest: a vector set knows no order."""
        (names,) = await self._connection.run(("VRANDMEMBER", key, 2))
        for name in names:
            if name.decode() != but:
                await self._connection.run(("VREM", key, name), ("UNLINK", SEMANTIC_VALUE + name.decode()))
                return


def _match_expiry(key: str, life_ms: int) -> tuple[Command, Command]:
    """Return the commands by which a partition's vectors live as long as the longest of their answers."""
    return ("PEXPIRE", key, life_ms, "NX"), ("PEXPIRE", key, life_ms, "GT")


class _ListVectors:
    """Before Redis 8: vectors are read once by each process, and searched there.

    Args:
        connection: shared.
        most_entries_count: vectors of one partition, and of all partitions that this process has read.
    """

    def __init__(self, connection: RedisConnection, most_entries_count: int) -> None:
        self._connection = connection
        self._most_entries_count = most_entries_count
        self._read: OrderedDict[str, _VectorRead] = OrderedDict()

    async def candidates(self, partition: str, vector: bytes, above: float) -> list[tuple[str, float]]:
        """Give names and similarities above the limit, most similar first."""
        from flowai.cache.vector_math import FLOAT_BYTES, VectorTable  # numpy, for those who search only

        read = self._read.get(partition)
        if read is None or len(read.table) > 2 * self._most_entries_count:  # grown by what has long been dead
            read = _VectorRead(VectorTable(len(vector) // FLOAT_BYTES))
            self._read[partition] = read
        self._read.move_to_end(partition)
        await self._read_on(partition, read)
        while len(self._read) > 1 and sum(len(one.table) for one in self._read.values()) > self._most_entries_count:
            self._read.popitem(last=False)
        found = read.table.nearest(vector, above=above, most_count=MAX_NEIGHBOURS)
        best: dict[str, float] = {}
        for number, similarity in found:  # a text that was kept twice stands there twice
            best.setdefault(read.names[number], similarity)
        return list(best.items())

    async def add(self, name: str, data: bytes, entry: CacheEntry) -> None:
        """Keep value and vector in one step."""
        key = _LIST + entry.partition
        life = milliseconds(entry.ttl_s)

        await self._connection.run_transaction(
            ("SET", SEMANTIC_VALUE + name, data, "PX", life),
            ("XADD", key, "MAXLEN", "~", self._most_entries_count, "*", "name", name, "vector", entry.vector),
            *_match_expiry(key, life),
        )

    async def drop(self, partition: str, names: list[str]) -> None:
        """Forget vectors whose values have gone, in this process; the list forgets its oldest itself."""
        read = self._read.get(partition)
        if read is not None:
            gone = {number for number, name in read.names.items() if name in names}
            read.table.drop(gone)
            for number in gone:
                del read.names[number]

    async def _read_on(self, partition: str, read: _VectorRead) -> None:
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


class _VectorRead:
    """What this process has read of one partition's list."""

    __slots__ = ("count", "names", "newest", "table")

    def __init__(self, table: VectorTable) -> None:
        self.table = table
        self.names: dict[int, str] = {}
        self.newest = ""
        self.count = 0

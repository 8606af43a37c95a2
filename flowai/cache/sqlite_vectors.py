"""The semantic cache on disk: an SQLite file that processes share, its vectors searched in memory.

Text, vector and answer are one row, written in one transaction. Each process reads a partition's vectors once, and
later only the new ones.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections import OrderedDict
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from flowai.cache.shadow.comparison_table import TABLE, insert_comparison, select_comparisons
from flowai.cache.stats import CacheStats, CacheUsage, stats_of
from flowai.cache.vector_store import MAX_ENTRIES, MAX_NEIGHBOURS, CacheEntry, Neighbour
from flowai.errors import InfrastructureError, Place
from flowai.providers import Completion
from flowai.storage.sqlite_files import SUFFIXES, connect_own_database, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from flowai.cache.shadow.comparison import AnswerComparison
    from flowai.cache.vector_math import VectorTable

SEMANTIC_FILE = "semantic-2.db"
"""File name, next to the exact cache; the number is the format's."""

_BUSY_LIMIT_S = 2.0
_REFUSED_HINT = "`flowai cache clear` deletes it: it contains only cached answers"
_EVICT_EVERY = 64
_TABLES = f"""
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    partition TEXT NOT NULL, feature TEXT NOT NULL, key TEXT NOT NULL, text_hash BLOB NOT NULL, text TEXT NOT NULL,
    vector BLOB NOT NULL, completion BLOB NOT NULL, expires_at_s REAL NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS entry_text ON entry (partition, text_hash);
CREATE INDEX IF NOT EXISTS entry_partition ON entry (partition, id);
CREATE INDEX IF NOT EXISTS entry_key ON entry (key);
CREATE INDEX IF NOT EXISTS entry_expiry ON entry (expires_at_s);
CREATE TABLE IF NOT EXISTS usage (feature TEXT PRIMARY KEY, counts BLOB NOT NULL);
{TABLE}"""


class DiskVectors:
    """Answers on disk, shared by processes; for one thread, which creates it.

    Above `max_entries` (>= 1) the oldest are evicted. All methods raise InfrastructureError if the disk is full or the
    file is damaged; stored answers stay unchanged.
    """

    def __init__(
        self,
        file: Path,
        *,
        max_entries: int = MAX_ENTRIES,
        now_s: Callable[[], float] = time.time,
        busy_limit_s: float = _BUSY_LIMIT_S,
    ) -> None:
        self._file = file
        self._max_entries = max_entries
        self._now_s = now_s
        self._decoder = msgspec.json.Decoder(Completion)
        self._loaded: OrderedDict[str, _LoadedPartition] = OrderedDict()
        self._added_count = 0
        with _guarded(self._file):
            self._connection = _connect(file, busy_limit_s)

    def nearest(self, partition: str, vector: bytes, *, above: float) -> list[Neighbour]:
        """Return unexpired answers that are more similar than a limit, most similar first."""
        with _guarded(self._file):
            table = self._table(partition, len(vector))
            while candidates := table.nearest(vector, above=above, max_count=MAX_NEIGHBOURS):
                alive = self._alive([number for number, _ in candidates])
                expired = {number for number, _ in candidates if number not in alive}
                if not expired:
                    return [
                        Neighbour(
                            similarity=similarity,
                            key=alive[number][0],
                            text=alive[number][1],
                            completion=alive[number][2],
                        )
                        for number, similarity in candidates
                    ]
                table.drop(expired)  # expired, replaced, or written by another version: search again without them
        return []

    def add(self, *entries: CacheEntry) -> None:
        """Store answers in one transaction; an answer replaces one to the same text in the same partition."""
        self.write([partial(self.insert, entry) for entry in entries])

    def write(self, operations: Sequence[Callable[[], object]]) -> None:
        """Run operations in one transaction."""
        with _guarded(self._file), transaction(self._connection):
            for operation in operations:
                operation()

    def comparisons(self, scope: str) -> list[AnswerComparison]:
        """Return the comparisons of a scope, oldest first, without texts."""
        with _guarded(self._file):
            return select_comparisons(self._connection, scope, now_s=self._now_s())

    def delete(self, key: str) -> None:
        """Delete the answer of a key; part of a transaction."""
        self._connection.execute("DELETE FROM entry WHERE key = ?", (key,))

    def record(self, comparison: AnswerComparison, ttl_s: float) -> None:
        """Store a comparison; part of a transaction."""
        insert_comparison(self._connection, comparison, ttl_s=ttl_s, now_s=self._now_s())

    def insert(self, entry: CacheEntry) -> None:
        """Store an answer; part of a transaction."""
        text = entry.text.encode("utf-8", "replace")  # SQLite refuses half a surrogate pair
        self._connection.execute(
            "INSERT OR REPLACE INTO entry (partition, feature, key, text_hash, text, vector, completion, expires_at_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.partition,
                entry.feature,
                entry.key,
                hashlib.sha256(text).digest(),
                text.decode(),
                entry.vector,
                msgspec.json.encode(entry.completion),
                self._now_s() + entry.ttl_s,
            ),
        )
        self._added_count += 1
        if self._added_count % _EVICT_EVERY == 1:  # also after the first entry: short-lived processes evict too
            self._evict()

    def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to each feature's usage; part of a transaction."""
        before = _usage(self._connection)
        for feature, more in features.items():
            counts = msgspec.json.encode(before.get(feature, CacheUsage()) + more)
            self._connection.execute("INSERT OR REPLACE INTO usage VALUES (?, ?)", (feature, counts))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _table(self, partition: str, vector_bytes: int) -> VectorTable:
        """Return a partition's vectors, including those that other processes have added since."""
        from flowai.cache.vector_math import FLOAT_BYTES, VectorTable  # numpy only for searches

        loaded = self._loaded.get(partition)
        if loaded is None or len(loaded.table) > 2 * self._max_entries:  # expired entries make up half of it
            loaded = _LoadedPartition(VectorTable(vector_bytes // FLOAT_BYTES))
            self._loaded[partition] = loaded
        self._loaded.move_to_end(partition)
        rows = self._connection.execute(
            "SELECT id, vector FROM entry WHERE partition = ? AND id > ? AND expires_at_s > ? ORDER BY id",
            (partition, loaded.newest, self._now_s()),
        )
        for number, vector in rows:
            loaded.table.add(number, vector)
            loaded.newest = number
        while len(self._loaded) > 1 and sum(len(each.table) for each in self._loaded.values()) > self._max_entries:
            self._loaded.popitem(last=False)
        return loaded.table

    def _alive(self, numbers: list[int]) -> dict[int, tuple[str, str, Completion]]:
        marks = ",".join("?" * len(numbers))
        rows = self._connection.execute(
            f"SELECT id, key, text, completion FROM entry WHERE id IN ({marks}) AND expires_at_s > ?",  # noqa: S608 - question marks only
            (*numbers, self._now_s()),
        )
        alive = {}
        for number, key, text, completion in rows:
            try:
                alive[number] = (key, text, self._decoder.decode(completion))
            except msgspec.DecodeError:
                continue
        return alive

    def _evict(self) -> None:
        self._connection.execute("DELETE FROM entry WHERE expires_at_s <= ?", (self._now_s(),))
        self._connection.execute(
            "DELETE FROM entry WHERE id <= (SELECT id FROM entry ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (self._max_entries,),
        )


class _LoadedPartition:
    """Vectors of a partition in memory, and the newest row among them."""

    __slots__ = ("newest", "table")

    def __init__(self, table: VectorTable) -> None:
        self.table = table
        self.newest = 0


def disk_vector_stats(file: Path, *, now_s: Callable[[], float] = time.time) -> CacheStats:
    """Count entries and savings; a missing file is not created."""
    if not file.is_file():
        return CacheStats(cache="semantic")
    with _guarded(file), closing(_connect(file)) as connection:
        counts = connection.execute(
            "SELECT feature, COUNT(*) FROM entry WHERE expires_at_s > ? GROUP BY feature", (now_s(),)
        )
        return stats_of(
            "semantic",
            "disk",
            size_bytes=sum(
                part.stat().st_size for suffix in SUFFIXES if (part := file.with_name(file.name + suffix)).is_file()
            ),
            entry_counts=dict(counts.fetchall()),
            features=_usage(connection),
        )


def clear_disk_vectors(file: Path, *, feature: str | None = None, key: str | None = None) -> int:
    """Delete all answers, counts and comparisons, or those of a feature, or the answer of a key; count the answers."""
    if not file.is_file():
        return 0
    with _guarded(file), closing(_connect(file)) as connection:
        if key is not None:
            return int(connection.execute("DELETE FROM entry WHERE key = ?", (key,)).rowcount)
        prefix = None if feature is None else f"{feature}/"
        count = connection.execute("DELETE FROM entry WHERE ?1 IS NULL OR feature = ?1", (feature,)).rowcount
        connection.execute("DELETE FROM usage WHERE ?1 IS NULL OR feature = ?1", (feature,))
        connection.execute(
            "DELETE FROM comparison WHERE ?1 IS NULL OR substr(scope, 1, length(?1)) = ?1",
            (prefix,),
        )
        connection.execute("VACUUM")
        return int(count)


def disk_answer(file: Path, key: str, *, now_s: Callable[[], float] = time.time) -> tuple[str, Completion] | None:
    """Return the text and the answer of a key; None without one."""
    if not file.is_file():
        return None
    with _guarded(file), closing(_connect(file)) as connection:
        row = connection.execute(
            "SELECT text, completion FROM entry WHERE key = ? AND expires_at_s > ?", (key, now_s())
        ).fetchone()
    try:
        return None if row is None else (row[0], msgspec.json.decode(row[1], type=Completion))
    except msgspec.DecodeError:  # written by another version
        return None


def disk_comparisons(file: Path, *, now_s: Callable[[], float] = time.time) -> list[AnswerComparison]:
    """Return all comparisons with the texts that are still kept, oldest first."""
    if not file.is_file():
        return []
    with _guarded(file), closing(_connect(file)) as connection:
        return select_comparisons(connection, None, now_s=now_s(), with_texts=True)


def _connect(file: Path, busy_limit_s: float = _BUSY_LIMIT_S) -> sqlite3.Connection:
    connection = connect_own_database(file, timeout_s=busy_limit_s, hint=_REFUSED_HINT)
    try:
        connection.execute("PRAGMA journal_mode = WAL")  # readers never wait for a writer
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last answers, never the file
        connection.executescript(_TABLES)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _usage(connection: sqlite3.Connection) -> dict[str, CacheUsage]:
    features = {}
    for feature, counts in connection.execute("SELECT feature, counts FROM usage"):
        try:
            features[feature] = msgspec.json.decode(counts, type=CacheUsage)
        except msgspec.DecodeError:  # written by another version: counts start at 0
            continue
    return features


@contextmanager
def _guarded(file: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise InfrastructureError(
            f"the semantic cache cannot be used: {error}",
            place=Place(file=str(file)),
            hint=f"is the disk full, or the file locked? {_REFUSED_HINT}",
        ) from error

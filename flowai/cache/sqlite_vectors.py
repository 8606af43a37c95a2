"""The semantic cache on disk: one SQLite file that processes share, its vectors searched in memory.

Text, vector and answer are one row, written in one transaction: a killed process leaves the whole row or none. Each
process reads the vectors of the partitions it searches, once, and later only what was added since.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections import OrderedDict
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import msgspec

from flowai.cache.stats import CacheStats, CacheUsage, stats_of
from flowai.cache.vector_store import MAX_ENTRIES, MAX_NEIGHBOURS, CacheEntry, Neighbour
from flowai.errors import InfrastructureError, Place
from flowai.providers import Completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from flowai.cache.vector_math import VectorTable

SEMANTIC_FILE = "semantic-1.db"
"""The semantic cache beside the exact one; the number is its format's."""

_BUSY_LIMIT_S = 5.0
_TIDY_EVERY_COUNT = 64
_TABLES = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    partition TEXT NOT NULL, feature TEXT NOT NULL, text_hash BLOB NOT NULL, text TEXT NOT NULL,
    vector BLOB NOT NULL, completion BLOB NOT NULL, expires_at_s REAL NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS entry_text ON entry (partition, text_hash);
CREATE INDEX IF NOT EXISTS entry_partition ON entry (partition, id);
CREATE INDEX IF NOT EXISTS entry_expiry ON entry (expires_at_s);
CREATE TABLE IF NOT EXISTS usage (feature TEXT PRIMARY KEY, counts BLOB NOT NULL);
"""


class DiskVectors:
    """Answers on disk, shared by processes; used by one thread at a time, the one that made it.

    Args:
        file: the SQLite file; made when missing.
        most_entries_count: above it the oldest go, >= 1.
        now_s: the time, seconds since the epoch.
    """

    def __init__(
        self, file: Path, *, most_entries_count: int = MAX_ENTRIES, now_s: Callable[[], float] = time.time
    ) -> None:
        self._file = file
        self._most_entries_count = most_entries_count
        self._now_s = now_s
        self._decoder = msgspec.json.Decoder(Completion)
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._added_count = 0
        with self._guarded():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._base = _connect(file)

    def nearest(self, partition: str, vector: bytes, *, above: float) -> list[Neighbour]:
        """Give the answers more similar than a limit that have not expired, most similar first.

        Raises:
            InfrastructureError: the file is damaged.
        """
        with self._guarded():
            table = self._table(partition, len(vector))
            while candidates := table.nearest(vector, above=above, most_count=MAX_NEIGHBOURS):
                alive = self._alive([number for number, _ in candidates])
                dead = {number for number, _ in candidates if number not in alive}
                if not dead:
                    return [
                        Neighbour(similarity=similarity, text=alive[number][0], completion=alive[number][1])
                        for number, similarity in candidates
                    ]
                table.drop(dead)  # expired, replaced, or written by another version: look again without them
        return []

    def add(self, entry: CacheEntry) -> None:
        """Keep an answer; one to the very same text in the same partition is replaced.

        Raises:
            InfrastructureError: the disk is full or the file is damaged; what was kept before stays.
        """
        text = entry.text.encode("utf-8", "replace")  # half of a surrogate pair is no text for SQLite
        with self._guarded(), self._base:  # one transaction
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute(
                "INSERT OR REPLACE INTO entry (partition, feature, text_hash, text, vector, completion, expires_at_s)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    entry.partition,
                    entry.feature,
                    hashlib.sha256(text).digest(),
                    text.decode(),
                    entry.vector,
                    msgspec.json.encode(entry.completion),
                    self._now_s() + entry.ttl_s,
                ),
            )
            self._added_count += 1
            if (
                self._added_count % _TIDY_EVERY_COUNT == 1
            ):  # the first of each process, too: short-lived ones tidy as well
                self._tidy()

    def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to what each feature asked.

        Raises:
            InfrastructureError: the disk is full or the file is damaged.
        """
        with self._guarded(), self._base:
            self._base.execute("BEGIN IMMEDIATE")
            before = _usage(self._base)
            for feature, more in features.items():
                counts = msgspec.json.encode(before.get(feature, CacheUsage()).__add__(more))
                self._base.execute("INSERT OR REPLACE INTO usage VALUES (?, ?)", (feature, counts))

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _table(self, partition: str, vector_bytes: int) -> VectorTable:
        """Give a partition's vectors, with what any process has added since they were last asked for."""
        from flowai.cache.vector_math import FLOAT_BYTES, VectorTable  # numpy, for those who search only

        loaded = self._loaded.get(partition)
        if loaded is None or len(loaded.table) > 2 * self._most_entries_count:  # grown by what has long been dead
            loaded = _Loaded(VectorTable(vector_bytes // FLOAT_BYTES))
            self._loaded[partition] = loaded
        self._loaded.move_to_end(partition)
        rows = self._base.execute(
            "SELECT id, vector FROM entry WHERE partition = ? AND id > ? AND expires_at_s > ? ORDER BY id",
            (partition, loaded.newest, self._now_s()),
        )
        for number, vector in rows:
            loaded.table.add(number, vector)
            loaded.newest = number
        while len(self._loaded) > 1 and sum(len(one.table) for one in self._loaded.values()) > self._most_entries_count:
            self._loaded.popitem(last=False)
        return loaded.table

    def _alive(self, numbers: list[int]) -> dict[int, tuple[str, Completion]]:
        marks = ",".join("?" * len(numbers))
        rows = self._base.execute(
            f"SELECT id, text, completion FROM entry WHERE id IN ({marks}) AND expires_at_s > ?",  # noqa: S608 - question marks only
            (*numbers, self._now_s()),
        )
        alive = {}
        for number, text, completion in rows:
            try:
                alive[number] = (text, self._decoder.decode(completion))
            except msgspec.DecodeError:
                continue
        return alive

    def _tidy(self) -> None:
        self._base.execute("DELETE FROM entry WHERE expires_at_s <= ?", (self._now_s(),))
        self._base.execute(
            "DELETE FROM entry WHERE id <= (SELECT id FROM entry ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (self._most_entries_count,),
        )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise _unusable(self._file, error) from error


class _Loaded:
    """The vectors of one partition that are in memory, and the newest row among them."""

    __slots__ = ("newest", "table")

    def __init__(self, table: VectorTable) -> None:
        self.table = table
        self.newest = 0


def disk_vector_stats(file: Path, *, now_s: Callable[[], float] = time.time) -> CacheStats:
    """Count what the file holds and what it saved; a file that was never made stays unmade.

    Raises:
        InfrastructureError: the file is damaged.
    """
    if not file.is_file():
        return CacheStats(cache="semantic")
    try:
        with closing(_connect(file)) as base:
            counts = base.execute(
                "SELECT feature, COUNT(*) FROM entry WHERE expires_at_s > ? GROUP BY feature", (now_s(),)
            )
            return stats_of(
                "semantic",
                "disk",
                size_bytes=sum(part.stat().st_size for part in file.parent.glob(file.name + "*")),
                entry_counts=dict(counts.fetchall()),
                features=_usage(base),
            )
    except (sqlite3.Error, OSError) as error:
        raise _unusable(file, error) from error


def clear_disk_vectors(file: Path) -> int:
    """Forget every answer and every count; give the number of answers forgotten.

    Raises:
        InfrastructureError: the file is damaged.
    """
    if not file.is_file():
        return 0
    try:
        with closing(_connect(file)) as base:
            count = base.execute("DELETE FROM entry").rowcount
            base.execute("DELETE FROM usage")
            base.execute("VACUUM")
            return int(count)
    except (sqlite3.Error, OSError) as error:
        raise _unusable(file, error) from error


def _connect(file: Path) -> sqlite3.Connection:
    base = sqlite3.connect(file, timeout=_BUSY_LIMIT_S, isolation_level=None)
    try:
        base.execute("PRAGMA journal_mode = WAL")  # readers never wait for a writer
        base.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last answers, never the file
        base.executescript(_TABLES)
    except sqlite3.Error:
        base.close()
        raise
    return base


def _usage(base: sqlite3.Connection) -> dict[str, CacheUsage]:
    features = {}
    for feature, counts in base.execute("SELECT feature, counts FROM usage"):
        try:
            features[feature] = msgspec.json.decode(counts, type=CacheUsage)
        except msgspec.DecodeError:  # written by another version: counting starts anew
            continue
    return features


def _unusable(file: Path, error: Exception) -> InfrastructureError:
    return InfrastructureError(
        f"the semantic cache cannot be used: {error}",
        place=Place(file=str(file)),
        hint="is the disk full? delete the file to start anew: it holds nothing but cached answers",
    )

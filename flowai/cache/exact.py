"""The exact cache: the same request to the same model is paid once.

Values are JSON in the rows of one SQLite file; no other file is read or deleted, since its
content may be a stranger's.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.cache.stats import CacheStats, CacheUsage, cache_hit_usage, stats_of
from flowai.cache.write_queue import WriteQueue
from flowai.errors import InfrastructureError, Place, UsageError
from flowai.providers import Completion
from flowai.storage.sqlite_files import SUFFIXES, connect_own_database, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from flowai.providers import Request

EXACT_FILE = "cache.db"
DEFAULT_SIZE_LIMIT_BYTES = 2**30
REFUSED_HINT = "`--no-cache` works without it; `flowai cache clear` deletes it"
_ENTRY = "entry/"
_USAGE = "usage/"

_IN_ROW = 1  # the only mode: the value is JSON in the row
_BUSY_LIMIT_S = 2.0  # for writers; readers wait for no writer in a write-ahead log
_LINGER_S = 0.05  # answers that come within this time share a transaction; a killed process loses at most those
_CLOSE_LIMIT_S = 5.0
_MAINTENANCE_BATCHES = 64
_EVICTED_SHARE = 0.1
_TABLES = """
CREATE TABLE IF NOT EXISTS cache (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, mode INTEGER NOT NULL, value BLOB NOT NULL, expire_time REAL
);
CREATE INDEX IF NOT EXISTS cache_expire_time ON cache (expire_time) WHERE expire_time IS NOT NULL;
"""
_REPLACE = "INSERT OR REPLACE INTO cache (key, mode, value, expire_time) VALUES (?, ?, ?, ?)"
_SELECT = "SELECT value FROM cache WHERE key = ? AND mode = ? AND (expire_time IS NULL OR expire_time > ?)"


def cache_key(request: Request, *, feature: str, prompt_hash: str, tenant: str = "", repeat: int | None = 0) -> str:
    """Return the key of a request, `feature/` and 64 hex digits of everything that can change the answer.

    Its API key and timeouts do not. `prompt_hash` covers the prompt's bytes and its partials'; `tenant` is empty
    without tenants. `repeat` is the number of the repetition in an evaluation, None for the gateway: evaluations also
    store truncated answers, so the two never share any. Raises UsageError if a value cannot be encoded as JSON.
    """
    partition = cache_partition(request, feature=feature, prompt_hash=prompt_hash, tenant=tenant)
    return f"{feature}/{digest((*partition, request.messages, repeat))}"


def cache_partition(request: Request, *, feature: str, prompt_hash: str, tenant: str) -> tuple[Any, ...]:
    """Return the cache partition: tenant, feature, prompt, endpoint and parameters; answers are shared within it."""
    endpoint = request.endpoint
    return (
        tenant,
        feature,
        prompt_hash,
        endpoint.model,
        endpoint.api_base,
        endpoint.file,
        request.params,
        request.response_schema,
        request.response_format,
    )


def digest(parts: tuple[Any, ...]) -> str:
    """Hash JSON values, independent of the order of their keys: 64 hex digits."""
    try:
        data = msgspec.json.encode(parts, order="deterministic")
    except UnicodeEncodeError:  # half of a surrogate pair: JSON can spell it, UTF-8 cannot
        data = json.dumps(parts, sort_keys=True).encode("ascii")
    except TypeError as error:
        raise UsageError(f"the request cannot be encoded as JSON: {error}") from None
    return hashlib.sha256(data).hexdigest()


class ExactCache:
    """Completions on disk, shared by processes; above `size_limit_bytes` the oldest entries are evicted.

    Answers are written by a thread, many in one transaction, and read back at once. All methods but `put` and `close`
    raise InfrastructureError if the disk is full or the store is damaged, locked or refused; stored answers stay
    unchanged. Threads may share it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        size_limit_bytes: int = DEFAULT_SIZE_LIMIT_BYTES,
        open_limit_s: float = _BUSY_LIMIT_S,
        read_limit_s: float = _BUSY_LIMIT_S,
    ) -> None:
        self.directory = directory
        self.write_error: str | None = None
        """Why answers were not stored; None after the next that was."""
        self._file = directory / EXACT_FILE
        self._size_limit_bytes = size_limit_bytes
        self._decoder = msgspec.json.Decoder(Completion)
        self._pending: dict[str, CacheUsage] = {}
        self._queued: dict[str, bytes] = {}
        self._queue = WriteQueue("flowai-exact-cache", self._write, self._release_writer)
        self._writer: sqlite3.Connection | None = None
        self._batch_count = 0
        with self._catch_disk_errors():
            self._reader = self._connect(open_limit_s)
            self._reader.execute(f"PRAGMA busy_timeout = {round(read_limit_s * 1000)}")

    def get(self, key: str) -> Completion | None:
        """Return a stored answer and count the hit or miss; None when it is missing, expired or unreadable."""
        completion = self.read(key)
        feature = key.partition("/")[0]
        self._pending[feature] = self._pending.get(feature, CacheUsage()) + cache_hit_usage(completion)
        return completion

    def read(self, key: str) -> Completion | None:
        """Return a stored answer without counting; otherwise as `get`."""
        data: object = self._queued.get(key)
        if data is None:
            with self._catch_disk_errors():
                data = self._value(self._reader, _ENTRY + key)
        try:
            return self._decoder.decode(data) if isinstance(data, bytes) else None
        except msgspec.DecodeError:  # written by another version: counts as missing
            return None

    def put(self, key: str, completion: Completion, *, ttl_s: float | None = None) -> None:
        """Queue an answer for `ttl_s` > 0 seconds; None until it is evicted. An answer that is lost is no error."""
        with suppress(InfrastructureError):
            self.store(key, completion, ttl_s=ttl_s, linger_s=_LINGER_S)

    def store(self, key: str, completion: Completion, *, ttl_s: float | None, linger_s: float = 0.0) -> Future[None]:
        """Queue an answer and return the result of writing it; otherwise as `put`."""
        data = msgspec.json.encode(completion)
        row = (_ENTRY + key, _IN_ROW, data, None if ttl_s is None else time.time() + ttl_s)

        def forget(_: object) -> None:
            if self._queued.get(key) is data:
                self._queued.pop(key, None)

        self._queued[key] = data
        try:
            future = self._queue.add(lambda connection: connection.execute(_REPLACE, row), linger_s=linger_s)
        except InfrastructureError as error:
            forget(error)
            self.write_error = str(error)
            raise
        future.add_done_callback(forget)
        return future

    def flush(self) -> None:
        """Write the counts and what is queued; a killed process loses only what came since the last flush."""
        counts, self._pending = self._pending, {}
        try:
            self.add_usage(counts).result(_CLOSE_LIMIT_S)
        except TimeoutError:
            raise InfrastructureError(f"the cache wrote nothing within {_CLOSE_LIMIT_S:g} s") from None

    def add_usage(self, features: Mapping[str, CacheUsage]) -> Future[None]:
        """Queue what is added to each feature's usage, and return the result of writing it."""

        def add(connection: sqlite3.Connection) -> None:
            for feature, more in features.items():
                counts = msgspec.json.encode(self._usage(connection, feature) + more)
                connection.execute(_REPLACE, (_USAGE + feature, _IN_ROW, counts, None))

        return self._queue.add(add)

    def stats(self) -> CacheStats:
        """Count entries and savings, after deleting expired entries."""
        self.flush()
        entry_counts: dict[str, int] = {}
        features: dict[str, CacheUsage] = {}
        with self._catch_disk_errors():
            self._delete_expired(self._reader)
            for (key,) in self._reader.execute("SELECT key FROM cache ORDER BY key").fetchall():
                kind, _, rest = str(key).partition("/")
                feature = rest.partition("/")[0]
                if kind + "/" == _USAGE:
                    features[feature] = self._usage(self._reader, feature)
                else:
                    entry_counts[feature] = entry_counts.get(feature, 0) + 1
            paths = [self.directory / (EXACT_FILE + suffix) for suffix in SUFFIXES]
            size_bytes = sum(path.stat().st_size for path in paths if path.is_file())
        return stats_of("exact", "disk", size_bytes=size_bytes, entry_counts=entry_counts, features=features)

    def clear(self) -> int:
        """Delete all answers and counts; return the number of answers."""
        entry_count = self.stats().entry_count
        with self._catch_disk_errors():
            self._reader.execute("DELETE FROM cache")
            self._reader.execute("VACUUM")
        return entry_count

    def close(self) -> None:
        """Write what is queued and the counts, within some seconds, and close the store; may be called twice."""
        if self._pending:
            with suppress(InfrastructureError):  # as with answers: `write_error` has the reason
                self.add_usage(self._pending)
            self._pending = {}
        self._queue.close(_CLOSE_LIMIT_S)
        self._reader.close()

    def _connect(self, busy_limit_s: float) -> sqlite3.Connection:
        connection = connect_own_database(self._file, timeout_s=busy_limit_s, hint=REFUSED_HINT)
        try:
            connection.execute("PRAGMA journal_mode = WAL")  # readers never wait for a writer
            connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last answers, never the file
            connection.executescript(_TABLES)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _write(self, operations: Sequence[Callable[[sqlite3.Connection], object]]) -> None:
        """Run queued operations in one transaction, in the queue's thread."""
        try:
            with self._catch_disk_errors():
                if self._writer is None:
                    self._writer = self._connect(_BUSY_LIMIT_S)
                with transaction(self._writer):
                    for operation in operations:
                        operation(self._writer)
                    if self._batch_count % _MAINTENANCE_BATCHES == 0:  # also the first: short-lived processes evict too
                        self._delete_expired(self._writer)
                        self._evict(self._writer)
                    self._batch_count += 1
        except InfrastructureError as error:
            self.write_error = str(error)
            raise
        self.write_error = None

    def _release_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _evict(self, connection: sqlite3.Connection) -> None:
        """Delete the oldest tenth of a file that is too large."""
        (page_count,), (free_count,), (page_bytes,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
        )
        if (page_count - free_count) * page_bytes > self._size_limit_bytes:
            (entry_count,) = connection.execute("SELECT COUNT(*) FROM cache").fetchone()
            connection.execute(
                f"DELETE FROM cache WHERE id IN (SELECT id FROM cache WHERE key GLOB '{_ENTRY}*' ORDER BY id LIMIT ?)",  # noqa: S608 - a constant
                (max(1, int(entry_count * _EVICTED_SHARE)),),
            )

    @staticmethod
    def _delete_expired(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM cache WHERE expire_time <= ?", (time.time(),))

    @staticmethod
    def _value(connection: sqlite3.Connection, key: str) -> object:
        row = connection.execute(_SELECT, (key, _IN_ROW, time.time())).fetchone()
        return None if row is None else row[0]

    def _usage(self, connection: sqlite3.Connection, feature: str) -> CacheUsage:
        data = self._value(connection, _USAGE + feature)
        try:
            return msgspec.json.decode(data, type=CacheUsage) if isinstance(data, bytes) else CacheUsage()
        except msgspec.DecodeError:  # written by another version: counts start at 0
            return CacheUsage()

    @contextmanager
    def _catch_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InfrastructureError(
                f"the cache cannot be used: {error}",
                place=Place(file=str(self.directory)),
                hint=f"is the disk full, or the file locked? {REFUSED_HINT}",
            ) from error

"""The exact cache: the same request to the same model is paid once.

Values are JSON in rows of diskcache's file; no other file is read or deleted, since its content may
be a stranger's.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.cache.stats import CacheStats, CacheUsage, cache_hit_usage, stats_of
from flowai.cache.write_queue import WriteQueue
from flowai.errors import InfrastructureError, Place, UsageError
from flowai.providers import Completion

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

_NO_ANSWER = b""
_BUSY_LIMIT_S = 2.0  # for writers; readers wait for no writer in a write-ahead log
_LINGER_S = 0.05  # answers that come within this time share a transaction; a killed process loses at most those
_CLOSE_LIMIT_S = 5.0
_MAINTENANCE_BATCHES = 64


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
        completion_type: type[Completion] = Completion,
    ) -> None:
        self.directory = directory
        self.write_error: str | None = None
        """Why answers were not stored; None after the next that was."""
        self._decoder = msgspec.json.Decoder(completion_type)
        self._pending: dict[str, CacheUsage] = {}
        self._queued: dict[str, bytes] = {}
        self._batch_count = 0
        from flowai.cache.row_store import RowStore  # heavy; importers of the key do without

        with self._catch_disk_errors():
            self._store = RowStore(
                directory / EXACT_FILE,
                size_limit_bytes=size_limit_bytes,
                open_limit_s=open_limit_s,
                busy_limit_s=read_limit_s,
                hint=REFUSED_HINT,
            )
        self._queue = WriteQueue("flowai-exact-cache", self._write, self._store.close)

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
                data = self._store.get(_ENTRY + key)
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

        def forget(_: object) -> None:
            if self._queued.get(key) is data:
                self._queued.pop(key, None)

        self._queued[key] = data
        try:
            future = self._queue.add(lambda: self._store.set(_ENTRY + key, data, expire=ttl_s), linger_s=linger_s)
        except InfrastructureError as error:
            forget(error)
            self.write_error = str(error)
            raise
        future.add_done_callback(forget)
        return future

    def forget(self, key: str) -> Future[None]:
        """Delete an answer and return the result of writing that; reads find none at once."""
        self._queued[key] = _NO_ANSWER

        def done(_: object) -> None:
            if self._queued.get(key) is _NO_ANSWER:
                self._queued.pop(key, None)

        future = self._queue.add(lambda: self._store.delete(_ENTRY + key))
        future.add_done_callback(done)
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

        def add() -> None:
            for feature, more in features.items():
                self._store.set(_USAGE + feature, msgspec.json.encode(self._usage(feature) + more))

        return self._queue.add(add)

    def stats(self) -> CacheStats:
        """Count entries and savings, after deleting expired entries."""
        self.flush()
        entry_counts: dict[str, int] = {}
        features: dict[str, CacheUsage] = {}
        with self._catch_disk_errors():
            self._store.expire()
            for key in self._store:
                kind, _, rest = str(key).partition("/")
                feature = rest.partition("/")[0]
                if kind + "/" == _USAGE:
                    features[feature] = self._usage(feature)
                else:
                    entry_counts[feature] = entry_counts.get(feature, 0) + 1
            size_bytes = self._store.volume()
        return stats_of("exact", "disk", size_bytes=size_bytes, entry_counts=entry_counts, features=features)

    def clear(self, *, feature: str | None = None) -> int:
        """Delete all answers and counts, or those of a feature; return the number of answers."""
        stats = self.stats()
        with self._catch_disk_errors():
            if feature is None:
                self._store.clear()
                return stats.entry_count
            for key in [str(key) for key in self._store]:
                if key.startswith(f"{_ENTRY}{feature}/") or key == _USAGE + feature:
                    self._store.delete(key)
        return stats.entry_counts.get(feature, 0)

    def close(self) -> None:
        """Write what is queued and the counts, within some seconds, and close the store; may be called twice.

        Other threads that read call `release`.
        """
        if self._pending:
            with suppress(InfrastructureError):  # as with answers: `write_error` has the reason
                self.add_usage(self._pending)
            self._pending = {}
        self._queue.close(_CLOSE_LIMIT_S)
        self.release()

    def release(self) -> None:
        """Close this thread's connection; its next read opens another."""
        self._store.close()

    def _write(self, operations: Sequence[Callable[[], object]]) -> None:
        """Run queued operations in one transaction, in the queue's thread."""
        try:
            with self._catch_disk_errors():
                self._store.set_busy_limit(_BUSY_LIMIT_S)
                if self._batch_count % _MAINTENANCE_BATCHES == 0:  # also the first: short-lived processes evict too
                    self._store.delete_oldest(newest=_USAGE)
                with self._store.transact():
                    for operation in operations:
                        operation()
                self._batch_count += 1
        except InfrastructureError as error:
            self._store.close()  # ends the transaction if COMMIT failed; the next batch opens it again
            self.write_error = str(error)
            raise
        self.write_error = None

    def _usage(self, feature: str) -> CacheUsage:
        data = self._store.get(_USAGE + feature)
        try:
            return msgspec.json.decode(data, type=CacheUsage) if isinstance(data, bytes) else CacheUsage()
        except msgspec.DecodeError:  # written by another version: counts start at 0
            return CacheUsage()

    @contextmanager
    def _catch_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            # SQLite may roll back by itself; diskcache's own attempt then fails and hides the reason
            reason = error.__context__ if isinstance(error.__context__, sqlite3.Error) else error
            raise InfrastructureError(
                f"the cache cannot be used: {reason}",
                place=Place(file=str(self.directory)),
                hint=f"is the disk full, or the file locked? {REFUSED_HINT}",
            ) from reason

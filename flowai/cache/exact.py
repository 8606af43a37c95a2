"""The exact cache: the same request to the same model is paid once. The only module that imports diskcache.

Values are JSON bytes: nothing is pickled, and a pickled row is refused, since the file is user data.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.cache.stats import CacheStats, CacheUsage, cache_hit_usage, stats_of
from flowai.errors import InfrastructureError, Place, UsageError
from flowai.providers import Completion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import diskcache

    from flowai.providers import Request

DEFAULT_SIZE_LIMIT_BYTES = 2**30
_ENTRY = "entry/"
_USAGE = "usage/"


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

    All methods raise InfrastructureError if the disk is full or the store is damaged; stored answers stay unchanged.
    """

    def __init__(self, directory: Path, *, size_limit_bytes: int = DEFAULT_SIZE_LIMIT_BYTES) -> None:
        self.directory = directory
        self._decoder = msgspec.json.Decoder(Completion)
        self._pending: dict[str, CacheUsage] = {}
        with self._catch_disk_errors():
            self._store = _open_store(directory, size_limit_bytes)

    def get(self, key: str) -> Completion | None:
        """Return a stored answer and count the hit or miss; None when it is missing, expired or unreadable."""
        completion = self.read(key)
        feature = key.partition("/")[0]
        self._pending[feature] = self._pending.get(feature, CacheUsage()) + cache_hit_usage(completion)
        return completion

    def read(self, key: str) -> Completion | None:
        """Return a stored answer without counting; otherwise as `get`."""
        with self._catch_disk_errors():
            data = self._store.get(_ENTRY + key, retry=True)
        try:
            return self._decoder.decode(data) if isinstance(data, bytes) else None
        except msgspec.DecodeError:  # written by another version: counts as missing
            return None

    def put(self, key: str, completion: Completion, *, ttl_s: float | None = None) -> None:
        """Store an answer for `ttl_s` > 0 seconds; None until it is evicted."""
        with self._catch_disk_errors():
            self._store.set(_ENTRY + key, msgspec.json.encode(completion), expire=ttl_s, retry=True)

    def flush(self) -> None:
        """Write the counts; a killed process loses only the counts since the last flush."""
        self.add_usage(self._pending)
        self._pending.clear()

    def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to each feature's usage, in one transaction."""
        if not features:
            return
        with self._catch_disk_errors(), self._store.transact(retry=True):
            for feature, more in features.items():
                self._store.set(_USAGE + feature, msgspec.json.encode(self._usage(feature) + more))

    def stats(self) -> CacheStats:
        """Count entries and savings, after deleting expired entries."""
        self.flush()
        entry_counts: dict[str, int] = {}
        features: dict[str, CacheUsage] = {}
        with self._catch_disk_errors():
            self._store.expire(retry=True)
            for key in self._store:
                kind, _, rest = str(key).partition("/")
                feature = rest.partition("/")[0]
                if kind + "/" == _USAGE:
                    features[feature] = self._usage(feature)
                else:
                    entry_counts[feature] = entry_counts.get(feature, 0) + 1
            size_bytes = int(self._store.volume())
        return stats_of("exact", "disk", size_bytes=size_bytes, entry_counts=entry_counts, features=features)

    def clear(self) -> int:
        """Delete all answers and counts; return the number of answers."""
        entry_count = self.stats().entry_count
        with self._catch_disk_errors():
            self._store.clear(retry=True)
        return entry_count

    def close(self) -> None:
        """Flush the counts and close the store."""
        self.flush()
        self._store.close()

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
            raise InfrastructureError(
                f"the cache cannot be used: {error}",
                place=Place(file=str(self.directory)),
                hint="is the disk full? `--no-cache` works without it; `flowai cache clear` deletes it",
            ) from error


def _open_store(directory: Path, size_limit_bytes: int) -> diskcache.Cache:
    import diskcache

    class BytesDisk(diskcache.Disk):  # type: ignore[misc] # diskcache ships no types
        """Stores text keys and byte values unchanged; refuses values that need unpickling."""

        def store(self, value: object, read: bool, key: object = diskcache.UNKNOWN) -> Any:  # noqa: ANN401, FBT001 - diskcache's signature
            if not isinstance(value, bytes):
                raise TypeError("the exact cache stores bytes")
            return super().store(value, read, key=key)

        def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> Any:  # noqa: ANN401, FBT001 - as above
            if mode == diskcache.core.MODE_PICKLE:
                return None  # not written by this cache: counts as missing
            return super().fetch(mode, filename, value, read)

        def get(self, key: object, raw: bool) -> Any:  # noqa: ANN401, FBT001 - as above
            return super().get(key, raw) if raw else ""

    return diskcache.Cache(
        str(directory), disk=BytesDisk, size_limit=size_limit_bytes, eviction_policy="least-recently-stored"
    )

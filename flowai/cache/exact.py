"""The exact cache: the same request to the same model is paid once. Sole door to diskcache.

Values are JSON bytes; nothing is pickled, and a row that claims to be a pickle is refused, since the file is user data.
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
    """Give the key of a request: hard partitions first, then everything that can change the answer.

    Args:
        request: what would be sent; its API key and time limits do not count.
        feature: the feature that asks; the first partition, readable in the key.
        prompt_hash: hash of the prompt's bytes and its partials'.
        tenant: whose data it is; empty outside a multi-tenant gateway.
        repeat: which repetition of the same request in an evaluation; None outside evaluations: they keep answers that
            the gateway would not (truncated ones), so the two never share any.

    Returns:
        `feature/` and 64 hex digits.

    Raises:
        UsageError: the request holds a value that is no JSON.
    """
    hard = cache_partition(request, feature=feature, prompt_hash=prompt_hash, tenant=tenant)
    return f"{feature}/{digest((*hard, request.messages, repeat))}"


def cache_partition(request: Request, *, feature: str, prompt_hash: str, tenant: str) -> tuple[Any, ...]:
    """Give what two requests must have in common to share an answer, whatever their messages say."""
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
    """Hash JSON values, whatever the order of their keys: 64 hex digits.

    Raises:
        UsageError: a value is no JSON.
    """
    try:
        data = msgspec.json.encode(parts, order="deterministic")
    except UnicodeEncodeError:  # half of a surrogate pair: JSON can spell it, UTF-8 cannot
        data = json.dumps(parts, sort_keys=True).encode("ascii")
    except TypeError as error:
        raise UsageError(f"the request is no JSON: {error}") from None
    return hashlib.sha256(data).hexdigest()


class ExactCache:
    """Completions on disk, shared by processes.

    Args:
        directory: where it lies; made when missing.
        size_limit_bytes: above it, the entries stored longest ago go first.
    """

    def __init__(self, directory: Path, *, size_limit_bytes: int = DEFAULT_SIZE_LIMIT_BYTES) -> None:
        self.directory = directory
        self._decoder = msgspec.json.Decoder(Completion)
        self._pending: dict[str, CacheUsage] = {}
        with self._catch_disk_errors():
            self._store = _open(directory, size_limit_bytes)

    def get(self, key: str) -> Completion | None:
        """Look an answer up and count it; None when it is not there, too old, or no longer readable.

        Raises:
            InfrastructureError: the store is damaged.
        """
        completion = self.read(key)
        feature = key.partition("/")[0]
        self._pending[feature] = self._pending.get(feature, CacheUsage()).__add__(cache_hit_usage(completion))
        return completion

    def read(self, key: str) -> Completion | None:
        """Look an answer up without counting it; as `get` otherwise."""
        try:
            data = self._store.get(_ENTRY + key, retry=True)
            return self._decoder.decode(data) if isinstance(data, bytes) else None
        except msgspec.DecodeError:  # written by another version: as good as absent
            return None
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def put(self, key: str, completion: Completion, *, ttl_s: float | None = None) -> None:
        """Keep an answer.

        Args:
            key: its key.
            completion: the answer.
            ttl_s: seconds it may be given again, > 0; None for as long as there is room.

        Raises:
            InfrastructureError: the disk is full or the store is damaged; what was kept before stays.
        """
        with self._catch_disk_errors():
            self._store.set(_ENTRY + key, msgspec.json.encode(completion), expire=ttl_s, retry=True)

    def flush(self) -> None:
        """Write the counted hits and misses; a killed process loses only the counts since the last flush."""
        self.add_usage(self._pending)
        self._pending.clear()

    def add_usage(self, features: Mapping[str, CacheUsage]) -> None:
        """Add to what each feature asked, in one transaction.

        Raises:
            InfrastructureError: the disk is full or the store is damaged.
        """
        if not features:
            return
        with self._catch_disk_errors(), self._store.transact(retry=True):
            for feature, more in features.items():
                self._store.set(_USAGE + feature, msgspec.json.encode(self._usage(feature).__add__(more)))

    def stats(self) -> CacheStats:
        """Count what is kept and what was saved; what is too old is thrown away first."""
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
        """Forget every answer and every count; give the number of answers forgotten."""
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
        except msgspec.DecodeError:  # written by another version: counting starts anew
            return CacheUsage()

    @contextmanager
    def _catch_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> InfrastructureError:
        return InfrastructureError(
            f"the cache cannot be used: {error}",
            place=Place(file=str(self.directory)),
            hint="is the disk full? `--no-cache` works without it; `flowai cache clear` empties it",
        )


def _open(directory: Path, size_limit_bytes: int) -> diskcache.Cache:
    import diskcache

    class BytesDisk(diskcache.Disk):  # type: ignore[misc] # diskcache ships no types
        """Stores text keys and byte values as they are; refuses what would need unpickling."""

        def store(self, value: object, read: bool, key: object = diskcache.UNKNOWN) -> Any:  # noqa: ANN401, FBT001 - diskcache's signature
            if not isinstance(value, bytes):
                raise TypeError("the exact cache keeps bytes")
            return super().store(value, read, key=key)

        def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> Any:  # noqa: ANN401, FBT001 - as above
            if mode == diskcache.core.MODE_PICKLE:
                return None  # not ours: as good as absent
            return super().fetch(mode, filename, value, read)

        def get(self, key: object, raw: bool) -> Any:  # noqa: ANN401, FBT001 - as above
            return super().get(key, raw) if raw else ""

    return diskcache.Cache(
        str(directory),
        disk=BytesDisk,
        size_limit=size_limit_bytes,
        eviction_policy="least-recently-stored",
    )

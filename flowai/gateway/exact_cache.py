"""The exact cache: the same request to the same model is paid once. Sole door to diskcache.

In: keys and completions. Out: completions, and what the cache saved by feature. Must never know suites or reports.

Values are JSON bytes; nothing is pickled, and a row that claims to be a pickle is refused, since the file is user data.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.calls import Completion
from flowai.errors import InfrastructureError, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import diskcache

    from flowai.calls import Request

DEFAULT_SIZE_LIMIT_BYTES = 2**30
_ENTRY = "entry/"
_USAGE = "usage/"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one feature asked of the cache, since it was last cleared.

    Args:
        hit_count: answers found.
        miss_count: answers not found.
        saved_tokens: input and output tokens that were not paid again.
        saved_usd: US dollars not paid again, where the price is known.
        saved_s: seconds of waiting not spent again.
    """

    hit_count: int = 0
    miss_count: int = 0
    saved_tokens: int = 0
    saved_usd: float = 0.0
    saved_s: float = 0.0

    def plus(self, other: Usage) -> Usage:
        """Add two usages up."""
        return Usage(
            hit_count=self.hit_count + other.hit_count,
            miss_count=self.miss_count + other.miss_count,
            saved_tokens=self.saved_tokens + other.saved_tokens,
            saved_usd=self.saved_usd + other.saved_usd,
            saved_s=self.saved_s + other.saved_s,
        )


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache holds and what it saved.

    Args:
        entry_count: answers kept, all features.
        size_bytes: on disk.
        entry_counts: answers kept, by feature.
        features: usage by feature.
    """

    entry_count: int
    size_bytes: int
    entry_counts: dict[str, int]
    features: dict[str, Usage]


def cache_key(request: Request, *, feature: str, prompt_hash: str, tenant: str = "", repeat: int = 0) -> str:
    """Give the key of a request: hard partitions first, then everything that can change the answer.

    Args:
        request: what would be sent; its API key and time limits do not count.
        feature: the feature that asks; the first partition, readable in the key.
        prompt_hash: hash of the prompt's bytes and its partials'.
        tenant: whose data it is; empty outside a multi-tenant gateway.
        repeat: which repetition of the same request in an evaluation.

    Returns:
        `feature/` and 64 hex digits.
    """
    endpoint = request.endpoint
    parts = (
        tenant,
        feature,
        prompt_hash,
        endpoint.model,
        endpoint.api_base,
        endpoint.file,
        request.params,
        request.response_schema,
        request.messages,
        repeat,
    )
    return f"{feature}/{hashlib.sha256(msgspec.json.encode(parts, order='deterministic')).hexdigest()}"


class ExactCache:
    """Completions on disk, shared by processes.

    Args:
        directory: where it lies; made when missing.
        size_limit_bytes: above it, the entries stored longest ago go first.
    """

    def __init__(self, directory: Path, *, size_limit_bytes: int = DEFAULT_SIZE_LIMIT_BYTES) -> None:
        self.directory = directory
        self._decoder = msgspec.json.Decoder(Completion)
        self._pending: dict[str, Usage] = {}
        with self._guarded():
            self._store = _open(directory, size_limit_bytes)

    def get(self, key: str) -> Completion | None:
        """Look an answer up; None when it is not there or is no longer readable.

        Raises:
            InfrastructureError: the store is damaged.
        """
        with self._guarded():
            data = self._store.get(_ENTRY + key, retry=True)
        feature = key.partition("/")[0]
        completion = None
        if isinstance(data, bytes):
            try:
                completion = self._decoder.decode(data)
            except msgspec.DecodeError:  # written by another version: as good as absent
                completion = None
        used = Usage(miss_count=1) if completion is None else _saved(completion)
        self._pending[feature] = self._pending.get(feature, Usage()).plus(used)
        return completion

    def put(self, key: str, completion: Completion) -> None:
        """Keep an answer.

        Raises:
            InfrastructureError: the disk is full or the store is damaged; what was kept before stays.
        """
        with self._guarded():
            self._store.set(_ENTRY + key, msgspec.json.encode(completion), retry=True)

    def flush(self) -> None:
        """Write the counted hits and misses; a killed process loses only the counts since the last flush."""
        if not self._pending:
            return
        with self._guarded(), self._store.transact(retry=True):
            for feature, used in self._pending.items():
                self._store.set(_USAGE + feature, msgspec.json.encode(self._usage(feature).plus(used)))
        self._pending.clear()

    def stats(self) -> CacheStats:
        """Count what is kept and what was saved."""
        self.flush()
        entry_counts: dict[str, int] = {}
        features: dict[str, Usage] = {}
        with self._guarded():
            for key in self._store:
                kind, _, rest = str(key).partition("/")
                feature = rest.partition("/")[0]
                if kind + "/" == _USAGE:
                    features[feature] = self._usage(feature)
                else:
                    entry_counts[feature] = entry_counts.get(feature, 0) + 1
            size_bytes = int(self._store.volume())
        return CacheStats(
            entry_count=sum(entry_counts.values()),
            size_bytes=size_bytes,
            entry_counts=dict(sorted(entry_counts.items())),
            features=dict(sorted(features.items())),
        )

    def clear(self) -> int:
        """Forget every answer and every count; give the number of answers forgotten."""
        entry_count = self.stats().entry_count
        with self._guarded():
            self._store.clear(retry=True)
        return entry_count

    def close(self) -> None:
        """Flush the counts and close the store."""
        self.flush()
        self._store.close()

    def _usage(self, feature: str) -> Usage:
        data = self._store.get(_USAGE + feature)
        return msgspec.json.decode(data, type=Usage) if isinstance(data, bytes) else Usage()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InfrastructureError(
                f"the cache cannot be used: {error}",
                place=Place(file=str(self.directory)),
                hint="is the disk full? `--no-cache` works without it; `flowai cache clear` empties it",
            ) from error


def _saved(completion: Completion) -> Usage:
    return Usage(
        hit_count=1,
        saved_tokens=(completion.input_tokens or 0) + (completion.output_tokens or 0),
        saved_usd=completion.cost_usd or 0.0,
        saved_s=completion.latency_ms / 1000,
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

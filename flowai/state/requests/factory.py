"""Opens the store of requests beside the state that a registry names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.state.requests.fallback_requests import FallbackRequestStore
from flowai.state.requests.memory_requests import InMemoryRequestStore
from flowai.state.urls import REDIS_SCHEMES, scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.state.requests.store import RequestStore


def open_request_store(address: str, root: Path, *, clock_s: Callable[[], float]) -> RequestStore:
    """Open the store; close it with `aclose`. While it is unreachable, this process counts for itself.

    `address` is that of the state, which was opened before: a directory below `root`, `redis://...` or `memory:`. Redis
    uses its own clock.
    """
    scheme = scheme_of(address)
    local = InMemoryRequestStore(clock_s)
    if scheme in REDIS_SCHEMES:
        from flowai.state.requests.redis_requests import RedisRequestStore

        return FallbackRequestStore(RedisRequestStore(address), local)
    if scheme:
        return local
    from flowai.state.requests.sqlite_requests import SqliteRequestStore

    return FallbackRequestStore(SqliteRequestStore(root / address, clock_s), local)

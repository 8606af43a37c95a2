"""Opens the store that a registry names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, ProjectError
from flowai.state.memory_store import InMemoryStateStore
from flowai.state.urls import REDIS_SCHEMES, scheme_of, shown_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.state.store import StateStore


def open_state(named: str, directory: Path, *, clock_s: Callable[[], float]) -> StateStore:
    """Give the store; close it with `aclose`.

    Args:
        named: a directory (`.flowai`), `redis://...`, `rediss://...`, or `memory:` for this process alone.
        directory: what a relative directory is relative to: the project's root.
        clock_s: seconds since the epoch; Redis uses its own.

    Returns:
        The store. What is wrong with the place itself shows at the first use.

    Raises:
        ProjectError: the address is none of these, or cannot be read.
        InfrastructureError: the extra `redis` is not installed.
    """
    scheme = scheme_of(named)
    if scheme in REDIS_SCHEMES:
        return _redis_state(named)
    if scheme == "memory":
        return InMemoryStateStore(clock_s)
    if scheme:
        raise ProjectError(
            f"`state` names `{scheme}:`; expected a directory, `redis://...`, `rediss://...` or `memory:`",
            hint="`state: .flowai` keeps it in the project",
        )
    from flowai.state.sqlite_store import SqliteStateStore

    return SqliteStateStore(directory / named, clock_s)


def _redis_state(url: str) -> StateStore:
    try:
        import redis  # noqa: F401 - only to see whether it is there
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise InfrastructureError(
            f"`state` names `{shown_address(url)}`, and the Redis client is not installed",
            hint="pip install 'flowai[redis]'",
        ) from None
    from flowai.state.redis_store import RedisStateStore

    try:
        return RedisStateStore(url)
    except ValueError as error:
        raise ProjectError(
            f"`state` names `{shown_address(url)}`, which is no address of a Redis: {error}",
            hint="redis://USER:PASSWORD@HOST:6379/0; a special character in the password is percent-encoded: %23 for #",
        ) from None

"""Opens the state store that a registry names, and asks a Redis for its version, its clock and its vector sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, ProjectError
from flowai.state.machine import machine_clock_s
from flowai.state.memory_store import InMemoryStateStore
from flowai.state.urls import REDIS_SCHEMES, scheme_of, shown_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.state.store import StateStore


def open_state(
    address: str,
    root: Path,
    *,
    clock_s: Callable[[], float],
    interval_clock_s: Callable[[], float] = machine_clock_s,
) -> StateStore:
    """Open a store; close it with `aclose`. A damaged or unreachable store raises at its first use.

    `address` is a directory (`.flowai`) below `root`, `redis://...`, `rediss://...`, or `memory:` for this process
    only. Redis uses its own clock; the others measure days by `clock_s` and intervals by
    `interval_clock_s`, the same for all processes. Raises ProjectError for another address, InfrastructureError without
    the extra `redis`.
    """
    scheme = scheme_of(address)
    if scheme in REDIS_SCHEMES:
        return _redis_state(address)
    if scheme == "memory":
        return InMemoryStateStore(interval_clock_s, wall_s=clock_s)
    if scheme:
        raise ProjectError(
            f"`state` names `{scheme}:`; expected a directory, `redis://...`, `rediss://...` or `memory:`",
            hint="`state: .flowai` stores it in the project",
        )
    from flowai.state.sqlite_store import SqliteStateStore

    return SqliteStateStore(root / address, interval_clock_s, wall_s=clock_s)


def _check_redis_client(url: str) -> None:
    """Raise InfrastructureError without the extra `redis`."""
    try:
        import redis  # noqa: F401 - checks the import
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise InfrastructureError(
            f"`state` names `{shown_address(url)}`, but the Redis client is not installed",
            hint="pip install 'flowai[redis]'",
        ) from None


def _invalid_redis_url(url: str, problem: ValueError) -> ProjectError:
    """Build the error of a URL that cannot be parsed."""
    return ProjectError(
        f"`state` names `{shown_address(url)}`, which is not a valid Redis URL: {problem}",
        hint="redis://USER:PASSWORD@HOST:6379/0; a special character in the password is percent-encoded: %23 for #",
    )


def _redis_state(url: str) -> StateStore:
    _check_redis_client(url)
    from flowai.state.redis_store import RedisStateStore

    try:
        return RedisStateStore(url)
    except ValueError as error:
        raise _invalid_redis_url(url, error) from None


class RedisFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of a server."""

    version: str
    time_s: float
    """Its clock, seconds since 1970."""
    has_vectors: bool

    @property
    def major(self) -> int:
        """First number of the version; 0 if it names none."""
        first = self.version.partition(".")[0]
        return int(first) if first.isdigit() else 0


def read_redis_facts(url: str) -> RedisFacts:
    """Ask a server.

    Raises:
        ProjectError: the URL is wrong.
        InfrastructureError: the server is unreachable or refuses, or the extra `redis` is not installed.
    """
    import asyncio  # late: most commands that open no Redis need no event loop

    _check_redis_client(url)
    try:
        return asyncio.run(_ask_redis(url))
    except ValueError as error:
        raise _invalid_redis_url(url, error) from None


async def _ask_redis(url: str) -> RedisFacts:
    from flowai.state.redis_connection import RedisConnection  # late: it imports redis

    connection = RedisConnection(url, purpose="the shared state")
    try:
        info, time_reply = await connection.run(("INFO", "server"), ("TIME",))
        (vectors,) = await connection.send(("VCARD", "flowai:none"))
    finally:
        await connection.aclose()
    fields = dict(line.partition(b":")[::2] for line in info.splitlines())
    return RedisFacts(
        version=fields.get(b"redis_version", b"unknown").decode(errors="replace"),
        time_s=int(time_reply[0]) + int(time_reply[1]) / 1e6,
        has_vectors=not isinstance(vectors, Exception),
    )

"""A store that can be read but not written is lost for counting: breakers open by this process's own counts."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from support.gateway_projects import HELLO, sample, until
from support.redis_server import RedisServer
from support.scripted_replies import Reply

from flowai.errors import InfrastructureError
from flowai.state import BreakerRule, FallbackStateStore, Heartbeat, InMemoryStateStore, Overlay
from flowai.state.sqlite_store import FILE_NAME, SqliteStateStore
from flowai.state.store import StateRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from flowai.gateway.gateway import Gateway
    from flowai.state import StateStore

CALL_COUNT = 24
PAUSE_S = 0.1
"""Longer than a second in all, after which the shared store is tried again, and again."""
RULE = BreakerRule()
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OVERLAY = Overlay(release="v1", bad=("v2",), epoch=1, at=NOON)
BEAT = Heartbeat(process="a", host="here", pid=1, origin="serve", release="v1", started_at=NOON, at=NOON)


async def command(server: RedisServer, *words: str) -> None:
    """Send Redis a command without flowai."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(" ".join(words).encode() + b"\r\n")
    reply = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert not reply.startswith(b"-"), reply


async def read_only(server: RedisServer) -> None:
    await command(server, "REPLICAOF", "127.0.0.1", "1")


async def without_replicas(server: RedisServer) -> None:
    await command(server, "CONFIG", "SET", "min-replicas-to-write", "1")


async def out_of_memory(server: RedisServer) -> None:
    await command(server, "CONFIG", "SET", "maxmemory", "1mb")


async def without_disk(server: RedisServer) -> None:
    """Let the background save fail, after which Redis refuses writes (MISCONF)."""
    await command(server, "CONFIG", "SET", "save", '"3600 1"')
    blocked = server.directory / "dump.rdb"
    blocked.mkdir()
    (blocked / "file").touch()
    await command(server, "BGSAVE")
    await asyncio.sleep(0.5)


async def loading(server: RedisServer) -> None:
    """Restart with data that takes long to read."""
    for number in range(200):
        await command(server, "SET", f"key{number}", "value")
    await command(server, "SAVE")
    await asyncio.to_thread(server.kill)
    server.settings = (
        *server.settings,
        "--key-load-delay",
        "200000",
        "--loading-process-events-interval-bytes",
        "1024",
    )
    await asyncio.to_thread(server.start, waits_for=b"-LOADING")


async def killed(server: RedisServer) -> None:
    await asyncio.to_thread(server.kill)


FAULTS = (read_only, without_replicas, out_of_memory, without_disk, loading, killed)


@pytest.mark.service
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_sixth_failure_opens_the_breaker_although_redis_refuses_to_count(
    fault: Callable[[RedisServer], Awaitable[None]], tmp_path: Path
) -> None:
    async def served() -> None:
        async with project.gateway() as gateway:
            await gateway.complete("chat", HELLO)
            await until(lambda: gateway_is(gateway, degraded=False))
            await fault(server)
            project.providers["main"].answerer = lambda _: Reply(status=503)
            before = project.requests["main"]
            for _ in range(CALL_COUNT):
                assert (await gateway.complete("chat", HELLO)).text == "other says hello"
                await asyncio.sleep(PAUSE_S)
            sent_count = project.requests["main"] - before
            standing = await gateway.status()
            print(f"{fault.__name__}: {sent_count} of {CALL_COUNT} calls sent; {standing.degraded}")  # noqa: T201 - -s
            assert sent_count == RULE.failure_count + 1
            assert standing.open_breakers == ("main",)
            assert "state_unavailable" in standing.degraded

    with sample(tmp_path) as project, RedisServer() as server:
        project.registry["state"] = server.url
        project.write()
        asyncio.run(served())


async def gateway_is(gateway: Gateway, *, degraded: bool) -> bool:
    return ("state_unavailable" in (await gateway.status()).degraded) is degraded


# --- files ---


@contextmanager
def locked(_: SqliteStateStore, directory: Path) -> Iterator[None]:
    other = sqlite3.connect(directory / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def without_write_permission(store: SqliteStateStore, _: Path) -> Iterator[None]:
    connection = store._open()
    connection.execute("PRAGMA query_only = 1")
    yield
    connection.execute("PRAGMA query_only = 0")


def test_a_locked_file_opens_the_breaker_by_own_counts_and_is_used_again(tmp_path: Path) -> None:
    asyncio.run(_counts_alone(tmp_path, locked))


def test_a_read_only_file_opens_the_breaker_by_own_counts_and_is_used_again(tmp_path: Path) -> None:
    asyncio.run(_counts_alone(tmp_path, without_write_permission))


async def _counts_alone(
    tmp_path: Path, fault: Callable[[SqliteStateStore, Path], AbstractContextManager[None]]
) -> None:
    store = SqliteStateStore(tmp_path, time.monotonic)
    guarded = FallbackStateStore(store, InMemoryStateStore(time.monotonic), time.monotonic, retry_interval_s=0.01)
    await guarded.record_failure("alpha", RULE)
    with fault(store, tmp_path):
        views = []
        for _ in range(RULE.failure_count):
            views.append((await guarded.record_failure("alpha", RULE)).status)
            await asyncio.sleep(0.02)
            await guarded.shared("")  # reading works: that is no recovery
        assert views == ["closed"] * 4 + ["open"]
        assert guarded.unavailable_reason is not None
        assert (await guarded.shared("")).breakers["alpha"].status == "open"
        assert not (await guarded.admit("alpha", "m", RULE)).is_admitted
        assert (await store.shared("")).breakers["alpha"].failure_count == 1, "the file stands still"
    await asyncio.sleep(0.02)
    held = await guarded.reserve("account", 1, limit_usd=10)
    assert held is not None
    assert not guarded.is_degraded
    await guarded.aclose()


# --- what half of a store still does ---


class Refusing:
    """A store whose writes are refused.

    Args:
        store: what it holds.
    """

    def __init__(self, store: InMemoryStateStore) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def operation(*args: Any, **named: Any) -> Any:
            if name not in ("shared", "spent_usd", "processes", "warnings", "aclose"):
                raise StateRefusedError("the shared state refused: READONLY")
            return await getattr(self.store, name)(*args, **named)

        return operation


def test_breakers_that_others_opened_count_and_overlays_arrive_from_a_store_that_refuses_writes() -> None:
    async def act() -> None:
        remote = InMemoryStateStore(time.monotonic)
        guarded = FallbackStateStore(
            cast("StateStore", Refusing(remote)),
            InMemoryStateStore(lambda: time.monotonic() + 3600),
            lambda: time.monotonic() + 3600,
            retry_interval_s=60,
        )
        with pytest.raises(InfrastructureError):
            await guarded.heartbeat(BEAT, lifetime_s=10)
        await guarded.record_failure("beta", RULE)
        await guarded.back_off("gamma", "m", for_s=20)
        for _ in range(RULE.failure_count + 1):
            await remote.record_failure("alpha", RULE)
        await remote.write_overlay("", OVERLAY)
        seen = await guarded.shared("")
        assert seen.overlay == OVERLAY
        assert seen.breakers["alpha"].status == "open"
        assert seen.breakers["beta"].failure_count == 1
        assert 10 < seen.breakers["gamma"].back_offs["m"] - seen.read_at_s <= 20, "by the shared store's clock"

    asyncio.run(act())

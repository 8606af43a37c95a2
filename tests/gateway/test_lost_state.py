"""A state that comes back empty brings no bad release back; a process that ends says goodbye; clocks that jump."""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import pytest
from support.gateway_projects import HELLO, KEY, Sample, until, until_answered_by
from support.redis_server import RedisServer

from flowai.errors import RegistryError
from flowai.gateway import heartbeats
from flowai.rollouts.records import RollbackOptions, RollbackResult
from flowai.rollouts.rollback import run_rollback
from flowai.state import Overlay, StateStore, open_state
from flowai.workspace.workspace import CommandContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.gateway.gateway import Gateway

NOON = datetime(2026, 5, 2, 12, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def redis_project(project: Sample, server: RedisServer) -> Sample:
    """`v2` serves, on the Redis."""
    project.registry["state"] = server.url
    with_v2(project)
    return project


def with_v2(project: Sample) -> None:
    project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
    project.registry["releases"]["v3"] = {"extends": "v1"}
    project.registry.update(current="v2", history=["v1", "v2"])
    project.write()


def opened(project: Sample) -> StateStore:
    return open_state(project.registry.get("state", ".flowai"), project.root, clock_s=time.time)


def overlay(epoch: int, *bad: str, at: datetime = NOON) -> Overlay:
    return Overlay(epoch=epoch, release="v1", serving="v1", bad=bad, at=at)


@pytest.mark.service
def test_a_redis_that_comes_back_empty_brings_no_bad_release_back(redis_project: Sample, server: RedisServer) -> None:
    async def serve_while_redis_restarts() -> None:
        state = opened(redis_project)
        async with redis_project.gateway() as gateway:
            assert (await gateway.complete("chat", HELLO)).release == "v2"
            await state.write_overlay("", overlay(3, "v2"))
            await until_answered_by(gateway, "v1")
            for _ in range(2):
                await asyncio.to_thread(server.kill)
                assert (await gateway.complete("chat", HELLO)).release == "v1"
                await asyncio.to_thread(server.start)

                async def is_restored() -> bool:
                    assert (await gateway.complete("chat", HELLO)).release == "v1"
                    return (await state.shared("")).overlay == overlay(3, "v2")

                await until(is_restored)
        await state.aclose()

    async def serve_after_a_restart_of_both() -> None:
        state = opened(redis_project)
        async with redis_project.gateway() as gateway:
            assert (await gateway.complete("chat", HELLO)).release == "v1"
            assert (await state.shared("")).overlay == overlay(3, "v2")
        await state.aclose()

    async def serve_without_redis() -> None:
        async with redis_project.gateway() as gateway:
            assert (await gateway.complete("chat", HELLO)).release == "v1"

    asyncio.run(serve_while_redis_restarts())
    server.kill()
    server.start()
    asyncio.run(serve_after_a_restart_of_both())
    server.kill()
    asyncio.run(serve_without_redis())


@pytest.mark.service
def test_a_rollback_on_an_empty_redis_is_followed(redis_project: Sample, server: RedisServer) -> None:
    async def served() -> None:
        state = opened(redis_project)
        async with redis_project.gateway() as gateway:
            await state.write_overlay("", overlay(3, "v2"))
            await until_answered_by(gateway, "v1")
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await state.write_overlay(
                "", Overlay(epoch=1, release="v3", serving="v3", bad=("v1",), at=NOON + timedelta(hours=1))
            )
            await until_answered_by(gateway, "v3")

            async def is_complete() -> bool:
                shared = (await state.shared("")).overlay
                return shared is not None and set(shared.bad) == {"v1", "v2"} and shared.release == "v3"

            await until(is_complete)
        await state.aclose()

    asyncio.run(served())


def test_a_state_file_that_was_deleted_brings_no_bad_release_back(project: Sample) -> None:
    async def served() -> None:
        async with project.gateway() as gateway:
            state = opened(project)
            await state.write_overlay("", overlay(1, "v2"))
            await until_answered_by(gateway, "v1")
            await state.aclose()
            for path in (project.root / ".flowai").glob("state.sqlite3*"):
                path.unlink()
            await asyncio.sleep(0.1)
            assert (await gateway.complete("chat", HELLO)).release == "v1"

    with_v2(project)
    asyncio.run(served())
    assert project.ask().release == "v1", "in the next process too"


# --- heartbeats ---


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(hours=1)], ids=["back", "ahead"])
def test_a_clock_that_is_set_silences_no_process(
    project: Sample, ahead: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "HEARTBEAT_INTERVAL_S", 0.2)
    monkeypatch.setattr(heartbeats, "HEARTBEAT_LIFETIME_S", 1.5)
    jump = [timedelta(0)]

    async def served() -> None:
        async with project.gateway(now=lambda: datetime.now(UTC) + jump[0]) as gateway:
            await gateway.complete("chat", HELLO)
            state = open_state(".flowai", project.root, clock_s=lambda: time.time() - jump[0].total_seconds())
            await until(lambda: is_heard(state))
            jump[0] = ahead
            for _ in range(10):
                await asyncio.sleep(0.3)
                (process,) = await state.processes("")
                assert process.is_live
                assert process.silent_s < 1.5
            assert await is_heard(state)
        assert await state.processes("") == [], "it said goodbye"
        await state.aclose()

    asyncio.run(served())


async def is_heard(state: StateStore) -> bool:
    return len(await state.heartbeats("")) == 1


@pytest.mark.service
def test_a_process_cut_off_from_the_state_is_named_and_follows_when_it_is_back(
    redis_project: Sample, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "HEARTBEAT_LIFETIME_S", 1.0)
    monkeypatch.setattr(heartbeats, "HEARTBEAT_INTERVAL_S", 0.3)
    context = CommandContext(directory=redis_project.root, user="test", environ={**os.environ, "LOOPBACK_KEY": KEY})

    def rolled_back() -> RollbackResult:
        return run_rollback(context, RollbackOptions(state=server.url), lambda _: None)

    async def served() -> None:
        state = open_state(server.url, redis_project.root, clock_s=time.time)
        async with Proxy(server.port) as proxy:
            redis_project.registry["state"] = f"redis://127.0.0.1:{proxy.port}/0"
            lines = (f"{key}: {json.dumps(value)}\n" for key, value in redis_project.registry.items())
            redis_project.write(text="".join(lines))
            async with redis_project.gateway() as gateway:
                assert (await gateway.complete("chat", HELLO)).release == "v2"
                await until(lambda: is_heard(state))
                await proxy.cut()
                await until(lambda: is_silent(state))
                result = await asyncio.to_thread(rolled_back)
                assert not result.is_confirmed
                assert len(result.silent) == 1
                assert "it may still serve v2" in result.silent[0]
                await proxy.open()
                await until_answered_by(gateway, "v1")
                await until(lambda: is_heard(state))
                assert (await asyncio.to_thread(rolled_back)).is_confirmed
            assert (await asyncio.to_thread(rolled_back)).process_count == 0
        await state.aclose()

    async def is_silent(state: StateStore) -> bool:
        return [process.is_live for process in await state.processes("")] == [False]

    asyncio.run(served())


class Proxy:
    """The way to a Redis, which can be cut.

    Args:
        target_port: the Redis.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers += [writer, target_writer]
        await asyncio.gather(_copy(reader, target_writer), _copy(target_reader, writer))

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


# --- two servers ---


@pytest.mark.service
def test_the_caches_may_be_on_another_redis_than_the_state(redis_project: Sample, server: RedisServer) -> None:
    async def keys(of: RedisServer) -> set[str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", of.port)
        writer.write(b"KEYS *\r\n")
        await writer.drain()
        await asyncio.sleep(0.2)
        found = (await reader.read(100_000)).decode().split("\r\n")
        writer.close()
        await writer.wait_closed()
        return {line.split(":")[1] for line in found if line.startswith("flowai:")}

    async def served(cache: RedisServer) -> None:
        async with redis_project.gateway() as gateway:
            for _ in range(2):
                answer = await gateway.complete("chat", HELLO)
                await asyncio.sleep(0.2)
            assert answer.cache == "exact"
            assert await keys(cache) == {"cache"}
            assert await keys(server) == {"{state}"}
            await until(lambda: has_no_warning(gateway))
            await asyncio.to_thread(cache.kill)
            assert (await gateway.complete("chat", HELLO)).release == "v2"
            assert "state_unavailable" not in (await gateway.status()).degraded

    async def has_no_warning(gateway: Gateway) -> bool:
        return not any("maxmemory" in line for line in (await gateway.status()).warnings)

    with RedisServer(settings=("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")) as cache:
        redis_project.registry["cache"] = {"url": cache.url}
        redis_project.feature(cache={"kind": "exact"})
        asyncio.run(served(cache))


@pytest.mark.service
def test_a_redis_that_may_evict_the_state_is_a_warning(project: Sample) -> None:
    async def served() -> None:
        async with project.gateway() as gateway:

            async def warns() -> bool:
                lines = (await gateway.status()).warnings
                return any("maxmemory-policy allkeys-lru" in line and "cache.url" in line for line in lines)

            await until(warns)

    with RedisServer(settings=("--maxmemory-policy", "allkeys-lru")) as server:
        project.registry["state"] = server.url
        project.write()
        asyncio.run(served())


def test_a_cache_url_that_is_no_redis_is_an_error_that_names_it(project: Sample) -> None:
    project.registry["cache"] = {"url": "https://cache.example.com"}
    project.write()
    with pytest.raises(RegistryError, match=r"cache\.url"):
        project.ask()

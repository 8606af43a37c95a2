"""A state that comes back empty brings no bad release back; a process that ends says goodbye; clocks that jump."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.gateway_projects import HELLO, Sample, until, until_answered_by
from support.redis_server import RedisServer

from flowai.errors import RegistryError
from flowai.gateway import heartbeats
from flowai.state import Overlay, StateStore, open_state

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

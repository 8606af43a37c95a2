"""A real Redis that restarts, hangs, refuses, forgets; and what the guard makes of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.redis_server import RedisServer

from flowai.errors import InfrastructureError
from flowai.state import BreakerRule, FallbackStateStore, Heartbeat, InMemoryStateStore, Overlay, open_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.service

redis_asyncio = pytest.importorskip("redis.asyncio", reason="needs the `redis` extra")

from datetime import UTC, datetime  # noqa: E402 - after the skip

from flowai.state.redis_store import RedisStateStore  # noqa: E402 - as above

RULE = BreakerRule()
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
OVERLAY = Overlay(release="v1", epoch=1, at=AT)
BEAT = Heartbeat(process="a", host="here", pid=1, origin="serve", release="v1", started_at=AT, at=AT)


def with_redis(url: str, act: Callable[[RedisStateStore], Awaitable[None]]) -> None:
    async def run() -> None:
        state = RedisStateStore(url)
        try:
            await act(state)
        finally:
            await state.aclose()

    asyncio.run(run())


async def plainly(url: str, *command: Any) -> Any:
    """Ask Redis something without flowai."""
    client = redis_asyncio.Redis.from_url(url)
    try:
        return await client.execute_command(*command)
    finally:
        await client.aclose()


def test_the_server_s_clock_counts(redis_url: str) -> None:
    async def act(state: RedisStateStore) -> None:
        seconds, microseconds = await plainly(redis_url, "TIME")
        await state.back_off("alpha", "m", for_s=30)
        seen = await state.shared("")
        assert 0 <= seen.read_at_s - (seconds + microseconds / 1e6) < 10
        assert 20 < seen.breakers["alpha"].back_offs["m"] - seen.read_at_s <= 30
        held = await state.reserve("account", 1, limit_usd=1)
        assert held is not None
        assert held.day == datetime.fromtimestamp(seen.read_at_s, UTC).strftime("%Y-%m-%d")

    with_redis(redis_url, act)


def test_every_key_but_the_overlay_expires(redis_url: str) -> None:
    async def act(state: RedisStateStore) -> None:
        await state.record_failure("alpha", BreakerRule(failure_count=1, open_s=300_000))
        await state.record_failure("alpha", BreakerRule(failure_count=1, open_s=300_000))
        await state.back_off("beta", "m", for_s=1)  # a short one does not shorten the others' lives
        held = await state.reserve("account", 1, limit_usd=1)
        assert held is not None
        await state.settle(held, actual_usd=1)
        await state.heartbeat(BEAT, lifetime_s=10)
        await state.write_overlay("prod", OVERLAY)
        keys = [key.decode() for key in await plainly(redis_url, "KEYS", "*")]
        left_s = {key: await plainly(redis_url, "TTL", key) for key in keys}
        assert left_s.pop("flowai:{state}:overlay:prod") == -1, "its silent end would bring a bad release back"
        assert len(left_s) == 4, left_s
        assert left_s.pop("flowai:{state}:circuits") > 300_000
        assert all(0 < ttl_s < 4 * 86_400 for ttl_s in left_s.values())

    with_redis(redis_url, act)


def test_scripts_missing_on_the_server_are_sent_again(redis_url: str) -> None:
    async def act(state: RedisStateStore) -> None:
        for expected in (1, 2, 3):
            await plainly(redis_url, "SCRIPT", "FLUSH")
            views = await asyncio.gather(state.record_failure("alpha", RULE), state.record_failure("beta", RULE))
            assert [view.failure_count for view in views] == [expected, expected]

    with_redis(redis_url, act)


def test_cancelled_calls_do_not_mix_up_replies(redis_url: str) -> None:
    async def act(state: RedisStateStore) -> None:
        async def ask(nth: int) -> None:
            for _ in range(nth + 1):
                await state.reserve(f"account-{nth}", 1, limit_usd=1000)
            assert (await state.balance(f"account-{nth}")).total_usd >= nth + 1

        for round_ in range(20):
            tasks = [asyncio.create_task(ask(nth)) for nth in range(20)]
            for _ in range(round_):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(answer is None or isinstance(answer, asyncio.CancelledError) for answer in found)

    with_redis(redis_url, act)


def test_a_wrong_password_is_an_error_that_does_not_show_it() -> None:
    with RedisServer(password="planted-right-7351") as server:
        url = server.url.replace("planted-right-7351", "planted-wrong-7351")

        async def act(state: RedisStateStore) -> None:
            with pytest.raises(InfrastructureError, match=f"redis://127.0.0.1:{server.port}/0") as caught:
                await state.shared("")
            assert "planted" not in str(caught.value)
            assert "planted" not in str(caught.getrepr(showlocals=False))

        with_redis(url, act)
        with_redis(server.url, lambda state: state.back_off("alpha", "m", for_s=1))


def test_a_refusal_of_redis_is_an_error_with_its_reason() -> None:
    with RedisServer(settings=("--maxmemory", "1kb", "--maxmemory-policy", "noeviction")) as server:

        async def act(state: RedisStateStore) -> None:
            with pytest.raises(InfrastructureError, match="maxmemory"):
                await state.reserve("account", 1, limit_usd=1)
            assert (await state.balance("account")).total_usd == 0, "the connection serves on"

        with_redis(server.url, act)


def test_a_key_that_is_not_ours_is_an_error(redis_url: str) -> None:
    async def act(state: RedisStateStore) -> None:
        await plainly(redis_url, "HSET", "flowai:{state}:circuits", "alpha", "planted")
        for ask in (state.shared(""), state.admit("alpha", "m", RULE)):
            with pytest.raises(InfrastructureError):
                await ask
        await plainly(redis_url, "SET", "flowai:{state}:spent:account", "planted")
        with pytest.raises(InfrastructureError, match="WRONGTYPE"):
            await state.balance("account")

    with_redis(redis_url, act)


def test_a_connection_closed_while_idle_is_reopened(redis_url: str) -> None:
    async def act(state: RedisStateStore) -> None:
        await state.record_failure("alpha", RULE)
        await plainly(redis_url, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0)
        assert (await state.record_failure("alpha", RULE)).failure_count == 2

    with_redis(redis_url, act)


def test_a_reply_received_while_the_process_was_busy_is_read(redis_url: str) -> None:
    async def act(state: RedisStateStore) -> None:
        await state.shared("")
        asked = asyncio.create_task(state.balance("account"))
        for _ in range(4):
            await asyncio.sleep(0)  # it is on its way
        time.sleep(0.4)  # noqa: ASYNC251 - what an import does: longer than the limit
        assert (await asked).total_usd == 0

    with_redis(redis_url, act)


def test_a_hanging_server_fails_all_concurrent_calls_and_recovers() -> None:
    with RedisServer() as server:

        async def act(state: RedisStateStore) -> None:
            await state.shared("")
            server.freeze()
            found = await asyncio.gather(*(state.balance("account") for _ in range(500)), return_exceptions=True)
            assert {str(answer) for answer in found} == {
                f"the shared state at `redis://127.0.0.1:{server.port}/0` is unreachable: no reply within 0.25 s"
            }
            server.thaw()
            assert (await state.balance("account")).total_usd == 0

        with_redis(server.url, act)


def test_a_reservation_from_before_a_restart_is_not_refunded() -> None:
    with RedisServer() as server:

        async def act(state: RedisStateStore) -> None:
            before = await state.reserve("account", 5, limit_usd=10)
            assert before is not None
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            after = await state.reserve("account", 4, limit_usd=10)
            assert after is not None
            await state.settle(before, actual_usd=1)
            assert (await state.balance("account")).total_usd == 5
            await state.settle(after, actual_usd=1)
            assert (await state.balance("account")).total_usd == 2

        with_redis(server.url, act)


def test_a_killed_and_restarted_redis_fails_no_call_under_load() -> None:
    with RedisServer() as server:

        async def run() -> None:
            guarded = FallbackStateStore(
                RedisStateStore(server.url), InMemoryStateStore(time.time), time.time, retry_interval_s=0.05
            )
            over = asyncio.Event()
            done_count = 0

            async def caller(nth: int) -> None:
                nonlocal done_count
                while not over.is_set():
                    await guarded.shared("prod")
                    await guarded.admit(f"provider-{nth % 3}", "m", RULE)
                    await guarded.record_failure(f"provider-{nth % 3}", RULE)
                    held = await guarded.reserve("account", 0.001, limit_usd=1000)
                    assert held is not None
                    await guarded.settle(held, actual_usd=0.0005)
                    done_count += 1
                    await asyncio.sleep(0.001)

            async def becomes(expected: bool) -> None:
                while guarded.is_degraded != expected:  # noqa: ASYNC110 - it changes by itself
                    await asyncio.sleep(0.005)

            async def goes_on() -> None:
                reached = done_count + 40
                while done_count < reached:  # noqa: ASYNC110 - the callers count
                    await asyncio.sleep(0.005)

            callers = [asyncio.create_task(caller(nth)) for nth in range(20)]
            for _ in range(3):
                await goes_on()
                await becomes(expected=False)
                await asyncio.to_thread(server.kill)
                await becomes(expected=True)
                await goes_on()
                await becomes(expected=True)
                await asyncio.to_thread(server.start)
                await becomes(expected=False)
            await goes_on()
            over.set()
            await asyncio.gather(*callers)
            await guarded.aclose()

        asyncio.run(run())


def test_the_address_in_a_registry_opens_it(redis_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        state = open_state(redis_url, tmp_path, clock_s=time.time)
        await state.record_failure("alpha", RULE)
        await state.aclose()
        assert (await state.shared("")).breakers["alpha"].failure_count == 1, "closed is not gone"
        await state.aclose()

    asyncio.run(run())

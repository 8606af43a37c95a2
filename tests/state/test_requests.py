"""The stores of requests: limits of tenants and idempotency keys, one by one and over processes."""

from __future__ import annotations

import asyncio
import json
import random
import stat
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from flowai.errors import InfrastructureError
from flowai.state.requests.factory import open_request_store
from flowai.state.requests.fallback_requests import RETRY_INTERVAL_S, FallbackRequestStore
from flowai.state.requests.memory_requests import InMemoryRequestStore
from flowai.state.requests.rates import RateRule
from flowai.state.requests.sqlite_requests import FILE_NAME, SqliteRequestStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from support.redis_server import RedisServer

    from flowai.state.requests.store import RequestStore

    Opening = Callable[[Callable[[], float]], RequestStore]

NOON_S = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
HOUR_S = 3600.0
RULE = RateRule(requests_per_minute=6, tokens_per_minute=600, usd_per_day=1.0)


class Clock:
    def __init__(self) -> None:
        self.now_s = NOON_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(params=["memory", "file", pytest.param("redis", marks=pytest.mark.service)])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens an empty store on a clock of the test's."""
    if request.param == "memory":
        return InMemoryRequestStore
    if request.param == "file":
        return lambda clock_s: SqliteRequestStore(tmp_path, clock_s)
    from flowai.state.requests.redis_requests import RedisRequestStore

    url = cast("str", request.getfixturevalue("redis_url"))
    return lambda clock_s: RedisRequestStore(url, clock_s)


def with_store(opening: Opening, act: Callable[[RequestStore, Clock], Awaitable[None]]) -> None:
    async def run() -> None:
        clock = Clock()
        store = opening(clock)
        await act(store, clock)
        await store.aclose()
        await store.aclose()  # twice is fine

    asyncio.run(run())


async def exceeded(store: RequestStore, rule: RateRule = RULE, *, tokens: int = 1, tenant: str = "acme") -> str | None:
    return (await store.admit(tenant, rule, tokens=tokens)).exceeded


def test_a_minute_of_requests_may_come_at_once_and_then_one_per_interval(opening: Opening) -> None:
    async def act(store: RequestStore, clock: Clock) -> None:
        for left in range(5, -1, -1):
            decision = await store.admit("acme", RULE, tokens=1)
            assert (decision.exceeded, decision.remaining_requests) == (None, left)
        assert decision.requests_reset_s == 60
        refused = await store.admit("acme", RULE, tokens=1)
        assert (refused.exceeded, refused.retry_in_s, refused.remaining_requests) == ("requests", 10, 0)
        assert await exceeded(store, tenant="another") is None
        clock.now_s += 9.9
        assert await exceeded(store) == "requests", "a refused request does not count"
        clock.now_s += 0.2
        assert await exceeded(store) is None
        assert await exceeded(store) == "requests"
        clock.now_s -= 2 * HOUR_S  # a clock that is set back neither lifts the limit nor keeps it for hours
        assert await exceeded(store) == "requests"
        clock.now_s += 10
        assert await exceeded(store) is None

    with_store(opening, act)


def test_tokens_are_admitted_on_an_estimate_that_usage_replaces(opening: Opening) -> None:
    async def act(store: RequestStore, clock: Clock) -> None:
        decision = await store.admit("acme", RULE, tokens=500)
        assert decision.remaining_tokens == 100
        refused = await store.admit("acme", RULE, tokens=200)
        assert (refused.exceeded, refused.retry_in_s) == ("tokens", 10)
        await store.add_usage("acme", RULE, tokens=-400, cost_usd=0)
        assert await exceeded(store, tokens=500) is None
        await store.add_usage("acme", RULE, tokens=600, cost_usd=0)
        clock.now_s += 59
        assert await exceeded(store, tokens=100) == "tokens", "usage above the limit drains first"
        clock.now_s += 61
        assert await exceeded(store, tokens=10_000) is None, "a request above the limit counts as the limit"

    with_store(opening, act)


def test_dollars_count_until_midnight_utc(opening: Opening) -> None:
    async def act(store: RequestStore, clock: Clock) -> None:
        for cost_usd in (0.7, 0.2, 0.1):  # sums that fit exactly
            assert await exceeded(store) is None
            await store.add_usage("acme", RULE, tokens=0, cost_usd=cost_usd)
        refused = await store.admit("acme", RULE, tokens=1)
        assert (refused.exceeded, refused.retry_in_s) == ("usd", 12 * HOUR_S)
        clock.now_s += 12 * HOUR_S - 0.001
        assert await exceeded(store) == "usd"
        clock.now_s += 0.001
        assert await exceeded(store) is None

    with_store(opening, act)


@pytest.mark.parametrize("ahead_s", [24 * HOUR_S, -24 * HOUR_S])
def test_a_clock_that_is_wrong_for_a_while_erases_no_spending(opening: Opening, ahead_s: float) -> None:
    async def act(store: RequestStore, clock: Clock) -> None:
        await store.add_usage("acme", RULE, tokens=0, cost_usd=1.0)
        clock.now_s += ahead_s
        assert await exceeded(store) is None
        clock.now_s -= ahead_s
        assert await exceeded(store) == "usd"

    with_store(opening, act)


def test_a_tenant_without_a_limit_is_not_counted(opening: Opening) -> None:
    async def act(store: RequestStore, _: Clock) -> None:
        rule = RateRule(usd_per_day=1.0)
        for _round in range(20):
            decision = await store.admit("acme", rule, tokens=1_000_000)
            assert (decision.exceeded, decision.remaining_requests, decision.remaining_tokens) == (None, None, None)

    with_store(opening, act)


@pytest.mark.service
def test_the_script_decides_as_the_rules_do(redis_url: str) -> None:
    from flowai.state.requests.redis_requests import RedisRequestStore

    async def run() -> None:
        clock, rng = Clock(), random.Random(5)  # noqa: S311 - repeatable
        stores: list[RequestStore] = [RedisRequestStore(redis_url, clock), InMemoryRequestStore(clock)]
        for _ in range(400):
            clock.now_s += rng.choice((0, 0.1, 3, 17, -5, 40_000))
            tokens, delta, cost_usd = rng.randrange(700), rng.randrange(-300, 300), rng.random() / 4
            decisions = [await store.admit("acme", RULE, tokens=tokens) for store in stores]
            assert decisions[0] == decisions[1]
            for store in stores:
                await store.add_usage("acme", RULE, tokens=delta, cost_usd=cost_usd)
        for store in stores:
            await store.aclose()

    asyncio.run(run())


async def claim(store: RequestStore, owner: str, *, body: str = "b", key: str = "k") -> tuple[str, bytes]:
    state = await store.claim(key, body=body, owner=owner, lease_s=60)
    return state.status, state.answer


async def keep(store: RequestStore, owner: str, answer: bytes, *, key: str = "k") -> None:
    await store.store_answer(key, body="b", owner=owner, answer=answer, lifetime_s=24 * HOUR_S)


def test_a_key_belongs_to_one_request_until_it_is_answered_and_to_its_answer_for_a_day(opening: Opening) -> None:
    async def act(store: RequestStore, clock: Clock) -> None:
        assert await claim(store, "first") == ("claimed", b"")
        assert await claim(store, "second") == ("running", b"")
        assert await claim(store, "second", body="other") == ("mismatch", b"")
        assert await claim(store, "second", key="another") == ("claimed", b"")
        clock.now_s += 59
        assert await claim(store, "first") == ("claimed", b""), "its owner extends the lease"
        clock.now_s += 59
        assert await claim(store, "second") == ("running", b"")
        await keep(store, "second", b"not its own")
        await keep(store, "first", b"\x00answer\xff")
        assert await claim(store, "second") == ("answered", b"\x00answer\xff")
        assert await claim(store, "second", body="other") == ("mismatch", b"")
        await store.release("k", owner="first")
        clock.now_s += 24 * HOUR_S - 1
        assert await claim(store, "second") == ("answered", b"\x00answer\xff")
        clock.now_s += 1
        assert await claim(store, "second") == ("claimed", b"")

    with_store(opening, act)


def test_a_claim_ends_with_its_release_or_with_its_lease(opening: Opening) -> None:
    async def act(store: RequestStore, clock: Clock) -> None:
        await claim(store, "first")
        await store.release("k", owner="second")
        assert await claim(store, "second") == ("running", b"")
        await store.release("k", owner="first")
        assert await claim(store, "second", body="other") == ("claimed", b"")
        clock.now_s += 60
        assert await claim(store, "third") == ("claimed", b"")
        await keep(store, "second", b"too late")
        assert await claim(store, "fourth") == ("running", b"")
        clock.now_s += 60
        await keep(store, "third", b"late, and nothing was lost")
        assert await claim(store, "fourth") == ("answered", b"late, and nothing was lost")

    with_store(opening, act)


def test_the_oldest_answers_leave_when_the_space_is_used(tmp_path: Path) -> None:
    async def act(store: RequestStore, clock: Clock) -> None:
        await claim(store, "running", key="running")
        for number in range(10):
            clock.now_s += 1
            await claim(store, "o", key=f"k{number}")
            await keep(store, "o", b"x" * 30, key=f"k{number}")
        kept = [(await claim(store, "p", key=f"k{number}"))[0] == "answered" for number in range(10)]
        assert kept == [False] * 7 + [True] * 3
        assert await claim(store, "p", key="running") == ("running", b"")

    with_store(lambda clock: SqliteRequestStore(tmp_path, clock, max_bytes=100), act)


def test_the_file_is_readable_by_its_owner_only_and_never_a_link(tmp_path: Path) -> None:
    def check_modes() -> None:
        paths = list(tmp_path.glob(f"{FILE_NAME}*"))
        assert len(paths) == 3
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}

    async def act(store: RequestStore, _: Clock) -> None:
        await claim(store, "first")
        check_modes()

    with_store(lambda clock: SqliteRequestStore(tmp_path, clock), act)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / FILE_NAME).symlink_to(tmp_path / "elsewhere")

    async def refused(store: RequestStore, _: Clock) -> None:
        with pytest.raises(InfrastructureError):
            await claim(store, "first")

    with_store(lambda clock: SqliteRequestStore(linked, clock), refused)
    assert not (tmp_path / "elsewhere").exists()


PROGRAM = """
import asyncio, json, sys, time
from pathlib import Path
from flowai.state.requests.factory import open_request_store
from flowai.state.requests.rates import RateRule
async def run():
    store = open_request_store(sys.argv[1], Path(sys.argv[2]), clock_s=time.time)
    rule = RateRule(requests_per_minute=50)
    sys.stdin.readline()
    decisions = await asyncio.gather(*(store.admit("acme", rule, tokens=0) for _ in range(40)))
    claims = await asyncio.gather(*(store.claim(f"k{n}", body="b", owner=sys.argv[3], lease_s=60) for n in range(40)))
    await store.aclose()
    print(json.dumps([sum(d.exceeded is None for d in decisions), [c.status for c in claims]]))
asyncio.run(run())
"""


@pytest.mark.parametrize("kind", ["file", pytest.param("redis", marks=pytest.mark.service)])
def test_two_processes_share_limits_and_keys(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    address = ".flowai" if kind == "file" else cast("str", request.getfixturevalue("redis_url"))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, address, str(tmp_path), f"owner {nth}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for nth in range(2)
    ]
    results: list[tuple[int, list[str]]] = [
        json.loads(process.communicate("\n", timeout=60)[0]) for process in processes
    ]
    assert 50 <= sum(count for count, _ in results) <= 52, "two more may drain while the processes start"
    assert all(
        {first, second} == {"claimed", "running"}
        for first, second in zip(*(found for _, found in results), strict=True)
    )


class Flaky:
    """A store that can be away, and counts who asked it meanwhile."""

    def __init__(self, store: RequestStore) -> None:
        self._store = store
        self.is_away = False
        self.asked_count = 0

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def operation(*values: Any, **named: Any) -> Any:
            if self.is_away:
                self.asked_count += 1
                raise InfrastructureError("refused")
            return await getattr(self._store, name)(*values, **named)

        return operation


def test_a_store_that_is_away_costs_no_request_and_each_process_counts_for_itself() -> None:
    async def run() -> None:
        clock, steady_s = Clock(), [0.0]
        remote = Flaky(InMemoryRequestStore(clock))
        store = FallbackRequestStore(cast("RequestStore", remote), InMemoryRequestStore(clock), lambda: steady_s[0])
        assert await exceeded(store) is None
        assert await claim(store, "first") == ("claimed", b"")
        remote.is_away = True
        assert [await exceeded(store) for _ in range(7)] == [None] * 6 + ["requests"]
        assert remote.asked_count == 1
        reasons = [store.unavailable_reason]
        await keep(store, "first", b"answered alone")
        assert await claim(store, "second") == ("answered", b"answered alone")
        assert await claim(store, "third", key="begun alone") == ("claimed", b"")
        steady_s[0] += RETRY_INTERVAL_S
        remote.is_away = False
        assert await exceeded(store) is None, "the shared store has counted one"
        reasons.append(store.unavailable_reason)
        assert reasons == ["refused", None]
        await keep(store, "third", b"answered again", key="begun alone")
        assert await claim(store, "fourth", key="begun alone") == ("answered", b"answered again")
        await store.aclose()

    asyncio.run(run())


@pytest.mark.service
def test_a_redis_that_is_killed_costs_no_request(redis_server: RedisServer, redis_url: str) -> None:
    async def run() -> None:
        store = open_request_store(redis_url, cast("Path", None), clock_s=Clock())
        assert await exceeded(store) is None
        redis_server.kill()
        try:
            assert [await exceeded(store) for _ in range(7)] == [None] * 6 + ["requests"]
        finally:
            redis_server.start()
        await store.aclose()

    asyncio.run(run())

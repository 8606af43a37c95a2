"""Budgets through the gateway: tokens before anything is paid, dollars of a day across processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, KEY, Sample, fleet, gathered, sample, together, until
from support.redis_server import RedisServer
from support.scripted_replies import Reply

from flowai.errors import BudgetError, CallError, FlowaiError
from flowai.gateway.gateway import Gateway
from flowai.gateway.records import CompletionResult, TextChunk
from flowai.gateway.runtime import RuntimeOptions
from flowai.providers import PriceTable
from flowai.state.factory import open_state
from flowai.state.machine import machine_clock_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.state import StateStore

MADE_TOKENS = 500
PROCESS_COUNT = 4
CALLER_COUNT = 200
DAY_USD = 0.01


@dataclass(kw_only=True)
class Clock:
    """A time that a test sets."""

    time: datetime = field(default_factory=lambda: datetime(2026, 5, 2, 22, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.time

    def timestamp(self) -> float:
        """Return seconds since the epoch."""
        return self.time.timestamp()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    """A feature on one priced model; an answer costs half of what is set aside for it."""
    with sample(tmp_path) as made:
        made.providers["main"].default = Reply(usage=(10, MADE_TOKENS))
        made.registry["features"]["chat"].update(fallback=[], degrade=None)
        yield made


def limited(project: Sample, usd_per_day: float, **budget: Any) -> None:
    project.feature(budget={"completion_tokens": 2 * MADE_TOKENS, "usd_per_day": usd_per_day, **budget})


def cost_usd(given: int = 10, made: int = MADE_TOKENS, model: str = "openai/gpt-4o-mini") -> float:
    price = PriceTable().price(model)
    assert price is not None
    found = price.cost_usd(given, made)
    assert found is not None
    return found


async def spent_usd(project: Sample, clock: Clock) -> float:
    state = open_state(".flowai", project.root, clock_s=clock.timestamp)
    found = (await state.balance("chat")).total_usd
    await state.aclose()
    return found


# --- tokens ---


async def call(gateway: Gateway, way: str, text: str = "hello there") -> CompletionResult:
    """Make a call in one of three ways."""
    if way == "raw":
        return await gateway.complete("chat", messages=[{"role": "user", "content": text}])
    if way == "complete":
        return await gateway.complete("chat", {"text": text})
    return (await gathered(gateway.stream("chat", {"text": text})))[2]


@pytest.mark.parametrize("way", ["complete", "stream", "raw"])
def test_a_too_long_request_is_refused_before_any_provider_call(project: Sample, way: str) -> None:
    project.feature(budget={"prompt_tokens": 30})
    long = "many words " * 40

    async def asked() -> None:
        async with project.gateway() as gateway:
            await gateway.complete("chat", {"text": "a few words"})
            with pytest.raises(BudgetError, match="30 tokens") as refused:
                await call(gateway, way, long)
            assert refused.value.retry_after_s is None, "waiting changes nothing"
            assert "prompt_tokens" in (refused.value.hint or "")

    asyncio.run(asked())
    assert project.requests == {"main": 1}
    assert [event.error_class for event in project.calls] == [None, "BudgetError"]
    assert project.alerts == []


def test_a_text_is_counted_where_its_bytes_alone_cannot_decide(project: Sample) -> None:
    project.feature(budget={"prompt_tokens": 100})

    async def asked() -> CompletionResult:
        async with project.gateway() as gateway:
            return await gateway.complete("chat", {"text": "common words " * 30})  # 390 bytes, about 60 tokens

    assert asyncio.run(asked()).text == "hello world"


# --- dollars ---


def test_a_reservation_is_settled_with_the_actual_cost(project: Sample) -> None:
    limited(project, 1.0)
    clock = Clock()

    async def asked() -> None:
        async with project.gateway(now=clock) as gateway:
            answer = await gateway.complete("chat", HELLO)
            assert answer.cost_usd == pytest.approx(cost_usd())
            assert await spent_usd(project, clock) == pytest.approx(cost_usd())
            await gathered(gateway.stream("chat", HELLO))
            assert await spent_usd(project, clock) == pytest.approx(2 * cost_usd())

    asyncio.run(asked())


def test_a_spent_budget_refuses_until_midnight_and_alerts(project: Sample) -> None:
    limited(project, 2.5 * cost_usd())
    clock = Clock()

    async def asked() -> None:
        async with project.gateway(now=clock) as gateway:
            await gateway.complete("chat", HELLO)
            for _ in range(2):
                with pytest.raises(BudgetError) as refused:
                    await gateway.complete("chat", HELLO)
                assert refused.value.retry_after_s == pytest.approx(2 * 3600)
                assert "usd_per_day" in (refused.value.hint or "")
            with pytest.raises(BudgetError):
                await gathered(gateway.stream("chat", HELLO))
            assert project.requests == {"main": 1}
            clock.time += timedelta(hours=2, minutes=1)
            await gateway.complete("chat", HELLO)

    asyncio.run(asked())
    assert project.requests == {"main": 2}
    assert [(alert.cause, alert.feature) for alert in project.alerts] == [("budget", "chat")]
    assert [event.error_class for event in project.calls] == [None, *["BudgetError"] * 3, None]


def test_money_of_calls_under_way_is_worth_a_retry_in_seconds(project: Sample) -> None:
    limited(project, 2.5 * cost_usd())
    project.providers["main"].default = Reply(usage=(10, MADE_TOKENS), delay_s=1.0)

    async def asked() -> None:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            first = asyncio.create_task(gateway.complete("chat", HELLO))
            await until(lambda: project.requests)
            with pytest.raises(BudgetError, match="reserved by calls under way") as refused:
                await gateway.complete("chat", HELLO)
            assert not refused.value.is_spent
            assert refused.value.retry_after_s == 2
            await first

    asyncio.run(asked())
    assert project.alerts == [], "nothing is spent: no alert"


KILLED = """
import asyncio, sys
from flowai import Gateway
from flowai.gateway.runtime import RuntimeOptions

async def act():
    async with Gateway(sys.argv[1], settings=RuntimeOptions(environ={"LOOPBACK_KEY": sys.argv[2]})) as gateway:
        await gateway.complete("chat", {"text": "hello there"})

asyncio.run(act())
"""


def test_a_killed_process_holds_money_no_longer_than_its_call_could_take(project: Sample) -> None:
    limited(project, 2.5 * cost_usd())
    project.feature(timeout={"first_token": "30s", "total": "60s"})
    project.providers["main"].default = Reply(fault="silent")
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(project.root), KEY])
    ahead_s = 0.0

    def clock_s() -> float:
        return machine_clock_s() + ahead_s

    async def asked() -> None:
        nonlocal ahead_s
        await until(lambda: project.requests)
        killed.kill()
        killed.wait()
        project.providers["main"].default = Reply(usage=(10, MADE_TOKENS))
        async with project.gateway(machine_clock_s=clock_s) as gateway:
            with pytest.raises(BudgetError) as refused:
                await gateway.complete("chat", HELLO)
            assert not refused.value.is_spent
            ahead_s = 95.0
            assert (await gateway.complete("chat", HELLO)).text == "hello world"

    asyncio.run(asked())


def test_a_cached_answer_needs_no_budget(project: Sample) -> None:
    limited(project, 2.5 * cost_usd())
    project.feature(cache={"kind": "exact"})

    async def asked() -> None:
        async with project.gateway() as gateway:
            await gateway.complete("chat", HELLO)
            with pytest.raises(BudgetError):
                await gateway.complete("chat", {"text": "another"})
            assert (await gateway.complete("chat", HELLO)).cache == "exact"

    asyncio.run(asked())
    assert project.requests == {"main": 1}


@pytest.mark.parametrize("way", ["complete", "stream"])
def test_attempts_that_failed_before_an_answer_are_not_billed(project: Sample, way: str) -> None:
    limited(project, 1.0)
    clock = Clock()
    project.providers["main"].default = Reply(status=503)

    async def asked() -> float:
        async with project.gateway(now=clock) as gateway:
            with pytest.raises(CallError):
                await call(gateway, way)
            return await spent_usd(project, clock)

    assert asyncio.run(asked()) == 0


def test_the_fallback_s_price_is_reserved_and_settled(project: Sample) -> None:
    project.registry["features"]["chat"]["fallback"] = ["other"]
    limited(project, 1.0)
    clock = Clock()
    project.providers["main"].default = Reply(status=503)
    project.providers["other"].default = Reply(usage=(10, MADE_TOKENS))
    dearer = cost_usd(model="openai/gpt-4o")

    async def asked() -> None:
        async with project.gateway(now=clock) as gateway:
            assert (await gateway.complete("chat", HELLO)).cost_usd == pytest.approx(dearer)
            assert await spent_usd(project, clock) == pytest.approx(dearer)
            limited(project, 1.9 * dearer)
            await gateway.reload()
            with pytest.raises(BudgetError):
                await gateway.complete("chat", HELLO)

    asyncio.run(asked())


@pytest.mark.parametrize("way", ["complete", "stream"])
def test_a_cancelled_call_keeps_its_reservation(project: Sample, way: str) -> None:
    """The provider may bill what it made until then."""
    limited(project, 1.0)
    clock = Clock()
    project.providers["main"].default = Reply(text="some words", fault="stall")

    async def asked() -> float:
        async with project.gateway(now=clock) as gateway:
            await gateway.warm_up()
            if way == "stream":
                async with aclosing(gateway.stream("chat", HELLO)) as items:
                    async for item in items:
                        if isinstance(item, TextChunk):
                            break
            else:
                task = asyncio.create_task(gateway.complete("chat", HELLO))
                await until(lambda: project.requests)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return await spent_usd(project, clock)

    assert asyncio.run(asked()) >= cost_usd(made=2 * MADE_TOKENS)


def test_max_tokens_of_the_caller_are_limited_to_the_reservation(project: Sample) -> None:
    limited(project, 10.0)

    async def asked() -> None:
        async with project.gateway() as gateway:
            for params in ({"max_tokens": 10**6}, {"max_completion_tokens": 10**6}, {"max_tokens": None}):
                await gateway.complete("chat", HELLO, params=params)
                await gateway.complete("chat", messages=[{"role": "user", "content": "hi"}], params=params)

    asyncio.run(asked())
    for asked_for in project.providers["main"].asked:
        limits = [asked_for.body.get(name) for name in ("max_tokens", "max_completion_tokens")]
        assert max(limit for limit in limits if limit is not None) == 2 * MADE_TOKENS


# --- many processes ---


def call_many(root: str, count: int) -> list[str]:
    """Make so many calls at once; give what came of each: `paid` or the error's name. Runs in a process of its own."""

    async def one(gateway: Gateway) -> str:
        try:
            await gateway.complete("chat", HELLO)
        except FlowaiError as error:
            return type(error).__name__
        return "paid"

    async def many() -> list[str]:
        async with Gateway(Path(root), settings=RuntimeOptions(environ={"LOOPBACK_KEY": KEY})) as gateway:
            await gateway.warm_up()
            await together()
            return await asyncio.gather(*(one(gateway) for _ in range(count)))

    return asyncio.run(many())


async def most_spent(state: StateStore, project: Sample) -> tuple[float, float, list[str]]:
    """Let all callers call; give the most that was ever spent or set aside, what is spent in the end, and outcomes."""
    done = fleet(call_many, project.root, [CALLER_COUNT // PROCESS_COUNT] * PROCESS_COUNT)
    most = 0.0
    while not done.done():
        most = max(most, (await state.balance("chat")).total_usd)
        await asyncio.sleep(0.002)
    end_usd = (await state.balance("chat")).total_usd
    return most, end_usd, [outcome for outcomes in done.result() for outcome in outcomes]


def check_fleet(project: Sample, most_usd: float, end_usd: float, outcomes: list[str]) -> None:
    paid_count = outcomes.count("paid")
    assert set(outcomes) == {"paid", "BudgetError"}
    assert len(outcomes) == CALLER_COUNT
    assert most_usd <= DAY_USD
    assert end_usd == pytest.approx(paid_count * cost_usd())
    assert paid_count >= int(DAY_USD / (2.1 * cost_usd())), "what may be spent is spent"
    assert project.requests == {"main": paid_count}
    assert len(project.calls) == CALLER_COUNT


def test_two_hundred_callers_in_four_processes_never_overshoot(project: Sample) -> None:
    limited(project, DAY_USD)
    project.providers["main"].default = Reply(usage=(10, MADE_TOKENS), delay_s=0.1)

    async def asked() -> tuple[float, float, list[str]]:
        state = open_state(".flowai", project.root, clock_s=lambda: datetime.now(UTC).timestamp())
        try:
            return await most_spent(state, project)
        finally:
            await state.aclose()

    check_fleet(project, *asyncio.run(asked()))


@pytest.mark.service
def test_two_hundred_callers_in_four_processes_never_overshoot_on_redis(project: Sample) -> None:
    from flowai.state.redis_store import RedisStateStore

    with RedisServer() as server:
        project.registry["state"] = server.url
        limited(project, DAY_USD)
        project.providers["main"].default = Reply(usage=(10, MADE_TOKENS), delay_s=0.1)

        async def asked() -> tuple[float, float, list[str]]:
            state = RedisStateStore(server.url)
            try:
                return await most_spent(state, project)
            finally:
                await state.aclose()

        check_fleet(project, *asyncio.run(asked()))

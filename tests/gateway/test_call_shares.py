"""Shares of calls through the gateway: failed or slow ones that open a breaker, and repeated ones that are refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, Sample, sample
from support.scripted_replies import Reply

from flowai.errors import FlowaiError, RegistryError
from flowai.gateway.routing.circuit_breaker import CircuitBreakers
from flowai.state import NO_CALLS, AnsweredCalls, BreakerRule, BreakerView, InMemoryStateStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.gateway.gateway import Gateway


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    with sample(tmp_path) as made:
        made.registry["features"]["chat"].update(degrade=None, fallback=[])
        made.write()
        yield made


def policies(project: Sample, **changes: Any) -> None:
    project.registry["policies"] = changes
    project.write()


async def ask(gateway: Gateway, count: int) -> None:
    for _ in range(count):
        with suppress(FlowaiError):
            await gateway.complete("chat", HELLO)


async def opened(gateway: Gateway) -> tuple[str, ...]:
    await gateway.reload()
    return (await gateway.status()).open_breakers


def test_without_a_rate_more_than_five_failures_open_the_breaker(project: Sample) -> None:
    async def act() -> None:
        async with project.gateway() as gateway:
            await ask(gateway, 30)
            project.providers["main"].default = Reply(status=500)
            await ask(gateway, 3)  # each is repeated once
            assert await opened(gateway) == ("main",)

    asyncio.run(act())


def test_few_failures_of_many_calls_leave_the_breaker_closed(project: Sample) -> None:
    policies(project, breaker={"failure_rate": 0.5})

    async def act() -> None:
        async with project.gateway() as gateway:
            await ask(gateway, 30)
            project.providers["main"].default = Reply(status=500)
            await ask(gateway, 14)
            assert await opened(gateway) == (), "28 failures of 58 calls"
            await ask(gateway, 1)
            assert await opened(gateway) == ("main",)

    asyncio.run(act())


def test_the_calls_of_all_processes_count(project: Sample) -> None:
    policies(project, breaker={"failure_rate": 0.5})

    async def act() -> None:
        async with project.gateway() as well, project.gateway() as ill:
            await ask(well, 30)
            await well.reload()  # as four times a second
            project.providers["main"].default = Reply(status=500)
            await ask(ill, 14)
            assert await opened(ill) == ()
            await ask(ill, 1)
            assert await opened(ill) == ("main",)
            assert await opened(well) == ("main",)

    asyncio.run(act())


def test_slow_calls_open_the_breaker(project: Sample) -> None:
    policies(project, breaker={"slow": "0.2s", "slow_rate": 0.5, "min_calls": 4})

    async def act() -> None:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            await ask(gateway, 3)
            project.providers["main"].default = Reply(first_token_delay_s=0.4)
            await ask(gateway, 2)
            assert await opened(gateway) == (), "2 of 5"
            await ask(gateway, 1)
            assert await opened(gateway) == ("main",)

    asyncio.run(act())


def test_a_long_answer_is_not_slow(project: Sample) -> None:
    policies(project, breaker={"slow": "0.2s", "slow_rate": 0.5, "min_calls": 2})
    project.providers["main"].default = Reply(text="many words of a long answer", chunk_delay_s=0.15)

    async def act() -> None:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            await ask(gateway, 3)
            assert await opened(gateway) == ()
            assert (await gateway.complete("chat", HELLO)).latency_ms > 200

    asyncio.run(act())


def test_repeated_calls_stay_within_the_retry_budget_of_all_processes(project: Sample) -> None:
    policies(project, breaker={"failures": 1000}, retry={"budget": 0.1, "min_retries": 2})
    project.providers["main"].default = Reply(status=500)

    async def act() -> None:
        async with project.gateway() as one, project.gateway() as other:
            for _ in range(5):
                await ask(one, 1)
                await ask(other, 1)
            assert project.requests == {"main": 12}, "ten calls, two of them repeated"
            project.providers["main"].default = Reply()
            await ask(one, 30)
            await one.reload()
            project.providers["main"].default = Reply(status=500)
            await ask(other, 10)
            assert project.requests["main"] == 42 + 10 + 3, "a tenth of 52 calls"

    asyncio.run(act())


def test_moving_to_another_model_is_no_repeat(project: Sample) -> None:
    project.registry["features"]["chat"]["fallback"] = ["other"]
    policies(project, breaker={"failures": 1000}, retry={"budget": 0, "min_retries": 0})
    project.providers["main"].default = Reply(status=500)

    async def act() -> None:
        async with project.gateway() as gateway:
            assert (await gateway.complete("chat", HELLO)).model == "other"
            project.providers["other"].default = Reply(status=500)
            await ask(gateway, 1)

    asyncio.run(act())
    assert project.requests == {"main": 2, "other": 2}


@pytest.mark.parametrize(
    ("policy", "key"),
    [
        ({"breaker": {"failure_rate": 0}}, "policies.breaker.failure_rate"),
        ({"breaker": {"slow_rate": 1.5}}, "policies.breaker.slow_rate"),
        ({"breaker": {"min_calls": 0}}, "policies.breaker.min_calls"),
        ({"retry": {"budget": 2}}, "policies.retry.budget"),
        ({"retry": {"min_retries": -1}}, "policies.retry.min_retries"),
    ],
)
def test_wrong_shares_are_errors_that_name_their_key(project: Sample, policy: dict[str, Any], key: str) -> None:
    policies(project, **policy)

    async def act() -> None:
        with pytest.raises(RegistryError, match=key):
            async with project.gateway():
                pass

    asyncio.run(act())


class ListeningStore(InMemoryStateStore):
    """Store that keeps what it was told about answered calls."""

    def __init__(self) -> None:
        super().__init__(lambda: 1_732_000_000.0)
        self.told: list[tuple[str, AnsweredCalls]] = []

    async def record_calls(self, provider: str, rule: BreakerRule, answered: AnsweredCalls) -> BreakerView:
        self.told.append(("record_calls", answered))
        return await super().record_calls(provider, rule, answered)

    async def record_failure(
        self, provider: str, rule: BreakerRule, *, probe: str | None = None, answered: AnsweredCalls = NO_CALLS
    ) -> BreakerView:
        self.told.append(("record_failure", answered))
        return await super().record_failure(provider, rule, probe=probe, answered=answered)


def test_answered_calls_are_reported_in_batches_or_with_a_failure() -> None:
    store, rule = ListeningStore(), BreakerRule(failure_rate=0.5, slow_s=5.0)
    breakers = CircuitBreakers(store, environment="", clock_s=lambda: 0.0)

    async def act() -> None:
        for _ in range(100):
            await breakers.admit("alpha", "m", rule)
            breakers.count_answer("alpha", rule, first_token_s=1.0)
        assert store.told == [], "a healthy call reports nothing by itself"
        await breakers.report_answers()
        await breakers.report_answers()
        breakers.count_answer("alpha", rule, first_token_s=6.0)
        await breakers.record_failure("alpha", rule, probe=None)
        await breakers.report_answers()

    asyncio.run(act())
    assert store.told == [
        ("record_calls", AnsweredCalls(call_count=100)),
        ("record_failure", AnsweredCalls(call_count=1, slow_count=1)),
    ]


def test_without_a_share_nothing_is_counted() -> None:
    store, rule = ListeningStore(), BreakerRule()
    breakers = CircuitBreakers(store, environment="", clock_s=lambda: 0.0)

    async def act() -> None:
        breakers.count_answer("alpha", rule, first_token_s=60.0)
        await breakers.report_answers()
        assert await breakers.admit_retry("alpha", rule)

    asyncio.run(act())
    assert store.told == []

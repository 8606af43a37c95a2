"""Embeddings through the gateway: events, budgets, breakers and retries, apart from the calls of users."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.gateway_projects import HELLO, Sample, sample
from support.scripted_replies import Reply

from flowai.analytics.event_query import TimeRange, open_log
from flowai.analytics.usage import COLUMNS, measure_usage
from flowai.analytics.usage_tables import embeddings_line, to_markdown
from flowai.errors import AllModelsFailedError, BudgetError, CallError, RegistryError
from flowai.events import EmbeddingEvent
from flowai.timestamps import to_us
from flowai.watch.event_counts import EventCounter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.gateway.gateway import Gateway


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    with sample(tmp_path) as made:
        made.registry["models"]["main"]["price"] = {"input": 1000.0, "output": 0.0}
        made.write()
        yield made


def test_embeddings_have_an_event_of_their_own(project: Sample) -> None:
    async def act() -> None:
        async with project.gateway() as gateway:
            await gateway.embed("main", ["a", "four"])

    asyncio.run(act())
    (event,) = project.logged(EmbeddingEvent)
    assert (event.origin, event.purpose, event.requested_model) == ("library", "call", "main")
    assert (event.provider, event.text_count, event.error_class) == ("main", 2, None)
    assert event.input_tokens
    assert event.cost_usd == pytest.approx(event.input_tokens * 0.001)
    assert [attempt.status for attempt in event.attempts] == ["ok"]
    assert event.latency_ms > 0
    assert project.calls == []


def test_a_failed_request_is_repeated_once_and_recorded(project: Sample) -> None:
    project.providers["main"].default = Reply(status=500)

    async def act() -> None:
        async with project.gateway() as gateway:
            with pytest.raises(CallError):
                await gateway.embed("main", ["a"])

    asyncio.run(act())
    assert project.requests == {"main": 2}
    (event,) = project.logged(EmbeddingEvent)
    assert event.error_class == "AllModelsFailedError"
    assert event.cost_usd is None
    assert [attempt.error_class for attempt in event.attempts] == ["ServerError"] * 2


def test_embeddings_open_and_obey_the_breaker(project: Sample) -> None:
    project.providers["main"].default = Reply(status=500)

    async def act() -> None:
        async with project.gateway() as gateway:
            for _ in range(3):
                with pytest.raises(CallError):
                    await gateway.embed("main", ["a"])
            with pytest.raises(AllModelsFailedError, match="open") as refused:
                await gateway.embed("main", ["a"])
            assert refused.value.retry_after_s
            assert (await gateway.complete("chat", HELLO)).model == "other"

    asyncio.run(act())
    assert project.requests == {"main": 6, "other": 1}


async def embed_often(gateway: Gateway) -> None:
    for _ in range(20):
        await gateway.embed("main", ["four words"])


def test_a_model_s_daily_limit_holds_for_embeddings_and_for_calls_of_the_model(project: Sample) -> None:
    project.registry["models"]["main"]["usd_per_day"] = 0.01
    project.write()
    moment = datetime(2026, 5, 2, 22, 0, tzinfo=UTC)

    async def act() -> None:
        async with project.gateway(now=lambda: moment) as gateway:
            await gateway.embed("main", ["four words"])  # up to 5 tokens are reserved
            with pytest.raises(BudgetError, match="`model main` may spend") as refused:
                await embed_often(gateway)
            assert refused.value.is_spent
            assert refused.value.retry_after_s == pytest.approx(2 * 3600)
            assert "`models.main.usd_per_day`" in (refused.value.hint or "")
            with pytest.raises(BudgetError):
                await gateway.complete(model="main", messages=[{"role": "user", "content": "hello there"}])
            assert (await gateway.complete("chat", HELLO)).model == "main", "a feature has its own budget"

    asyncio.run(act())
    assert project.logged(EmbeddingEvent)[-1].error_class == "BudgetError"
    assert [(alert.cause, alert.model) for alert in project.alerts if alert.model] == [("budget", "main")]


def test_a_daily_limit_of_a_model_needs_a_price(project: Sample) -> None:
    del project.registry["models"]["small"]
    project.registry["features"]["chat"].update(degrade=None)
    project.registry["models"]["unknown"] = {"model": "openai/nothing-1", "usd_per_day": 1}
    project.write()

    async def act() -> None:
        with pytest.raises(RegistryError, match="`unknown` has `usd_per_day`, but the price"):
            async with project.gateway():
                pass

    asyncio.run(act())


def test_the_semantic_cache_s_embeddings_are_recorded_and_paid(project: Sample) -> None:
    project.registry["embeddings"] = "main"
    project.feature(cache={"kind": "semantic"}, fallback=[], degrade=None)
    project.registry["models"]["main"]["usd_per_day"] = 100
    project.write()

    async def act() -> None:
        async with project.gateway() as gateway:
            await gateway.complete("chat", HELLO)
            assert (await gateway._open_instance.state.balance("model main")).total_usd > 0  # type: ignore[union-attr]

    asyncio.run(act())
    (event,) = project.logged(EmbeddingEvent)
    assert (event.purpose, event.text_count) == ("cache", 1)
    assert len(project.calls) == 1


def test_no_rate_of_calls_counts_embeddings(project: Sample) -> None:
    project.providers["main"].default = Reply(status=500)

    async def act() -> None:
        async with project.gateway() as gateway:
            with pytest.raises(CallError):
                await gateway.embed("main", ["a"])

    asyncio.run(act())
    counter = EventCounter(project.root / ".flowai" / "events")
    warnings, failed = counter.read(datetime.now(UTC) + timedelta(seconds=1), keep_minutes=60)
    assert (warnings, failed) == ((), False)
    assert counter.counts.since(0) == {}


def test_metrics_tell_embeddings_apart_from_calls(project: Sample) -> None:
    async def act() -> None:
        async with project.gateway() as gateway:
            await gateway.complete("chat", HELLO)
            await gateway.embed("main", ["a", "four"])
            project.providers["main"].default = Reply(status=500)
            with pytest.raises(CallError):
                await gateway.embed("main", ["a"])

    asyncio.run(act())
    now_us = to_us(datetime.now(UTC)) + 1_000_000
    time_range = TimeRange(since_us=now_us - 3_600_000_000, until_us=now_us)
    with open_log(project.root / ".flowai" / "events", COLUMNS, time_range) as log:
        report = measure_usage(log, time_range, ("feature",), now_us=now_us)
    assert [row.group for row in report.rows] == [{"feature": "chat"}]
    (event, _) = sorted(project.logged(EmbeddingEvent), key=lambda each: each.at)
    assert (report.embeddings.request_count, report.embeddings.failed_count) == (2, 1)
    assert report.embeddings.input_tokens == event.input_tokens
    assert report.embeddings.cost_usd == pytest.approx(event.cost_usd)
    line = embeddings_line(report)
    assert line is not None
    assert line.startswith("embeddings: 2 requests (1 failed), ")
    assert line in to_markdown(report)

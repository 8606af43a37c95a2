"""Attempts that failed after an answer had begun: the provider may bill them, so budget and event count them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, Sample, gathered, sample
from support.scripted_replies import Reply

from flowai.errors import FlowaiError
from flowai.gateway.records import CompletionResult
from flowai.providers import PriceTable
from flowai.state.sqlite_store import SqliteStateStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORDS = "four " * 100  # 500 characters


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    with sample(tmp_path) as made:
        made.registry["features"]["chat"].update(degrade=None, budget={"usd_per_day": 1.0, "completion_tokens": 5000})
        made.registry["features"]["chat"]["fallback"] = []
        made.write()
        yield made


def cost_usd(given: int, made: int, model: str = "openai/gpt-4o-mini") -> float:
    price = PriceTable().price(model)
    assert price is not None
    return price.cost_usd(given, made) or 0.0


def outcome(project: Sample, way: str, **options: Any) -> tuple[CompletionResult | FlowaiError, float]:
    """Make a call; give its result or error, and what the day has cost."""

    async def asked() -> tuple[CompletionResult | FlowaiError, float]:
        async with project.gateway() as gateway:
            result: CompletionResult | FlowaiError
            try:
                if way == "complete":
                    result = await gateway.complete("chat", HELLO)
                else:
                    result = (await gathered(gateway.stream("chat", HELLO, **options)))[2]
            except FlowaiError as error:
                result = error
        state = SqliteStateStore(project.root / ".flowai", project.calls[-1].at.timestamp)
        spent_usd = (await state.balance("chat")).total_usd
        await state.aclose()
        return result, spent_usd

    return asyncio.run(asked())


REPORTED = [
    Reply(text="", usage=(1000, 400), finish_reason="stop"),  # empty: malformed
    Reply(text="partly", usage=(1000, 400), finish_reason="content_filter"),
    Reply(text="", usage=(1000, 400), finish_reason="content_filter"),
]


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize("way", ["complete", "stream"])
@pytest.mark.parametrize("reply", REPORTED, ids=["empty", "filtered", "withheld"])
def test_reported_tokens_of_a_failed_attempt_are_counted(
    project: Sample, way: str, reply: Reply, transport: str
) -> None:
    project.registry["models"]["main"]["transport"] = transport
    project.feature(retry={"same_provider": 0})
    project.providers["main"].default = reply
    failed, spent_usd = outcome(project, way)
    assert isinstance(failed, FlowaiError)
    (event,) = project.calls
    attempt_count = len(event.attempts)
    assert event.cost_usd == pytest.approx(attempt_count * cost_usd(1000, 400))
    assert spent_usd == pytest.approx(event.cost_usd)


@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_a_stream_that_breaks_is_counted_by_what_came(project: Sample, transport: str) -> None:
    project.registry["models"]["main"]["transport"] = transport
    project.write()
    project.providers["main"].default = Reply(text=WORDS, fault="cut")
    failed, spent_usd = outcome(project, "stream")
    assert isinstance(failed, FlowaiError)
    (event,) = project.calls
    assert event.cost_usd is not None
    half = cost_usd(8, len(WORDS) // 2 // 4)
    assert event.cost_usd == pytest.approx(half, rel=0.1), "half of the text came"
    assert spent_usd == pytest.approx(event.cost_usd)


@pytest.mark.parametrize("way", ["complete", "restart"])
def test_the_answer_of_the_next_model_carries_the_cost_of_all_attempts(project: Sample, way: str) -> None:
    project.registry["features"]["chat"]["fallback"] = ["other"]
    project.write()
    project.providers["main"].default = Reply(text=WORDS, fault="cut")
    project.providers["other"].default = Reply(usage=(10, 500))
    answer, spent_usd = outcome(project, way, on_break="restart")
    assert isinstance(answer, CompletionResult)
    own_usd = cost_usd(10, 500, "openai/gpt-4o")
    assert answer.cost_usd is not None
    assert answer.cost_usd == pytest.approx(own_usd + cost_usd(8, len(WORDS) // 8), rel=0.01)
    assert answer.cost_usd > own_usd
    (event,) = project.calls
    assert event.cost_usd == answer.cost_usd
    assert spent_usd == pytest.approx(answer.cost_usd)


def test_the_registry_s_price_counts_for_failed_attempts_too(project: Sample) -> None:
    project.registry["models"]["main"]["price"] = {"input": 1.0, "output": 2.0}
    project.write()
    project.providers["main"].default = Reply(text="partly", usage=(1000, 400), finish_reason="content_filter")
    _, spent_usd = outcome(project, "complete")
    assert spent_usd == pytest.approx(0.001 + 0.0008)


def test_a_silent_provider_bills_nothing(project: Sample) -> None:
    project.feature(timeout={"first_token": "0.5s", "total": "5s"})
    project.providers["main"].default = Reply(fault="silent")
    _, spent_usd = outcome(project, "complete")
    assert spent_usd == 0
    assert project.calls[0].cost_usd is None

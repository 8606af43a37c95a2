"""A gateway's life: opened, closed, forgotten, opened again; nothing stays behind."""

from __future__ import annotations

import asyncio

import pytest
from support.gateway_projects import HELLO, Sample, gathered, open_descriptors, sample, until
from support.scripted_replies import Reply

from flowai.errors import (
    UsageError,
)
from flowai.gateway.records import StreamStarted


def test_a_gateway_needs_no_with_block_but_may_be_closed_twice(project: Sample) -> None:
    async def used() -> None:
        gateway = project.gateway()
        assert (await gateway.complete("chat", HELLO)).text == "main says hello"
        await gateway.aclose()
        await gateway.aclose()

    asyncio.run(used())
    assert len(project.calls) == 1


def test_a_closed_gateway_raises_until_it_is_opened_again(project: Sample) -> None:
    async def used() -> None:
        gateway = project.gateway()
        async with gateway:
            answer = await gateway.complete("chat", HELLO)
        for use in (
            gateway.complete("chat", HELLO),
            gathered(gateway.stream("chat", HELLO)),
            gateway.embed("main", ["a"]),
            gateway.feedback(answer.call_id, verdict="saved"),
            gateway.status(),
        ):
            with pytest.raises(UsageError, match="closed"):
                await use
        async with gateway:
            assert (await gateway.complete("chat", HELLO)).text == "main says hello"

    asyncio.run(used())
    assert len(project.calls) == 2
    assert project.requests == {"main": 2}


def test_one_gateway_serves_one_event_loop_after_another(project: Sample) -> None:
    gateway = project.gateway()

    async def used() -> None:
        async with gateway:
            await asyncio.gather(*(gateway.complete("chat", HELLO) for _ in range(3)))

    for _ in range(3):
        asyncio.run(used())
    assert project.requests == {"main": 9}


def test_two_gateways_in_one_process_are_independent(project: Sample, tmp_path_factory: pytest.TempPathFactory) -> None:
    with sample(tmp_path_factory.mktemp("second")) as second:
        second.providers["main"].default = Reply(text="second")

        async def used() -> list[str]:
            async with project.gateway() as one, second.gateway() as two:
                first = await asyncio.gather(one.complete("chat", HELLO), two.complete("chat", HELLO))
                await two.aclose()
                return [*(answer.text for answer in first), (await one.complete("chat", HELLO)).text]

        assert asyncio.run(used()) == ["main says hello", "second", "main says hello"]
        assert len(project.calls) == 2
        assert len(second.calls) == 1


def test_many_first_calls_at_once_open_the_project_once(project: Sample) -> None:
    async def used() -> set[str]:
        gateway = project.gateway()
        await asyncio.gather(*(gateway.complete("chat", HELLO) for _ in range(20)))
        await gateway.aclose()
        return {str(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    left = asyncio.run(used())
    assert not [task for task in left if "LoggingWorker" not in task], "LiteLLM keeps one task of its own per loop"
    assert len(list((project.root / ".flowai" / "events").rglob("*.jsonl"))) == 1


def test_nothing_stays_open_when_it_is_closed(project: Sample) -> None:
    project.ask()  # what LiteLLM itself keeps is there from now on
    before = open_descriptors()
    project.feature(cache={"kind": "exact"})

    async def used() -> None:
        async with project.gateway() as gateway:
            await asyncio.gather(*(gateway.complete("chat", {"text": str(at)}) for at in range(5)))
            await gathered(gateway.stream("chat", HELLO))

    asyncio.run(used())
    assert open_descriptors() == before


@pytest.mark.parametrize("way", ["complete", "stream"])
def test_closing_ends_calls_in_flight(project: Sample, way: str) -> None:
    project.providers["main"].default = Reply(fault="stall")

    async def used() -> BaseException | None:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            work = gateway.complete("chat", HELLO) if way == "complete" else gathered(gateway.stream("chat", HELLO))
            call = asyncio.ensure_future(work)
            await until(lambda: project.requests)
        (result,) = await asyncio.gather(call, return_exceptions=True)
        return result if isinstance(result, BaseException) else None

    before = open_descriptors()
    error = asyncio.run(used())
    assert isinstance(error, UsageError)
    assert "closed" in str(error)
    assert project.requests == {"main": 1}, "nobody else is asked"
    (event,) = project.calls
    assert event.error_class == "UsageError"
    assert open_descriptors() <= before


def test_an_unclosed_gateway_closes_with_its_event_loop(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    project.ask()
    before = open_descriptors()
    gateway = project.gateway()
    for at in range(3):
        assert asyncio.run(gateway.complete("chat", {"text": str(at)})).text == "main says hello"
    assert open_descriptors() == before
    assert len(project.calls) == 4


def test_a_gateway_belongs_to_one_event_loop(project: Sample) -> None:
    async def used() -> None:
        async with project.gateway() as gateway:
            elsewhere = asyncio.to_thread(asyncio.run, gateway.complete("chat", HELLO))
            with pytest.raises(UsageError, match="another event loop"):
                await elsewhere
            assert (await gateway.complete("chat", HELLO)).text == "main says hello"

    asyncio.run(used())


def test_a_stream_that_is_left_open_ends_with_its_gateway(project: Sample) -> None:
    project.providers["main"].default = Reply(text="some words", fault="stall")

    async def used() -> None:
        gateway = project.gateway()
        items = gateway.stream("chat", HELLO)
        assert isinstance(await anext(items), StreamStarted)
        await gateway.aclose()
        with pytest.raises(UsageError, match="closed"):
            await anext(items)

    asyncio.run(used())

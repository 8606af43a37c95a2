"""Streams of the gateway: their order, what breaks them, who leaves, what the log says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, Sample, gathered, open_descriptors, until
from support.scripted_replies import Reply

from flowai.errors import AllModelsFailedError, MalformedAnswerError, TimedOutError
from flowai.gateway.records import CompletionResult, StreamEvent, StreamRestarted, StreamStarted, TextChunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def stream(project: Sample, **wishes: Any) -> tuple[list[StreamEvent], str, CompletionResult]:
    async def streamed() -> tuple[list[StreamEvent], str, CompletionResult]:
        async with project.gateway() as gateway:
            return await gathered(gateway.stream(**{"feature": "chat", "variables": HELLO, **wishes}))

    return asyncio.run(streamed())


async def read(items: AsyncIterator[StreamEvent], found: list[StreamEvent]) -> None:
    async for item in items:
        found.append(item)  # noqa: PERF401 - what came before an error counts


def broken(project: Sample, kind: type[Exception], **wishes: Any) -> tuple[list[StreamEvent], Any]:
    """Read a stream until it breaks; give what came before, and the error."""

    async def streamed() -> tuple[list[StreamEvent], Any]:
        found: list[StreamEvent] = []
        async with project.gateway() as gateway:
            with pytest.raises(kind) as failed:
                await read(gateway.stream(**{"feature": "chat", "variables": HELLO, **wishes}), found)
        return found, failed.value

    return asyncio.run(streamed())


def test_a_stream_yields_the_start_the_chunks_and_the_result(project: Sample) -> None:
    (started, *pieces, answer), text, _ = stream(project, user="ann", tenant="acme")
    assert isinstance(started, StreamStarted)
    assert isinstance(answer, CompletionResult)
    assert len(pieces) >= 2
    assert all(isinstance(piece, TextChunk) for piece in pieces)
    assert started.call_id == answer.call_id
    assert started.feature == "chat"
    assert started.release == "v1"
    assert started.variant is None
    assert started.model == "main"
    assert started.degraded is False
    assert started.disclaimer is None
    assert started.cache == "miss"
    assert text == answer.text == "main says hello"
    assert answer.input_tokens == 10
    assert answer.output_tokens == 2
    assert answer.finish_reason == "stop"
    assert answer.cost_usd
    assert answer.ttft_ms is not None
    assert project.providers["main"].asked[0].body["stream"] is True
    (event,) = project.calls
    assert event.call_id == answer.call_id
    assert event.error_class is None
    assert event.tenant == "acme"
    assert event.cost_usd == answer.cost_usd


def test_chunks_arrive_as_the_provider_sends_them(project: Sample) -> None:
    project.providers["main"].default = Reply(text="first half second half", fault="stall")

    async def first() -> str:
        async with project.gateway() as gateway:
            items = gateway.stream("chat", HELLO)
            async for item in items:
                if isinstance(item, TextChunk):
                    await items.aclose()
                    return item.text
        raise AssertionError("no piece came")

    assert asyncio.run(first()) == "first half "


def test_a_hit_streams_the_same_way(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})

    async def streamed() -> list[tuple[list[StreamEvent], str, CompletionResult]]:
        async with project.gateway() as gateway:
            return [await gathered(gateway.stream("chat", HELLO)) for _ in range(2)]

    (_, first, miss), ((started, piece, answer), second, _) = asyncio.run(streamed())
    assert isinstance(started, StreamStarted)
    assert isinstance(answer, CompletionResult)
    assert piece == TextChunk(text="main says hello")
    assert first == second
    assert miss.cache == "miss"
    assert started.cache == "exact"
    assert answer.cache == "exact"
    assert answer.cost_usd == 0.0
    assert answer.ttft_ms is None
    assert [event.cache for event in project.calls] == ["miss", "exact"]
    assert project.requests == {"main": 1}


def test_tool_calls_are_in_chunks_and_in_the_result(project: Sample) -> None:
    called = (("call_1", "weather", '{"city": "Bonn"}'),)
    project.providers["main"].default = Reply(text="", tool_calls=called, finish_reason="tool_calls")
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    items, text, answer = stream(project, params={"tools": [tool]})
    deltas = [delta for item in items if isinstance(item, TextChunk) for delta in item.tool_calls]
    assert "".join(delta["function"].get("arguments") or "" for delta in deltas) == '{"city": "Bonn"}'
    assert text == ""
    assert answer.finish_reason == "tool_calls"
    assert answer.tool_calls[0]["function"] == {"name": "weather", "arguments": '{"city": "Bonn"}'}


def test_cached_tool_calls_are_streamed_as_deltas(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    called = (("call_1", "weather", "{}"), ("call_2", "weather", "{}"))
    project.providers["main"].default = Reply(text="", tool_calls=called, finish_reason="tool_calls")
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    stream(project, params={"tools": [tool]})
    items, _, answer = stream(project, params={"tools": [tool]})
    assert answer.cache == "exact"
    deltas = [delta for item in items if isinstance(item, TextChunk) for delta in item.tool_calls]
    assert [(delta["index"], delta["id"]) for delta in deltas] == [(0, "call_1"), (1, "call_2")]


def test_before_the_first_text_a_broken_stream_falls_back_unnoticed(project: Sample) -> None:
    project.providers["main"].default = Reply(status=503)
    project.providers["other"].default = Reply(fault="role_only")
    project.feature(timeout={"first_token": "2s", "total": "30s"})
    (started, *_), text, answer = stream(project)
    assert isinstance(started, StreamStarted)
    assert started.model == "small"
    assert started.degraded is True
    assert started.disclaimer == "in short"
    assert text == "small says hello"
    assert answer.degraded is True
    assert answer.disclaimer == "in short"
    assert answer.model == "small"
    (event,) = project.calls
    assert [(one.model, one.error_class) for one in event.attempts] == [
        ("main", "ServerError"),
        ("other", "TimedOutError"),
        ("small", None),
    ]
    assert event.degraded


@pytest.mark.parametrize("fault", ["cut", "reset_after_headers", "error_chunk"])
def test_a_stream_that_breaks_after_its_first_text_is_an_error_without_a_result(project: Sample, fault: Any) -> None:
    project.providers["main"].default = Reply(fault=fault)
    items, error = broken(project, Exception)
    assert [type(item) for item in items] == [StreamStarted, TextChunk]
    assert error.provider == "main"
    (event,) = project.calls
    assert event.error_class == type(error).__name__
    assert event.cost_usd == pytest.approx(2.4e-6), "the provider may bill the request and the text that came"
    assert event.finish_reason is None
    assert project.requests == {"main": 1}


def test_with_restart_the_next_model_answers_from_the_start(project: Sample) -> None:
    project.providers["main"].default = Reply(text="main breaks off here", fault="cut")
    project.providers["other"].default = Reply(text="other breaks off here", fault="cut")
    items, _, answer = stream(project, on_break="restart")
    kinds = [type(item) for item in items if not isinstance(item, TextChunk)]
    assert kinds == [StreamStarted, StreamRestarted, StreamRestarted, CompletionResult]
    first, second = (item for item in items if isinstance(item, StreamRestarted))
    assert first.model == "other"
    assert first.degraded is False
    assert first.disclaimer is None
    assert second.model == "small"
    assert second.degraded is True
    assert second.disclaimer == "in short"
    assert first.reason.startswith("main: ")
    after = items[items.index(second) :]
    assert "".join(item.text for item in after if isinstance(item, TextChunk)) == answer.text == "small says hello"
    assert answer.model == "small"
    assert answer.degraded is True


def test_when_every_restart_breaks_the_stream_is_an_error(project: Sample) -> None:
    for provider in project.providers.values():
        provider.default = Reply(fault="cut")
    items, error = broken(project, AllModelsFailedError, on_break="restart")
    assert not any(isinstance(item, CompletionResult) for item in items)
    assert {type(failure) for failure in error.failures} <= {MalformedAnswerError, type(error.failures[0])}
    assert project.calls[0].error_class == "AllModelsFailedError"


def test_a_stall_after_the_first_text_is_a_timeout(project: Sample) -> None:
    project.feature(timeout={"first_token": "2s", "total": "30s"})
    project.providers["main"].default = Reply(text="some words", fault="stall")
    items, error = broken(project, TimedOutError)
    assert isinstance(items[-1], TextChunk)
    assert error.model == "main"


def test_a_slow_reader_is_not_timed_out(project: Sample) -> None:
    project.feature(timeout={"first_token": "2s", "total": "60s"})
    project.providers["main"].default = Reply(text="some words", chunk_delay_s=0.05)

    async def read() -> str:
        text = ""
        async with project.gateway() as gateway:
            async for item in gateway.stream("chat", HELLO):
                if isinstance(item, TextChunk):
                    text += item.text
                    await asyncio.sleep(2.5)  # longer than the provider may be silent
        return text

    assert asyncio.run(read()) == "some words"


def test_each_piece_may_be_awaited_in_a_task_of_its_own(project: Sample) -> None:
    """As `asyncio.wait_for` does it before Python 3.12, and web frameworks do."""

    async def read() -> list[StreamEvent]:
        found: list[StreamEvent] = []
        async with project.gateway() as gateway:
            items = gateway.stream("chat", HELLO)
            while True:
                task = asyncio.ensure_future(anext(items, None))
                item = await task
                if item is None:
                    return found
                found.append(item)

    assert isinstance(asyncio.run(read())[-1], CompletionResult)


@pytest.mark.parametrize("after", [StreamStarted, TextChunk])
def test_a_stream_closed_early_leaves_nothing_open(project: Sample, after: type[StreamEvent]) -> None:
    stream(project)
    before = open_descriptors()
    project.providers["main"].default = Reply(text="some words", fault="stall")

    async def left() -> None:
        async with project.gateway() as gateway:
            items = gateway.stream("chat", HELLO)
            async for item in items:
                if isinstance(item, after):
                    break
            await items.aclose()

    asyncio.run(left())
    event = project.calls[-1]
    assert event.error_class == "Cancelled"
    assert event.cost_usd is None
    assert event.provider == "main"
    assert [(one.status, one.error_class) for one in event.attempts] == [("error", "Cancelled")]
    assert open_descriptors() <= before
    assert project.requests == {"main": 2}


def test_a_cancelled_reader_ends_the_call(project: Sample) -> None:
    project.providers["main"].default = Reply(text="some words", fault="stall")

    async def left() -> None:
        async with project.gateway() as gateway:
            reading = asyncio.create_task(gathered(gateway.stream("chat", HELLO)))
            await until(lambda: project.requests)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

    asyncio.run(left())
    assert [event.error_class for event in project.calls] == ["Cancelled"]


def test_a_stream_read_to_its_result_is_a_complete_call(project: Sample) -> None:
    async def read() -> None:
        async with project.gateway() as gateway:
            items = gateway.stream("chat", HELLO)
            async for item in items:
                if isinstance(item, CompletionResult):
                    break
            await items.aclose()

    asyncio.run(read())
    assert [event.error_class for event in project.calls] == [None]


def test_an_unread_stream_makes_no_call(project: Sample) -> None:
    async def unread() -> None:
        async with project.gateway() as gateway:
            await gateway.stream("chat", HELLO).aclose()

    asyncio.run(unread())
    assert project.requests == {}
    assert project.calls == []


def test_an_incomplete_streamed_answer_is_not_cached(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    main = project.providers["main"]
    main.script(Reply(finish_reason="length"), Reply(fault="cut"))

    async def streamed() -> list[str]:
        async with project.gateway() as gateway:
            verdicts: list[str] = [(await gathered(gateway.stream("chat", HELLO)))[2].cache]
            with pytest.raises(MalformedAnswerError):
                await gathered(gateway.stream("chat", HELLO))
            return verdicts + [(await gathered(gateway.stream("chat", HELLO)))[2].cache for _ in range(2)]

    assert asyncio.run(streamed()) == ["miss", "miss", "exact"]

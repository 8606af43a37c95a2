"""A disk that takes no more: calls go on, events wait for it, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.gateway_projects import HELLO, Sample, until

from flowai.errors import InfrastructureError
from flowai.events import AlertEvent, FeedbackEvent
from flowai.gateway.telemetry import event_writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.gateway.gateway import Gateway
    from flowai.gateway.records import GatewayStatus


async def until_well(gateway: Gateway) -> GatewayStatus:
    async def is_well() -> bool:
        standing = await gateway.status()
        return not standing.degraded and not standing.held_event_count

    await until(is_well)
    return await gateway.status()


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_events_are_buffered_until_they_can_be_written(project: Sample) -> None:
    blocked = project.root / ".flowai" / "events"
    blocked.parent.mkdir()
    blocked.write_text("in the way of the directory")

    async def served() -> None:
        async with project.gateway() as gateway:
            answers = [await gateway.complete("chat", HELLO) for _ in range(3)]
            standing = await gateway.status()
            assert list(standing.degraded) == ["event_log_unwritable"]
            assert standing.held_event_count >= 3
            assert (await gateway.explain(answers[0].call_id)).event.call_id == answers[0].call_id
            with pytest.raises(InfrastructureError) as failed:
                await gateway.feedback(answers[0].call_id, verdict="accepted")
            assert failed.value.hint
            await until(lambda: any(isinstance(event, AlertEvent) for event in project.told))
            blocked.unlink()
            assert (await until_well(gateway)).dropped_event_count == 0
            await gateway.feedback(answers[0].call_id, verdict="saved")
            assert [event.call_id for event in project.calls] == [answer.call_id for answer in answers]

    asyncio.run(served())
    assert [event.verdict for event in project.feedback] == ["saved"], "what failed was not acknowledged"
    assert [event.verdict for event in project.told if isinstance(event, FeedbackEvent)] == ["saved"]
    assert [alert.cause for alert in project.alerts] == ["events"]
    assert len(project.calls) == 3


def test_a_disk_that_is_full_for_everything_fails_no_call(project: Sample) -> None:
    project.registry["features"]["chat"]["budget"] = {"usd_per_day": 1.0}
    project.registry["models"]["small"]["price"] = "unknown_is_free"
    project.feature(cache={"kind": "exact"})

    async def served() -> set[str]:
        async with project.gateway() as gateway:
            await gateway.complete("chat", HELLO)
            (log,) = (project.root / ".flowai" / "events").rglob("*.jsonl")
            with full_disk(log.stat().st_size + 20):
                for at in range(5):
                    assert (await gateway.complete("chat", {"text": f"text {at}"})).text == "main says hello"
                degraded: set[str] = set((await gateway.status()).degraded)
                with pytest.raises(InfrastructureError):
                    await gateway.feedback("any", verdict="saved")
            await gateway.complete("chat", {"text": "the disk is well again"})
            await until_well(gateway)
        return degraded

    assert {"event_log_unwritable", "cache_unavailable", "state_unavailable"} <= asyncio.run(served())
    assert len(project.calls) == 7, "and no line is torn"
    assert {event.error_class for event in project.calls} == {None}
    assert project.feedback == []


def test_the_buffer_is_limited_and_keeps_the_newest_events(project: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_writer, "MAX_BUFFERED_EVENTS", 4)
    blocked = project.root / ".flowai" / "events"
    blocked.parent.mkdir()
    blocked.write_text("in the way")

    async def served() -> tuple[list[str], int]:
        async with project.gateway() as gateway:
            answers = [await gateway.complete("chat", {"text": str(at)}) for at in range(8)]
            dropped_count = (await gateway.status()).dropped_event_count
            blocked.unlink()
            await until_well(gateway)
            return [answer.call_id for answer in answers], dropped_count

    called, dropped_count = asyncio.run(served())
    assert dropped_count in (4, 5), "the alert about it waits too"
    written = [event.call_id for event in project.calls]
    assert written == called[-len(written) :]
    assert len(written) >= 3


def test_buffered_events_are_written_when_the_gateway_closes(project: Sample) -> None:
    blocked = project.root / ".flowai" / "events"
    blocked.parent.mkdir()
    blocked.write_text("in the way")

    async def served() -> None:
        async with project.gateway() as gateway:
            await gateway.complete("chat", HELLO)
            blocked.unlink()

    asyncio.run(served())
    assert len(project.calls) == 1

"""Unexpected exceptions in the background of a gateway: calls and `/readyz` go on, the fault is seen, and it passes."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.gateway_projects import HELLO, PROMPT, Sample, until, until_troubled

from flowai.gateway import hot_reload
from flowai.gateway.hot_reload import HotReloader
from flowai.gateway.runtime import GatewayRuntime
from flowai.gateway.telemetry.event_writer import EventWriter
from flowai.server.health import HealthMonitor
from flowai.server.http_server import running
from flowai.state.fallback_store import FallbackStateStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.events import CallEvent
    from flowai.gateway.gateway import Gateway

FAULTS = {
    "files": (HotReloader, "_fingerprint_files", "registry_invalid"),
    "heartbeat": (GatewayRuntime, "_send_heartbeat", "background_task_failing"),
    "events": (EventWriter, "flush", "background_task_failing"),
    "alerts": (GatewayRuntime, "_raise_alerts", "background_task_failing"),
}
ERRORS = [KeyError("x"), RecursionError("maximum recursion depth exceeded"), MemoryError(), OSError(5, "I/O error")]


class Fault:
    """A method that raises while it is broken."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: type, name: str, error: BaseException) -> None:
        plain = getattr(owner, name)
        self.is_on = False
        self.count = 0

        def faulty(*arguments: Any, **named: Any) -> Any:
            if self.is_on:
                self.count += 1
                raise error
            return plain(*arguments, **named)

        patch.setattr(owner, name, faulty)


async def answers(gateway: Gateway, http: httpx.AsyncClient) -> None:
    """Assert that calls are answered and the process is ready."""
    assert (await gateway.complete("chat", HELLO)).release == "v1"
    ready = await http.get("/readyz")
    assert ready.status_code == 200, ready.text
    chat = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
    assert (await http.post("/v1/chat/completions", json=chat)).status_code == 200


@pytest.mark.parametrize("error", ERRORS[:2], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("part", FAULTS)
def test_a_failing_task_fails_no_call_is_shown_and_recovers(
    project: Sample, monkeypatch: pytest.MonkeyPatch, part: str, error: BaseException
) -> None:
    owner, name, degraded = FAULTS[part]
    fault = Fault(monkeypatch, owner, name, error)
    monkeypatch.setattr(hot_reload, "RETRY_S", 0.0)
    bugs: list[BaseException] = []
    changes: list[str] = []

    async def served() -> None:
        async with project.gateway(on_bug=bugs.append) as gateway, running(gateway) as address:
            monitor = HealthMonitor(lambda change: changes.append(change.text))
            async with httpx.AsyncClient(base_url=address) as http:
                await answers(gateway, http)
                fault.is_on = True
                await until_troubled(gateway, degraded)
                monitor.check(await gateway.status())
                await until(lambda: fault.count >= 2)
                await answers(gateway, http)
                fault.is_on = False
                await until_troubled(gateway)
                monitor.check(await gateway.status())
                await answers(gateway, http)
                if part != "alerts":
                    await until(lambda: project.alerts)

    asyncio.run(served())
    assert bugs == [error]
    assert [line.split(":")[0].split(" after")[0] for line in changes] == ["degraded", "recovered"]
    assert type(error).__name__ in changes[0]
    if part != "alerts":
        cause = "registry" if part == "files" else "internal"
        assert {alert.cause for alert in project.alerts} == {cause}


def hostile_registry(project: Sample) -> str:
    return json.dumps(project.registry)[:-1] + ', "version_targets": &a [*a]}'


def hostile_prompt(_: Sample) -> str:
    return PROMPT.replace("---\ninput", "---\nmetadata: &a {b: *a}\ninput") % 1


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("registry.yaml", hostile_registry, "registry.yaml:1"),
        ("prompts/hello_v1.prompt", hostile_prompt, "prompts/hello_v1.prompt:2"),
    ],
)
def test_recursive_aliases_keep_the_last_good_version(
    project: Sample, path: str, text: Callable[[Sample], str], line: str
) -> None:
    good = (project.root / path).read_text()

    async def served() -> None:
        async with (
            project.gateway() as gateway,
            running(gateway) as address,
            httpx.AsyncClient(base_url=address) as http,
        ):
            await answers(gateway, http)
            project.write(path, text(project))
            await until_troubled(gateway, "registry_invalid")
            assert line in (await gateway.status()).degraded["registry_invalid"]
            assert "inside its own anchor" in (await gateway.status()).degraded["registry_invalid"]
            for _ in range(3):
                await answers(gateway, http)
            project.write(path, good + "\n")
            await until_troubled(gateway)
            await answers(gateway, http)

    asyncio.run(served())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_any_exception_while_reading_keeps_the_last_good_version_and_is_retried_without_a_change(
    project: Sample, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    fault = Fault(monkeypatch, HotReloader, "_read", error)
    now_s = [0.0]
    bugs: list[BaseException] = []

    async def served() -> None:
        async with project.gateway(on_bug=bugs.append, clock_s=lambda: now_s[0]) as gateway:
            fault.is_on = True
            project.feature(fallback=["small"])
            await until_troubled(gateway, "registry_invalid")
            assert type(error).__name__ in (await gateway.status()).degraded["registry_invalid"]
            count = fault.count
            await gateway.reload()
            assert fault.count == count, "not read four times a second"
            now_s[0] += hot_reload.RETRY_S
            await gateway.reload()
            assert fault.count == count + 1
            fault.is_on = False
            assert (await gateway.complete("chat", HELLO)).release == "v1"
            now_s[0] += hot_reload.RETRY_S
            await gateway.reload()
            assert (await gateway.status()).degraded == {}
            project.providers["main"].default = type(project.providers["main"].default)(status=503)
            assert (await gateway.complete("chat", HELLO)).model == "small", "the new version serves"

    asyncio.run(served())
    assert bugs == [error]


def test_an_exception_while_the_shared_state_is_read_fails_no_call(
    project: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Fault(monkeypatch, FallbackStateStore, "shared", TypeError("a record of a newer version"))
    bugs: list[BaseException] = []

    async def served() -> None:
        async with project.gateway(on_bug=bugs.append) as gateway:
            assert (await gateway.complete("chat", HELLO)).release == "v1"
            fault.is_on = True
            await until(lambda: fault.count >= 2)
            assert (await gateway.complete("chat", HELLO)).release == "v1"
            assert (await gateway.status()).release == "v1"

    asyncio.run(served())
    assert [type(bug) for bug in bugs] == [TypeError]


def test_listeners_and_records_that_fail_lose_no_answer(project: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    bugs: list[BaseException] = []

    def listen(_: object) -> None:
        raise BrokenPipeError

    def trace(_: CallEvent) -> None:
        raise RuntimeError("the exporter is closed")

    def refuse(_: object) -> None:
        raise OverflowError("an integer of a provider beyond 64 bits")

    async def served() -> None:
        async with project.gateway(on_bug=bugs.append, on_event=listen, trace=trace) as gateway:
            assert (await gateway.complete("chat", HELLO)).release == "v1"
            writer = gateway._open_instance.event_writer  # type: ignore[union-attr]
            with monkeypatch.context() as patch:
                patch.setattr(writer.log, "append", refuse)
                assert (await gateway.complete("chat", HELLO)).release == "v1"
            assert (await gateway.status()).dropped_event_count == 1
            assert (await gateway.complete("chat", HELLO)).release == "v1"

    asyncio.run(served())
    assert {type(bug) for bug in bugs} == {BrokenPipeError, RuntimeError, OverflowError}
    assert len(project.calls) == 2

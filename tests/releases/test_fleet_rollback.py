"""Gateways of four processes under load, and a rollback: no call fails, and none is served by what is out."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.gateway_projects import HELLO, KEY, PATIENCE_S, Sample, fleet, sample, together
from support.redis_server import RedisServer

from flowai.gateway.gateway import Gateway
from flowai.gateway.runtime import RuntimeOptions
from flowai.rollouts.drill import run_drill
from flowai.rollouts.records import RollbackOptions
from flowai.rollouts.rollback import run_rollback
from flowai.state import open_state
from flowai.workspace.workspace import CommandContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.rollouts.records import RollbackStep

PROCESS_COUNT = 4
CALLER_COUNT = 2
PAUSE_S = 0.02
ATTEMPT_COUNT = 20


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.service)])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sample]:
    with sample(tmp_path) as made:
        made.registry["releases"]["v2"] = {"chat": {"prompt": "prompts/hello_v2", "model": "main"}}
        made.registry["rollout"] = {"candidate": "v2", "stage": 50}
        if request.param == "file":
            write(made)
            yield made
            return
        with RedisServer() as server:
            made.registry["state"] = server.url
            write(made)
            yield made


def write(project: Sample) -> None:
    """Write the registry as lines: flowai changes its own keys in it."""
    project.write(text="".join(f"{key}: {json.dumps(value)}\n" for key, value in project.registry.items()))


def serve(root: str, number: int) -> None:
    """Be one process: call until told to stop."""
    asyncio.run(_serve(Path(root), number))


async def _serve(root: Path, number: int) -> None:
    settings = RuntimeOptions(environ={"LOOPBACK_KEY": KEY})

    async def call(caller: int) -> None:
        count = 0
        while not (root / "stop").exists():
            count += 1
            await gateway.complete("chat", HELLO, user=f"{number}-{caller}-{count}")
            await asyncio.sleep(PAUSE_S)

    async with Gateway(root, settings=settings) as gateway:
        await gateway.complete("chat", HELLO)
        await together()
        (root / f"ready-{number}").touch()
        await asyncio.gather(*(call(caller) for caller in range(CALLER_COUNT)))


def test_no_process_serves_the_bad_release_after_confirmation(project: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("STATE_TIMEOUT_S", "CONFIRM_TIMEOUT_S"):  # of people's patience; here four processes share a machine
        monkeypatch.setattr(f"flowai.releases.fleet.{limit}", PATIENCE_S)
    context = CommandContext(directory=project.root, user="test", environ={**os.environ, "LOOPBACK_KEY": KEY})
    done = fleet(serve, project.root, range(PROCESS_COUNT))
    try:
        asyncio.run(served_everywhere(project))
        drilled = run_drill(context, RollbackOptions())
        assert drilled.is_passed, drilled
        assert drilled.process_count == PROCESS_COUNT
        at: dict[str, float] = {}

        def on_step(step: RollbackStep) -> None:
            at[step.name] = time.time()

        result = run_rollback(context, RollbackOptions(), lambda _: None, on_step)
        assert result.is_confirmed, result
        assert result.process_count == PROCESS_COUNT
        wait_for_calls(project, at["processes"])
    finally:
        (project.root / "stop").touch()
        done.result(PATIENCE_S)
    calls = project.calls
    assert {call.error_class for call in calls} == {None}
    assert any(call.release == "v2" for call in calls)
    late = [call.at for call in calls if call.release == "v2" and call.at.timestamp() > at["processes"]]
    assert late == []
    assert [call for call in calls if call.at.timestamp() > at["processes"]], "they went on"


@pytest.mark.service
def test_a_store_that_has_just_come_back_empty_confirms_nothing_before_its_processes_are_known(tmp_path: Path) -> None:
    with sample(tmp_path) as project, RedisServer() as server:
        project.registry["releases"]["v2"] = {"chat": {"prompt": "prompts/hello_v2", "model": "main"}}
        project.registry |= {"rollout": {"candidate": "v2", "stage": 50}, "state": server.url}
        write(project)
        done = fleet(serve, project.root, range(PROCESS_COUNT))
        try:
            asyncio.run(served_everywhere(project))
            server.kill()
            server.start()
            context = CommandContext(directory=project.root, user="test", environ={**os.environ, "LOOPBACK_KEY": KEY})
            results = [run_rollback(context, RollbackOptions(), lambda _: None)]
            while not results[-1].is_confirmed:
                assert len(results) < ATTEMPT_COUNT, results[-1]
                results.append(run_rollback(context, RollbackOptions(), lambda _: None))
            assert results[-1].process_count == PROCESS_COUNT, "no process was overlooked"
            wait_for_calls(project, time.time())
        finally:
            (project.root / "stop").touch()
            done.result(PATIENCE_S)


def wait_for_calls(project: Sample, since_s: float) -> None:
    """Wait until calls went on for a while."""
    deadline_s = time.monotonic() + PATIENCE_S
    while sum(call.at.timestamp() > since_s for call in project.calls) < PROCESS_COUNT * CALLER_COUNT:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


async def served_everywhere(project: Sample) -> None:
    """Wait until every process calls, and the candidate serves some of it."""
    state = open_state(project.registry.get("state", ".flowai"), project.root, clock_s=time.time)

    async def ready() -> bool:
        beats = await state.heartbeats("")
        begun = len(list(project.root.glob("ready-*"))) == PROCESS_COUNT
        return begun and len(beats) == PROCESS_COUNT and all(beat.candidate == "v2" for beat in beats)

    async with asyncio.timeout(PATIENCE_S):
        while not await ready():  # noqa: ASYNC110 - the processes are others'
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    await state.aclose()

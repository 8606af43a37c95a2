"""`flowai providers`: breakers and back-offs as the shared state has them, last failures, and `--reset`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.sample_project import REGISTRY
from support.scripted_provider import Reply

from flowai.state import BreakerRule, open_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    from flowai.state import StateStore

    Flowai = Callable[..., Ran]


@pytest.fixture(autouse=True)
def named(project: SampleProject, provider: ScriptedProvider) -> None:
    registry = REGISTRY.replace('"}}\n  n:', '", provider: alpha}}\n  n:')
    project.write("registry.yaml", registry.format(base_url=provider.base_url))


def host(provider: ScriptedProvider) -> str:
    return provider.base_url.removeprefix("http://").removesuffix("/v1")


def change_state(project: SampleProject, change: Callable[[StateStore], Awaitable[object]]) -> None:
    async def changed() -> None:
        state = open_state(".flowai", project.root, clock_s=time.time)
        await change(state)
        await state.aclose()

    asyncio.run(changed())


def providers(flowai: Flowai, *arguments: str) -> dict[str, Any]:
    report = json.loads(flowai("providers", "--json", *arguments).out)
    return {one["provider"]: one for one in report["providers"]}


def test_providers_without_trouble_are_closed(flowai: Flowai, provider: ScriptedProvider) -> None:
    ran = flowai("providers")
    assert ran.code == 0, ran.err
    assert [line.split() for line in ran.out.splitlines()] == [
        ["provider", "breaker", "back-off", "failures", "(24", "h)", "models"],
        [host(provider), "closed", "-", "0", "n"],
        ["alpha", "closed", "-", "0", "m"],
    ]


def test_an_open_breaker_and_a_back_off_are_shown_and_reset(flowai: Flowai, project: SampleProject) -> None:
    rule = BreakerRule(failure_count=1, open_s=300.0)

    async def fail(state: StateStore) -> None:
        for _ in range(2):
            await state.record_failure("alpha", rule)
        await state.back_off("alpha", "m", for_s=42.0)

    change_state(project, fail)
    lines = flowai("providers").out.splitlines()
    assert lines[2].startswith("alpha")
    assert " open 5 min 00 s  " in lines[2] or " open 4 min 5" in lines[2]
    assert "  m 4" in lines[2]
    assert lines[-1] == "end it now: flowai providers --reset alpha"
    found = providers(flowai)["alpha"]
    assert found["status"] == "open"
    assert 200 < found["remaining_s"] <= 300
    assert [(one["model"], 20 < one["remaining_s"] <= 42) for one in found["back_offs"]] == [("m", True)]
    ran = flowai("providers", "--reset", "alpha")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "done     alpha: the breaker is closed, back-offs have ended"
    found = providers(flowai)["alpha"]
    assert (found["status"], found["remaining_s"], found["back_offs"]) == ("closed", 0.0, [])
    assert flowai("providers", "--reset", "alpha").out.startswith("NOTHING CHANGED  alpha: ")


def test_a_running_gateway_follows_a_reset(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    from flowai import SyncGateway
    from flowai.errors import FlowaiError

    provider.default = Reply(status=429, retry_after="60")
    with SyncGateway(project.root) as gateway:
        with pytest.raises(FlowaiError):
            gateway.complete("chat", {"text": "one"})
        provider.default = Reply()
        with pytest.raises(FlowaiError):
            gateway.complete("chat", {"text": "two"})
        assert provider.request_count == 1, "it backs off"
        assert providers(flowai)["alpha"]["back_offs"][0]["model"] == "m"
        flowai("providers", "--reset", "alpha")
        time.sleep(0.05)  # the gateway's copy of the state is at most 20 ms old
        assert gateway.complete("chat", {"text": "three"}).text == "hello world"


def test_the_last_failure_of_each_provider_is_shown(flowai: Flowai, provider: ScriptedProvider) -> None:
    provider.default = Reply(status=500)
    flowai("ask", "chat", "--var", "text=x")
    (line,) = [line for line in flowai("providers").out.splitlines() if line.startswith("last failure of")]
    assert line.startswith("last failure of alpha: ")
    assert line.endswith("UTC, m, ServerError: 500: scripted failure")
    found = providers(flowai)["alpha"]
    assert found["recent_failure_count"] > 0
    assert found["last_failure"]["http_status"] == 500


def test_a_provider_that_only_the_state_knows_is_shown(flowai: Flowai, project: SampleProject) -> None:
    change_state(project, lambda state: state.back_off("gone", "old", for_s=60.0))
    found = providers(flowai)["gone"]
    assert found["models"] == []
    assert flowai("providers", "--reset", "gone").code == 0


def test_an_unknown_provider_is_wrong_usage(flowai: Flowai) -> None:
    ran = flowai("providers", "--reset", "alpa")
    assert ran.code == 2
    assert ran.err.startswith("error: no provider `alpa`\nhint: did you mean `alpha`?")


def test_state_that_is_not_shared_is_warned_about(flowai: Flowai, project: SampleProject) -> None:
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    project.write("registry.yaml", registry + "state: 'memory:'\n")
    ran = flowai("providers")
    assert ran.out.startswith("warning: `state: memory:` is not shared: each process has breakers of its own\n")


def test_an_unreachable_state_exits_with_4(flowai: Flowai, project: SampleProject) -> None:
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    project.write("registry.yaml", registry + "state: redis://127.0.0.1:1/0\n")
    ran = flowai("providers")
    assert ran.code == 4
    assert "127.0.0.1:1" in ran.err

"""The gateway without an event loop: threads, Ctrl-C, what nobody closes, and gateways that are closed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.gateway_projects import HELLO, KEY, PATIENCE_S, Sample, open_descriptors
from support.scripted_replies import Reply

from flowai.errors import CallError, ProjectError, PromptError, TimedOutError, UsageError
from flowai.gateway.records import CompletionResult, StreamStarted, TextChunk
from flowai.gateway.sync_gateway import SyncGateway


def opened(project: Sample, **changes: Any) -> SyncGateway:
    return SyncGateway(project.root, settings=project.settings(**changes))


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("flowai", "asyncio_"))]


def until(found: Any) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


# --- the same calls ---


def test_results_equal_those_of_the_async_gateway(project: Sample) -> None:
    with opened(project) as gateway:
        gateway.warm_up()
        answer = gateway.complete("chat", HELLO, user="ann")
        assert answer.text == "main says hello"
        assert gateway.complete(model="other", messages=[{"role": "user", "content": "hi"}]).text == "other says hello"
        assert gateway.embed("main", ["four"]).vectors == ((4.0, 1.0),)
        gateway.feedback(answer.call_id, verdict="saved")
        assert gateway.explain(answer.call_id).event.call_id == answer.call_id
        assert gateway.status().release == "v1"
        with pytest.raises(UsageError, match="no feature"):
            gateway.complete("chatt", HELLO)
        with pytest.raises(PromptError):
            gateway.complete("chat", {})
    assert len(project.calls) == 2
    until(lambda: own_threads() == [])


def test_it_streams(project: Sample) -> None:
    with opened(project) as gateway:
        started, *pieces, answer = gateway.stream("chat", HELLO)
    assert isinstance(started, StreamStarted)
    assert isinstance(answer, CompletionResult)
    assert "".join(piece.text for piece in pieces if isinstance(piece, TextChunk)) == answer.text == "main says hello"


def test_a_stream_s_limits_hold_here_too(project: Sample) -> None:
    project.feature(timeout={"first_token": "2s", "total": "30s"})
    project.providers["main"].default = Reply(text="some words", fault="stall")
    with opened(project) as gateway:
        items = gateway.stream("chat", HELLO)
        assert [type(next(items)) for _ in range(2)] == [StreamStarted, TextChunk]
        time.sleep(2.5)  # the reader is slow, the provider is not yet waited for
        with pytest.raises(TimedOutError):
            list(items)


def test_threads_share_a_gateway(project: Sample) -> None:
    project.providers["main"].default = Reply(text="main says hello", delay_s=0.2)
    with opened(project) as gateway, ThreadPoolExecutor(16) as threads:
        gateway.warm_up()
        answers = list(threads.map(lambda at: gateway.complete("chat", {"text": str(at)}), range(32)))
    assert {answer.text for answer in answers} == {"main says hello"}
    assert len({answer.call_id for answer in answers}) == 32
    assert project.providers["main"].connection_count > 1, "they do not wait for each other"


def test_threads_may_make_the_first_call_at_once(project: Sample) -> None:
    gateway = opened(project)
    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(lambda _: gateway.complete("chat", HELLO), range(8)))) == 8
    gateway.close()
    assert len(list((project.root / ".flowai" / "events").rglob("*.jsonl"))) == 1


# --- its end ---


def test_it_may_be_closed_twice_and_raises_when_used_afterwards(project: Sample) -> None:
    gateway = opened(project)
    answer = gateway.complete("chat", HELLO)
    gateway.close()
    gateway.close()
    for use in (
        lambda: gateway.complete("chat", HELLO),
        lambda: list(gateway.stream("chat", HELLO)),
        lambda: gateway.embed("main", ["a"]),
        lambda: gateway.feedback(answer.call_id, verdict="saved"),
        lambda: gateway.explain(answer.call_id),
        gateway.status,
        gateway.__enter__,
    ):
        with pytest.raises(UsageError, match="closed"):
            use()
    until(lambda: own_threads() == [])


def test_an_unused_gateway_can_be_closed(project: Sample) -> None:
    opened(project).close()
    until(lambda: own_threads() == [])


def test_a_project_that_cannot_be_opened_leaves_nothing(project: Sample) -> None:
    project.write("registry.yaml", "models: 7")
    with pytest.raises(ProjectError), opened(project):
        pass
    until(lambda: own_threads() == [])


def test_an_error_in_the_with_block_closes_it(project: Sample) -> None:
    project.providers["main"].default = Reply(status=400)
    with pytest.raises(CallError), opened(project) as gateway:
        gateway.complete("chat", HELLO)
    until(lambda: own_threads() == [])
    assert len(project.calls) == 1


def test_a_stream_that_is_left_early_ends_its_call(project: Sample) -> None:
    project.providers["main"].default = Reply(text="some words", fault="stall")
    with opened(project) as gateway:
        for item in gateway.stream("chat", HELLO):
            if isinstance(item, TextChunk):
                break
        until(lambda: project.calls)
        assert project.calls[0].error_class == "Cancelled"


def test_a_stream_that_outlives_its_gateway_ends_quietly(project: Sample) -> None:
    project.providers["main"].default = Reply(text="some words", fault="stall")
    with opened(project) as gateway:
        items = gateway.stream("chat", HELLO)
        next(items)
    with pytest.raises(UsageError, match="closed"):
        next(items)
    items = None  # type: ignore[assignment]
    gc.collect()  # an error in a generator's end would be a warning, and fail the test


def test_a_close_ends_calls_of_other_threads(project: Sample) -> None:
    project.providers["main"].default = Reply(fault="silent")
    gateway = opened(project)
    gateway.warm_up()
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(gateway.complete, "chat", HELLO) for _ in range(4)]
        until(lambda: project.requests == {"main": 4})
        gateway.close()
        for call in calls:
            with pytest.raises(UsageError, match="closed"):
                call.result(PATIENCE_S)
    assert {event.error_class for event in project.calls} == {"UsageError"}
    until(lambda: own_threads() == [])


def test_an_unclosed_gateway_closes_when_garbage_collected(project: Sample) -> None:
    with opened(project) as gateway:
        gateway.complete("chat", HELLO)
    before = open_descriptors()
    for _ in range(3):
        opened(project).complete("chat", HELLO)
        gc.collect()
    until(lambda: own_threads() == [])
    assert open_descriptors() == before


# --- in a process of its own ---


def script(project: Sample, code: str, *, ends: Any = None) -> tuple[int, str, str]:
    """Run code with a gateway class at hand, every warning told; give status, stdout and stderr."""
    head = "from flowai import SyncGateway\nHELLO = {'text': 'hello there'}\n"
    path = [str(Path(__file__).resolve().parents[2])]
    process = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "always::ResourceWarning",
            "-W",
            "always::RuntimeWarning",
            "-c",
            head + textwrap.dedent(code),
        ],
        cwd=project.root,
        env={**os.environ, "LOOPBACK_KEY": KEY, "PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if ends is not None:
            ends(process)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()  # it has ended, unless the test fails
    return process.returncode, out, err


def test_a_minimal_program_exits_without_output(project: Sample) -> None:
    code = """
        with SyncGateway() as gateway:
            print(gateway.complete("chat", HELLO).text)
        """
    assert script(project, code) == (0, "main says hello\n", "")


def test_a_process_with_an_unclosed_gateway_exits_quietly_and_loses_no_event(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    code = """
        gateway = SyncGateway()
        print(gateway.complete("chat", HELLO).text)
        items = gateway.stream("chat", {"text": "left open"})
        next(items)
        """
    assert script(project, code) == (0, "main says hello\n", "")
    assert [event.error_class for event in project.calls] == [None]


def test_a_process_with_an_unclosed_async_gateway_exits_quietly(project: Sample) -> None:
    code = """
        import asyncio
        from flowai import Gateway

        async def main():
            gateway = Gateway()
            print((await gateway.complete("chat", HELLO)).text)
            items = gateway.stream("chat", HELLO)
            await anext(items)

        asyncio.run(main())
        """
    assert script(project, code) == (0, "main says hello\n", "")


def test_ctrl_c_ends_the_call_that_is_waited_for(project: Sample) -> None:
    project.feature(timeout={"first_token": f"{PATIENCE_S}s", "total": f"{2 * PATIENCE_S}s"})
    project.providers["main"].default = Reply(fault="silent")
    code = """
        with SyncGateway() as gateway:
            try:
                gateway.complete("chat", HELLO)
            except KeyboardInterrupt:
                print("interrupted")
        """

    def interrupt(process: subprocess.Popen[str]) -> None:
        until(lambda: project.requests)
        process.send_signal(signal.SIGINT)

    assert script(project, code, ends=interrupt) == (0, "interrupted\n", "")
    assert [event.error_class for event in project.calls] == ["Cancelled"]


def test_a_forked_process_must_open_its_own_gateway(project: Sample) -> None:
    code = """
        import os, sys
        gateway = SyncGateway()
        gateway.complete("chat", HELLO)
        if os.fork() == 0:
            try:
                gateway.complete("chat", HELLO)
            except Exception as error:
                print(type(error).__name__, flush=True)
            os._exit(0)
        os.wait()
        print(gateway.complete("chat", HELLO).text)
        """
    status, out, _ = script(project, code)
    assert status == 0
    assert out == "UsageError\nmain says hello\n"

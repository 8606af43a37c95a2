"""How fast a rollback takes a bad release out of service, with four processes under load on one host.

Each round rolls a release out to all calls, waits until every process serves it, and rolls it back. The time is from
just before the overlay's write to the begin of the last call of any process that the bad release served, 0 where there
is none; calls and their releases are read from the event log. Confirmed: when the command has heard from every process.
Small loads: about 80 calls a second in each process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway_project import KEY, PROMPT, gateway, provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.events import CallEvent
    from flowai.rollouts.records import RollbackStep

HEADER = (
    "state",
    "out of service, p50",
    "p99",
    "worst",
    "confirmed, worst",
    "whole command, worst",
    "calls",
    "failed",
    "late",
)
PROCESS_COUNT = 4
CALLER_COUNT = 2
PAUSE_S = 0.02
ROUND_COUNT = 40
PATIENCE_S = 60.0


def rows() -> list[tuple[str, ...]]:
    """Measure with the state in a file, and on Redis where there is one; give the rows of the table."""
    return [measured("file"), measured("redis")]


def measured(kind: str, round_count: int = ROUND_COUNT) -> tuple[str, ...]:
    """Return the row of one state store."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.redis_server import RedisServer

    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state = ".flowai"
        if kind == "redis":
            try:
                state = stack.enter_context(RedisServer()).url
            except FileNotFoundError:
                return (kind, *("skipped: no redis-server",) * 8)
        base_url = stack.enter_context(provider())
        _write(root, base_url, state, None)
        workers = [stack.enter_context(_worker(root)) for _ in range(PROCESS_COUNT)]
        stack.callback((root / "stop").touch)  # before the workers are waited for
        _wait_for(lambda: len(list(root.glob("ready-*"))) == PROCESS_COUNT)
        rounds = [_round(root, base_url, state, number) for number in range(1, round_count + 1)]
        (root / "stop").touch()
        for worker in workers:
            worker.wait(PATIENCE_S)
        return _row(kind, root, rounds)


def _write(root: Path, base_url: str, state: str, candidate: int | None) -> None:
    """Write the registry in one step, with one release for each round."""
    if not (root / "prompts").exists():
        (root / "prompts").mkdir()
        (root / "prompts" / "echo_v1.prompt").write_text(PROMPT, encoding="utf-8")
    model = {"model": "openai/gpt-4o-mini", "api_base": base_url, "api_key": "${LOOPBACK_KEY}"}
    binding = {"prompt": "prompts/echo_v1", "model": "m"}
    registry: dict[str, Any] = {
        "schema_version": 1,
        "models": {"m": model},
        "features": {"chat": {"cache": {"kind": "none"}, "timeout": {"first_token": "5s", "total": "15s"}}},
        "releases": {f"v{number}": {"chat": binding} for number in range(ROUND_COUNT + 1)},
        "state": state,
        "current": "v0",
        "history": ["v0"],
        "bad": [f"v{number}" for number in range(1, candidate or 1)],
    }
    if candidate is not None:
        registry["rollout"] = {"candidate": f"v{candidate}", "stage": 100}
    beside = root / "registry.new"
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in registry.items())
    beside.write_text(lines, encoding="utf-8")
    beside.replace(root / "registry.yaml")


def _wait_for(so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not so():
        if time.monotonic() > end_s:
            raise RuntimeError("the processes did not start")
        time.sleep(0.05)


def _worker(root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, str(root)])


def _round(root: Path, base_url: str, state: str, number: int) -> tuple[str, float, float, float]:
    """Roll one release out and back; return it and the times of overlay, confirmation and end (epoch, s)."""
    from flowai.rollouts.records import RollbackOptions
    from flowai.rollouts.rollback import run_rollback
    from flowai.workspace.workspace import CommandContext

    _write(root, base_url, state, number)
    release = f"v{number}"
    asyncio.run(_until_served(root, state, release))
    times: dict[str, float] = {}

    def on_step(step: RollbackStep) -> None:
        times[step.name] = time.time()
        if step.name == "live overlay":
            times["written"] = time.time() - (step.elapsed_ms or 0.0) / 1000

    context = CommandContext(directory=root, user="benchmark", environ={**os.environ, "LOOPBACK_KEY": KEY})
    began_s = time.time()
    result = run_rollback(context, RollbackOptions(), lambda _: None, on_step)
    if not result.is_confirmed or result.process_count != PROCESS_COUNT:
        raise RuntimeError(str(result))
    return release, times["written"], times["processes"], time.time() - began_s


async def _until_served(root: Path, state: str, release: str) -> None:
    from flowai.state import open_state

    store = open_state(state, root, clock_s=time.time)
    end_s = time.monotonic() + PATIENCE_S
    while True:
        beats = await store.heartbeats("")
        if len(beats) == PROCESS_COUNT and all(beat.candidate == release for beat in beats):
            break
        if time.monotonic() > end_s:
            raise RuntimeError(f"not served everywhere: {beats}")
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # calls of it are under way
    await store.aclose()


def _row(kind: str, root: Path, rounds: list[tuple[str, float, float, float]]) -> tuple[str, ...]:
    calls = list(_calls(root))
    last_at: dict[str, float] = {}
    for call in calls:
        last_at[call.release or ""] = max(last_at.get(call.release or "", 0.0), call.at.timestamp())
    out_ms = sorted(max(0.0, (last_at[release] - written) * 1000) for release, written, _, _ in rounds)
    late_count = sum(
        call.release == release and call.at.timestamp() > confirmed
        for release, _, confirmed, _ in rounds
        for call in calls
    )
    failed_count = sum(call.error_class is not None for call in calls)
    confirmed_ms = max((confirmed - written) * 1000 for _, written, confirmed, _ in rounds)
    return (
        kind,
        f"{out_ms[len(out_ms) // 2]:.0f} ms",
        f"{out_ms[min(len(out_ms) - 1, int(len(out_ms) * 0.99))]:.0f} ms",
        f"{out_ms[-1]:.0f} ms",
        f"{confirmed_ms:.0f} ms",
        f"{max(elapsed_s for *_, elapsed_s in rounds) * 1000:.0f} ms",
        f"{len(calls):,}",
        str(failed_count),
        str(late_count),
    )


def _calls(root: Path) -> Iterator[CallEvent]:
    from flowai.events import CallEvent, read_events

    for event in read_events(root / ".flowai" / "events", on_unreadable=lambda _: None):
        if isinstance(event, CallEvent):
            yield event


async def _work(root: Path) -> None:
    """Call until told to stop; runs in a process of its own."""

    async def call() -> None:
        while not (root / "stop").exists():
            await gw.complete("chat", {"text": f"it is {datetime.now(UTC)}"})
            await asyncio.sleep(PAUSE_S)

    async with gateway(root) as gw:
        await gw.complete("chat", {"text": "the first call loads what calls need"})
        (root / f"ready-{os.getpid()}").touch()
        await asyncio.gather(*(call() for _ in range(CALLER_COUNT)))


if __name__ == "__main__":
    asyncio.run(_work(Path(sys.argv[1])))

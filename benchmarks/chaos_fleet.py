"""A fleet under faults: `flowai serve` processes on one project, healthy callers, a hostile one, a proxy of Redis."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway_project import KEY, PROMPT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROCESS_COUNT = 3
CALLERS_COUNT = 3
"""Healthy callers of each process, each a user of its own."""
PAUSE_S = 0.12
HOSTILE_SHARE = 0.05
"""Share of requests that a hostile caller sends."""
PATIENCE_S = 30.0
FLOWAI = str(Path(sys.executable).with_name("flowai"))
FAKETIME = "/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answered request of a healthy caller."""

    process: int
    sent_s: float
    """Time it was sent, monotonic."""
    status: int
    release: str
    call_id: str
    text: str
    """Beginning of the body of a refusal."""


@dataclass
class Traffic:
    """What callers saw."""

    answers: list[Answer] = field(default_factory=list)
    broken_count: int = 0
    """Requests without an answer: their process was killed, or is not up yet."""
    hostile_statuses: dict[int, int] = field(default_factory=dict)
    hostile_samples: dict[int, str] = field(default_factory=dict)


class Project:
    """The project of a fleet: one release for each round, all with the same prompt and model."""

    def __init__(self, root: Path, base_url: str, state: str, rounds_count: int) -> None:
        self.root = root
        self.state = state
        (root / "prompts").mkdir()
        (root / "prompts" / "echo_v1.prompt").write_text(PROMPT, encoding="utf-8")
        binding = {"prompt": "prompts/echo_v1", "model": "m"}
        model = {"model": "openai/gpt-4o-mini", "api_base": base_url, "api_key": "${LOOPBACK_KEY}"}
        self._registry: dict[str, Any] = {
            "schema_version": 1,
            "models": {"m": model, "spare": {**model, "provider": "spare"}},
            "features": {
                "chat": {
                    "fallback": ["spare"],
                    "cache": {"kind": "none"},
                    "timeout": {"first_token": "5s", "total": "15s"},
                }
            },
            "policies": {"alert": {"window": "1m", "min_calls": 20}},
            "releases": {f"v{number}": {"chat": binding} for number in range(rounds_count + 1)},
            "state": "${CHAOS_STATE}",
            "current": "v0",
            "history": ["v0"],
        }

    def write(self, candidate: int | None) -> None:
        """Write the registry in one step, as a deployment does; releases before the candidate are bad."""
        registry = {**self._registry, "bad": [f"v{number}" for number in range(1, candidate or 1)]}
        if candidate is not None:
            registry["rollout"] = {"candidate": f"v{candidate}", "stage": 100}
        beside = self.root / "registry.new"
        beside.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in registry.items()), encoding="utf-8")
        beside.replace(self.root / "registry.yaml")

    def environ(self, **changes: str) -> dict[str, str]:
        """Return the environment of a command."""
        return {**os.environ, "LOOPBACK_KEY": KEY, "CHAOS_STATE": self.state, "NO_COLOR": "1", **changes}

    def bad_releases(self) -> set[str]:
        """Return the releases that the ledger says were rolled back."""
        found: set[str] = set()
        for path in (self.root / ".flowai" / "ledger").glob("*.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):
                    found |= set(json.loads(line).get("rolled_back", ()))
        return found


class ServeProcess:
    """One `flowai serve` on a port of its own; it can be killed and started again."""

    def __init__(self, project: Project, index: int, **environ: str) -> None:
        self._project = project
        self._environ = environ
        self.index = index
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.killed_at_s: list[float] = []

    def start(self) -> None:
        """Start it, unless it runs; callers find out when it is up."""
        if self._process is None or self._process.poll() is not None:
            with (self._project.root / f"serve-{self.index}.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [FLOWAI, "serve", "--port", str(self.port), "--drain", "5s"],
                    cwd=self._project.root,
                    env=self._project.environ(**self._environ),
                    stdout=log,
                    stderr=log,
                )

    def kill(self) -> None:
        """Kill it (kill -9)."""
        if self._process is not None:
            self.killed_at_s.append(time.monotonic())
            self._process.kill()
            self._process.wait()

    def hang_up(self) -> None:
        """Send SIGHUP: reload."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> int | None:
        """Stop it with SIGTERM, kill it if it does not end; return its exit status, None if it was killed."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class Proxy:
    """A TCP proxy that can be cut: bytes stop, connections stay open, as in a partition."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._passes = asyncio.Event()
        self._passes.set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Let nothing through until `join`."""
        self._loop.call_soon_threadsafe(self._passes.clear)

    def join(self) -> None:
        """Let everything through again, also what waited."""
        self._loop.call_soon_threadsafe(self._passes.set)

    def close(self) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        async def serve() -> None:
            server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            async with server:
                await server.serve_forever()

        with suppress(RuntimeError):  # stopped
            self._loop.run_until_complete(serve())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


class Callers:
    """Callers of a fleet, in a thread with an event loop of its own."""

    def __init__(self, processes: Sequence[ServeProcess], hostile_bodies: Sequence[bytes]) -> None:
        self._processes = processes
        self._hostile_bodies = hostile_bodies
        self._rng = random.Random(7)  # noqa: S311 - a load, not a secret
        self._is_stopping = threading.Event()
        self.traffic = Traffic()
        self.serving: dict[int, tuple[str, float]] = {}
        """By process: the release of its newest answer, and when that was sent."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def start(self) -> None:
        """Begin to call."""
        self._thread.start()

    def stop(self) -> None:
        """End after the calls under way."""
        self._is_stopping.set()
        self._thread.join(2 * PATIENCE_S)

    async def _run(self) -> None:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            callers = [
                self._call(session, process, f"user-{process.index}-{number}")
                for process in self._processes
                for number in range(CALLERS_COUNT)
            ]
            await asyncio.gather(*callers, self._attack(session))

    async def _call(self, session: Any, process: ServeProcess, user: str) -> None:  # noqa: ANN401 - imported late
        count = 0
        while not self._is_stopping.is_set():
            count += 1
            body = {
                "model": "chat",
                "prompt_variables": {"text": f"{user} {count}"},
                "user": user,
                "stream": count % 3 == 0,
            }
            sent_s = time.monotonic()
            try:
                url = f"http://127.0.0.1:{process.port}/v1/chat/completions"
                async with session.post(url, json=body) as response:
                    head = response.headers
                    text = await response.text()
                    release, call_id = head.get("x-flowai-release", ""), head.get("x-flowai-call-id", "")
                    is_whole = response.status == 200 and (not body["stream"] or "data: [DONE]" in text)
                    status = 200 if is_whole else response.status if response.status != 200 else 599
                    shown = "" if is_whole else text[:300]
                    self.traffic.answers.append(Answer(process.index, sent_s, status, release, call_id, shown))
                    if response.status == 200:
                        self.serving[process.index] = (release, sent_s)
            except Exception:  # noqa: BLE001 - no answer: the process is killed, starting, or ending
                self.traffic.broken_count += 1
                await asyncio.sleep(PAUSE_S)
            await asyncio.sleep(PAUSE_S * self._rng.uniform(0.5, 1.5))

    async def _attack(self, session: Any) -> None:  # noqa: ANN401 - as above
        pause_s = PAUSE_S / (len(self._processes) * CALLERS_COUNT * HOSTILE_SHARE)
        while not self._is_stopping.is_set():
            process, body = self._rng.choice(self._processes), self._rng.choice(self._hostile_bodies)
            with suppress(Exception):
                url = f"http://127.0.0.1:{process.port}/v1/chat/completions"
                async with session.post(url, data=body, headers={"content-type": "application/json"}) as response:
                    seen = self.traffic.hostile_statuses
                    seen[response.status] = seen.get(response.status, 0) + 1
                    if response.status >= 500:
                        self.traffic.hostile_samples[response.status] = (await response.text())[:300]
            await asyncio.sleep(pause_s)

    def wait_for(self, release: str, *, since_s: float, processes: Sequence[ServeProcess], patience_s: float) -> bool:
        """Wait until each process has answered a request sent after a time with a release; return whether it has."""
        end_s = time.monotonic() + patience_s
        while time.monotonic() < end_s:
            newest = [self.serving.get(process.index, ("", 0.0)) for process in processes]
            if all(name == release and sent_s >= since_s for name, sent_s in newest):
                return True
            time.sleep(0.02)
        return False


@contextmanager
def running(processes: Sequence[ServeProcess]) -> Iterator[None]:
    """Start processes; stop them at the end."""
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            process.stop()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def skewed_clock(seconds: int) -> Mapping[str, str] | None:
    """Return the environment of a process whose wall clock is off; None without libfaketime."""
    library = FAKETIME.format(machine=os.uname().machine)
    if not Path(library).exists():
        return None
    return {"LD_PRELOAD": library, "FAKETIME": f"{seconds:+d}", "DONT_FAKE_MONOTONIC": "1"}

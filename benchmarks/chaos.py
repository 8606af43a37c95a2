"""A fleet under faults: rollbacks while processes are killed, stores fail, disks fill and clocks are wrong.

Three `flowai serve` processes answer nine healthy callers; every twentieth request is hostile (content parts of other
protocols, nonsense). Each round rolls a release out to all calls, breaks something, and rolls the release back with the
real command; where that does not confirm, the fault is repaired and the command is run again. In every third round a
process is killed with -9, in every fifth the first rollback itself. Late: calls that the rolled-back release answered
though they were sent after the confirmation. Lost, doubled: acknowledged calls that are not exactly once in the event
log. Blamed: releases marked bad that were never rolled back by hand; `flowai watch` runs throughout. Refused: answers
other than 200 to healthy callers. Stuck: rounds that no command could finish. All must be 0.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos_fleet import (
    FLOWAI,
    PATIENCE_S,
    PROCESS_COUNT,
    Callers,
    Project,
    Proxy,
    ServeProcess,
    running,
    skewed_clock,
)
from gateway_project import KEY, provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from support.redis_server import RedisServer

HEADER = (
    "fault",
    "rounds",
    "calls",
    "killed",
    "not confirmed at once",
    "late",
    "lost, doubled",
    "blamed",
    "refused",
    "stuck",
)
ROUNDS_COUNT = 60
ATTEMPTS_COUNT = 12
"""How often a rollback is run again before a round counts as stuck."""
DISK_BYTES = 48 << 20
HOSTILE: tuple[dict[str, Any], ...] = (
    {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 7}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": 1}]}]},
    {"messages": [{"role": "tool", "content": "x"}]},
    {"messages": [{"role": "assistant", "tool_calls": [{"id": None}]}, {"role": "user", "content": "x"}]},
    {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
    {"messages": [{"role": "user", "content": "x"}], "stop": ["h", "e"], "max_tokens": 1},
    {"messages": []},
    {"prompt_variables": {"text": {"deep": [1]}}},
)


@dataclass(kw_only=True)
class World:
    """What a fault can break."""

    project: Project
    processes: Sequence[ServeProcess]
    redis: RedisServer | None = None
    proxy: Proxy | None = None

    def redis_command(self, *words: str) -> None:
        """Run a command of Redis; a server that is away is left alone."""
        import redis

        if self.redis is not None:
            with suppress(redis.RedisError), redis.Redis.from_url(self.redis.url, socket_timeout=2) as connection:
                connection.execute_command(*words)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to break a fleet."""

    name: str
    store: str
    """`file` or `redis`."""
    break_it: Callable[[World, int], None] = lambda _world, _number: None
    repair: Callable[[World], None] = lambda _: None
    settings: tuple[str, ...] = ()
    """Settings of redis-server."""
    clocks: tuple[int, ...] = ()
    """By process: seconds that its wall clock is ahead."""
    is_partition: bool = False
    is_small_disk: bool = False


def _restart_redis(world: World, _: int) -> None:
    if world.redis is not None:
        world.redis.kill()
        world.redis.start()


def _refuse_writes(world: World, number: int) -> None:
    if number % 2:
        world.redis_command("REPLICAOF", "127.0.0.1", "1")
    else:
        world.redis_command("CONFIG", "SET", "min-replicas-to-write", "1")


def _accept_writes(world: World) -> None:
    world.redis_command("REPLICAOF", "NO", "ONE")
    world.redis_command("CONFIG", "SET", "min-replicas-to-write", "0")


def _cut(world: World, _: int) -> None:
    if world.proxy is not None:
        world.proxy.cut()


def _join(world: World) -> None:
    if world.proxy is not None:
        world.proxy.join()


def _fill_disk(world: World, _: int) -> None:
    with suppress(OSError), (world.project.root / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65_536))


def _empty_disk(world: World) -> None:
    (world.project.root / "filler").unlink(missing_ok=True)


def _hang_up(world: World, _: int) -> None:
    for process in world.processes:
        process.hang_up()


FAULTS = (
    Fault(name="state in a file", store="file"),
    Fault(name="state on Redis, written to disk; restarts", store="redis", break_it=_restart_redis,
          settings=("--appendonly", "yes", "--appendfsync", "always")),
    Fault(name="state on Redis, memory only; comes back empty", store="redis", break_it=_restart_redis),
    Fault(name="Redis refuses writes: read-only, too few replicas", store="redis", break_it=_refuse_writes,
          repair=_accept_writes),
    Fault(name="one process is cut off from Redis", store="redis", break_it=_cut, repair=_join, is_partition=True),
    Fault(name="full disk", store="file", break_it=_fill_disk, repair=_empty_disk, is_small_disk=True),
    Fault(name="clocks +1 h and -1 h, file", store="file", clocks=(0, 3600, -3600)),
    Fault(name="clocks +1 h and -1 h, Redis", store="redis", clocks=(0, 3600, -3600)),
    Fault(name="SIGHUP in every round", store="file", break_it=_hang_up),
)  # fmt: skip


@dataclass
class Outcome:
    """What a way did."""

    rounds_count: int = 0
    killed_count: int = 0
    unconfirmed_count: int = 0
    stuck: list[str] = field(default_factory=list)
    confirmed: list[tuple[str, float]] = field(default_factory=list)
    """Release and time of its confirmation, monotonic."""


def rows(rounds_count: int = ROUNDS_COUNT, only: str = "") -> Iterator[tuple[str, ...]]:
    """Play every fault and yield its row."""
    for fault in FAULTS:
        if only in fault.name:
            yield play(fault, rounds_count)


def play(fault: Fault, rounds_count: int, on_violation: Callable[[str], None] = lambda _: None) -> tuple[str, ...]:
    """Play the rounds of one fault; return its row."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.redis_server import RedisServer

    environs = [skewed_clock(ahead) if ahead else {} for ahead in fault.clocks or (0,) * PROCESS_COUNT]
    if None in environs:
        return (fault.name, "skipped: no libfaketime", *[""] * (len(HEADER) - 2))
    if fault.store == "redis" and shutil.which("redis-server") is None:
        return (fault.name, "skipped: no redis-server", *[""] * (len(HEADER) - 2))
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        if fault.is_small_disk and not stack.enter_context(_small_disk(root)):
            return (fault.name, "skipped: cannot mount a small disk", *[""] * (len(HEADER) - 2))
        redis, proxy, state = None, None, ".flowai"
        if fault.store == "redis":
            redis = stack.enter_context(RedisServer(settings=fault.settings))
            state = redis.url
        project = Project(root, stack.enter_context(provider()), state, rounds_count)
        project.write(None)
        if fault.is_partition and redis is not None:
            proxy = Proxy(redis.port)
            stack.callback(proxy.close)
            environs[-1] = {"CHAOS_STATE": f"redis://127.0.0.1:{proxy.port}/0"}
        processes = [ServeProcess(project, index, **(environ or {})) for index, environ in enumerate(environs)]
        world = World(project=project, processes=processes, redis=redis, proxy=proxy)
        callers = Callers(
            processes, [json.dumps({"model": "chat", "user": "hostile", **extra}).encode() for extra in HOSTILE]
        )
        outcome = Outcome()
        with running(processes), _watching(project):
            callers.start()
            stack.callback(callers.stop)
            if not callers.wait_for("v0", since_s=0.0, processes=processes, patience_s=2 * PATIENCE_S):
                raise RuntimeError((root / "serve-0.log").read_text(encoding="utf-8")[-2000:])
            rng = random.Random(fault.name)  # noqa: S311 - a plan, not a secret
            for number in range(1, rounds_count + 1):
                _round(fault, world, callers, outcome, number, rng)
            callers.stop()
        return _row(fault, world, callers, outcome, on_violation)


def _round(fault: Fault, world: World, callers: Callers, outcome: Outcome, number: int, rng: random.Random) -> None:
    project, processes, release = world.project, world.processes, f"v{number}"
    outcome.rounds_count += 1
    begun_s = time.monotonic()
    project.write(number)
    if not callers.wait_for(release, since_s=begun_s, processes=processes, patience_s=PATIENCE_S):
        outcome.stuck.append(f"{release} is not served everywhere: {callers.serving}")
        return
    fault.break_it(world, number)
    victim = rng.choice(processes) if number % 3 == 0 else None
    if victim is not None:
        victim.kill()
        outcome.killed_count += 1
    last = _rollback(project, kill_after_s=rng.uniform(0.2, 0.9)) if number % 5 == 0 else _rollback(project)
    if last.returncode != 0:
        outcome.unconfirmed_count += 1
    if victim is not None:
        victim.start()
    for _ in range(ATTEMPTS_COUNT):
        if last.returncode == 0:
            break
        fault.repair(world)
        time.sleep(0.5)
        last = _rollback(project)
    confirmed_s = time.monotonic()
    fault.repair(world)
    if last.returncode != 0:
        outcome.stuck.append(f"{release}: {last.stdout[-1500:]} {last.stderr[-500:]}")
        return
    outcome.confirmed.append((release, confirmed_s))
    if not callers.wait_for("v0", since_s=confirmed_s, processes=processes, patience_s=PATIENCE_S):
        outcome.stuck.append(f"{release}: v0 is not served everywhere after the rollback: {callers.serving}")


def _rollback(project: Project, *, kill_after_s: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command; kill it with -9 after a time."""
    command = [FLOWAI, "rollback", "--json", "--reason", "chaos"]
    with subprocess.Popen(
        command, cwd=project.root, env=project.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE_S if kill_after_s is None else kill_after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextmanager
def _watching(project: Project) -> Iterator[None]:
    """Run `flowai watch`, which may roll back by itself."""
    with (
        (project.root / "watch.log").open("wb") as log,
        subprocess.Popen(
            [FLOWAI, "watch", "--interval", "1s", "--json"],
            cwd=project.root,
            env=project.environ(),
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def _small_disk(root: Path) -> Iterator[bool]:
    """Mount a small disk in memory; yield whether that is allowed."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(root)], check=False, capture_output=True
    )
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(root)], check=False, capture_output=True)


def _row(
    fault: Fault, world: World, callers: Callers, outcome: Outcome, on_violation: Callable[[str], None]
) -> tuple[str, ...]:
    answers = callers.traffic.answers
    confirmed = dict(outcome.confirmed)
    late = [one for one in answers if one.status == 200 and one.sent_s > confirmed.get(one.release, time.monotonic())]
    seen = _logged_calls(world.project.root)
    acknowledged = [one.call_id for one in answers if one.status == 200]
    lost = [call for call in acknowledged if seen.get(call, 0) == 0]
    doubled = [call for call in acknowledged if seen.get(call, 0) > 1]
    asked = {f"v{number}" for number in range(1, outcome.rounds_count + 1)}
    blamed = world.project.bad_releases() - asked
    refused = [one for one in answers if one.status != 200]
    for name, found in (
        ("late", late[:3]), ("lost", lost[:3]), ("doubled", doubled[:3]), ("blamed", sorted(blamed)),
        ("refused", refused[:3]), ("stuck", outcome.stuck[:3]),
        ("hostile", [callers.traffic.hostile_statuses, callers.traffic.hostile_samples]),
    ):  # fmt: skip
        if found:
            on_violation(f"{fault.name}: {name}: {found}")
    return (
        fault.name,
        str(outcome.rounds_count),
        f"{len(answers):,}",
        str(outcome.killed_count),
        str(outcome.unconfirmed_count),
        str(len(late)),
        f"{len(lost)}, {len(doubled)}",
        str(len(blamed)),
        str(len(refused)),
        str(len(outcome.stuck)),
    )


def _logged_calls(root: Path) -> dict[str, int]:
    """Return how often each call is in the event log."""
    from flowai.events import CallEvent, read_events

    seen: dict[str, int] = {}
    for event in read_events(root / ".flowai" / "events", on_unreadable=lambda _: None):
        if isinstance(event, CallEvent):
            seen[event.call_id] = seen.get(event.call_id, 0) + 1
    return seen


def main() -> None:
    """Print the table, and what went wrong to stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS_COUNT, help="rounds of each fault")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    options = parser.parse_args()
    os.environ.setdefault("LOOPBACK_KEY", KEY)
    print("| " + " | ".join(HEADER) + " |\n| " + " | ".join("---" for _ in HEADER) + " |")
    for fault in FAULTS:
        if options.only in fault.name:
            row = play(fault, options.rounds, lambda text: print(text, file=sys.stderr, flush=True))
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()

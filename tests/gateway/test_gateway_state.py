"""Gateways of several processes on one Redis: one breaker for all, and a Redis that goes away and comes back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, KEY, PATIENCE_S, Sample, fleet, sample, together, until
from support.redis_server import RedisServer
from support.scripted_replies import Reply

from flowai.errors import FlowaiError
from flowai.gateway.gateway import Gateway
from flowai.gateway.runtime import RuntimeOptions
from flowai.state.redis_store import RedisStateStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.scripted_replies import Asked

pytestmark = pytest.mark.service

PROCESS_COUNT = 4
CALLER_COUNT = 2
PAUSE_S = 0.05
OPEN_S = 2.0
MOST_FROZEN_S = 3.0  # a Redis that says nothing is given up after half a second
CYCLE_COUNT = 3


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    """Two features whose models are siblings: one provider; both fall back to another."""
    with sample(tmp_path) as made, RedisServer() as server:
        made.registry["state"] = server.url
        made.registry["models"]["sibling"] = {**made.registry["models"]["main"], "model": "openai/sibling"}
        made.registry["features"]["chat"]["degrade"] = None
        made.registry["features"]["chat2"] = made.registry["features"]["chat"]
        binding = made.registry["releases"]["v1"]["chat"]
        made.registry["releases"]["v1"]["chat2"] = {**binding, "model": "sibling"}
        made.registry["policies"] = {"breaker": {"open": f"{OPEN_S:g}s"}}
        made.write()
        yield made


def url_of(project: Sample) -> str:
    url: str = project.registry["state"]
    return url


@dataclass(kw_only=True)
class Log:
    """What a provider notes: when each request came, and for which model; whether it is well now."""

    is_well: bool = True
    came: list[tuple[float, str]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Reply:
        self.came.append((time.monotonic(), asked.body["model"]))
        return Reply() if self.is_well else Reply(status=503)

    def since(self, moment_s: float) -> list[float]:
        return [at_s for at_s, _ in self.came if at_s >= moment_s]


def wait_until(found: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


# --- one breaker for all ---


def call_until_stopped(root: str, number: int) -> Counter[str]:
    """Call both features again and again; count what came of it. Runs in a process of its own."""
    stop = Path(root) / "stop"
    outcomes: Counter[str] = Counter()

    async def caller(gateway: Gateway, feature: str) -> None:
        while not stop.exists():
            try:
                outcomes[(await gateway.complete(feature, HELLO)).model] += 1
            except FlowaiError as error:
                outcomes[f"{number}: {error}"] += 1
            await asyncio.sleep(PAUSE_S)

    async def call() -> None:
        async with Gateway(Path(root), settings=RuntimeOptions(environ={"LOOPBACK_KEY": KEY})) as gateway:
            await gateway.warm_up()
            await together()
            await asyncio.gather(*(caller(gateway, feature) for feature in ("chat", "chat2")))

    asyncio.run(call())
    return outcomes


def one_outage(log: Log) -> tuple[int, int]:
    """Let the provider die and get well; count the calls after the sixth failure, and the probes until it is well."""
    began_s = time.monotonic()
    log.is_well = False
    wait_until(lambda: len(log.since(began_s)) >= 6)
    time.sleep(OPEN_S * 0.9)  # the breaker is open: who comes now was on the way
    late_count = len(log.since(began_s)) - 6
    opened_s = time.monotonic()
    time.sleep(OPEN_S)  # one probe, which fails, and opens it again
    probe_count = len(log.since(opened_s))
    log.is_well = True
    well_s = time.monotonic()
    wait_until(lambda: len(log.since(well_s)) > PROCESS_COUNT * CALLER_COUNT)  # closed: all go there again
    return late_count, probe_count


def test_the_sixth_failure_opens_the_breaker_for_every_process(project: Sample) -> None:
    log = project.providers["main"].answerer = Log()
    done = fleet(call_until_stopped, project.root, range(PROCESS_COUNT))
    wait_until(lambda: len(log.came) > PROCESS_COUNT * CALLER_COUNT)
    outages = [one_outage(log) for _ in range(CYCLE_COUNT)]
    (project.root / "stop").touch()
    outcomes = sum(done.result(), Counter[str]())
    assert set(outcomes) == {"main", "sibling", "other"}, "no call failed"
    assert [probe_count for _, probe_count in outages] == [1] * CYCLE_COUNT
    # only a call that was on the way may still arrive, so at most one of each caller
    assert min(late_count for late_count, _ in outages) < PROCESS_COUNT * CALLER_COUNT, outages
    assert {name for _, name in log.came} == {"gpt-4o-mini", "sibling"}
    skipped = [event for event in project.calls if event.attempts[0].status == "skipped"]
    assert {event.feature for event in skipped} == {"chat", "chat2"}
    assert {event.attempts[0].reason for event in skipped} <= {"open", "probing"}


# --- a Redis that goes away ---


def test_a_redis_that_is_killed_and_restarted_fails_no_call(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()

    async def caller(gateway: Gateway, done: asyncio.Event) -> None:
        number = 0
        while not done.is_set():
            number += 1
            text = f"text {number // 2}"  # every second one is asked for again
            try:
                outcomes[(await gateway.complete("chat", {"text": text}, user=f"u{number}")).model] += 1
            except FlowaiError as error:
                outcomes[f"{type(error).__name__}: {error}"] += 1
            await asyncio.sleep(0.02)

    async def until_all(gateways: list[Gateway], *, are_alone: bool) -> None:
        for each in gateways:

            async def stands(gateway: Gateway = each) -> bool:
                return ("state_unavailable" in (await gateway.status()).degraded) is are_alone

            await until(stands)

    async def served(project: Sample, server: RedisServer) -> None:
        async with project.gateway() as one, project.gateway() as two:
            gateways = [one, two]
            await asyncio.gather(*(each.warm_up() for each in gateways))
            done = asyncio.Event()
            callers = [asyncio.create_task(caller(each, done)) for each in gateways for _ in range(4)]
            for _ in range(2):
                await asyncio.sleep(0.5)
                await asyncio.to_thread(server.kill)
                await until_all(gateways, are_alone=True)
                reason = (await one.status()).degraded["state_unavailable"]
                assert "redis" in reason.lower()
                await asyncio.sleep(0.5)
                await asyncio.to_thread(server.start)
                await until_all(gateways, are_alone=False)
            await asyncio.sleep(1.0)
            done.set()
            await asyncio.gather(*callers)
            state = RedisStateStore(server.url)
            beats = await state.heartbeats("")
            assert len(beats) == 2, "they are heard again"
            assert (await state.balance("chat")).total_usd > 0
            await state.aclose()
            assert (await one.status()).degraded == {}

    with sample(tmp_path) as project, RedisServer() as server:
        project.registry["state"] = server.url
        project.registry["features"]["chat"].update(budget={"usd_per_day": 100.0}, cache={"kind": "exact"})
        project.registry["models"]["small"]["price"] = "unknown_is_free"
        project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
        project.registry["rollout"] = {"candidate": "v2", "stage": 50}
        project.write()
        asyncio.run(served(project, server))
        assert set(outcomes) == {"main"}
        assert len(project.calls) == outcomes["main"]
        assert {event.cache for event in project.calls} == {"miss", "exact"}
        assert "state" in {alert.cause for alert in project.alerts}


def test_without_redis_each_process_uses_its_own_state(tmp_path: Path) -> None:
    async def served(project: Sample, server: RedisServer) -> None:
        async with project.gateway() as gateway:
            for _ in range(3):
                assert (await gateway.complete("chat", HELLO)).text == "main says hello"
            assert "state_unavailable" in (await gateway.status()).degraded
            await asyncio.to_thread(server.start)

            async def is_well() -> bool:
                await gateway.complete("chat", HELLO)
                return not (await gateway.status()).degraded

            await until(is_well)

    with sample(tmp_path) as project, RedisServer() as server:
        server.kill()
        project.registry["state"] = server.url
        project.registry["models"]["small"]["price"] = "unknown_is_free"
        project.feature(budget={"usd_per_day": 100.0}, cache={"kind": "exact"})
        asyncio.run(served(project, server))
        assert {event.error_class for event in project.calls} == {None}


def test_a_frozen_redis_costs_a_call_little(tmp_path: Path) -> None:
    took_s: list[float] = []

    async def served(project: Sample, server: RedisServer) -> Any:
        async with project.gateway() as gateway:
            await gateway.complete("chat", HELLO)
            server.freeze()
            for _ in range(20):
                began_s = time.monotonic()
                await gateway.complete("chat", HELLO)
                took_s.append(time.monotonic() - began_s)
            standing = await gateway.status()
            server.thaw()
            return standing

    with sample(tmp_path) as project, RedisServer() as server:
        project.registry["state"] = server.url
        project.write()
        assert "state_unavailable" in asyncio.run(served(project, server)).degraded
        assert max(took_s) < MOST_FROZEN_S

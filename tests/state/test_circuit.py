"""Each store keeps the breaker's law, over random histories, as a model keeps it that simply remembers everything."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowai.state import BreakerRule, BreakerView, InMemoryStateStore
from flowai.state.sqlite_store import SqliteStateStore

if TYPE_CHECKING:
    from support.redis_server import RedisServer

    from flowai.state import StateStore

pytestmark = pytest.mark.slow  # tries many sequences of calls

PROVIDERS = ("alpha", "beta", "gamma")
START_S = 1_732_000_000.0

# quarters of a second add up exactly, so that both sides agree on which side of a limit they are
quarters = st.integers(min_value=0, max_value=60).map(lambda count: count / 4)
some_time = st.integers(min_value=1, max_value=60).map(lambda count: count / 4)
rules = st.builds(
    BreakerRule,
    failure_count=st.integers(1, 3),
    window_s=some_time,
    open_s=some_time,
    max_open_s=st.just(0.0) | st.integers(1, 400).map(lambda count: count / 4),
    lease_s=some_time,
)
Verb = Literal["admit", "failed", "probe_failed", "succeeded", "released", "rest", "reset", "look"]
Span = Literal["nothing", "some", "window", "open", "max_open", "lease", "rest"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something happens to a provider a while later; `nth` picks one of the probes given out, the latest first.

    The while is often just what a rule or the last rest names, or a quarter of a second less or more: the limits are
    where laws differ.
    """

    span: Span
    off_s: float
    some_s: float
    provider: str
    model: str
    verb: Verb
    nth: int

    def after_s(self, rule: BreakerRule, rest_s: float) -> float:
        spans = {
            "window": rule.window_s,
            "open": rule.open_s,
            "max_open": rule.max_open_s,
            "lease": rule.lease_s,
            "rest": rest_s,
        }
        if self.span in spans:
            return max(0.0, spans[self.span] + self.off_s)
        return self.some_s if self.span == "some" else 0.0


steps = st.builds(
    Step,
    span=st.sampled_from(["nothing", "nothing", "nothing", "some", "window", "open", "max_open", "lease", "rest"]),
    off_s=st.sampled_from([0.0, 0.0, -0.25, 0.25]),
    some_s=quarters,
    provider=st.sampled_from(["alpha", "alpha", "alpha", "alpha", "beta", "gamma"]),
    model=st.sampled_from(["large", "large", "small"]),
    # failures often, or nothing ever opens
    verb=st.sampled_from(
        [
            *["admit"] * 2,
            *["failed"] * 3,
            *["probe_failed"] * 2,
            *["succeeded", "released", "reset", "look"],
            *["rest"] * 2,
        ]
    ),
    nth=st.sampled_from([0, 0, 0, 1, 2]),
)
histories = st.lists(steps, min_size=30, max_size=100)


@dataclass
class Remembered:
    """One provider, as told: every failure since it last closed, every rest, and who may probe."""

    rule: BreakerRule
    is_open: bool = False
    open_end_s: float = 0.0
    failures_s: list[float] = field(default_factory=list)
    failed_probes_count: int = 0
    rest_ends_s: dict[str, list[float]] = field(default_factory=dict)
    prober: str | None = None
    probe_end_s: float = 0.0

    def recent(self, now_s: float) -> int:
        return len([at_s for at_s in self.failures_s if now_s - at_s < self.rule.window_s])

    def open(self, now_s: float) -> None:
        self.is_open, self.open_end_s, self.prober = True, now_s + self.rule.open_s, None
        self.failed_probes_count = 0

    def open_again(self, now_s: float) -> None:
        """Probes that fail at once come when the breaker has been open for open_s times 1, 2, 4, 8 ..."""
        self.failed_probes_count += 1
        times_open = [self.rule.open_s * 2**count for count in range(self.failed_probes_count + 1)]
        wait_s = min(times_open[-1] - times_open[-2], max(self.rule.open_s, self.rule.max_open_s))
        self.open_end_s, self.prober = now_s + wait_s, None

    def rests(self, now_s: float, model: str) -> bool:
        return any(end_s > now_s for end_s in self.rest_ends_s.get(model, []))

    def resting(self, now_s: float) -> dict[str, float]:
        return {model: max(ends_s) for model, ends_s in self.rest_ends_s.items() if self.rests(now_s, model)}

    def probes(self, now_s: float) -> bool:
        return self.prober is not None and now_s < self.probe_end_s

    def ask(self, now_s: float, model: str) -> str:
        if self.is_open and now_s < self.open_end_s:
            return "open"
        if self.probes(now_s):
            return "probing"
        if self.rests(now_s, model):
            return "backing_off"
        return "probe" if self.is_open else "go"

    def fail(self, now_s: float) -> None:
        if not self.is_open:
            self.failures_s.append(now_s)
            if self.recent(now_s) > self.rule.failure_count:
                self.open(now_s)

    def close(self) -> None:
        self.is_open, self.prober, self.failures_s = False, None, []

    def reset(self) -> None:
        self.close()
        self.rest_ends_s = {}

    def view(self, now_s: float) -> BreakerView | None:
        if not (self.is_open or self.recent(now_s) or self.resting(now_s)):
            return None
        return BreakerView(
            status="probing" if self.probes(now_s) else "open" if self.is_open else "closed",
            failure_count=self.recent(now_s),
            open_until_s=self.open_end_s if self.is_open else 0.0,
            lease_until_s=self.probe_end_s if self.probes(now_s) else 0.0,
            back_offs=self.resting(now_s),
        )


class Comparison:
    """The same history for a store and for what should come of it."""

    def __init__(self, rule: BreakerRule) -> None:
        self.now_s = START_S
        self.rest_s = 0.0
        self.rule = rule
        self.expected = {provider: Remembered(rule=rule) for provider in PROVIDERS}
        self.probes: dict[str, list[str]] = {provider: [] for provider in PROVIDERS}

    async def run(self, store: StateStore, history: list[Step]) -> None:
        for step in history:
            self.now_s += step.after_s(self.rule, self.rest_s)
            await self.take(store, step)
            shared = await store.shared("")
            expected = {name: known.view(self.now_s) for name, known in self.expected.items()}
            assert shared.breakers == {name: view for name, view in expected.items() if view is not None}
            assert shared.read_at_s == self.now_s

    async def take(self, store: StateStore, step: Step) -> None:
        provider, known = step.provider, self.expected[step.provider]
        given_out = self.probes[provider]
        probe = given_out[-1 - step.nth] if step.nth < len(given_out) else "never-given"
        is_held = known.prober == probe
        if step.verb == "admit":
            await self.admit(store, provider, step.model)
        elif step.verb == "failed":
            known.fail(self.now_s)
            view = await store.record_failure(provider, self.rule)
            assert view == (known.view(self.now_s) or BreakerView())
        elif step.verb == "probe_failed":
            if is_held:
                known.open_again(self.now_s)
            await store.record_failure(provider, self.rule, probe=probe)
        elif step.verb == "succeeded":
            if is_held:
                known.close()
            await store.record_success(provider, probe=probe)
        elif step.verb == "released":
            if is_held:
                known.prober = None
            await store.release_probe(provider, probe=probe)
        else:
            await self.rest(store, step)

    async def rest(self, store: StateStore, step: Step) -> None:
        provider, known = step.provider, self.expected[step.provider]
        if step.verb == "rest":
            self.rest_s = step.some_s
            known.rest_ends_s.setdefault(step.model, []).append(self.now_s + step.some_s)
            await store.back_off(provider, step.model, for_s=step.some_s)
        elif step.verb == "reset":
            was_seen = known.view(self.now_s) is not None
            known.reset()
            assert await store.reset_breaker(provider) == was_seen

    async def admit(self, store: StateStore, provider: str, model: str) -> None:
        known = self.expected[provider]
        answer = known.ask(self.now_s, model)
        admission = await store.admit(provider, model, self.rule)
        assert admission.is_admitted == (answer in {"go", "probe"})
        assert admission.reason == (None if admission.is_admitted else answer)
        assert (admission.probe is not None) == (answer == "probe")
        if admission.probe is not None:
            assert admission.probe not in self.probes[provider], "a lease's name is its own"
            self.probes[provider].append(admission.probe)
            known.prober, known.probe_end_s = admission.probe, self.now_s + self.rule.lease_s
        if admission.is_admitted:
            assert admission.retry_in_s == 0
        else:
            later_s = self.now_s + admission.retry_in_s
            assert admission.retry_in_s > 0
            assert known.ask(later_s, model) in {"go", "probe"}, "retry_in_s is when it is worth asking again"
            assert known.ask(later_s - 0.25, model) not in {"go", "probe"}, "and not sooner"


@given(rule=rules, history=histories)
@settings(max_examples=300, deadline=None)
def test_the_memory_store_follows_the_breaker_rules(rule: BreakerRule, history: list[Step]) -> None:
    comparison = Comparison(rule)
    asyncio.run(comparison.run(InMemoryStateStore(lambda: comparison.now_s), history))


@given(rule=rules, history=histories)
@settings(max_examples=60, deadline=None)
def test_the_sqlite_store_follows_the_breaker_rules(rule: BreakerRule, history: list[Step]) -> None:
    comparison = Comparison(rule)

    async def compare(directory: Path) -> None:
        store = SqliteStateStore(directory, lambda: comparison.now_s)
        await comparison.run(store, history)
        await store.aclose()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(compare(Path(directory)))


@pytest.mark.service
@given(rule=rules, history=histories)
@settings(max_examples=100, deadline=None)
def test_the_redis_store_follows_the_breaker_rules(
    redis_server: RedisServer, rule: BreakerRule, history: list[Step]
) -> None:
    from flowai.state.redis_store import RedisStateStore

    comparison = Comparison(rule)

    async def compare() -> None:
        store = RedisStateStore(redis_server.url, lambda: comparison.now_s)
        await comparison.run(store, history)
        await store.aclose()

    with socket.create_connection(("127.0.0.1", redis_server.port)) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(16).startswith(b"+OK")
    asyncio.run(compare())

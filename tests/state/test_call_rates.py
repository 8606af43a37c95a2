"""Shares of calls: failed and slow ones that open a breaker, repeated ones that are refused, over random histories."""

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

from flowai.state import AnsweredCalls, BreakerRule, InMemoryStateStore
from flowai.state.sqlite_store import SqliteStateStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.redis_server import RedisServer

    from flowai.state import StateStore

    Opening = Callable[[Callable[[], float]], StateStore]

START_S = 1_732_000_000.0
WINDOW_S = 60.0
BUCKET_S = 5.0

shares = st.sampled_from([0.1, 0.25, 0.5, 1.0])
rules = st.builds(
    BreakerRule,
    failure_count=st.integers(1, 4),
    window_s=st.just(WINDOW_S),
    failure_rate=st.none() | shares,
    slow_rate=st.none() | shares,
    min_calls=st.integers(1, 30),
    retry_rate=st.none() | st.just(0.0) | shares,
    min_retries=st.integers(0, 3),
)


@dataclass(frozen=True, kw_only=True)
class Step:
    after_s: float
    verb: Literal["failed", "answered", "repeated"]
    answered: int
    slow: int


@st.composite
def made_steps(draw: st.DrawFn) -> Step:
    answered = draw(st.integers(0, 12))
    return Step(
        after_s=draw(st.sampled_from([0.0, 0.0, 0.5, 4.75, 5.0, 55.0, 60.0])),
        verb=draw(st.sampled_from(["failed", "failed", "answered", "repeated"])),
        answered=answered,
        slow=draw(st.integers(0, answered)),
    )


histories = st.lists(made_steps(), min_size=10, max_size=60)


@dataclass
class Remembered:
    """Every call since the start, with its time."""

    rule: BreakerRule
    failed_s: list[float] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    slow_s: list[float] = field(default_factory=list)
    repeated_s: list[float] = field(default_factory=list)

    def count(self, times_s: list[float], now_s: float) -> int:
        """Calls of the last twelve buckets."""
        return len([at_s for at_s in times_s if at_s // BUCKET_S > now_s // BUCKET_S - WINDOW_S / BUCKET_S])

    def calls(self, now_s: float) -> int:
        return self.count(self.answered_s, now_s) + self.count(self.failed_s, now_s)

    def answer(self, step: Step, now_s: float) -> None:
        if self.rule.counts_calls:
            self.answered_s += [now_s] * step.answered
            self.slow_s += [now_s] * step.slow

    def opens(self, now_s: float, *, by_failure: bool) -> bool:
        rule, calls = self.rule, self.calls(now_s)
        is_judged = calls >= rule.min_calls
        if rule.slow_rate is not None and is_judged and self.count(self.slow_s, now_s) >= rule.slow_rate * calls:
            return True
        recent = len([at_s for at_s in self.failed_s if at_s > now_s - WINDOW_S])
        if recent <= rule.failure_count:
            return False
        if rule.failure_rate is None:
            return by_failure
        return not is_judged or self.count(self.failed_s, now_s) >= rule.failure_rate * calls


async def compare(store: StateStore, rule: BreakerRule, history: list[Step], clock: list[float]) -> None:
    known = Remembered(rule=rule)
    for step in history:
        clock[0] += step.after_s
        now_s, answered = clock[0], AnsweredCalls(call_count=step.answered, slow_count=step.slow)
        if step.verb == "repeated":
            is_admitted = await store.admit_retry("alpha", rule, answered)
            if rule.retry_rate is None:
                assert is_admitted
                continue
            known.answer(step, now_s)
            allowed = max(rule.min_retries, rule.retry_rate * known.calls(now_s))
            assert is_admitted == (known.count(known.repeated_s, now_s) + 1 <= allowed)
            known.repeated_s += [now_s] * is_admitted
            continue
        known.answer(step, now_s)
        if step.verb == "failed":
            known.failed_s.append(now_s)
            view = await store.record_failure("alpha", rule, answered=answered)
        else:
            view = await store.record_calls("alpha", rule, answered)
            if not (rule.counts_calls and step.answered):
                assert view.status == "closed"
                continue
        assert (view.status == "open") == known.opens(now_s, by_failure=step.verb == "failed"), step
        if view.status == "open":
            assert not await store.admit_retry("alpha", rule, answered) or rule.retry_rate is None
            assert await store.reset_breaker("alpha")
            known = Remembered(rule=rule)


@given(rule=rules, history=histories)
@settings(max_examples=150, deadline=None)
def test_the_memory_store_follows_the_rates(rule: BreakerRule, history: list[Step]) -> None:
    clock = [START_S]
    asyncio.run(compare(InMemoryStateStore(lambda: clock[0]), rule, history, clock))


@given(rule=rules, history=histories)
@settings(max_examples=25, deadline=None)
def test_the_sqlite_store_follows_the_rates(rule: BreakerRule, history: list[Step]) -> None:
    clock = [START_S]

    async def act(directory: Path) -> None:
        store = SqliteStateStore(directory, lambda: clock[0])
        await compare(store, rule, history, clock)
        await store.aclose()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(act(Path(directory)))


@pytest.mark.service
@given(rule=rules, history=histories)
@settings(max_examples=100, deadline=None)
def test_the_redis_store_follows_the_rates(redis_server: RedisServer, rule: BreakerRule, history: list[Step]) -> None:
    from flowai.state.redis_store import RedisStateStore

    clock = [START_S]

    async def act() -> None:
        store = RedisStateStore(redis_server.url, lambda: clock[0])
        await compare(store, rule, history, clock)
        await store.aclose()

    with socket.create_connection(("127.0.0.1", redis_server.port)) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(16).startswith(b"+OK")
    asyncio.run(act())


def test_few_failures_of_many_calls_leave_a_busy_breaker_closed(opening: Opening) -> None:
    rule = BreakerRule(failure_rate=0.5)

    async def act() -> None:
        store = opening(lambda: START_S)
        for _ in range(50):
            view = await store.record_failure("alpha", rule, answered=AnsweredCalls(call_count=10))
        assert (view.status, view.failure_count) == ("closed", 50)
        assert (await store.admit("alpha", "m", rule)).is_admitted
        for _ in range(449):
            view = await store.record_failure("alpha", rule)
        assert view.status == "closed", "499 of 999"
        assert (await store.record_failure("alpha", rule)).status == "open"
        await store.aclose()

    asyncio.run(act())


def test_below_the_minimum_of_calls_the_number_of_failures_decides(opening: Opening) -> None:
    rule = BreakerRule(failure_rate=0.5, min_calls=20)

    async def act() -> None:
        store = opening(lambda: START_S)
        await store.record_calls("alpha", rule, AnsweredCalls(call_count=13))
        views = [await store.record_failure("alpha", rule) for _ in range(6)]
        assert [view.status for view in views] == ["closed"] * 5 + ["open"]
        await store.aclose()

    asyncio.run(act())


def test_answered_calls_are_no_state_that_a_call_waits_for(opening: Opening) -> None:
    """A provider that answers stays out of `shared`, so that its calls need no round trip."""

    async def act() -> None:
        store = opening(lambda: START_S)
        await store.record_calls("alpha", BreakerRule(failure_rate=0.5), AnsweredCalls(call_count=100))
        assert (await store.shared("")).breakers == {}
        await store.record_failure("alpha", BreakerRule(failure_rate=0.5, min_calls=1, failure_count=1))
        view = await store.record_failure("alpha", BreakerRule(failure_rate=0.5, min_calls=1, failure_count=1))
        assert view.status == "closed", "2 of 102: the calls are remembered"
        await store.aclose()

    asyncio.run(act())

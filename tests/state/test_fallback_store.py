"""A shared store that goes away costs no call anything; what concerns the fleet says so instead."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from flowai.errors import InfrastructureError
from flowai.state import BreakerRule, FallbackStateStore, Heartbeat, InMemoryStateStore, Overlay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowai.state import StateStore

RULE = BreakerRule(failure_count=1, window_s=60, open_s=300)
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
OVERLAY = Overlay(release="v1", bad=("v2",), epoch=1, at=AT)
BEAT = Heartbeat(process="a", host="here", pid=1, origin="serve", release="v1", started_at=AT, at=AT)


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


AWAY = InfrastructureError("the shared state at `redis://host:6379/0` is unreachable: refused")


class Remote:
    """A store that can be away; it counts who waited for it in vain.

    Args:
        store: what it is while it is there.
    """

    def __init__(self, store: InMemoryStateStore) -> None:
        self.store = store
        self.is_away = False
        self.waited_count = 0
        self.verdict: asyncio.Future[None] | None = None  # what operations that begin now wait for

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def operation(*args: Any, **named: Any) -> Any:
            if self.verdict is not None:
                await self.verdict
            if self.is_away:
                self.waited_count += 1
                raise AWAY
            return await getattr(self.store, name)(*args, **named)

        return operation


class Scene:
    """A guarded store whose shared one runs on a clock an hour behind."""

    def __init__(self) -> None:
        self.clock = Clock(1_732_003_600.0)
        self.remote_clock = Clock(1_732_000_000.0)
        self.remote = Remote(InMemoryStateStore(self.remote_clock))
        self.guarded = FallbackStateStore(
            cast("StateStore", self.remote), InMemoryStateStore(self.clock), self.clock, retry_interval_s=1.0
        )

    def later(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.remote_clock.now_s += seconds

    async def go_away(self) -> None:
        self.remote.is_away = True
        await self.guarded.shared("")
        assert self.guarded.is_degraded

    async def come_back(self) -> None:
        self.remote.is_away = False
        self.later(1.0)
        await self.guarded.shared("")
        assert not self.guarded.is_degraded


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene()
        await act(scene)
        scene.remote.is_away = False
        await scene.guarded.aclose()

    asyncio.run(run())


def test_an_outage_is_reported_with_its_reason_and_ends_by_itself() -> None:
    async def act(scene: Scene) -> None:
        guarded = scene.guarded
        assert not guarded.is_degraded
        await scene.go_away()
        since_s = scene.clock.now_s
        scene.later(5)
        await guarded.shared("")
        assert guarded.degraded_since_s == since_s
        assert guarded.unavailable_reason is not None
        assert "redis://host:6379/0" in guarded.unavailable_reason
        await scene.come_back()
        assert [guarded.degraded_since_s, guarded.unavailable_reason] == [None, None]

    play(act)


def test_during_an_outage_one_operation_per_interval_tries_the_store() -> None:
    async def act(scene: Scene) -> None:
        await scene.go_away()
        assert scene.remote.waited_count == 1
        for _ in range(4):
            scene.later(0.25)
            await asyncio.gather(*(scene.guarded.shared("") for _ in range(50)))
        assert scene.remote.waited_count == 2
        scene.clock.now_s -= 7200  # a clock that is set back does not keep it alone
        await scene.guarded.shared("")
        assert scene.remote.waited_count == 3

    play(act)


def test_open_breakers_and_the_overlay_survive_an_outage() -> None:
    async def act(scene: Scene) -> None:
        guarded = scene.guarded
        for _ in range(2):
            await guarded.record_failure("alpha", RULE)
        await guarded.back_off("beta", "m", for_s=20)
        await guarded.write_overlay("", OVERLAY)
        scene.later(10)
        await guarded.shared("")
        await scene.go_away()
        seen = await guarded.shared("")
        assert seen.overlay == OVERLAY
        assert seen.breakers["alpha"].open_until_s == scene.clock.now_s + 290, "by this process's clock"
        assert (await guarded.admit("alpha", "m", RULE)).retry_in_s == 290
        assert (await guarded.admit("beta", "m", RULE)).reason == "backing_off"
        assert (await guarded.admit("gamma", "m", RULE)).is_admitted
        scene.later(290)
        assert (await scene.remote.store.admit("alpha", "m", RULE)).probe is not None
        assert (await guarded.admit("alpha", "m", RULE)).probe is not None, "alone, each process probes for itself"

    play(act)


def test_a_probe_of_another_process_is_respected() -> None:
    async def act(scene: Scene) -> None:
        for _ in range(2):
            await scene.guarded.record_failure("alpha", RULE)
        scene.later(300)
        assert (await scene.guarded.admit("alpha", "m", RULE)).probe is not None
        await scene.guarded.shared("")
        await scene.go_away()
        assert not (await scene.guarded.admit("alpha", "m", RULE)).is_admitted
        scene.later(RULE.lease_s)
        assert (await scene.guarded.admit("alpha", "m", RULE)).probe is not None

    play(act)


def test_a_probe_of_one_store_is_unknown_to_the_other() -> None:
    async def act(scene: Scene) -> None:
        guarded = scene.guarded
        for _ in range(2):
            await guarded.record_failure("alpha", RULE)
        scene.later(300)
        probe = (await guarded.admit("alpha", "m", RULE)).probe
        assert probe is not None
        await guarded.shared("")
        await scene.go_away()
        await guarded.record_success("alpha", probe=probe)
        assert (await guarded.shared("")).breakers["alpha"].status == "open"
        scene.later(RULE.lease_s)
        own = (await guarded.admit("alpha", "m", RULE)).probe
        assert own is not None
        await scene.come_back()
        await guarded.record_failure("alpha", RULE, probe=own)
        later = await guarded.admit("alpha", "m", RULE)
        assert later.probe not in {None, own, probe}, "its lease ran out meanwhile: the next attempt probes"

    play(act)


def test_a_reservation_settled_in_the_other_store_counts_once() -> None:
    async def act(scene: Scene) -> None:
        guarded = scene.guarded
        together = await guarded.reserve("summarization", 1.0, limit_usd=10)
        assert together is not None
        await scene.go_away()
        await guarded.settle(together, actual_usd=0.25)
        assert (await guarded.balance("summarization")).total_usd == 0.25
        alone = await guarded.reserve("summarization", 2.0, limit_usd=10)
        assert alone is not None
        await scene.come_back()
        assert (await guarded.balance("summarization")).total_usd == 1.0, "never settled there: it stays spent"
        await guarded.settle(alone, actual_usd=0.5)
        paid_usd = (await guarded.balance("summarization")).total_usd
        assert paid_usd == 1.5, "what was paid is added, nothing is given back"

    play(act)


def test_fleet_operations_need_the_shared_store() -> None:
    async def act(scene: Scene) -> None:
        guarded = scene.guarded
        await scene.go_away()
        with pytest.raises(InfrastructureError):
            await guarded.write_overlay("", OVERLAY)
        assert (await guarded.shared("")).overlay is None
        with pytest.raises(InfrastructureError):
            await guarded.clear_overlay("")
        with pytest.raises(InfrastructureError):
            await guarded.reset_breaker("alpha")
        with pytest.raises(InfrastructureError):
            await guarded.heartbeat(BEAT, lifetime_s=10)
        with pytest.raises(InfrastructureError):
            await guarded.heartbeats("")
        await guarded.deregister("", "a")
        await scene.come_back()
        await guarded.heartbeat(BEAT, lifetime_s=10)
        assert list(await guarded.heartbeats("")) == [BEAT]

    play(act)


def test_an_error_from_before_the_recovery_does_not_degrade_it_again() -> None:
    async def act(scene: Scene) -> None:
        scene.remote.verdict = asyncio.get_running_loop().create_future()
        slow = asyncio.create_task(scene.guarded.balance("summarization"))
        await asyncio.sleep(0)
        verdict, scene.remote.verdict = scene.remote.verdict, None
        await scene.go_away()
        await scene.come_back()
        verdict.set_exception(AWAY)
        assert (await slow).total_usd == 0
        assert not scene.guarded.is_degraded

    play(act)

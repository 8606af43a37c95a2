"""What every store promises beside the breaker's law: budgets, overlays, live processes."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from flowai.errors import UsageError
from flowai.state import BreakerRule, Heartbeat, Overlay, Reservation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowai.state import StateStore

    Opening = Callable[[Callable[[], float]], StateStore]

NOON_S = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
DAY_S = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now_s = NOON_S

    def __call__(self) -> float:
        return self.now_s


def with_store(opening: Opening, act: Callable[[StateStore, Clock], Awaitable[None]]) -> None:
    async def run() -> None:
        clock = Clock()
        store = opening(clock)
        await act(store, clock)
        await store.aclose()
        await store.aclose()  # twice is fine

    asyncio.run(run())


async def must_reserve(store: StateStore, amount_usd: float, limit_usd: float) -> Reservation:
    held = await store.reserve("summarization", amount_usd, limit_usd=limit_usd)
    assert held is not None
    return held


def test_a_reservation_may_reach_the_limit_exactly(opening: Opening) -> None:
    async def act(store: StateStore, __: Clock) -> None:
        for _ in range(3):
            held = await must_reserve(store, 0.1, 0.3)
            assert held.account == "summarization"
            assert held.day == "2026-03-01"
            assert held.amount_usd == 0.1
        assert await store.reserve("summarization", 0.000_001, limit_usd=0.3) is None
        assert (await store.balance("summarization")).total_usd == 0.3
        assert (await store.balance("another")).total_usd == 0
        assert await store.reserve("another", 0.31, limit_usd=0.3) is None
        assert await store.reserve("another", 0.3, limit_usd=math.inf) is not None

    with_store(opening, act)


def test_settling_replaces_the_reservation_with_the_cost(opening: Opening) -> None:
    async def act(store: StateStore, _: Clock) -> None:
        lower, higher, never = [await must_reserve(store, 1.0, 3.0) for _ in range(3)]
        await store.settle(lower, actual_usd=0.25)
        assert (await store.balance("summarization")).total_usd == 2.25
        await store.settle(higher, actual_usd=1.5)
        assert (await store.balance("summarization")).total_usd == 2.75, f"{never} stays spent"

    with_store(opening, act)


def test_each_utc_day_has_its_own_budget_and_a_late_call_counts_for_its_day(opening: Opening) -> None:
    async def act(store: StateStore, clock: Clock) -> None:
        late = await must_reserve(store, 1.0, 1.0)
        clock.now_s = datetime(2026, 3, 2, tzinfo=UTC).timestamp() - 0.001
        assert await store.reserve("summarization", 1.0, limit_usd=1.0) is None
        clock.now_s += 0.001
        assert (await store.balance("summarization")).total_usd == 0
        assert (await must_reserve(store, 1.0, 1.0)).day == "2026-03-02"
        await store.settle(late, actual_usd=5.0)
        assert (await store.balance("summarization")).total_usd == 1.0
        clock.now_s += 30 * DAY_S
        await store.settle(late, actual_usd=5.0)
        assert (await store.balance("summarization")).total_usd == 0

    with_store(opening, act)


def test_a_store_does_not_refund_another_store_s_reservation(opening: Opening) -> None:
    async def act(store: StateStore, _: Clock) -> None:
        await must_reserve(store, 0.5, 1.0)
        elsewhere = Reservation(account="summarization", day="2026-03-01", amount_usd=0.4, id="of another store")
        await store.settle(elsewhere, actual_usd=0.1)
        assert (await store.balance("summarization")).total_usd == 0.6

    with_store(opening, act)


@pytest.mark.parametrize("amount_usd", [-1.0, math.nan, math.inf])
def test_invalid_amounts_are_refused(opening: Opening, amount_usd: float) -> None:
    async def act(store: StateStore, _: Clock) -> None:
        with pytest.raises(UsageError, match="US dollars"):
            await store.reserve("summarization", amount_usd, limit_usd=1.0)
        held = await must_reserve(store, 0.5, 1.0)
        with pytest.raises(UsageError, match="US dollars"):
            await store.settle(held, actual_usd=amount_usd)
        assert (await store.balance("summarization")).total_usd == 0.5

    with_store(opening, act)


def overlay(epoch: int) -> Overlay:
    return Overlay(
        release="v1", bad=("v2",), ends_rollout_of="v2", epoch=epoch, reason="wrong \x00 ünits", at=datetime.now(UTC)
    )


def test_a_drill_is_read_beside_the_overlay_and_changes_nothing_of_it(opening: Opening) -> None:
    async def act(store: StateStore, _: Clock) -> None:
        assert (await store.shared("prod")).drill == ""
        newest = overlay(2)
        await store.write_overlay("prod", newest)
        for drill in ("first", "ünits"):
            await store.write_drill("prod", drill)
            seen = await store.shared("prod")
            assert (seen.drill, seen.overlay) == (drill, newest)
        assert (await store.shared("staging")).drill == ""

    with_store(opening, act)


def test_the_newest_overlay_is_active_until_cleared(opening: Opening) -> None:
    async def act(store: StateStore, clock: Clock) -> None:
        assert (await store.shared("prod")).overlay is None
        newest = overlay(2)
        await store.write_overlay("prod", newest)
        assert (await store.shared("prod")).overlay == newest
        await store.write_overlay("prod", overlay(1))
        clock.now_s += 400 * DAY_S
        assert (await store.shared("prod")).overlay == newest
        assert (await store.shared("staging")).overlay is None
        await store.clear_overlay("prod")
        await store.clear_overlay("prod")
        assert (await store.shared("prod")).overlay is None

    with_store(opening, act)


def heartbeat(process: str, environment: str = "prod") -> Heartbeat:
    at = datetime.now(UTC)
    return Heartbeat(
        process=process, host="here", pid=1, environment=environment, origin="serve", release="v1", started_at=at, at=at
    )


def test_a_process_is_live_until_its_heartbeat_expires(opening: Opening) -> None:
    async def act(store: StateStore, clock: Clock) -> None:
        second, first, other = heartbeat("b"), heartbeat("a"), heartbeat("c", environment="staging")
        for beat in (second, first, other):
            await store.heartbeat(beat, lifetime_s=10)
        assert list(await store.heartbeats("prod")) == [first, second]
        clock.now_s += 9
        await store.heartbeat(second, lifetime_s=10)
        clock.now_s += 1
        assert list(await store.heartbeats("prod")) == [second]
        await store.deregister("prod", "b")
        await store.deregister("prod", "b")
        assert list(await store.heartbeats("prod")) == []

    with_store(opening, act)


def test_a_silent_process_is_known_for_a_day_unless_it_said_goodbye(opening: Opening) -> None:
    async def act(store: StateStore, clock: Clock) -> None:
        silent, live, other = heartbeat("b"), heartbeat("a"), heartbeat("c", environment="staging")
        for beat in (silent, live, other):
            await store.heartbeat(beat, lifetime_s=10)
        clock.now_s += 42
        await store.heartbeat(live, lifetime_s=10)
        found = [(known.process, known.silent_s, known.is_live) for known in await store.processes("prod")]
        assert found == [("a", 0, True), ("b", 42, False)]
        await store.deregister("prod", "a")
        clock.now_s += DAY_S - 43
        assert [known.heartbeat for known in await store.processes("prod")] == [silent]
        clock.now_s += 1
        assert list(await store.processes("prod")) == []

    with_store(opening, act)


def test_a_cleared_overlay_is_counted_and_a_lost_count_is_restored(opening: Opening) -> None:
    async def act(store: StateStore, _: Clock) -> None:
        assert (await store.shared("prod")).overlay_clear_count == 0
        await store.write_overlay("prod", overlay(5))
        await store.clear_overlay("prod")
        cleared = await store.shared("prod")
        assert (cleared.overlay, cleared.overlay_clear_count) == (None, 1)
        newest = overlay(1)
        await store.write_overlay("prod", newest, clear_count=3)
        assert (await store.shared("prod")).overlay == newest
        await store.write_overlay("prod", newest, clear_count=2)
        assert (await store.shared("prod")).overlay_clear_count == 3

    with_store(opening, act)


def test_a_back_off_is_minutes_at_most_whatever_the_provider_says(opening: Opening) -> None:
    async def act(store: StateStore, _: Clock) -> None:
        for for_s in (1e12, math.inf):
            await store.back_off("alpha", "large", for_s=for_s)
        for for_s in (math.nan, -1.0, 0.0):
            await store.back_off("beta", "large", for_s=for_s)
        admission = await store.admit("alpha", "large", BreakerRule())
        assert admission.reason == "backing_off"
        assert admission.retry_in_s == 300
        assert set((await store.shared("")).breakers) == {"alpha"}

    with_store(opening, act)


def test_a_probe_without_a_token_closes_no_breaker(opening: Opening) -> None:
    async def act(store: StateStore, __: Clock) -> None:
        rule = BreakerRule(failure_count=1)
        for _ in range(2):
            view = await store.record_failure("alpha", rule)
        assert view.status == "open"
        await store.record_success("alpha", probe="")
        assert (await store.shared("")).breakers == {"alpha": view}

    with_store(opening, act)


def test_failures_leave_the_sliding_window_exactly_in_time(opening: Opening) -> None:
    rule = BreakerRule(failure_count=5, window_s=60)

    async def fail(store: StateStore, clock: Clock, *after_s: float) -> list[str]:
        statuses: list[str] = []
        for wait_s in after_s:
            clock.now_s += wait_s
            statuses.append((await store.record_failure("alpha", rule)).status)
        return statuses

    async def act(store: StateStore, clock: Clock) -> None:
        assert await fail(store, clock, 0, 12, 12, 12, 12, 12) == ["closed"] * 6, "the first left as the sixth came"
        assert await fail(store, clock, 11.75) == ["open"], "six within less than 60 s"
        assert (await store.admit("alpha", "large", rule)).retry_in_s == 300

    with_store(opening, act)


def test_a_back_off_outlives_the_probe(opening: Opening) -> None:
    rule = BreakerRule(failure_count=1)

    async def act(store: StateStore, clock: Clock) -> None:
        for _ in range(2):
            await store.record_failure("alpha", rule)
        clock.now_s += rule.open_s
        probe = (await store.admit("alpha", "large", rule)).probe
        assert probe is not None
        await store.back_off("alpha", "large", for_s=30)
        await store.record_success("alpha", probe=probe)
        admission = await store.admit("alpha", "large", rule)
        assert admission.reason == "backing_off"
        assert admission.retry_in_s == 30
        view = (await store.shared("")).breakers["alpha"]
        assert view.status == "closed", "back-off is not an open breaker"
        assert view.failure_count == 0, "back-off is not an open breaker"

    with_store(opening, act)


def test_a_back_off_is_one_model_s_and_the_provider_s_other_models_are_called(opening: Opening) -> None:
    rule = BreakerRule(failure_count=1)

    async def act(store: StateStore, clock: Clock) -> None:
        await store.back_off("alpha", "large", for_s=30)
        await store.back_off("alpha", "grün", for_s=60)
        assert (await store.admit("alpha", "small", rule)).is_admitted
        assert (await store.admit("alpha", "large", rule)).retry_in_s == 30
        assert (await store.admit("alpha", "grün", rule)).retry_in_s == 60
        view = (await store.shared("")).breakers["alpha"]
        assert view.back_offs == {"large": clock.now_s + 30, "grün": clock.now_s + 60}
        clock.now_s += 30
        assert set((await store.shared("")).breakers["alpha"].back_offs) == {"grün"}
        for _ in range(2):
            await store.record_failure("alpha", rule)
        clock.now_s += 29
        assert (await store.admit("alpha", "small", rule)).reason == "open", "a breaker is all models'"

    with_store(opening, act)


def test_a_reset_closes_the_breaker_and_ends_all_back_offs(opening: Opening) -> None:
    rule = BreakerRule(failure_count=1)

    async def act(store: StateStore, clock: Clock) -> None:
        assert not await store.reset_breaker("alpha")
        for _ in range(2):
            await store.record_failure("alpha", rule)
        await store.back_off("alpha", "large", for_s=30)
        clock.now_s += rule.open_s
        await store.back_off("beta", "large", for_s=30)
        probe = (await store.admit("alpha", "small", rule)).probe
        assert await store.reset_breaker("alpha")
        assert not await store.reset_breaker("alpha")
        assert set((await store.shared("")).breakers) == {"beta"}
        assert (await store.admit("alpha", "large", rule)).is_admitted
        await store.record_failure("alpha", rule, probe=probe)
        assert set((await store.shared("")).breakers) == {"beta"}, "the probe of before has no effect"

    with_store(opening, act)


def waits_s(opening: Opening, rule: BreakerRule, *, count: int) -> list[float]:
    """Return the waits between the probes of a provider that stays down."""
    waits: list[float] = []

    async def act(store: StateStore, clock: Clock) -> None:
        for _ in range(rule.failure_count + 1):
            await store.record_failure("alpha", rule)
        for _ in range(count):
            waits.append((await store.admit("alpha", "large", rule)).retry_in_s)
            clock.now_s += waits[-1]
            probe = (await store.admit("alpha", "large", rule)).probe
            assert probe is not None
            await store.record_failure("alpha", rule, probe=probe)

    with_store(opening, act)
    return waits


def test_by_default_the_breaker_stays_open_for_five_minutes_each_time(opening: Opening) -> None:
    assert waits_s(opening, BreakerRule(), count=4) == [300, 300, 300, 300]


def test_with_a_range_each_failed_probe_doubles_the_time_since_the_breaker_opened(opening: Opening) -> None:
    rule = BreakerRule(open_s=15, max_open_s=300)
    assert waits_s(opening, rule, count=9) == [15, 15, 30, 60, 120, 240, 300, 300, 300]


def test_a_success_ends_the_doubling(opening: Opening) -> None:
    rule = BreakerRule(failure_count=1, open_s=15, max_open_s=300)

    async def act(store: StateStore, clock: Clock) -> None:
        for _ in range(2):
            await store.record_failure("alpha", rule)
        for is_well in (False, False, False, True):
            clock.now_s += 300
            probe = (await store.admit("alpha", "large", rule)).probe
            assert probe is not None
            if is_well:
                await store.record_success("alpha", probe=probe)
            else:
                await store.record_failure("alpha", rule, probe=probe)
        for _ in range(2):
            await store.record_failure("alpha", rule)
        assert (await store.admit("alpha", "large", rule)).retry_in_s == 15

    with_store(opening, act)


# --- leases of reservations ---


def test_a_reservation_of_a_dead_process_returns_when_its_lease_ends(opening: Opening) -> None:
    async def act(store: StateStore, clock: Clock) -> None:
        dead = await store.reserve("summarization", 1.0, limit_usd=1.0, lease_s=90)
        assert dead is not None
        clock.now_s += 89.9
        assert await store.reserve("summarization", 0.1, limit_usd=1.0) is None
        assert (await store.balance("summarization")).total_usd == 1.0
        clock.now_s += 0.1
        assert (await store.balance("summarization")).total_usd == 0
        assert await store.reserve("summarization", 0.75, limit_usd=1.0) is not None

    with_store(opening, act)


def test_a_cost_that_comes_after_the_lease_still_counts(opening: Opening) -> None:
    async def act(store: StateStore, clock: Clock) -> None:
        slow = await store.reserve("summarization", 1.0, limit_usd=2.0, lease_s=90)
        assert slow is not None
        clock.now_s += 90
        await must_reserve(store, 0.5, 2.0)  # returns the expired one
        await store.settle(slow, actual_usd=0.25)
        assert (await store.balance("summarization")).total_usd == 0.75
        await store.settle(slow, actual_usd=0.25)
        assert (await store.balance("summarization")).total_usd == 1.0, "nothing is returned twice"

    with_store(opening, act)


def test_a_settled_reservation_does_not_expire(opening: Opening) -> None:
    async def act(store: StateStore, clock: Clock) -> None:
        held = await store.reserve("summarization", 1.0, limit_usd=1.0, lease_s=90)
        assert held is not None
        await store.settle(held, actual_usd=0.75)
        clock.now_s += 1000
        assert (await store.balance("summarization")).total_usd == 0.75

    with_store(opening, act)


def test_the_balance_tells_spent_money_from_reserved_money(opening: Opening) -> None:
    async def act(store: StateStore, clock: Clock) -> None:
        paid = await must_reserve(store, 1.0, 3.0)
        await store.settle(paid, actual_usd=0.25)
        await store.reserve("summarization", 0.5, limit_usd=3.0, lease_s=90)
        balance = await store.balance("summarization")
        assert (balance.spent_usd, balance.reserved_usd) == (0.25, 0.5)
        assert balance.day_ends_in_s == 12 * 3600
        clock.now_s += 90
        balance = await store.balance("summarization")
        assert (balance.spent_usd, balance.reserved_usd) == (0.25, 0)
        assert (await store.balance("another")).reserved_usd == 0

    with_store(opening, act)


def test_a_reservation_of_yesterday_returns_to_yesterday(opening: Opening) -> None:
    async def act(store: StateStore, clock: Clock) -> None:
        clock.now_s = datetime(2026, 3, 2, tzinfo=UTC).timestamp() - 1
        await store.reserve("summarization", 1.0, limit_usd=1.0, lease_s=90)
        clock.now_s += 200
        await must_reserve(store, 0.5, 1.0)
        assert (await store.balance("summarization")).total_usd == 0.5
        clock.now_s += 30 * DAY_S
        await store.reserve("summarization", 0.5, limit_usd=1.0, lease_s=90)
        assert (await store.balance("summarization")).total_usd == 0.5

    with_store(opening, act)

"""Wall clocks that differ or are set: intervals do not change, and no spending is erased."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from flowai.state import BreakerRule, Heartbeat, StateStore, open_state
from flowai.state.machine import boot_id, machine_clock_s
from flowai.state.sqlite_store import FILE_NAME, SqliteStateStore

if TYPE_CHECKING:
    from pathlib import Path

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
NOON_S = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULE = BreakerRule(failure_count=1, open_s=300)
BEAT = Heartbeat(process="a", host="here", pid=1, origin="serve", release="v1", started_at=NOON, at=NOON)


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.service)])
def address(request: pytest.FixtureRequest) -> str:
    return ".flowai" if request.param == "file" else str(request.getfixturevalue("redis_url"))


@pytest.mark.parametrize("skew_s", [-HOUR_S, HOUR_S])
def test_processes_with_different_wall_clocks_agree_on_intervals(address: str, tmp_path: Path, skew_s: float) -> None:
    async def act() -> None:
        writer = open_state(address, tmp_path, clock_s=lambda: time.time() + skew_s)
        reader = open_state(address, tmp_path, clock_s=time.time)
        await writer.heartbeat(BEAT, lifetime_s=12)
        for _ in range(RULE.failure_count + 1):
            await writer.record_failure("alpha", RULE)
        (process,) = await reader.processes("")
        assert process.is_live
        assert process.silent_s < 10
        decision = await reader.admit("alpha", "m", RULE)
        assert 280 < decision.retry_in_s <= 300
        view = (await reader.shared("")).breakers["alpha"]
        assert view.failure_count == 2, "within the window"
        await writer.aclose()
        await reader.aclose()

    asyncio.run(act())


@pytest.mark.parametrize("ahead_s", [-HOUR_S, HOUR_S, 3 * DAY_S, -3 * DAY_S])
def test_a_clock_that_is_set_and_set_right_again_erases_no_spending(tmp_path: Path, ahead_s: float) -> None:
    async def spend(store: StateStore) -> None:
        assert await store.reserve("account", 1, limit_usd=100) is not None
        await store.heartbeat(BEAT, lifetime_s=12)  # deletes old days

    async def act() -> None:
        jump_s = [0.0]
        store = open_state(".flowai", tmp_path, clock_s=lambda: NOON_S + jump_s[0])
        await spend(store)
        jump_s[0] = ahead_s
        await spend(store)
        jump_s[0] = 0.0
        await spend(store)
        assert (await store.balance("account")).total_usd == (3 if abs(ahead_s) < DAY_S else 2)
        await store.aclose()

    asyncio.run(act())


@pytest.mark.skipif(not boot_id(), reason="the kernel has no boot id")
def test_after_a_reboot_breakers_and_processes_are_gone_and_the_rest_is_kept(tmp_path: Path) -> None:
    async def act() -> None:
        store = SqliteStateStore(tmp_path, machine_clock_s, wall_s=time.time)
        await store.record_failure("alpha", RULE)
        await store.heartbeat(BEAT, lifetime_s=12)
        paid = await store.reserve("account", 2, limit_usd=2)
        assert paid is not None
        await store.settle(paid, actual_usd=1)
        await store.reserve("account", 0.5, limit_usd=2)
        await store.aclose()
        connection = sqlite3.connect(tmp_path / FILE_NAME)
        connection.execute("UPDATE store SET boot = 'the one before'")
        connection.commit()
        connection.close()
        assert (await store.shared("")).breakers == {}
        assert await store.processes("") == []
        assert (await store.balance("account")).total_usd == 1
        await store.record_failure("alpha", RULE)
        await store.aclose()
        assert (await store.shared("")).breakers["alpha"].failure_count == 1
        await store.aclose()

    asyncio.run(act())


def test_a_file_of_an_older_format_keeps_budgets_and_overlays(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript("""
        CREATE TABLE store (held_by TEXT NOT NULL);
        CREATE TABLE breaker (provider TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE spent (day TEXT, account TEXT, amount_nano INTEGER NOT NULL, PRIMARY KEY (day, account));
        CREATE TABLE overlay (environment TEXT PRIMARY KEY, epoch INTEGER NOT NULL, record BLOB NOT NULL);
        CREATE TABLE process (environment TEXT, process TEXT, until_s REAL NOT NULL, record BLOB NOT NULL);
        INSERT INTO store VALUES ('life');
        INSERT INTO spent VALUES ('2026-03-01', 'account', 2000000000);
        INSERT INTO overlay VALUES ('', 4, '{"epoch": 4, "bad": ["v2"], "at": "2026-03-01T12:00:00Z"}');
        PRAGMA user_version = 2;
    """)
    connection.close()

    async def act() -> None:
        store = open_state(str(tmp_path), tmp_path, clock_s=lambda: NOON_S)
        overlay = (await store.shared("")).overlay
        assert overlay is not None
        assert (overlay.epoch, overlay.bad) == (4, ("v2",))
        assert (await store.balance("account")).total_usd == 2
        await store.heartbeat(BEAT, lifetime_s=12)
        assert await store.heartbeats("") == [BEAT]
        await store.aclose()

    asyncio.run(act())


def test_a_file_without_drills_gets_them(tmp_path: Path) -> None:
    async def act(*, is_old: bool) -> None:
        store = open_state(str(tmp_path), tmp_path, clock_s=lambda: NOON_S)
        assert (await store.shared("")).drill == ("" if is_old else "again")
        await store.write_drill("", "again")
        await store.aclose()

    asyncio.run(act(is_old=True))
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript("DROP TABLE drill")
    connection.close()
    asyncio.run(act(is_old=True))
    asyncio.run(act(is_old=False))

"""The file survives what happens to files: kill -9, a full disk, damage, removal."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from support.state_process import Fleet

from flowai.errors import InfrastructureError
from flowai.state import BreakerRule
from flowai.state.sqlite_store import FILE_NAME, SqliteStateStore

if TYPE_CHECKING:
    from pathlib import Path


def test_a_process_killed_while_writing_loses_no_acknowledged_write(tmp_path: Path) -> None:
    told = 0
    for _ in range(5):
        with Fleet(str(tmp_path), count=2) as fleet:
            fleet.begin(0, "write_for_ever")
            fleet.begin(1, "write_for_ever")
            counts = [list(islice(fleet.lines(0), 40))[-1]]
            fleet.kill(0)
            fleet.kill(1)
            counts = [max([*counts[:1], *fleet.lines(0)]), max(fleet.lines(1), default=0)]
        told += sum(counts)
        connection = sqlite3.connect(tmp_path / FILE_NAME)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (spent_nano,) = connection.execute("SELECT sum(amount_nano) FROM spent").fetchone()
        connection.close()
        assert spent_nano >= told * 1_000_000
        told = spent_nano // 1_000_000


def test_a_process_that_died_with_the_lock_does_not_block_others(tmp_path: Path) -> None:
    script = (
        "import os, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "connection.execute('DELETE FROM breaker')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    rule = BreakerRule(failure_count=1)

    async def act() -> None:
        store = SqliteStateStore(tmp_path, time.time)
        await store.record_failure("alpha", rule)
        subprocess.run([sys.executable, "-c", script, str(tmp_path / FILE_NAME)], check=False)  # noqa: ASYNC221 - nothing else runs here
        assert (await store.record_failure("alpha", rule)).status == "open"
        await store.aclose()

    asyncio.run(act())


def test_a_process_that_hangs_with_the_lock_is_a_timeout_error(tmp_path: Path) -> None:
    async def act() -> None:
        store = SqliteStateStore(tmp_path, time.time)
        await store.record_failure("alpha", BreakerRule())
        other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InfrastructureError, match="locked") as caught:
            await store.record_failure("alpha", BreakerRule())
        assert caught.value.hint is not None
        assert "another process" in caught.value.hint
        assert (await store.shared("")).breakers["alpha"].failure_count == 1, "reading goes on"
        other.execute("ROLLBACK")
        assert (await store.record_failure("alpha", BreakerRule())).failure_count == 2
        other.close()
        await store.aclose()

    asyncio.run(act())


def test_a_short_lock_is_waited_for(tmp_path: Path) -> None:
    async def act() -> None:
        store = SqliteStateStore(tmp_path, time.time)
        await store.record_failure("alpha", BreakerRule())
        other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.02, other.execute, ["ROLLBACK"])
        timer.start()
        assert (await store.record_failure("alpha", BreakerRule())).failure_count == 2
        timer.join()
        other.close()
        await store.aclose()

    asyncio.run(act())


def test_writes_of_another_process_are_seen_by_the_next_read(tmp_path: Path) -> None:
    async def act() -> None:
        one, other = SqliteStateStore(tmp_path, time.time), SqliteStateStore(tmp_path, time.time)
        assert (await one.shared("")).breakers == {}
        await other.record_failure("alpha", BreakerRule())
        assert (await one.shared("")).breakers["alpha"].failure_count == 1
        await one.record_failure("alpha", BreakerRule())
        assert (await one.shared("")).breakers["alpha"].failure_count == 2, "and what it wrote itself"
        await other.aclose()
        await one.aclose()

    asyncio.run(act())


def test_a_full_disk_is_an_error_and_the_store_works_again_when_there_is_room(tmp_path: Path) -> None:
    script = """
import asyncio, resource, sys, time
from pathlib import Path
from flowai.errors import InfrastructureError
from flowai.state.sqlite_store import SqliteStateStore

async def act():
    store = SqliteStateStore(Path(sys.argv[1]), time.time)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    await store.reserve("account", 1, limit_usd=1000)
    # the kernel refuses to let any file grow beyond this, as a full disk would
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    told = 1
    try:
        for told in range(1, 900):
            await store.reserve("account", 1, limit_usd=1000)
        print("never full")
    except InfrastructureError as error:
        print(error)
    spent = (await store.balance("account")).total_usd
    print("kept" if spent == told else f"{spent} of {told}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await store.reserve("account", 1, limit_usd=1000)
    print("works" if (await store.balance("account")).total_usd == spent + 1 else "lost")
    await store.aclose()

asyncio.run(act())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    error, kept, works = done.stdout.splitlines()
    assert error.startswith(f"{tmp_path / FILE_NAME}: the shared state cannot be used:")
    assert kept == "kept"
    assert works == "works"


@pytest.mark.parametrize("content", [b"no database at all" * 500, b"SQLite format 3\x00" + b"\xff" * 9000])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    async def act() -> None:
        store = SqliteStateStore(tmp_path, time.time)
        for _ in range(2):
            with pytest.raises(InfrastructureError, match=FILE_NAME) as caught:
                await store.shared("")
            assert caught.value.hint is not None
            assert "delete it" in caught.value.hint
        (tmp_path / FILE_NAME).unlink()
        assert (await store.record_failure("alpha", BreakerRule())).failure_count == 1, "as the hint says"
        await store.aclose()

    asyncio.run(act())


def test_a_damaged_record_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    async def act() -> None:
        store = SqliteStateStore(tmp_path, time.time)
        await store.record_failure("alpha", BreakerRule())
        other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        other.execute("UPDATE breaker SET record = x'c1ff'")
        other.close()
        for read in (
            store.shared(""),
            store.record_failure("alpha", BreakerRule()),
            store.admit("alpha", "m", BreakerRule()),
        ):
            with pytest.raises(InfrastructureError, match=FILE_NAME):
                await read
        await store.aclose()

    asyncio.run(act())


def test_a_file_of_another_format_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(InfrastructureError, match="format is 7; expected 3"):
        asyncio.run(SqliteStateStore(tmp_path, time.time).shared(""))


@pytest.mark.parametrize("place", ["/proc/nowhere", "{tmp}/file", "{tmp}/file/below"])
def test_an_unwritable_path_is_an_error_that_names_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    directory = tmp_path / place.format(tmp=tmp_path)
    with pytest.raises(InfrastructureError, match=FILE_NAME) as caught:
        asyncio.run(SqliteStateStore(directory, time.time).shared(""))
    assert caught.value.hint is not None


def test_a_removed_file_is_created_and_shared_again(tmp_path: Path) -> None:
    async def act() -> None:
        one, other = SqliteStateStore(tmp_path, time.time), SqliteStateStore(tmp_path, time.time)
        await one.record_failure("alpha", BreakerRule())
        await other.shared("")
        shutil.rmtree(tmp_path)
        await other.record_failure("beta", BreakerRule())
        assert set((await one.shared("")).breakers) == {"beta"}
        held = await one.reserve("account", 1, limit_usd=1)
        assert held is not None
        await other.settle(held, actual_usd=0.5)
        assert (await one.balance("account")).total_usd == 0.5
        await one.aclose()
        await other.aclose()
        assert sqlite3.connect(tmp_path / FILE_NAME).execute("PRAGMA integrity_check").fetchone() == ("ok",)

    asyncio.run(act())

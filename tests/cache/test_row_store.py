"""diskcache behind the exact cache: files as it writes them, with rows and settings of a stranger."""

from __future__ import annotations

import pickle  # noqa: TID251 - to show that none is ever read
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import diskcache  # noqa: TID251 - writes the files of a stranger or of an older version
import msgspec
import pytest
from support.cached_responses import ANSWER

from flowai.cache.exact import ExactCache
from flowai.cache.row_store import SCHEMA, SETTINGS
from flowai.cache.stats import CacheUsage
from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from pathlib import Path

DATA = msgspec.json.encode(ANSWER)
BIG = msgspec.structs.replace(ANSWER, text="x" * 100_000)


def older_cache(directory: Path) -> None:
    """Write what an older version of flowai left: answers in rows and, large ones, in files."""
    store = diskcache.Cache(str(directory), size_limit=2**30, eviction_policy="least-recently-stored")
    with closing(store):
        store.set("entry/f/small", DATA)
        store.set("entry/f/big", msgspec.json.encode(BIG))
        store.set("usage/f", msgspec.json.encode(CacheUsage(hit_count=7)))


def change(directory: Path, *statements: str | tuple[str, tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as base:
        for statement in statements:
            sql, values = (statement, ()) if isinstance(statement, str) else statement
            base.execute(sql, values)


def files(directory: Path) -> set[str]:
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return found - {"cache.db", "cache.db-wal", "cache.db-shm"}


def test_the_schema_is_the_one_that_the_installed_diskcache_writes(tmp_path: Path) -> None:
    diskcache.Cache(str(tmp_path)).close()
    with closing(sqlite3.connect(tmp_path / "cache.db")) as base:
        assert {sql for (sql,) in base.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")} == SCHEMA


def test_a_cache_of_an_older_version_is_read(tmp_path: Path) -> None:
    older_cache(tmp_path)
    before = files(tmp_path)
    assert len(before) == 1, "the large value"
    with closing(ExactCache(tmp_path)) as cache:
        assert cache.get("f/small") == ANSWER
        assert cache.get("f/big") is None, "its value is in a file"
        cache.put("f/big", BIG)
        assert cache.stats().features["f"].hit_count == 8
        assert cache.stats().entry_counts == {"f": 2}
    with closing(ExactCache(tmp_path)) as cache:
        assert cache.get("f/big") == BIG
        assert cache.clear() == 2
    assert files(tmp_path) == before, "no other file is written or deleted"


def test_rows_of_a_stranger_touch_no_file_and_are_not_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was executed",))

    victim = tmp_path / "victim"
    victim.write_bytes(DATA)
    directory = tmp_path / "cache"
    older_cache(directory)
    before = files(directory)
    bomb = pickle.dumps(Bomb())
    past, future = time.time() - 50, time.time() + 1000
    rows = [
        ("entry/f/expired", 1, past, 2, "../victim", None),
        ("entry/f/binary", 1, future, 2, "../victim", None),
        ("entry/f/text", 1, future, 3, "../victim", None),
        ("entry/f/raw", 1, future, 1, "../victim", DATA),
        ("entry/f/pickle", 1, future, 4, None, bomb),
        ("entry/f/pickled-file", 1, future, 4, "../victim", None),
        (bomb, 0, future, 1, None, DATA),
        (bomb, 1, future, 1, None, DATA),
        (None, 1, past, 2, str(victim), None),
    ]
    columns = "key, raw, expire_time, mode, filename, value, size, store_time"
    insert = f"INSERT INTO Cache ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, 0)"  # noqa: S608 - constants
    change(directory, *((insert, (*row, size)) for row, size in zip(rows, ["x", -(2**62), None] * 3, strict=True)))
    with closing(ExactCache(directory, size_limit_bytes=20_000)) as cache:
        for key, *_ in rows[:6]:
            assert cache.get(str(key).removeprefix("entry/")) is None
        cache.put("f/binary", ANSWER)
        cache.flush()
        assert cache.get("f/binary") == ANSWER
        cache.stats()
        for number in range(100):
            cache.put(f"f/{number}", BIG)
        cache.flush()
    with closing(ExactCache(directory, size_limit_bytes=20_000)) as cache:  # evicts
        cache.put("f/last", ANSWER)
        cache.flush()
        assert cache.stats().entry_counts == {"f": 1}
        cache.clear()
    assert victim.read_bytes() == DATA
    assert files(directory) == before


def test_settings_of_a_stranger_are_replaced(tmp_path: Path) -> None:
    directory, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    older_cache(directory)
    older_cache(elsewhere)
    planted = {
        "_directory": str(elsewhere),
        "_sql": 1,
        "disk_fetch": "x",
        "disk_other": 1,
        "disk_min_file_size": 0,
        "eviction_policy": "none",
        "size_limit": -1,
        "cull_limit": 1000,
        "statistics": 1,
        "tag_index": 1,
        "sqlite_journal_mode": "off",
        "sqlite_trusted_schema": 1,
        "sqlite_writable_schema": 1,
        "size": "x",
        "count": None,
    }
    change(directory, *(("INSERT OR REPLACE INTO Settings VALUES (?, ?)", one) for one in planted.items()))
    with closing(ExactCache(directory)) as cache:
        assert cache.get("f/small") == ANSWER
        cache.put("f/big", BIG)
        cache.flush()
        pragmas = {
            name: cache._store._sql(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "trusted_schema", "writable_schema", "mmap_size")
        }
        assert pragmas == {"journal_mode": "wal", "trusted_schema": 0, "writable_schema": 0, "mmap_size": 0}
    with closing(sqlite3.connect(directory / "cache.db")) as base:
        settings = dict(base.execute("SELECT key, value FROM Settings").fetchall())
        assert [mode for (mode,) in base.execute("SELECT mode FROM Cache WHERE key = 'entry/f/big'")] == [1]
    assert settings.keys() == SETTINGS.keys() | {"count", "size", "hits", "misses"}
    assert {key: settings[key] for key in SETTINGS} == SETTINGS


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER other AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END",
        "CREATE TRIGGER Settings_count_update AFTER UPDATE ON Cache BEGIN SELECT 1; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "CREATE TABLE other (a INTEGER GENERATED ALWAYS AS (b), b)",
        "CREATE INDEX other ON Cache (lower(key))",
        "INSERT INTO Cache (rowid, key, raw, mode) VALUES (-1, 'entry/f/hidden', 1, 1)",
    ],
)
def test_everything_that_diskcache_does_not_write_is_refused(statement: str, tmp_path: Path) -> None:
    older_cache(tmp_path)
    change(tmp_path, statement)
    with pytest.raises(InfrastructureError, match="flowai does not write") as caught:
        ExactCache(tmp_path)
    assert "flowai cache clear" in (caught.value.hint or "")


def test_a_trigger_with_a_known_name_and_another_text_is_refused(tmp_path: Path) -> None:
    older_cache(tmp_path)
    change(
        tmp_path,
        "DROP TRIGGER Settings_size_update",
        "CREATE TRIGGER Settings_size_update AFTER UPDATE ON Cache FOR EACH ROW BEGIN DELETE FROM Cache; END",
    )
    with pytest.raises(InfrastructureError, match="the trigger `'Settings_size_update'`"):
        ExactCache(tmp_path)


def test_a_locked_file_is_not_opened_within_the_limit(tmp_path: Path) -> None:
    older_cache(tmp_path)
    with closing(sqlite3.connect(tmp_path / "cache.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        began_s = time.monotonic()
        with pytest.raises(InfrastructureError, match="locked"):
            ExactCache(tmp_path, open_limit_s=0.1)
        assert time.monotonic() - began_s < 5, "diskcache alone tries for a minute"


def test_counts_outlive_older_answers(tmp_path: Path) -> None:
    with closing(ExactCache(tmp_path)) as cache:
        cache.get("f/1")
        cache.flush()
        for number in range(100):
            cache.put(f"g/{number}", ANSWER)
    with closing(ExactCache(tmp_path, size_limit_bytes=50_000)) as cache:
        cache.put("g/last", ANSWER)
        cache.flush()
        stats = cache.stats()
    assert stats.entry_counts["g"] < 100
    assert stats.features["f"].miss_count == 1


def test_variables_in_the_directory_s_name_are_not_expanded(tmp_path: Path) -> None:
    directory = tmp_path / "$HOME" / "~"
    with closing(ExactCache(directory)) as cache:
        cache.put("f/1", ANSWER)
    assert (directory / "cache.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["$HOME"]

"""A cache file from a stranger's branch, and one that another process locks."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import stat
import time
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest
from support.cached_responses import ANSWER, FakeEmbedder, lookup
from support.planted_files import plant_diskcache, track_all

from flowai.cache.exact import ExactCache
from flowai.cache.response_cache import open_response_cache
from flowai.cache.write_queue import MAX_QUEUED_COUNT, WriteQueue
from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowai.cache.response_cache import ResponseCache


def cache_in(directory: Path) -> ResponseCache:
    return open_response_cache(
        state=".flowai",
        directory=directory,
        embedder=FakeEmbedder(),
        rng=random.Random(1),  # noqa: S311 - for jitter
    )


def test_a_planted_cache_deletes_no_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    directory = tmp_path / "cache"
    plant_diskcache(directory / "cache.db", deletes="../victim")
    with pytest.raises(InfrastructureError, match="which flowai does not write") as caught:
        ExactCache(directory)
    assert "flowai cache clear" in (caught.value.hint or "")
    assert victim.exists()


def test_a_value_that_is_not_in_its_row_is_missing(tmp_path: Path) -> None:
    with closing(ExactCache(tmp_path)) as cache:
        cache.put("f/1", ANSWER)
    (tmp_path / "value").write_bytes(msgspec.json.encode(ANSWER))
    with closing(sqlite3.connect(tmp_path / "cache.db")) as base:
        base.execute("UPDATE cache SET mode = 2, value = ?", (b"value",))
        base.commit()
    with closing(ExactCache(tmp_path)) as cache:
        assert cache.get("f/1") is None


def test_a_refused_cache_fails_no_call_of_the_gateway(tmp_path: Path) -> None:
    directory = tmp_path / ".flowai" / "cache"
    with closing(ExactCache(directory)) as cache:
        cache.put(lookup("q").key, ANSWER)
    track_all(tmp_path)
    from flowai.storage import own_files  # as a new process

    own_files._untracked.clear()

    async def play() -> None:
        cache = cache_in(directory)
        assert await cache.find_exact(lookup("q")) is None
        await cache.store(lookup("q"), ANSWER)
        assert "git tracks this file" in (cache.error or "")
        await cache.aclose()

    asyncio.run(play())


def test_files_of_both_caches_are_their_owner_s(tmp_path: Path) -> None:
    async def play() -> None:
        cache = cache_in(tmp_path / "new" / "cache")
        await cache.find_similar(lookup("q"))
        await cache.store(lookup("q"), ANSWER)
        for path in (tmp_path / "new").rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        await cache.aclose()

    asyncio.run(play())


@pytest.mark.parametrize("mode", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_locked_file_keeps_no_call_waiting(mode: str, tmp_path: Path) -> None:
    with closing(ExactCache(tmp_path)) as cache:
        cache.put(lookup("before").key, ANSWER)

    async def play() -> None:
        cache = cache_in(tmp_path)
        await cache.find_similar(lookup("before"))
        await cache.store(lookup("before"), ANSWER)
        locks = []
        for name in ("cache.db", "semantic-2.db"):
            lock = sqlite3.connect(tmp_path / name, isolation_level=None)
            lock.execute(f"BEGIN {mode}")
            locks.append(lock)
        began_s = time.monotonic()
        for number in range(20):
            asked = lookup(f"meanwhile {number}")
            assert await cache.find_exact(asked) is None
            cache.store_soon(asked, ANSWER)
            again = await cache.find_exact(asked)
            assert again is not None, "a second equal call needs no file"
        assert await cache.find_exact(lookup("before")) is not None, "readers wait for no writer"
        assert time.monotonic() - began_s < 1
        await asyncio.sleep(3)
        assert "locked" in (cache.error or "")
        for lock in locks:
            lock.close()
        await cache.store(lookup("after"), ANSWER)
        assert cache.error is None
        assert await cache.find_exact(lookup("meanwhile 1")) is None, "a dropped answer is asked again"
        await cache.aclose()
        assert await cache.find_exact(lookup("after")) is None

    asyncio.run(play())


def test_answers_wait_in_bounded_memory_and_the_rest_is_dropped(tmp_path: Path) -> None:
    async def play() -> None:
        cache = cache_in(tmp_path)
        lock = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        for number in range(1000):
            cache.store_soon(lookup(f"q {number}", kind="exact"), ANSWER)
        assert len(cache._unwritten) == MAX_QUEUED_COUNT
        assert "later ones are dropped" in (cache.error or "")
        lock.close()
        await cache.aclose()

    asyncio.run(play())
    with closing(ExactCache(tmp_path)) as cache:
        assert cache.stats().entry_count == MAX_QUEUED_COUNT, "those that waited are written before the end"


def test_an_unreadable_file_is_tried_again_later(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"not a database" * 100)

    async def play() -> None:
        cache = cache_in(tmp_path)
        assert "not a database" in (cache.error or "")
        (tmp_path / "cache.db").unlink()
        for _ in range(100):
            await cache.find_exact(lookup("q"))
            if cache.error is None:
                break
            await asyncio.sleep(0.1)
        assert cache.error is None
        await cache.aclose()

    asyncio.run(play())


def test_what_waits_is_written_in_one_batch() -> None:
    batches: list[list[int]] = []

    def write(items: Sequence[int]) -> None:
        batches.append(list(items))

    queue = WriteQueue("test", write, lambda: None)
    for number in range(10):
        queue.add(number, linger_s=60)
    queue.add(10).result(10)
    queue.add(11, linger_s=60)
    queue.close(10)
    assert batches == [list(range(11)), [11]]
    with pytest.raises(InfrastructureError, match="closed"):
        queue.add(12)


def test_the_oldest_answers_are_evicted_above_the_limit(tmp_path: Path) -> None:
    for _ in range(6):
        with closing(ExactCache(tmp_path, size_limit_bytes=100_000)) as cache:
            for number in range(100):
                cache.put(f"f/{time.monotonic_ns()}-{number}", msgspec.structs.replace(ANSWER, text="x" * 1000))
    with closing(ExactCache(tmp_path, size_limit_bytes=100_000)) as cache:
        assert cache.stats().entry_count < 500

"""The exact cache: what makes a key, what it saves, and what damage does to it."""

from __future__ import annotations

import multiprocessing
import pickle  # noqa: TID251 - to show that none is ever read
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.cached_responses import ANSWER, REQUEST

from flowai.cache.exact import ExactCache, cache_key
from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.providers import Request


def key_of(request: Request = REQUEST, **changes: Any) -> str:
    return cache_key(request, **({"feature": "f", "prompt_hash": "h"} | changes))


def endpoint(**changes: Any) -> Request:
    return msgspec.structs.replace(REQUEST, endpoint=msgspec.structs.replace(REQUEST.endpoint, **changes))


@pytest.mark.parametrize(
    "other",
    [
        key_of(feature="g"),
        key_of(prompt_hash="i"),
        key_of(tenant="t"),
        key_of(repeat=1),
        key_of(endpoint(model="openai/n")),
        key_of(endpoint(api_base="http://127.0.0.1:1")),
        key_of(msgspec.structs.replace(REQUEST, params={"temperature": 0.1, "max_tokens": 5})),
        key_of(msgspec.structs.replace(REQUEST, response_schema={"type": "object"})),
        key_of(msgspec.structs.replace(REQUEST, messages=({"role": "user", "content": "hello "},))),
    ],
)
def test_the_key_depends_on_everything_that_can_change_the_answer(other: str) -> None:
    assert other != key_of()


@pytest.mark.parametrize(
    "same",
    [
        key_of(endpoint(api_key="sk-two")),
        key_of(msgspec.structs.replace(REQUEST, params={"max_tokens": 5, "temperature": 0})),
        key_of(msgspec.structs.replace(REQUEST, total_timeout_s=1.0)),
    ],
)
def test_the_key_ignores_api_keys_order_and_timeouts(same: str) -> None:
    assert same == key_of()


def test_answers_are_stored_and_savings_counted(tmp_path: Path) -> None:
    with closing(ExactCache(tmp_path)) as cache:
        assert cache.get(key_of()) is None
        cache.put(key_of(), ANSWER)
        assert cache.get(key_of()) == ANSWER
    with closing(ExactCache(tmp_path)) as cache:
        assert cache.get(key_of()) == ANSWER, "it outlives the process"
        stats = cache.stats()
    used = stats.features["f"]
    assert stats.entry_count == 1
    assert stats.entry_counts == {"f": 1}
    assert used.hit_count == 2
    assert used.miss_count == 1
    assert used.saved_tokens == 30
    assert used.saved_usd == 0.5
    assert used.saved_s == 3.0


def test_clearing_removes_answers_and_counts(tmp_path: Path) -> None:
    with closing(ExactCache(tmp_path)) as cache:
        cache.put(key_of(), ANSWER)
        cache.get(key_of())
        assert cache.clear() == 1
        assert cache.get(key_of()) is None
        assert cache.stats().features["f"].hit_count == 0


def test_nothing_in_the_store_is_a_pickle_and_none_is_ever_read(tmp_path: Path) -> None:
    with closing(ExactCache(tmp_path)) as cache:
        cache.put(key_of(), ANSWER)
        cache.stats()

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was executed",))

    with closing(sqlite3.connect(tmp_path / "cache.db")) as store:
        assert {mode for (mode,) in store.execute("SELECT mode FROM Cache")} == {1}, "a value in the row"
        store.execute("UPDATE Cache SET mode = 4, value = ? WHERE key LIKE 'entry/%'", (pickle.dumps(Bomb()),))
        store.commit()
    with closing(ExactCache(tmp_path)) as cache:
        assert cache.get(key_of()) is None


def test_an_entry_of_another_version_is_a_miss(tmp_path: Path) -> None:
    with closing(ExactCache(tmp_path)) as cache:
        cache.put(key_of(), ANSWER)
    with closing(sqlite3.connect(tmp_path / "cache.db")) as store:
        store.execute("UPDATE Cache SET value = ? WHERE key LIKE 'entry/%'", (b'{"other": 1}',))
        store.commit()
    with closing(ExactCache(tmp_path)) as cache:
        assert cache.get(key_of()) is None
        cache.put(key_of(), ANSWER)
        assert cache.get(key_of()) == ANSWER


def test_a_damaged_store_is_an_error_with_a_workaround(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"not a database" * 100)
    with pytest.raises(InfrastructureError, match="the cache cannot be used") as caught:
        ExactCache(tmp_path)
    assert caught.value.hint is not None
    assert "--no-cache" in caught.value.hint


def _fill(directory: Path, worker: int) -> None:
    with closing(ExactCache(directory)) as cache:
        for number in range(50):
            key = key_of(repeat=worker * 1000 + number)
            cache.put(key, ANSWER)
            cache.get(key)


def test_processes_share_the_cache_and_lose_no_count(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(tmp_path, worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with closing(ExactCache(tmp_path)) as cache:
        stats = cache.stats()
    assert stats.entry_count == 150
    assert stats.features["f"].hit_count == 150

"""The caches on real Redis servers: 7, which has no vector sets, and 8, which has."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.cached_responses import ANSWER, FakeEmbedder, lookup
from support.redis8_server import redis8_binary
from support.redis_server import RedisServer

from flowai.cache.redis_store import clear_redis, open_redis, redis_stats
from flowai.cache.redis_vectors import RedisVectors
from flowai.cache.response_cache import ResponseCache, open_response_cache
from flowai.cache.vector_math import normalised_bytes
from flowai.cache.vector_store import CacheEntry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

pytest.importorskip("redis", reason="needs the extra `redis`")

QUESTION = "How do I reset my password?"
PARAPHRASE = "How can I reset my password?"


@pytest.fixture(scope="module", params=["redis 7", "redis 8"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    binary: Path | str = "redis-server"
    if request.param == "redis 8":
        found = redis8_binary()
        if found is None:
            pytest.skip("no Redis 8 here: run `python tests/support/redis8_server.py` where there is a Python >= 3.12")
        binary = found
    with RedisServer(binary) as running:
        yield running


@pytest.fixture
def url(server: RedisServer) -> str:
    asyncio.run(clear_redis(server.url))
    return server.url


def with_cache(url: str, tmp_path: Path, scene: Callable[[ResponseCache], Awaitable[None]]) -> None:
    async def play() -> None:
        rng = random.Random(1)  # noqa: S311 - for jitter
        cache = open_response_cache(state=url, directory=tmp_path / "none", embedder=FakeEmbedder(), rng=rng)
        try:
            await scene(cache)
        finally:
            await cache.aclose()

    asyncio.run(play())
    assert not (tmp_path / "none").exists(), "nothing goes to disk"


@pytest.mark.service
def test_both_caches_return_answers_of_another_process(url: str, tmp_path: Path) -> None:
    async def keep(cache: ResponseCache) -> None:
        assert await cache.find_similar(lookup(PARAPHRASE)) is None
        await cache.store(lookup(QUESTION), ANSWER)
        await cache.flush()
        assert cache.error is None
        assert cache.semantic_error is None

    async def find(cache: ResponseCache) -> None:
        exact, similar = await cache.find_exact(lookup(QUESTION)), await cache.find_similar(lookup(PARAPHRASE))
        assert exact is not None
        assert similar is not None
        assert exact.completion == similar.completion == ANSWER
        assert 0.8 < (similar.similarity or 0) <= 1
        assert await cache.find_similar(lookup("How do I not reset my password?")) is None
        for other in (lookup(PARAPHRASE, tenant="u"), lookup(PARAPHRASE, language="German")):
            assert await cache.find_similar(other) is None
            assert await cache.find_exact(other) is None

    with_cache(url, tmp_path, keep)
    with_cache(url, tmp_path, find)
    exact, semantic = asyncio.run(redis_stats(url))
    assert exact.entry_count == 1
    assert exact.features["f"].hit_count == 1
    assert exact.features["f"].miss_count == 2
    assert semantic.entry_count == 1
    assert semantic.features["f"].hit_count == 1
    assert semantic.features["f"].miss_count == 4
    assert exact.features["f"].saved_usd == pytest.approx(0.25)
    assert asyncio.run(clear_redis(url)) == 2
    assert asyncio.run(redis_stats(url))[1].features == {}


def entry(angle: float, text: str, **changes: Any) -> CacheEntry:
    vector = normalised_bytes([1.0, angle])
    assert vector is not None
    facts: dict[str, Any] = {
        "partition": "p",
        "feature": "f",
        "text": text,
        "vector": vector,
        "completion": ANSWER,
        "ttl_s": 60.0,
    }
    return CacheEntry(**(facts | changes))


VECTOR = normalised_bytes([1.0, 0.0]) or b""


def with_vectors(url: str, scene: Callable[[RedisVectors], Awaitable[None]], **changes: Any) -> None:
    async def play() -> None:
        vectors = RedisVectors(open_redis(url), **changes)
        try:
            await scene(vectors)
        finally:
            await vectors.aclose()

    asyncio.run(play())


@pytest.mark.service
def test_similarity_is_the_cosine_on_every_server(url: str) -> None:
    async def scene(vectors: RedisVectors) -> None:
        for angle, text in ((0.0, "same"), (1.0, "half right"), (-0.5, "near"), (10.0, "far")):
            await vectors.add(entry(angle, text))
        await vectors.add(entry(0.0, "opposite", vector=normalised_bytes([-1.0, 0.0])))
        found = await vectors.nearest("p", VECTOR, above=0.5)
        assert [near.text for near in found] == ["same", "near", "half right"]
        cosines = [1.0, 1 / (1 + 0.25) ** 0.5, 1 / 2**0.5]
        assert [near.similarity for near in found] == pytest.approx(cosines, abs=1e-5)
        assert await vectors.nearest("q", VECTOR, above=0.0) == []
        assert await vectors.nearest("p", normalised_bytes([1.0, 0.0, 0.0]) or b"", above=0.0) == []

    with_vectors(url, scene)


@pytest.mark.service
def test_expired_entries_are_not_returned_and_hide_no_others(url: str) -> None:
    async def scene(vectors: RedisVectors) -> None:
        for number in range(20):
            await vectors.add(entry(0.01 * number, f"short {number}", ttl_s=0.05))
        await vectors.add(entry(0.5, "long"))
        await asyncio.sleep(0.1)  # the server's clock, which nobody hands in
        assert [near.text for near in await vectors.nearest("p", VECTOR, above=0.5)] == ["long"]

    with_vectors(url, scene)


@pytest.mark.service
def test_a_text_has_one_answer_and_the_entry_count_is_limited(url: str) -> None:
    async def scene(vectors: RedisVectors) -> None:
        for text in ("first", "second"):
            completion = msgspec.structs.replace(ANSWER, text=text)
            await vectors.add(entry(0.0, "question", completion=completion))
        found = await vectors.nearest("p", VECTOR, above=0.5)
        assert [near.completion.text for near in found] == ["second"]
        for number in range(300):
            await vectors.add(entry(0.001 * number, str(number)))
        assert (await vectors.nearest("p", VECTOR, above=0.5))[0].similarity > 0.9

    with_vectors(url, scene, max_entries=10)
    assert asyncio.run(redis_stats(url))[1].entry_count <= 301

    async def count_vectors() -> int:
        connection = open_redis(url)
        try:
            patterns = ("flowai:cache:semantic:set:*", "flowai:cache:semantic:list:*")
            sets, lists = await connection.run(*(("KEYS", pattern) for pattern in patterns))
            (info,) = await connection.run(("INFO", "server"))
            version = int(info.decode().partition("redis_version:")[2].partition(".")[0])
            assert (len(sets), len(lists)) == ((1, 0) if version >= 8 else (0, 1))
            (count,) = await connection.run(("VCARD", sets[0]) if sets else ("XLEN", lists[0]))
            return int(count)
        finally:
            await connection.aclose()

    assert asyncio.run(count_vectors()) <= 110, "Redis trims a list by whole nodes of about a hundred"


@pytest.mark.service
def test_a_cancelled_call_leaves_no_reply_for_the_next(url: str, tmp_path: Path) -> None:
    tenants = [f"t{number}" for number in range(20)]

    async def scene(cache: ResponseCache) -> None:
        for tenant in tenants:
            await cache.store(lookup(QUESTION, tenant=tenant), msgspec.structs.replace(ANSWER, text=tenant))
        rng = random.Random(5)  # noqa: S311 - a sample

        async def ask(tenant: str) -> None:
            found = await cache.find_exact(lookup(QUESTION, tenant=tenant))
            assert found is None or found.completion.text == tenant

        for _ in range(60):
            asking = [asyncio.ensure_future(ask(rng.choice(tenants))) for _ in range(10)]
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            for task in rng.sample(asking, 5):
                task.cancel()
            for result in await asyncio.gather(*asking, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError)

    with_cache(url, tmp_path, scene)


@pytest.mark.service
def test_a_server_that_dies_or_hangs_fails_no_call_and_is_used_again_when_it_is_back(tmp_path: Path) -> None:
    with RedisServer() as server:

        async def scene(cache: ResponseCache) -> None:
            await cache.store(lookup(QUESTION), ANSWER)
            for trouble in (server.kill, server.freeze):
                trouble()
                assert await cache.find_exact(lookup(QUESTION)) is None
                assert "is unreachable" in (cache.error or "")
                await cache.store(lookup(QUESTION), ANSWER)
                assert await cache.find_similar(lookup(PARAPHRASE)) is None
                if trouble == server.kill:
                    server.start()
                else:
                    server.thaw()
                for _ in range(300):  # it is tried again after a second
                    await cache.store(lookup(QUESTION), ANSWER)
                    if await cache.find_exact(lookup(QUESTION)) is not None:
                        break
                    await asyncio.sleep(0.02)
                assert cache.error is None
                assert await cache.find_exact(lookup(QUESTION)) is not None

        with_cache(server.url, tmp_path, scene)


@pytest.mark.service
def test_a_full_server_still_serves_reads(tmp_path: Path) -> None:
    with RedisServer(settings=("--maxmemory-policy", "noeviction")) as server:

        async def scene(cache: ResponseCache) -> None:
            await cache.store(lookup(QUESTION), ANSWER)
            connection = open_redis(server.url)
            await connection.run(("CONFIG", "SET", "maxmemory", "1"))
            await connection.aclose()
            await cache.store(lookup(PARAPHRASE), ANSWER)
            assert "refused" in (cache.error or "")
            assert await cache.find_exact(lookup(QUESTION)) is not None

        with_cache(server.url, tmp_path, scene)


def test_errors_of_invalid_addresses_hide_the_password(tmp_path: Path) -> None:
    async def scene(cache: ResponseCache) -> None:
        assert await cache.find_exact(lookup(QUESTION)) is None
        assert cache.error is not None
        assert "hidden" not in cache.error

    with_cache("redis://user:hidden@127.0.0.1:notaport/0", tmp_path, scene)
    with_cache("redis://user:hidden@127.0.0.1:1/0", tmp_path, scene)

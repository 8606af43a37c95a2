"""The gateway's caches on disk: who may share an answer, how long, and what a broken disk does to a call."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.cached_responses import ANSWER, FakeEmbedder, lookup, request_of

from flowai.cache.cache_key import build_cache_query
from flowai.cache.exact import ExactCache
from flowai.cache.response_cache import ResponseCache, open_response_cache
from flowai.cache.sqlite_vectors import DiskVectors, disk_vector_stats
from flowai.cache.vector_math import normalised_bytes
from flowai.cache.vector_store import CacheEntry
from flowai.registry.records import CachePolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowai.cache.cache_key import CacheQuery

QUESTION = "How do I reset my password?"
PARAPHRASE = "How can I reset my password?"


def with_cache(directory: Path, scene: Callable[[ResponseCache], Awaitable[None]], **changes: Any) -> None:
    async def play() -> None:
        facts: dict[str, Any] = {"state": ".flowai", "directory": directory, "embedder": FakeEmbedder()}
        cache = open_response_cache(**(facts | changes), rng=random.Random(1))  # noqa: S311 - for jitter
        try:
            await scene(cache)
        finally:
            await cache.aclose()

    asyncio.run(play())


def test_equal_and_equivalent_requests_are_hits(tmp_path: Path) -> None:
    async def scene(cache: ResponseCache) -> None:
        assert await cache.find_exact(lookup(QUESTION)) is None
        assert await cache.find_similar(lookup(QUESTION)) is None
        await cache.store(lookup(QUESTION), ANSWER)
        exact, similar = await cache.find_exact(lookup(QUESTION)), await cache.find_similar(lookup(PARAPHRASE))
        assert exact is not None
        assert exact.completion == ANSWER
        assert exact.cache == "exact"
        assert exact.similarity is None
        assert similar is not None
        assert similar.completion == ANSWER
        assert similar.cache == "semantic"
        assert 0.8 < (similar.similarity or 0) <= 1
        assert await cache.find_exact(lookup(PARAPHRASE)) is None

    with_cache(tmp_path, scene)


def test_similar_vectors_alone_are_no_hit(tmp_path: Path) -> None:
    async def scene(cache: ResponseCache) -> None:
        await cache.find_similar(lookup("Is 15 mg of it safe before lunch?"))
        await cache.store(lookup("Is 15 mg of it safe before lunch?"), ANSWER)
        for other in ("Is 51 mg of it safe before lunch?", "Is 15 mg of it unsafe before lunch?"):
            assert await cache.find_similar(lookup(other)) is None, other

    with_cache(tmp_path, scene)


@pytest.mark.parametrize(
    "other",
    [
        lookup(PARAPHRASE, tenant="u"),
        lookup(PARAPHRASE, language="German"),
        lookup(PARAPHRASE, count=2),
        lookup(PARAPHRASE, flag=True),
        lookup(PARAPHRASE, kind="exact"),
    ],
)
def test_only_the_longest_variable_may_differ(other: CacheQuery, tmp_path: Path) -> None:
    async def scene(cache: ResponseCache) -> None:
        await cache.store(lookup(QUESTION), ANSWER)
        await cache.flush()
        assert await cache.find_similar(lookup(PARAPHRASE)) is not None
        assert await cache.find_similar(other) is None

    with_cache(tmp_path, scene)


def question(messages: list[dict[str, Any]], **changes: Any) -> CacheQuery:
    request = msgspec.structs.replace(request_of(""), messages=tuple(messages), **changes)
    policy = CachePolicy(kind="semantic")
    return build_cache_query(request, feature="f", prompt_hash="", tenant="", policy=policy, variables=None)


def test_without_a_prompt_only_the_last_user_message_may_differ() -> None:
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}
    plain = question([system, user])
    assert plain.text == QUESTION
    assert plain.kind == "semantic"
    assert plain.partition == question([system, {"role": "user", "content": PARAPHRASE}]).partition
    for other in (
        question([{"role": "system", "content": "Be long."}, user]),
        question([system, user, {"role": "assistant", "content": "Sure:"}]),
        question([system, user], params={"temperature": 1}),
        question([system, user], response_format={"type": "json_object"}),
    ):
        assert other.partition != plain.partition


def test_images_must_be_equal_and_their_text_may_differ() -> None:
    def seen(url: str, text: str) -> CacheQuery:
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
        return question([{"role": "user", "content": parts}])

    assert seen("a", QUESTION).partition == seen("a", PARAPHRASE).partition
    assert seen("a", QUESTION).partition != seen("b", QUESTION).partition
    assert seen("a", QUESTION).text == QUESTION


@pytest.mark.parametrize("content", [None, "  ", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], 7])
def test_without_a_single_text_only_exact_lookups_are_made(content: Any) -> None:
    assert question([{"role": "user", "content": content}]).kind == "exact"


def test_variables_that_json_cannot_distinguish_use_the_exact_cache_only() -> None:
    assert lookup(QUESTION, table={1: "a"}).kind == "exact"
    assert lookup("half a pair \ud800").key != lookup("half a pair \udfff").key


@pytest.mark.slow
def test_no_answer_ever_crosses_tenants(tmp_path: Path) -> None:
    rng = random.Random(11)  # noqa: S311 - a sample
    tenants = [f"{name}{number}" for name in ("acme", "acme ", "", "a/b", "*") for number in range(8)]
    texts = [f"How do I {verb} my {thing}?" for verb in ("reset", "change", "get") for thing in ("password", "plan")]

    async def scene(cache: ResponseCache) -> None:
        questions = {(tenant, text): lookup(text, tenant=tenant) for tenant in tenants for text in texts}
        for (tenant, text), asked in questions.items():
            if rng.random() < 0.5:
                await cache.store(asked, msgspec.structs.replace(ANSWER, text=f"{tenant}|{text}"))
        await cache.flush()
        hit_count = 0
        for number in range(100_000):
            tenant, text = rng.choice(tenants), rng.choice(texts)
            asked = questions[tenant, text]
            found = await (cache.find_similar(asked) if number % 50 == 0 else cache.find_exact(asked))
            if found is not None:
                hit_count += 1
                assert found.completion.text == f"{tenant}|{text}"
        assert hit_count > 10_000

    with_cache(tmp_path, scene)


def test_another_embedding_model_is_another_space(tmp_path: Path) -> None:
    async def keep(cache: ResponseCache) -> None:
        await cache.store(lookup(QUESTION), ANSWER)
        await cache.flush()

    async def ask(cache: ResponseCache) -> None:
        assert await cache.find_similar(lookup(QUESTION)) is None

    with_cache(tmp_path, keep)
    with_cache(tmp_path, ask, embedder=FakeEmbedder("other"))


def test_answers_expire_by_their_ttl_class(tmp_path: Path) -> None:
    async def scene(cache: ResponseCache) -> None:
        for number in range(40):
            await cache.store(lookup(QUESTION, number=number, ttl="stable"), ANSWER)
        await cache.flush()

    began_s = time.time()
    with_cache(tmp_path, scene)
    for file, table, column in (("cache.db", "Cache", "expire_time"), ("semantic-2.db", "entry", "expires_at_s")):
        with closing(sqlite3.connect(tmp_path / file)) as base:
            rows = base.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()  # noqa: S608 - ours
        lives_d = [(until - began_s) / 86400 for (until,) in rows]
        assert len(lives_d) == 40
        assert 26.9 < min(lives_d) < 29, "they do not all expire together"
        assert 31 < max(lives_d) < 33.1


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def entry(text: str, *, partition: str = "p", ttl_s: float = 10.0) -> CacheEntry:
    vector = normalised_bytes([1.0, len(text) / 1000])
    assert vector is not None
    completion = msgspec.structs.replace(ANSWER, text=text)
    return CacheEntry(partition=partition, feature="f", text=text, vector=vector, completion=completion, ttl_s=ttl_s)


VECTOR = normalised_bytes([1.0, 0.0]) or b""


def texts_near(vectors: DiskVectors, partition: str = "p") -> set[str]:
    return {near.text for near in vectors.nearest(partition, VECTOR, above=0.5)}


def test_expired_entries_are_not_returned_and_free_their_space(tmp_path: Path) -> None:
    clock = Clock()
    with closing(DiskVectors(tmp_path / "v.db", now_s=clock)) as vectors:
        for number in range(30):
            vectors.add(entry(f"short {number}"))
        vectors.add(entry("a much longer life than the others", ttl_s=100))
        assert len(texts_near(vectors)) == 8
        clock.now_s += 11
        assert texts_near(vectors) == {"a much longer life than the others"}
        assert disk_vector_stats(tmp_path / "v.db", now_s=clock).entry_count == 1
        clock.now_s += 100
        assert texts_near(vectors) == set()


def test_processes_see_each_others_answers_and_replacements(tmp_path: Path) -> None:
    with closing(DiskVectors(tmp_path / "v.db")) as one, closing(DiskVectors(tmp_path / "v.db")) as other:
        one.add(entry("a"))
        assert texts_near(other) == {"a"}
        other.add(entry("b"))
        other.add(entry("a"))
        assert texts_near(one) == {"a", "b"}
        assert disk_vector_stats(tmp_path / "v.db").entry_count == 2


def test_the_oldest_entries_are_evicted_above_the_limit(tmp_path: Path) -> None:
    with closing(DiskVectors(tmp_path / "v.db", max_entries=20)) as vectors:
        for number in range(200):
            vectors.add(entry(str(number)))
            texts_near(vectors)
        vectors.add(entry("other", partition="q"))
        assert texts_near(vectors, "q") == {"other"}
        assert disk_vector_stats(tmp_path / "v.db").entry_count < 20 + 64
        assert len(texts_near(vectors)) == 8


def test_vectors_of_another_length_match_nothing(tmp_path: Path) -> None:
    with closing(DiskVectors(tmp_path / "v.db")) as vectors:
        vectors.add(entry("a"))
        assert vectors.nearest("p", normalised_bytes([1.0, 0.0, 0.0]) or b"", above=0.0) == []
        assert normalised_bytes([0.0, 0.0]) is None
        assert normalised_bytes([float("nan"), 1.0]) is None


def test_a_damaged_file_fails_no_call_and_is_reported(tmp_path: Path) -> None:
    for file in ("cache.db", "semantic-2.db"):
        (tmp_path / file).write_bytes(b"not a database" * 500)

    async def scene(cache: ResponseCache) -> None:
        await cache.store(lookup(QUESTION), ANSWER)
        await cache.flush()
        assert await cache.find_exact(lookup(QUESTION)) is None
        assert await cache.find_similar(lookup(QUESTION)) is None
        assert "cannot be used" in (cache.error or "")
        assert "cannot be used" in (cache.semantic_error or "")

    with_cache(tmp_path, scene)


FULL_DISK = """
import asyncio, random, resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.cached_responses import ANSWER, FakeEmbedder, lookup
from flowai.cache.response_cache import open_response_cache

async def play():
    directory = Path({directory!r})
    cache = open_response_cache(state=".flowai", directory=directory, embedder=FakeEmbedder(), rng=random.Random())
    await cache.find_similar(lookup("before"))
    await cache.store(lookup("before"), ANSWER)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # every write fails as on a full disk
    await cache.find_similar(lookup("meanwhile"))
    await cache.store(lookup("meanwhile"), ANSWER)
    errors = (cache.error, cache.semantic_error)
    found = [bool(await ask(lookup("before"))) for ask in (cache.find_exact, cache.find_similar)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await cache.find_similar(lookup("after"))
    await cache.store(lookup("after"), ANSWER)
    found += [bool(await ask(lookup("after"))) for ask in (cache.find_exact, cache.find_similar)]
    await cache.aclose()
    print(errors, found, (cache.error, cache.semantic_error), sep="\\n")

asyncio.run(play())
"""


def test_a_full_disk_fails_no_call_and_loses_no_entry(tmp_path: Path) -> None:
    script = FULL_DISK.format(tests=str(Path(__file__).parents[1]), directory=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    errors, found, later = done.stdout.splitlines()
    assert errors.count("cannot be used") == 2
    assert found == "[True, True, True, True]"
    assert later == "(None, None)"


def test_an_embedder_that_fails_costs_the_semantic_half_only(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    embedder.fails = True

    async def scene(cache: ResponseCache) -> None:
        await cache.store(lookup(QUESTION), ANSWER)
        await cache.flush()
        assert await cache.find_similar(lookup(PARAPHRASE)) is None
        assert cache.semantic_error == "no vectors today"
        assert await cache.find_exact(lookup(QUESTION)) is not None
        embedder.fails = False
        await cache.find_similar(lookup(PARAPHRASE))
        assert cache.semantic_error is None, "it is back"

    with_cache(tmp_path, scene, embedder=embedder)


def test_without_an_embedder_the_reason_is_reported(tmp_path: Path) -> None:
    async def scene(cache: ResponseCache) -> None:
        await cache.store(lookup(QUESTION), ANSWER)
        assert await cache.find_similar(lookup(QUESTION)) is None
        assert cache.semantic_error == "no package"

    with_cache(tmp_path, scene, embedder=None, semantic_error="no package")


class SlowEmbedder(FakeEmbedder):
    """Is loaded only when told."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = asyncio.Event()

    @property
    def is_ready(self) -> bool:  # type: ignore[override] # a plain attribute there
        return self.loaded.is_set()

    async def embed(self, texts: Any) -> list[list[float]]:
        await self.loaded.wait()
        return await super().embed(texts)


def test_calls_do_not_wait_for_the_model_and_answers_are_stored_later(tmp_path: Path) -> None:
    embedder = SlowEmbedder()

    async def scene(cache: ResponseCache) -> None:
        assert await cache.find_similar(lookup(QUESTION)) is None
        await cache.store(lookup(QUESTION), ANSWER)
        assert embedder.asked == []
        embedder.loaded.set()
        await cache.flush()
        assert await cache.find_similar(lookup(PARAPHRASE)) is not None
        assert embedder.asked == [QUESTION, PARAPHRASE]

    with_cache(tmp_path, scene, embedder=embedder)


def test_each_text_is_embedded_once(tmp_path: Path) -> None:
    embedder = FakeEmbedder()

    async def scene(cache: ResponseCache) -> None:
        await cache.find_similar(lookup(QUESTION))
        await cache.store(lookup(QUESTION), ANSWER)
        await cache.find_similar(lookup(QUESTION))
        assert embedder.asked == [QUESTION]

    with_cache(tmp_path, scene, embedder=embedder)


def test_counts_are_written_when_the_cache_closes(tmp_path: Path) -> None:
    async def scene(cache: ResponseCache) -> None:
        await cache.store(lookup(QUESTION), ANSWER)
        for _ in range(250):
            await cache.find_exact(lookup(QUESTION))
        await cache.find_similar(lookup("something else"))
        await cache.find_similar(lookup(PARAPHRASE))

    with_cache(tmp_path, scene)
    with closing(ExactCache(tmp_path)) as cache:
        used = cache.stats().features["f"]
    assert used.hit_count == 250
    assert used.miss_count == 0
    assert used.saved_tokens == 250 * 15
    semantic = disk_vector_stats(tmp_path / "semantic-2.db")
    assert semantic.entry_count == 1
    assert semantic.features["f"].hit_count == 1
    assert semantic.features["f"].miss_count == 1


WRITER = """
import asyncio, itertools, random, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.cached_responses import ANSWER, FakeEmbedder, lookup
from flowai.cache.response_cache import open_response_cache

async def write():
    directory = Path({directory!r})
    cache = open_response_cache(state=".flowai", directory=directory, embedder=FakeEmbedder(), rng=random.Random())
    for number in itertools.count():
        asked = lookup(f"question {{number}} " + "long " * (number % 300))
        await cache.find_similar(asked)
        await cache.store(asked, ANSWER)
        if number == 20:
            print("writing", flush=True)

asyncio.run(write())
"""


def test_kill_9_while_writing_corrupts_nothing(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    for round_number in range(5):
        script = WRITER.format(tests=tests, directory=str(tmp_path))
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            time.sleep(0.03 * round_number)  # so that each round dies somewhere else
            writer.send_signal(signal.SIGKILL)
        for file in ("cache.db", "semantic-2.db"):
            with closing(sqlite3.connect(tmp_path / file)) as base:
                assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)

        async def scene(cache: ResponseCache) -> None:
            found = await cache.find_exact(lookup("question 3 " + "long " * 3))
            assert found is not None
            assert found.completion == ANSWER
            found = await cache.find_similar(lookup("question 3 " + "long " * 3))
            assert found is not None
            await cache.store(lookup("afterwards"), ANSWER)
            assert await cache.find_exact(lookup("afterwards")) is not None
            assert cache.error is None
            assert cache.semantic_error is None

        with_cache(tmp_path, scene)

"""`flowai cache`: statistics, savings by feature, and clearing."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from support.cached_responses import ANSWER, FakeEmbedder, lookup
from support.judge_project import REGISTRY, WITH_CONTEXT, verdicts
from support.redis_server import RedisServer
from support.scripted_replies import Reply

from flowai.cache.response_cache import open_response_cache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]


def serve_once(directory: Path, named_state: str = ".flowai") -> None:
    """Store and look up one answer in both caches, as a gateway does."""

    async def serve() -> None:
        cache = open_response_cache(
            state=named_state,
            directory=directory,
            embedder=FakeEmbedder(),
            rng=random.Random(1),  # noqa: S311 - for jitter
        )
        await cache.store(lookup("How do I reset my password?"), ANSWER)
        await cache.flush()
        assert await cache.find_exact(lookup("How do I reset my password?"))
        assert await cache.find_similar(lookup("How can I reset my password?"))
        assert cache.error is None
        assert cache.semantic_error is None
        await cache.aclose()

    asyncio.run(serve())


def test_unused_caches_are_empty_and_not_created(flowai: Flowai, project: SampleProject) -> None:
    ran = flowai("cache", "stats")
    assert ran.code == 0
    assert ran.out == "exact cache      0 entries   0 B on disk\nsemantic cache   0 entries   0 B on disk\n"
    assert not (project.root / ".flowai").exists()


def test_savings_by_feature(flowai: Flowai) -> None:
    flowai("eval")
    flowai("eval")
    lines = flowai("cache", "stats").out.splitlines()
    assert lines[0].startswith("exact cache      2 entries   ")
    head = "feature cache store entries hits misses hit rate tokens saved saved time saved"
    assert " ".join(lines[2].split()) == head
    assert lines[3].split()[:8] == ["chat", "exact", "disk", "2", "2", "2", "50.0", "%"]
    exact = json.loads(flowai("cache", "stats", "--json").out)["caches"][0]
    assert exact["features"]["chat"]["saved_tokens"] == 24
    assert exact["features"]["chat"]["saved_s"] > 0


def test_answers_stored_by_the_gateway_are_shown(flowai: Flowai, project: SampleProject) -> None:
    serve_once(project.root / ".flowai" / "cache")
    rows = [line.split() for line in flowai("cache", "stats").out.splitlines()[3:]]
    assert [row[:6] for row in rows] == [
        ["f", "exact", "disk", "1", "1", "0"],
        ["f", "semantic", "disk", "1", "1", "0"],
    ]
    assert flowai("cache", "clear").out == "cleared 2 entries\n"
    caches = json.loads(flowai("cache", "stats", "--json").out)["caches"]
    assert [(one["cache"], one["entry_count"], one["features"]) for one in caches] == [
        ("exact", 0, {}),
        ("semantic", 0, {}),
    ]


def test_clear_removes_all_answers(flowai: Flowai) -> None:
    flowai("eval")
    assert flowai("cache", "clear").out == "cleared 2 entries\n"
    assert json.loads(flowai("cache", "stats", "--json").out)["caches"][0]["entry_count"] == 0
    assert json.loads(flowai("cache", "clear", "--json").out) == {"cleared_count": 0}


def name_state(project: SampleProject, state: str) -> None:
    with (project.root / "registry.yaml").open("a", encoding="utf-8") as registry:
        registry.write(f"\nstate: {state}\n")


def test_an_unreachable_redis_is_reported_and_the_disk_is_shown(flowai: Flowai, project: SampleProject) -> None:
    pytest.importorskip("redis", reason="needs the extra `redis`")
    flowai("eval")
    name_state(project, "redis://:hidden-password@127.0.0.1:1/0")
    ran = flowai("cache", "stats")
    assert ran.code == 4
    lines = ran.out.splitlines()
    assert lines[0].startswith("exact cache      2 entries")
    assert lines[2].startswith("exact cache      the cache at `redis://127.0.0.1:1/0` is unreachable")
    assert "hidden-password" not in ran.out + ran.err
    assert flowai("cache", "clear").code == 4


@pytest.mark.service
def test_redis_statistics_and_clear(flowai: Flowai, project: SampleProject) -> None:
    with RedisServer() as server:
        name_state(project, server.url)
        serve_once(project.root / ".flowai" / "cache", server.url)
        lines = flowai("cache", "stats").out.splitlines()
        assert lines[2] == f"exact cache      1 entry   on {server.url}"
        assert [line.split()[:6] for line in lines[5:]] == [
            ["f", "exact", "redis", "1", "1", "0"],
            ["f", "semantic", "redis", "1", "1", "0"],
        ]
        assert flowai("cache", "clear").out == "cleared 2 entries\n"
        caches = json.loads(flowai("cache", "stats", "--json").out)["caches"]
        assert [(one["entry_count"], one["features"]) for one in caches] == [(0, {})] * 4


QUESTIONS = ("How do I reset my password?", "How can I reset my password?", "How would I reset my password?")


def compare_once(directory: Path, named_state: str = ".flowai", answer: str = "Use the link.") -> str:
    """Store an answer, and compare it with those to two similar requests; return its key."""

    async def serve() -> str:
        cache = open_response_cache(
            state=named_state,
            directory=directory,
            embedder=FakeEmbedder(),
            rng=random.Random(1),  # noqa: S311 - for jitter
        )
        asked, *others = (lookup(text, mode="shadow") for text in QUESTIONS)
        await cache.store(asked, ANSWER)
        await cache.flush()
        for number, (query, text) in enumerate(zip(others, (ANSWER.text, answer), strict=True)):
            hit = await cache.find_similar(query)
            assert hit is not None
            assert not hit.is_served
            paid = msgspec.structs.replace(ANSWER, text=text)
            cache.compare_soon(query, hit, paid, call_id=f"c{number}", at_s=time.time(), has_secret=False)
        await cache.flush()
        await cache.aclose()
        return asked.key

    return asyncio.run(serve())


def check_answers_and_comparisons(flowai: Flowai, key: str, store: str) -> None:
    """Show, review and delete, as a person does."""
    shown = flowai("cache", "show", key).out
    assert QUESTIONS[0] in shown
    assert f"exact on {store}, semantic on {store}" in shown
    (similar,) = json.loads(flowai("cache", "stats", "--json").out)["similar_requests"]
    assert (similar["comparison_count"], similar["equal_count"], similar["undecided_count"]) == (2, 1, 1)
    assert similar["rate"] is None
    assert similar["would_save_usd"] == 0.5
    out = flowai("cache", "stats").out
    assert "not judged" in out
    assert "1 pair of answers is unequal and not judged: flowai cache review" in out
    listed = flowai("cache", "review").out
    assert "c1" in listed
    assert "Use the link." in listed
    assert flowai("cache", "review", "c1", "different").out == "c1: different\n"
    (similar,) = json.loads(flowai("cache", "stats", "--json").out)["similar_requests"]
    assert (similar["different_count"], similar["undecided_count"], similar["rate"]) == (1, 0, 0.5)
    assert flowai("cache", "review").out.startswith("0 comparisons undecided")
    assert flowai("cache", "clear", "--feature", "other").out == "cleared 0 entries\n"
    assert flowai("cache", "clear", "--feature", "f", "--key", key.removeprefix("f/")).out == "cleared 2 entries\n"
    assert flowai("cache", "show", key).code == 2
    assert flowai("cache", "clear", "--key", key).code == 2
    assert json.loads(flowai("cache", "stats", "--json").out)["similar_requests"] != []
    assert flowai("cache", "clear", "--feature", "f").out == "cleared 0 entries\n"
    assert json.loads(flowai("cache", "stats", "--json").out)["similar_requests"] == []


def test_a_cached_answer_is_shown_reviewed_and_deleted(flowai: Flowai, project: SampleProject) -> None:
    check_answers_and_comparisons(flowai, compare_once(project.root / ".flowai" / "cache"), "disk")
    compare_once(project.root / ".flowai" / "cache")
    assert flowai("cache", "clear", "--feature", "f").out == "cleared 2 entries\n"


@pytest.mark.service
def test_a_cached_answer_on_redis_too(flowai: Flowai, project: SampleProject) -> None:
    with RedisServer() as server:
        name_state(project, server.url)
        directory = project.root / ".flowai" / "cache"
        check_answers_and_comparisons(flowai, compare_once(directory, server.url), "redis")
        compare_once(directory, server.url)
        assert flowai("cache", "clear", "--feature", "f").out == "cleared 2 entries\n"


@pytest.mark.parametrize(("passes", "outcome"), [(True, "same_count"), (False, "different_count")])
def test_the_judge_decides_what_is_unequal(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, passes: bool, outcome: str
) -> None:
    project.write("registry.yaml", REGISTRY.format(url=provider.base_url, judge=""))
    project.write("prompts/judge_v1.prompt", WITH_CONTEXT)
    provider.answerer = verdicts(lambda _: passes)
    compare_once(project.root / ".flowai" / "cache")
    judged = json.loads(flowai("cache", "review", "--judge", "--json").out)
    assert judged[outcome] == 1
    assert judged["cost_usd"] > 0
    (similar,) = json.loads(flowai("cache", "stats", "--json").out)["similar_requests"]
    assert (similar[outcome], similar["undecided_count"]) == (1, 0)


def test_without_a_judge_its_verdict_is_no_decision(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.write("registry.yaml", REGISTRY.format(url=provider.base_url, judge=""))
    project.write("prompts/judge_v1.prompt", WITH_CONTEXT)
    provider.answerer = lambda _: Reply(status=400)
    compare_once(project.root / ".flowai" / "cache")
    ran = flowai("cache", "review", "--judge")
    assert ran.code == 4
    assert "1 without a verdict" in ran.out
    (similar,) = json.loads(flowai("cache", "stats", "--json").out)["similar_requests"]
    assert similar["undecided_count"] == 1


def test_mistaken_arguments_are_explained(flowai: Flowai) -> None:
    for arguments in (
        ("clear", "--key", "3f"),
        ("clear", "--feature", "f", "--key", "g/3f"),
        ("review", "c1"),
        ("review", "c1", "same"),
        ("review", "c1", "equal"),
        ("show", "f/3f"),
    ):
        ran = flowai("cache", *arguments)
        assert ran.code == 2, arguments
        assert ran.err

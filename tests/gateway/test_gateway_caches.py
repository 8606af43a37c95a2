"""Caches through the gateway: who is asked once, what is kept, and for whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, Sample, until
from support.scripted_replies import Reply

from flowai.errors import (
    FlowaiError,
)

if TYPE_CHECKING:
    from flowai.gateway.records import CompletionResult


RAW = ({"role": "user", "content": "hello there"},)


def kept(project: Sample, *calls: dict[str, Any]) -> list[str]:
    """Make calls one after the other; give their cache verdicts."""

    async def asked() -> list[str]:
        verdicts: list[str] = []
        async with project.gateway() as gateway:
            for call in calls:
                try:
                    verdicts.append((await gateway.complete(**{"feature": "chat", "variables": HELLO, **call})).cache)
                except FlowaiError as error:
                    verdicts.append(type(error).__name__)
        return verdicts

    return asyncio.run(asked())


def test_a_hundred_identical_concurrent_calls_make_one_request(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    project.providers["main"].default = Reply(text="one for all", delay_s=0.2)

    async def asked() -> list[CompletionResult]:
        async with project.gateway() as gateway:
            return await asyncio.gather(*(gateway.complete("chat", HELLO, user=f"u{at}") for at in range(100)))

    answers = asyncio.run(asked())
    assert {answer.text for answer in answers} == {"one for all"}
    assert len({answer.call_id for answer in answers}) == 100
    assert sorted(answer.cache for answer in answers) == ["exact"] * 99 + ["miss"]
    assert sum(answer.cost_usd or 0 for answer in answers) == max(answer.cost_usd or 0 for answer in answers)
    assert project.requests == {"main": 1}
    assert len(project.calls) == 100


def test_a_cancelled_leader_does_not_cancel_its_followers(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    project.providers["main"].default = Reply(text="one for all", delay_s=0.3)

    async def asked() -> list[CompletionResult]:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            leader = asyncio.create_task(gateway.complete("chat", HELLO))
            await asyncio.sleep(0)
            others = [asyncio.create_task(gateway.complete("chat", HELLO)) for _ in range(5)]
            await until(lambda: project.requests)
            leader.cancel()
            return await asyncio.gather(*others)

    assert {answer.text for answer in asyncio.run(asked())} == {"one for all"}
    assert project.requests == {"main": 1}


def test_only_an_equal_request_of_the_same_tenant_is_a_hit(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    project.feature("chat2", **project.registry["features"]["chat"])
    project.registry["releases"]["v1"]["chat2"] = project.registry["releases"]["v1"]["chat"]
    project.write()
    assert kept(
        project,
        {},
        {},
        {"tenant": "acme"},
        {"tenant": "acme"},
        {"tenant": "other"},
        {"variables": {"text": "hello there!"}},
        {"params": {"top_p": 0.5}},
        {"feature": "chat2"},
        {"variables": None, "messages": RAW},
        {"use_cache": False},
        {"user": "bob", "session": "s9"},
    ) == ["miss", "exact", "miss", "exact", *["miss"] * 6, "exact"]


def test_a_new_prompt_hash_or_model_is_a_miss(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    assert kept(project, {}, {}) == ["miss", "exact"]
    text = (project.root / "prompts/hello_v1.prompt").read_text()
    project.write("prompts/hello_v1.prompt", text.replace("v1", "v1 again"))
    assert kept(project, {}, {}) == ["miss", "exact"]
    project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"model": "other"}}
    project.registry["current"] = "v2"
    project.write()
    assert kept(project, {}, {}) == ["miss", "exact"]


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (Reply(text="cut", finish_reason="length"), "miss"),
        (Reply(status=503), "miss"),  # the fallback answers
        (Reply(text="filtered", finish_reason="content_filter"), "ContentFilteredError"),
        (Reply(status=400), "InvalidRequestError"),
    ],
)
def test_incomplete_and_fallback_answers_are_not_cached(project: Sample, reply: Reply, verdict: str) -> None:
    project.feature(cache={"kind": "exact"})
    project.providers["main"].default = reply
    assert kept(project, {}, {}) == [verdict, verdict]
    project.providers["other"].default = Reply(status=503)
    if reply.status == 503:
        assert kept(project, {}) == ["miss"], "nor is a degraded one"
        assert project.calls[-1].degraded


def test_invalid_json_is_not_cached(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    project.providers["main"].script(Reply(text='{"a'), Reply(text='{"a": 1}'))
    wish = {"variables": None, "messages": RAW, "response_format": {"type": "json_object"}}
    assert kept(project, wish, wish, wish) == ["miss", "miss", "exact"]


def test_varying_answers_are_cached_only_with_any_temperature(project: Sample) -> None:
    binding = project.registry["releases"]["v1"]["chat"]
    for params in ({"temperature": 0.7}, {}):
        binding["params"] = params
        for any_temperature, verdict in ((False, "miss"), (True, "exact")):
            project.feature(cache={"kind": "exact", "any_temperature": any_temperature})
            tenant = f"{params} {any_temperature}"
            assert kept(project, {"tenant": tenant}, {"tenant": tenant}) == ["miss", verdict]


def test_a_call_without_the_cache_neither_reads_nor_writes_it(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    assert kept(project, {"use_cache": False}, {}, {"use_cache": False}, {}) == ["miss", "miss", "miss", "exact"]


def test_an_unusable_cache_fails_no_call(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    (project.root / ".flowai").mkdir()
    (project.root / ".flowai" / "cache").write_text("no directory")

    async def asked() -> Any:
        async with project.gateway() as gateway:
            for _ in range(2):
                assert (await gateway.complete("chat", HELLO)).cache == "miss"
            return await gateway.status()

    assert list(asyncio.run(asked()).degraded) == ["cache_unavailable"]

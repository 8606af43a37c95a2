"""The semantic cache through the gateway: shadow comparisons, serving within a bound, and answers that are refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.cached_responses import FakeEmbedder
from support.scripted_replies import Reply

from flowai.events import CallEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.gateway_projects import Sample

    from flowai.gateway.gateway import Gateway

THINGS = """
password phone router watch printer tablet browser keyboard camera alarm thermostat console television modem scale
oven heater doorbell lamp speaker headset monitor drone scanner projector clock freezer vacuum kettle bicycle
"""
QUESTION, REWORDED = "How do I reset my password?", "How can I reset my password?"


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embed by letters, in place of a model of 90 MB."""
    monkeypatch.setattr("flowai.gateway.open_runtime.local_embedder_missing", lambda: None)
    monkeypatch.setattr("flowai.gateway.open_runtime.LocalEmbedder", FakeEmbedder)


def play(project: Sample, scene: Callable[[Gateway], Awaitable[None]], **policy: Any) -> list[CallEvent]:
    """Run a scene with a feature whose cache is semantic; return the calls of the log."""
    cache = {"kind": "semantic", "threshold": 0.8, **policy}
    project.feature(cache=cache, fallback=[], degrade=None)

    async def act() -> None:
        async with project.gateway() as gateway:
            await scene(gateway)

    asyncio.run(act())
    return project.logged(CallEvent)


async def ask(gateway: Gateway, text: str, **changes: Any) -> Any:
    answer = await gateway.complete("chat", {"text": text}, **changes)
    await gateway._open_instance.cache.flush()  # type: ignore[union-attr] # stores and comparisons are written
    return answer


def test_in_shadow_a_similar_request_is_paid_for_and_compared(project: Sample) -> None:
    async def scene(gateway: Gateway) -> None:
        for text in (QUESTION, REWORDED):
            assert (await ask(gateway, text)).cache == "miss"
        project.providers["main"].default = Reply(text="another answer")
        assert (await ask(gateway, "How would I reset my password?")).cache == "miss"
        assert (await ask(gateway, QUESTION)).cache == "exact", "the exact cache answers in any mode"

    first, second, third, last = play(project, scene)
    assert first.would_be_hit is None
    assert second.would_be_hit is not None
    assert second.would_be_hit.outcome == "equal"
    assert second.would_be_hit.cache_key == first.cache_key
    assert second.similarity is None
    assert third.would_be_hit is not None
    assert third.would_be_hit.outcome == "undecided"
    assert last.cache_key == first.cache_key
    assert project.requests == {"main": 3}


def test_a_stream_is_compared_too(project: Sample) -> None:
    async def scene(gateway: Gateway) -> None:
        await ask(gateway, QUESTION)
        async for _ in gateway.stream("chat", {"text": REWORDED}):
            pass

    assert play(project, scene)[-1].would_be_hit is not None


def test_serving_begins_with_the_evidence_not_before(project: Sample) -> None:
    verdicts: list[str] = []

    async def scene(gateway: Gateway) -> None:
        for thing in THINGS.split():
            await ask(gateway, f"How do I reset my {thing}?")
            verdicts.append((await ask(gateway, f"How can I reset my {thing}?")).cache)

    play(project, scene, mode="serve", max_false_hits="30%")
    assert "semantic" not in verdicts[:5], "nothing was measured yet"
    assert verdicts[-10:].count("semantic") >= 5


@pytest.mark.parametrize("verdict", ["rejected", "thumbs_down", "score"])
def test_a_refused_answer_leaves_both_caches(project: Sample, verdict: Any) -> None:
    async def scene(gateway: Gateway) -> None:
        await ask(gateway, QUESTION)
        hit = await ask(gateway, REWORDED)
        assert hit.cache == "semantic"
        if verdict == "score":
            await gateway.score(hit.call_id, name="hallucination", passed=False)
        else:
            await gateway.feedback(hit.call_id, verdict=verdict)
        project.providers["main"].default = Reply(text="a better answer")
        assert (await ask(gateway, REWORDED)).text == "a better answer"
        assert (await ask(gateway, QUESTION)).text == "a better answer", "the semantic cache has the new one"

    play(project, scene, mode="serve", max_false_hits="100%")


@pytest.mark.parametrize("verdict", ["accepted", "thumbs_up", "saved"])
def test_other_feedback_keeps_the_answer(project: Sample, verdict: Any) -> None:
    async def scene(gateway: Gateway) -> None:
        call = await ask(gateway, QUESTION)
        await gateway.feedback(call.call_id, verdict=verdict)
        await gateway.score(call.call_id, name="hallucination", passed=True)
        assert (await ask(gateway, QUESTION)).cache == "exact"

    play(project, scene)


def test_documents_use_the_exact_cache(project: Sample) -> None:
    document = "The quarter went as planned. " * 20

    async def scene(gateway: Gateway) -> None:
        await ask(gateway, document + "Revenue is up.")
        assert (await ask(gateway, document + "Revenue is down.")).cache == "miss"
        assert (await ask(gateway, document + "Revenue is up.")).cache == "exact"

    events = play(project, scene, mode="serve", max_false_hits="100%")
    assert [event.would_be_hit for event in events] == [None] * 3


class UnloadedEmbedder(FakeEmbedder):
    """Is ready after its warm-up."""

    is_ready = False

    async def warm_up(self) -> None:
        self.is_ready = True


def test_until_the_embedder_is_loaded_a_trouble_is_shown(project: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowai.gateway.open_runtime.LocalEmbedder", UnloadedEmbedder)

    async def scene(gateway: Gateway) -> None:
        assert (await ask(gateway, QUESTION)).cache == "miss"
        assert "not loaded yet" in (await gateway.status()).degraded["semantic_cache_disabled"]
        await gateway.warm_up()
        assert "semantic_cache_disabled" not in (await gateway.status()).degraded

    play(project, scene)

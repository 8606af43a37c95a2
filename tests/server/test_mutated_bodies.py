"""Bodies with mistakes, sent to a real server with a real gateway: no caller's body is a failure of a model."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.anthropic_answers import end, start, text
from support.bait import bait
from support.gateway_projects import Sample, sample
from support.mutated_bodies import CHAT, mutated_bodies
from support.scripted_gateway import served
from support.scripted_replies import Asked, Reply

from flowai.server.app import AppOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = 20_260_713
CONCURRENT = 24
HEALTHY_EVERY = 25
DIRECT = ("chat", "main", "claude")
THROUGH_LITELLM = ("main_litellm", "claude_litellm", "gemini_litellm", "ollama_litellm")
HEALTHY = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
}
OLLAMA = {"model": "small", "message": {"role": "assistant", "content": "hello"}, "done": True, "done_reason": "stop"}


def reply(asked: Asked) -> Reply:
    """Answer in the protocol of the address."""
    if asked.path.endswith("/messages"):
        events = [start(), *text("hello"), *end()]
        frames = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return Reply(body=frames.encode(), content_type="text/event-stream")
    if "generateContent" in asked.path:
        return Reply(body=json.dumps(GEMINI).encode())
    if "streamGenerateContent" in asked.path:
        return Reply(body=f"data: {json.dumps(GEMINI)}\n\n".encode(), content_type="text/event-stream")
    if asked.path.endswith("/api/chat"):
        counts = {"prompt_eval_count": 3, "eval_count": 1}
        return Reply(body=json.dumps(OLLAMA | counts).encode() + b"\n", content_type="application/x-ndjson")
    return Reply()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    with sample(tmp_path) as made:
        for provider in made.providers.values():
            provider.answerer = reply
        address = made.providers["main"].base_url
        root = address.removesuffix("/v1")
        own = {"api_key": "${LOOPBACK_KEY}"}
        made.registry["models"] |= {
            "claude": {"model": "anthropic/claude-sonnet-4-5", "api_base": root, "provider": "claude", **own},
            "main_litellm": {"model": "openai/gpt-4o", "api_base": address, "provider": "l1", **own},
            "claude_litellm": {"model": "anthropic/claude-sonnet-4-5", "api_base": root, "provider": "l2", **own},
            "gemini_litellm": {"model": "gemini/gemini-2.5-flash", "api_base": root, "provider": "l3", **own},
            "ollama_litellm": {"model": "ollama_chat/small", "api_base": root, "provider": "l4", **own},
        }
        for name in THROUGH_LITELLM:
            made.registry["models"][name]["transport"] = "litellm"
        made.write()
        yield made


async def post(client: httpx.AsyncClient, path: str, body: Any) -> httpx.Response:
    """Send a body, again if the connection breaks: on a busy machine the server's time for an idle one may be over."""
    for _ in range(2):
        try:
            return await client.post(path, json=body)
        except httpx.TransportError:  # what a body broke, it breaks again
            await asyncio.sleep(0.1)
    return await client.post(path, json=body)


async def send(address: str, bodies: Iterator[tuple[str, Any]], failures: list[Any]) -> Counter[int]:
    """Send bodies, many at a time, with a healthy request after every few; return how often each status came."""
    statuses: Counter[int] = Counter()

    async def work(client: httpx.AsyncClient) -> None:
        for number, (path, body) in enumerate(bodies):
            answer = await post(client, path, body)
            statuses[answer.status_code] += 1
            if answer.status_code >= 500:
                failures.append((path, body, answer.text))
            if number % HEALTHY_EVERY == 0:
                healthy = await post(client, CHAT, HEALTHY)
                if healthy.status_code != 200 or healthy.json()["choices"][0]["message"]["content"] != "hello world":
                    failures.append((CHAT, HEALTHY, healthy.text))

    limits = httpx.Limits(keepalive_expiry=1.0)  # the server closes idle connections after five
    async with httpx.AsyncClient(base_url=address, timeout=240, limits=limits, trust_env=False) as client:
        await asyncio.gather(*(work(client) for _ in range(CONCURRENT)))
    return statuses


def check(project: Sample, models: tuple[str, ...], count: int) -> Counter[int]:
    """Send so many bodies; no status is 500 or above, no breaker opens, and nothing is blamed that was not asked."""
    failures: list[Any] = []
    bugs: list[BaseException] = []
    with bait() as (address, fetched), served(project.gateway(), options=AppOptions(on_bug=bugs.append)) as server:
        names = tuple(f"{address}/{name}" for name in ("a.png", "b.pdf", "c"))
        bodies = islice(mutated_bodies(SEED, models, names), count)
        statuses = asyncio.run(send(server.address, bodies, failures))
        ready = server.http.get("/readyz").json()
        after = server.http.post(CHAT, json=HEALTHY)
    assert failures == [], (len(failures), failures[:3])
    assert bugs == []
    assert fetched == []
    assert ready["open_breakers"] == []
    assert after.status_code == 200
    assert statuses.total() == count
    assert set(statuses) <= {200, 400, 404}
    failed = [attempt for call in project.calls for attempt in call.attempts if attempt.status == "error"]
    assert {attempt.error_class for attempt in failed} <= {"InvalidRequestError"}
    assert all(len(call.attempts) == 1 for call in project.calls)
    return statuses


def test_no_mistake_of_a_caller_is_a_failure_of_a_model(project: Sample) -> None:
    statuses = check(project, DIRECT, 1_500)
    assert min(statuses[200], statuses[400]) > 200


def test_nor_is_one_that_litellm_cannot_convert(project: Sample) -> None:
    statuses = check(project, THROUGH_LITELLM, 400)
    assert min(statuses[200], statuses[400]) > 40


@pytest.mark.service
@pytest.mark.timeout(1800)
def test_twenty_thousand_bodies(project: Sample) -> None:
    check(project, DIRECT * 4 + THROUGH_LITELLM, 20_000)

"""`Idempotency-Key`: a retry gets the answer of the first request, and the provider sees one request."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from support.scripted_gateway import WHOLE, ScriptedGateway, ServedGateway, served

from flowai.errors import InfrastructureError, MalformedAnswerError
from flowai.registry import Serve, ServeKey, TenantLimits
from flowai.server.api_keys import hash_of
from flowai.server.app import AppOptions
from flowai.state.requests.memory_requests import InMemoryRequestStore
from flowai.state.requests.store import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT = "/v1/chat/completions"
BODY = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
PATHS: dict[str, dict[str, Any]] = {
    CHAT: BODY,
    "/v1/responses": {"model": "chat", "input": "hi"},
    "/v1/messages": BODY | {"max_tokens": 5},
    "/v1/embeddings": {"model": "m", "input": "hi"},
    "/v1/feedback": {"call_id": "c1", "verdict": "accepted"},
    "/v1/score": {"call_id": "c1", "name": "hallucination", "passed": True},
}


@contextmanager
def serving(
    clock: list[float] | None = None, serve: Serve | None = None
) -> Iterator[tuple[ScriptedGateway, ServedGateway]]:
    gateway, now_s = ScriptedGateway(), clock or [1_800_000_000.0]
    gateway.limit(serve or Serve())
    options = AppOptions(request_store=InMemoryRequestStore(lambda: now_s[0]))
    with served(gateway, options=options) as server:
        yield gateway, server


def post(
    server: ServedGateway, path: str = CHAT, key: str = "retry-1", /, *, tenant: str = "acme", **body: Any
) -> httpx.Response:
    headers = {"idempotency-key": key, "x-tenant": tenant}
    return server.http.post(path, json=PATHS[path] | body, headers=headers, timeout=60)


def is_replay(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("x-flowai-idempotent-replay") == "true")


def request_count(gateway: ScriptedGateway) -> int:
    return len(gateway.asks) + len(gateway.embedded) + len(gateway.noted) + len(gateway.scored)


@pytest.mark.parametrize("path", PATHS)
def test_a_retry_is_answered_without_another_call(path: str) -> None:
    with serving() as (gateway, server):
        first, second = post(server, path), post(server, path)
        assert (first.status_code, second.status_code) == (200, 200)
        assert first.content == second.content
        assert (is_replay(first), is_replay(second)) == (False, True)
        described = {name: text for name, text in first.headers.items() if name.startswith("x-flowai-")}
        assert described.items() <= dict(second.headers).items()
        assert request_count(gateway) == 1
        assert not is_replay(post(server, path, "retry-2"))
        assert request_count(gateway) == 2


def test_a_stream_is_repeated_as_a_stream_once_it_was_whole() -> None:
    with serving() as (gateway, server):
        gateway.fail_stream_after = MalformedAnswerError("broken", provider="p", model="m")
        assert "[DONE]" not in post(server, stream=True).text
        gateway.fail_stream_after = None
        first, second = post(server, stream=True), post(server, stream=True)
        assert not is_replay(first), "a broken stream was not stored"
        assert is_replay(second)
        assert second.headers["content-type"].startswith("text/event-stream")
        assert first.text == second.text
        assert "[DONE]" in second.text
        assert len(gateway.asks) == 2


def test_a_second_request_is_refused_while_the_first_runs() -> None:
    with serving() as (gateway, server), ThreadPoolExecutor(2) as pool:
        event = asyncio.Event()
        gateway.wait = event.wait  # type: ignore[assignment]
        first = pool.submit(post, server)
        assert gateway.begun.wait(30)
        second = post(server)
        assert second.status_code == 409
        assert second.json()["error"]["code"] == "idempotency_key_in_use"
        assert second.headers["retry-after"] == "1"

        async def let_go() -> None:
            event.set()

        server.run(let_go)
        assert first.result(30).status_code == 200
        assert is_replay(post(server))
        assert len(gateway.asks) == 1


def test_openai_s_client_waits_for_the_first_request_and_gets_its_answer() -> None:
    import openai

    with serving() as (gateway, server), ThreadPoolExecutor(2) as pool:

        async def wait() -> None:
            await asyncio.sleep(0.5)

        gateway.wait = wait
        with openai.OpenAI(base_url=f"{server.address}/v1", api_key="unused", max_retries=5) as client:

            def ask() -> str:
                headers = {"Idempotency-Key": "k"}
                answer = client.chat.completions.create(model="chat", messages=BODY["messages"], extra_headers=headers)  # type: ignore[arg-type]
                return answer.id

            assert {task.result(60) for task in [pool.submit(ask) for _ in range(2)]} == {"chatcmpl-c1"}
        assert len(gateway.asks) == 1


def test_a_caller_with_its_whole_answer_gets_it_again_although_the_store_is_slow() -> None:
    class SlowStore(InMemoryRequestStore):
        async def store_answer(self, *arguments: Any, **named: Any) -> None:
            await asyncio.sleep(0.3)
            await super().store_answer(*arguments, **named)

    gateway = ScriptedGateway()
    with served(gateway, options=AppOptions(request_store=SlowStore(time.time))) as server:
        for path in (CHAT, "/v1/feedback"):
            answers = [post(server, path) for _ in range(2)]
            assert is_replay(answers[1])
            assert answers[0].content == answers[1].content
        streams = [post(server, CHAT, "stream", stream=True) for _ in range(2)]
        assert is_replay(streams[1])
        assert streams[0].content == streams[1].content


def test_another_body_with_the_same_key_is_refused() -> None:
    with serving() as (gateway, server):
        post(server)
        refused = post(server, temperature=1)
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "idempotency_key_reused"
        assert len(gateway.asks) == 1
        reordered = b'{"messages":[{"content":"hi","role":"user"}],  "model":"chat"}'
        headers = {"idempotency-key": "retry-1", "x-tenant": "acme", "content-type": "application/json"}
        assert is_replay(server.http.post(CHAT, content=reordered, headers=headers)), "the same JSON is the same body"


def test_a_key_is_never_of_another_tenant_key_or_path() -> None:
    keys = {
        name: ServeKey(tenant=tenant, sha256=hash_of(name))
        for name, tenant in (("a", "acme"), ("b", "acme"), ("c", "other"))
    }
    with serving(serve=Serve(keys=keys)) as (gateway, server):
        for count, name in enumerate(keys, start=1):
            headers = {"idempotency-key": "k", "authorization": f"Bearer {name}"}
            assert not is_replay(server.http.post(CHAT, json=BODY, headers=headers))
            assert len(gateway.asks) == count
    with serving() as (gateway, server):
        assert not is_replay(post(server))
        assert not is_replay(post(server, tenant="other"))
        assert not is_replay(post(server, "/v1/responses"))
        assert len(gateway.asks) == 3


def test_failures_are_not_stored() -> None:
    with serving() as (gateway, server):
        gateway.fail = InfrastructureError("away")
        assert post(server).status_code == 503
        gateway.fail = None
        assert not is_replay(post(server))
        assert is_replay(post(server))
        assert post(server, CHAT, "bad", temperature="hot").status_code == 400
        assert not is_replay(post(server, CHAT, "bad"))


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_caller_that_leaves_gets_the_answer_of_its_first_request(*, is_stream: bool) -> None:
    with serving() as (gateway, server):
        event = asyncio.Event()
        gateway.wait = event.wait  # type: ignore[assignment]
        sent: dict[str, Any] = {"json": BODY | {"stream": is_stream}, "headers": {"idempotency-key": "k"}}
        with pytest.raises(httpx.ReadTimeout):
            server.http.post(CHAT, **sent, timeout=0.3)
        assert gateway.begun.wait(30)
        assert server.http.post(CHAT, **sent).status_code == 409

        async def let_go() -> None:
            event.set()

        server.run(let_go)
        deadline_s = time.monotonic() + 30
        while (answer := server.http.post(CHAT, **sent)).status_code == 409:
            assert time.monotonic() < deadline_s
        assert is_replay(answer)
        assert ("[DONE]" in answer.text) == is_stream
        assert (len(gateway.asks), gateway.cancelled) == (1, 0)


def test_an_answer_is_kept_for_a_day_and_a_long_one_not_at_all() -> None:
    clock = [1_800_000_000.0]
    with serving(clock) as (gateway, server):
        post(server)
        clock[0] += 24 * 3600 - 1
        assert is_replay(post(server))
        clock[0] += 1
        assert not is_replay(post(server))
        gateway.answer = msgspec.structs.replace(WHOLE, text="x" * MAX_ANSWER_BYTES)
        assert not any(is_replay(post(server, CHAT, "long")) for _ in range(2))


def test_a_repeated_answer_counts_against_no_limit() -> None:
    limits = {"acme": TenantLimits(requests_per_minute=1)}
    with serving(serve=Serve(tenants=limits)) as (_, server):
        assert post(server).status_code == 200
        assert is_replay(post(server))
        assert "x-ratelimit-limit-requests" not in post(server).headers
        assert post(server, CHAT, "another").status_code == 429


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "a\tb"])
def test_wrong_keys_are_refused(key: str) -> None:
    with serving() as (gateway, server):
        refused = post(server, CHAT, key)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "invalid_header"
        assert not gateway.asks

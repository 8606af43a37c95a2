"""Tenants beside each other: fair turns, limits with Retry-After, and keys that expire or may call only some names."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest
from support.scripted_gateway import WHOLE, ScriptedGateway, ServedGateway, served

from flowai.registry import Serve, ServeKey, ServeQueue, TenantLimits
from flowai.server.api_keys import hash_of
from flowai.server.app import AppOptions
from flowai.server.limits.rate_limits import MEDIA_TOKENS, estimate_tokens
from flowai.state.requests.memory_requests import InMemoryRequestStore

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT = "/v1/chat/completions"
BODY = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def keys(**tenants: str) -> dict[str, ServeKey]:
    return {name: ServeKey(tenant=tenant, sha256=hash_of(name)) for name, tenant in tenants.items()}


@contextmanager
def serving(serve: Serve, clock: Clock | None = None) -> Iterator[tuple[ScriptedGateway, ServedGateway]]:
    gateway, now = ScriptedGateway(), clock or Clock()
    gateway.limit(serve)
    store = InMemoryRequestStore(lambda: now().timestamp())
    with served(gateway, options=AppOptions(now=now, request_store=store)) as server:
        yield gateway, server


def post(server: ServedGateway, key: str, path: str = CHAT, **body: Any) -> httpx.Response:
    return server.http.post(path, json=BODY | body, headers={"authorization": f"Bearer {key}"})


def code_of(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"]["code"]


class Blocked:
    """Calls that wait until they are let go, one by one; `order` is that in which callers got their answers."""

    def __init__(self, gateway: ScriptedGateway, server: ServedGateway) -> None:
        self._gateway = gateway
        self._server = server
        self._permits = server.run(self._semaphore)
        self.order: list[str] = []
        self.answers: list[httpx.Response] = []
        self._lock = threading.Lock()
        self._client = httpx.Client(  # of its own: the others have at most 100 connections
            base_url=server.address, limits=httpx.Limits(max_connections=None), timeout=60, trust_env=False
        )
        gateway.wait = self._permits.acquire

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    async def _semaphore(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(0)

    def let_go(self, count: int = 1) -> None:
        async def release() -> None:
            for _ in range(count):
                self._permits.release()

        self._server.run(release)

    def ask(self, key: str) -> None:
        answer = self._client.post(CHAT, json=BODY, headers={"authorization": f"Bearer {key}"})
        with self._lock:
            self.order.append(key)
            self.answers.append(answer)


def until(is_true: Any) -> None:
    deadline_s = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def waiting_count(server: ServedGateway) -> int:
    waiting = server.server.app._admission._queue._waiting
    return sum(len(turn) for turns in waiting.values() for turn in turns.values())


def test_a_tenant_with_200_requests_delays_another_by_the_calls_that_run_only() -> None:
    serve = Serve(
        keys=keys(big="big", small="small"),
        max_concurrency=4,
        queue=ServeQueue(max_waiting=250, max_wait="60s"),
    )
    with serving(serve) as (gateway, server), ThreadPoolExecutor(210) as pool, Blocked(gateway, server) as blocked:
        asking = [pool.submit(blocked.ask, "big") for _ in range(200)]
        until(lambda: waiting_count(server) == 196)
        asking += [pool.submit(blocked.ask, "small") for _ in range(3)]
        until(lambda: waiting_count(server) == 199)
        for done_count in range(1, 204):
            blocked.let_go()
            until(lambda done_count=done_count: len(blocked.order) == done_count)
        for task in asking:
            task.result(60)
        places = [place for place, key in enumerate(blocked.order, start=1) if key == "small"]
        assert places[0] <= 4 + 2
        assert places[-1] <= 4 + 2 * 3, "one of each tenant in turn, after the four that ran"
        assert {answer.status_code for answer in blocked.answers} == {200}


def test_the_keys_of_a_tenant_have_their_turns_too() -> None:
    serve = Serve(
        keys=keys(batch="acme", web="acme"), max_concurrency=1, queue=ServeQueue(max_waiting=50, max_wait="60s")
    )
    with serving(serve) as (gateway, server), ThreadPoolExecutor(30) as pool, Blocked(gateway, server) as blocked:
        asking = [pool.submit(blocked.ask, "batch") for _ in range(20)]
        until(lambda: waiting_count(server) == 19)
        asking.append(pool.submit(blocked.ask, "web"))
        until(lambda: waiting_count(server) == 20)
        for done_count in range(1, 22):
            blocked.let_go()
            until(lambda done_count=done_count: len(blocked.order) == done_count)
        for task in asking:
            task.result(60)
        assert blocked.order.index("web") <= 2


def test_beyond_the_queue_and_beyond_its_time_a_request_is_refused() -> None:
    serve = Serve(keys=keys(a="a", b="b"), max_concurrency=1, queue=ServeQueue(max_waiting=1, max_wait="0.3s"))
    with serving(serve) as (gateway, server), ThreadPoolExecutor(4) as pool, Blocked(gateway, server) as blocked:
        running = pool.submit(blocked.ask, "a")
        until(lambda: len(gateway.asks) == 1)
        waiting = pool.submit(post, server, "a")
        until(lambda: waiting_count(server) == 1)
        refused = post(server, "a")
        assert code_of(refused) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert code_of(waiting.result(30)) == (503, "overloaded")
        assert waiting_count(server) == 0
        assert len(gateway.asks) == 1
        blocked.let_go(2)
        running.result(30)
        assert post(server, "b").status_code == 200, "the slot is free again"


def test_a_caller_that_leaves_the_queue_frees_its_place() -> None:
    serve = Serve(keys=keys(a="a"), max_concurrency=1, queue=ServeQueue(max_waiting=1, max_wait="60s"))
    with serving(serve) as (gateway, server), ThreadPoolExecutor(4) as pool, Blocked(gateway, server) as blocked:
        running = pool.submit(blocked.ask, "a")
        until(lambda: len(gateway.asks) == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.address + CHAT, json=BODY, headers={"authorization": "Bearer a"}, timeout=0.2)
        until(lambda: waiting_count(server) == 0)
        blocked.let_go(2)
        running.result(30)
        assert post(server, "a").status_code == 200
        assert len(gateway.asks) == 2


def test_a_tenant_at_its_own_limit_waits_or_gets_429_and_others_are_answered() -> None:
    serve = Serve(
        keys=keys(a="acme", b="other"),
        tenants={"acme": TenantLimits(max_concurrency=1)},
        queue=ServeQueue(max_waiting=1, max_wait="60s"),
    )
    with serving(serve) as (gateway, server), ThreadPoolExecutor(4) as pool, Blocked(gateway, server) as blocked:
        asking = [pool.submit(blocked.ask, "a")]
        until(lambda: len(gateway.asks) == 1)
        asking.append(pool.submit(blocked.ask, "a"))
        until(lambda: waiting_count(server) == 1)
        refused = post(server, "a")
        assert code_of(refused) == (429, "rate_limit_exceeded")
        assert "1 calls under way" in refused.json()["error"]["message"]
        gateway.wait = None
        assert post(server, "b").status_code == 200, "a free slot is not kept for the one that waits"
        blocked.let_go(1)
        for task in asking:
            task.result(30)
        assert [answer.status_code for answer in blocked.answers] == [200, 200]


def limited(**limits: Any) -> Serve:
    return Serve(keys=keys(web="acme"), tenants={"acme": TenantLimits(**limits)})


def test_requests_a_minute_in_the_form_of_either_protocol() -> None:
    clock = Clock()
    with serving(limited(requests_per_minute=2), clock) as (gateway, server):
        first = post(server, "web")
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-reset-requests"] == "30s"
        assert post(server, "web", "/v1/messages", max_tokens=5).status_code == 200
        refused = post(server, "web")
        assert code_of(refused) == (429, "rate_limit_exceeded")
        assert refused.json()["error"]["type"] == "requests"
        assert refused.headers["retry-after"] == "30"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["x-ratelimit-reset-requests"] == "1m0s"
        anthropic = post(server, "web", "/v1/messages", max_tokens=5)
        assert anthropic.status_code == 429
        assert anthropic.headers["retry-after"] == "30"
        assert anthropic.json()["error"]["type"] == "rate_limit_error"
        assert len(gateway.asks) == 2
        clock.pass_s(30)
        assert post(server, "web").status_code == 200


def test_tokens_a_minute_follow_the_usage_of_answers_and_forget_failures() -> None:
    clock = Clock()
    with serving(limited(tokens_per_minute=1000), clock) as (gateway, server):
        gateway.answer = replace_usage(input_tokens=300, output_tokens=100)
        assert post(server, "web", max_tokens=900).status_code == 200
        kept = post(server, "web", max_tokens=500)
        assert kept.headers["x-ratelimit-limit-tokens"] == "1000"
        assert int(kept.headers["x-ratelimit-remaining-tokens"]) == 1000 - 400 - 502, "400 were used, not 902"
        refused = post(server, "web", max_tokens=500)
        assert code_of(refused) == (429, "rate_limit_exceeded")
        assert refused.json()["error"]["type"] == "tokens"
        assert int(refused.headers["retry-after"]) == 19, "302 of 1,000 a minute are too many"
        clock.pass_s(19)
        assert code_of(post(server, "web", max_tokens=500, temperature="hot")) == (400, "invalid_type")
        assert post(server, "web", max_tokens=500).status_code == 200, "a request that is refused uses no tokens"
        clock.pass_s(60)
        gateway.answer = replace_usage(input_tokens=300, output_tokens=900, cache="exact")
        for _ in range(5):
            assert post(server, "web", max_tokens=100).status_code == 200, "an answer from a cache uses no tokens"


def replace_usage(**fields: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(WHOLE, **fields)


def test_dollars_a_day_say_when_the_limit_resets() -> None:
    clock = Clock()
    with serving(limited(usd_per_day=0.25), clock) as (gateway, server):
        gateway.answer = replace_usage(cost_usd=0.2)
        assert [post(server, "web").status_code for _ in range(2)] == [200, 200]
        refused = post(server, "web")
        assert code_of(refused) == (429, "insufficient_quota")
        assert refused.headers["retry-after"] == str(12 * 3600)
        assert refused.headers["x-should-retry"] == "false"
        assert "2026-03-02T00:00:00Z" in refused.json()["error"]["message"]
        clock.pass_s(12 * 3600)
        assert post(server, "web").status_code == 200


def test_a_broken_stream_keeps_its_estimate() -> None:
    from flowai.errors import MalformedAnswerError

    with serving(limited(tokens_per_minute=1000)) as (gateway, server):
        gateway.fail_stream_after = MalformedAnswerError("broken", provider="p", model="m")
        assert post(server, "web", max_tokens=600, stream=True).status_code == 200
        gateway.fail_stream_after = None
        assert code_of(post(server, "web", max_tokens=600)) == (429, "rate_limit_exceeded")


def test_openai_s_client_reads_the_refusal_and_its_headers() -> None:
    import openai

    with (
        serving(limited(requests_per_minute=1)) as (_, server),
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="web", max_retries=0) as client,
    ):
        raw = client.chat.completions.with_raw_response.create(model="chat", messages=BODY["messages"])  # type: ignore[arg-type]
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="chat", messages=BODY["messages"])  # type: ignore[arg-type]
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["retry-after"] == "60"


def test_an_estimate_counts_text_by_its_length_and_media_alike() -> None:
    picture = "data:image/png;base64," + "A" * 500_000
    content = [{"type": "text", "text": "x y " * 100}, {"type": "image_url", "image_url": {"url": picture}}]
    estimate = estimate_tokens({"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": 50})
    assert MEDIA_TOKENS + 150 <= estimate <= MEDIA_TOKENS + 170


# --- keys ---


def test_a_key_is_valid_on_its_last_day_and_refused_after_it() -> None:
    clock = Clock()
    key = ServeKey(tenant="acme", sha256=hash_of("web"), expires=NOON.date())
    with serving(Serve(keys={"web": key}), clock) as (_, server):
        clock.now = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
        assert post(server, "web").status_code == 200
        clock.pass_s(0.000_001)
        refused = post(server, "web")
        assert code_of(refused) == (401, "expired_api_key")
        assert refused.json()["error"]["message"] == "this key expired on 2026-03-01"
        assert code_of(post(server, "webx")) == (401, "invalid_api_key")
        assert server.http.get("/healthz").status_code == 200


def test_a_key_knows_only_the_names_that_it_may_call() -> None:
    web = ServeKey(tenant="acme", sha256=hash_of("web"), features=("chat",))
    embedder = ServeKey(tenant="acme", sha256=hash_of("embedder"), models=("m",))
    admin = ServeKey(tenant="acme", sha256=hash_of("admin"))
    with serving(Serve(keys={"web": web, "embedder": embedder, "admin": admin})) as (gateway, server):

        def get(key: str, path: str) -> httpx.Response:
            return server.http.get(path, headers={"x-api-key": key})

        assert [model["id"] for model in get("web", "/v1/models").json()["data"]] == ["chat"]
        assert [model["id"] for model in get("embedder", "/v1/models").json()["data"]] == ["m"]
        assert len(get("admin", "/v1/models").json()["data"]) == 3
        assert get("web", "/v1/models/both").status_code == 404
        for path, body in (
            (CHAT, {}),
            ("/v1/responses", {"input": "hi", "messages": None}),
            ("/v1/messages", {"max_tokens": 5}),
            ("/v1/messages/count_tokens", {}),
        ):
            sent = {name: value for name, value in (BODY | body).items() if value is not None}
            unknown, hidden = (
                server.http.post(path, json=sent | {"model": name}, headers={"x-api-key": "web"})
                for name in ("no", "both")
            )
            assert (hidden.status_code, unknown.status_code) == (404, 404)
            assert hidden.text == unknown.text.replace("`no`", "`both`"), "as if there were no such name"
        embedding = {"model": "m", "input": "x"}
        assert server.http.post("/v1/embeddings", json=embedding, headers={"x-api-key": "web"}).status_code == 404
        assert server.http.post("/v1/embeddings", json=embedding, headers={"x-api-key": "embedder"}).status_code == 200
        assert post(server, "web").status_code == 200
        assert post(server, "admin", model="both").status_code == 200
        gateway.stands = replace(gateway.stands, unavailable_models={"both": "no key"})
        assert get("web", "/readyz").json() == {"status": "ready"}
        assert "both" in get("admin", "/readyz").text
        assert get("web", "/metrics").status_code == 403
        assert get("admin", "/metrics").status_code == 200

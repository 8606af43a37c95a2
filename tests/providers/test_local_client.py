"""Routing of `local/...` models, with servers that only say they run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from flowai.errors import InfrastructureError, RateLimitedError, RegistryError, UnreachableError
from flowai.providers import Chunk, Completion, Embeddings, EmbedRequest, Endpoint, Request
from flowai.providers.local.client import LocalClient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from flowai.providers.local.server import LocalModel

LOCAL = Endpoint(name="small", model="local/small", provider="local", file="/models/small.gguf")
REMOTE = Endpoint(name="mini", model="openai/mini", provider="openai")


def ask(endpoint: Endpoint = LOCAL) -> Request:
    return Request(endpoint=endpoint, messages=({"role": "user", "content": "hi"},))


class Server:
    address = "http://127.0.0.1:1/v1"
    api_key = "random"
    load_s = 0.5

    def __init__(self) -> None:
        self.alive = True
        self.stop_count = 0

    def is_alive(self) -> bool:
        return self.alive

    def last_log_lines(self) -> str:
        return "killed by signal 9"

    async def stop(self) -> None:
        self.alive = False
        self.stop_count += 1


class Inner:
    """Notes who was asked, and how many at a time."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[Endpoint] = []
        self.closed = False
        self.most_at_a_time = 0
        self._now = 0
        self.failure = failure

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request.endpoint)
        self._now += 1
        self.most_at_a_time = max(self.most_at_a_time, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        if self.failure is not None:
            raise self.failure
        return Completion(
            text="hello",
            model=request.endpoint.model,
            served_model="small",
            provider=request.endpoint.provider,
            finish_reason="stop",
            input_tokens=1,
            output_tokens=1,
            cost_usd=0.0,
            latency_ms=1.0,
            ttft_ms=None,
        )

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        whole = await self.complete(request)
        yield Chunk(text=whole.text)
        yield Chunk(text="", completion=whole)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        self.asked.append(request.endpoint)
        return Embeddings(vectors=((1.0,),), input_tokens=1, cost_usd=0.0)

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        pass

    async def aclose(self) -> None:
        self.closed = True


class Bench:
    """A client, its inner client, and the servers it started."""

    def __init__(self, *, failure: Exception | None = None, broken: Exception | None = None) -> None:
        self.inner = Inner(failure)
        self.servers: list[Server] = []
        self.ready: list[tuple[str, float]] = []
        self._broken = broken
        self.client = LocalClient(self.inner, on_ready=lambda *seen: self.ready.append(seen), start=self._start)

    async def _start(self, model: LocalModel) -> Server:
        assert str(model.file) == LOCAL.file
        await asyncio.sleep(0)
        if self._broken is not None:
            raise self._broken
        self.servers.append(Server())
        return self.servers[-1]

    def run(self, *requests: Request) -> list[Any]:
        async def session() -> list[Any]:
            try:
                return await asyncio.gather(*(self.client.complete(request) for request in requests))
            finally:
                await self.client.aclose()

        return asyncio.run(session())


def test_a_remote_model_starts_nothing() -> None:
    bench = Bench()
    bench.run(ask(REMOTE))
    assert bench.inner.asked == [REMOTE]
    assert bench.servers == []


def test_requests_share_one_server_one_at_a_time() -> None:
    bench = Bench()
    answers = bench.run(*[ask()] * 8)
    assert len(bench.servers) == 1
    assert bench.inner.most_at_a_time == 1
    assert bench.ready == [("small", 0.5)]
    assert {answer.model for answer in answers} == {"local/small"}
    (endpoint,) = {(e.model, e.api_base, e.api_key, e.provider) for e in bench.inner.asked}
    assert endpoint == ("openai/small", Server.address, "random", "local")


def test_closing_stops_the_server_and_the_inner_client_even_twice() -> None:
    bench = Bench()
    bench.run(ask())
    asyncio.run(bench.client.aclose())
    assert [server.stop_count for server in bench.servers] == [1]
    assert bench.inner.closed


def test_an_interrupted_run_stops_the_server() -> None:
    bench = Bench(failure=KeyboardInterrupt())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        bench.run(ask())
    assert [server.alive for server in bench.servers] == [False]


def test_a_server_that_died_is_started_again() -> None:
    async def session() -> None:
        await bench.client.complete(ask())
        bench.servers[0].alive = False
        await bench.client.complete(ask())
        await bench.client.aclose()

    bench = Bench()
    asyncio.run(session())
    assert [server.stop_count for server in bench.servers] == [1, 1]


def test_a_server_that_dies_during_a_call_is_named_in_the_error() -> None:
    class Dying(Inner):
        async def complete(self, request: Request) -> Completion:
            bench.servers[0].alive = False
            return await super().complete(request)

    failure = UnreachableError("connection reset", provider="local", model="small")
    bench = Bench()
    bench.client._inner = Dying(failure)
    with pytest.raises(UnreachableError, match="the local server ended during the call: killed by signal 9"):
        bench.run(ask())


def test_a_failed_call_to_a_living_server_is_passed_on() -> None:
    failure = RateLimitedError("slow down", provider="local", model="small")
    bench = Bench(failure=failure)
    with pytest.raises(RateLimitedError):
        bench.run(ask())


def test_a_server_that_does_not_start_is_an_infrastructure_error() -> None:
    bench = Bench(broken=InfrastructureError("the local server of model `small` did not start"))
    with pytest.raises(InfrastructureError, match="did not start"):
        bench.run(ask())
    assert bench.inner.closed


def test_a_local_model_needs_weights() -> None:
    bench = Bench()
    with pytest.raises(RegistryError, match="model `small` has no weights"):
        bench.run(ask(Endpoint(name="small", model="local/small", provider="local")))


def test_streams_and_vectors_are_routed_too() -> None:
    async def session() -> list[Chunk]:
        chunks = [chunk async for chunk in bench.client.stream(ask())]
        await bench.client.embed(EmbedRequest(endpoint=LOCAL, texts=("a",)))
        await bench.client.aclose()
        return chunks

    bench = Bench()
    chunks = asyncio.run(session())
    assert "".join(chunk.text for chunk in chunks) == "hello"
    assert chunks[-1].completion is not None
    assert chunks[-1].completion.model == "local/small"
    assert {endpoint.api_base for endpoint in bench.inner.asked} == {Server.address}
    assert len(bench.servers) == 1

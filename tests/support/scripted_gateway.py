"""A scripted gateway, and a server with it in its own thread."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import httpx

from flowai.gateway.records import (
    CompletionRequest,
    CompletionResult,
    GatewayStatus,
    StreamEvent,
    StreamRestarted,
    StreamStarted,
    TextChunk,
)
from flowai.providers import Embeddings
from flowai.server.http_server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

    from flowai.events import FeedbackVerdict
    from flowai.gateway.records import OnStreamBreak
    from flowai.registry import Serve
    from flowai.server.app import AppOptions

WHOLE = CompletionResult(
    call_id="c1",
    text="hello world",
    feature="chat",
    release="v1",
    variant="stable",
    model="m",
    served_model="scripted-1",
    provider="openai",
    finish_reason="stop",
    input_tokens=10,
    output_tokens=2,
    cost_usd=0.001,
    ttft_ms=5.0,
    latency_ms=9.0,
)
STARTED = StreamStarted(call_id="c1", feature="chat", release="v1", variant="stable", model="m")


@dataclass(kw_only=True)
class ScriptedGateway:
    """Answers by script.

    Args:
        answer: what `ask` gives, and what streams end with.
        pieces: what streams give between Started and the answer.
        fail: raised by `ask` and `embed`, and by streams at once.
        fail_stream_after: raised by streams after their pieces.
        wait: awaited before anything is answered.
        wait_in_stream: awaited between the pieces and the end.
        stands: how things stand.
        asks: what was asked.
        cancelled: how many calls were cancelled.
    """

    answer: CompletionResult = WHOLE
    pieces: Sequence[TextChunk | StreamRestarted] = (TextChunk(text="hello "), TextChunk(text="world"))
    started: StreamStarted = STARTED
    fail: BaseException | None = None
    fail_stream_after: BaseException | None = None
    wait: Callable[[], Awaitable[None]] | None = None
    wait_in_stream: Callable[[], Awaitable[None]] | None = None
    stands: GatewayStatus = field(
        default_factory=lambda: GatewayStatus(
            features=frozenset({"chat", "both"}), models=frozenset({"m", "both"}), release="v1"
        )
    )
    asks: list[CompletionRequest] = field(default_factory=list)
    on_breaks: list[OnStreamBreak] = field(default_factory=list)
    embedded: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    noted: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    scored: list[tuple[str, str, bool, float | None, str | None]] = field(default_factory=list)
    tenants: list[str | None] = field(default_factory=list)
    cancelled: int = 0
    begun: threading.Event = field(default_factory=threading.Event)

    def limit(self, serve: Serve) -> None:
        """Set callers and limits."""
        self.stands = replace(self.stands, serve=serve)

    def reset(self) -> None:
        """Clear script and requests, so that tests may share a server."""
        vars(self).update(vars(ScriptedGateway()))

    async def _before(self, ask: CompletionRequest) -> None:
        self.asks.append(ask)
        self.begun.set()
        try:
            if self.wait is not None:
                await self.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fail is not None:
            raise self.fail

    async def complete_request(self, ask: CompletionRequest) -> CompletionResult:
        await self._before(ask)
        return self.answer

    async def stream_request(
        self, ask: CompletionRequest, *, on_break: OnStreamBreak = "error"
    ) -> AsyncGenerator[StreamEvent]:
        self.on_breaks.append(on_break)
        await self._before(ask)
        try:
            yield self.started
            for piece in self.pieces:
                yield piece
            if self.wait_in_stream is not None:
                await self.wait_in_stream()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fail_stream_after is not None:
            raise self.fail_stream_after
        yield self.answer

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        self.embedded.append((model, tuple(texts)))
        if self.fail is not None:
            raise self.fail
        vectors = tuple((float(len(text)), 0.5) for text in texts)
        return Embeddings(vectors=vectors, input_tokens=3, cost_usd=0.0)

    async def feedback(
        self,
        call_id: str,
        *,
        verdict: FeedbackVerdict,
        text: str | None = None,
        user: str | None = None,
        must_exist: bool = False,
        tenant: str | None = None,
    ) -> None:
        assert must_exist
        if self.wait is not None:
            await self.wait()
        self.tenants.append(tenant)
        if self.fail is not None:
            raise self.fail
        self.noted.append((call_id, verdict, text, user))

    async def score(
        self,
        call_id: str,
        *,
        name: str,
        passed: bool,
        score: float | None = None,
        judge: str | None = None,
        must_exist: bool = False,
        tenant: str | None = None,
    ) -> None:
        assert must_exist
        self.tenants.append(tenant)
        if self.fail is not None:
            raise self.fail
        self.scored.append((call_id, name, passed, score, judge))

    async def status(self) -> GatewayStatus:
        return self.stands

    async def warm_up(self) -> None:
        """Nothing to do."""


class ServedGateway:
    """A server in a thread, as a client in another process would see it.

    Args:
        address: `http://127.0.0.1:40123`.
        server: the server itself; `http` is a client of it.
        loop: its event loop.
    """

    def __init__(self, address: str, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        self.address = address
        self.server = server
        self.http = httpx.Client(base_url=address, trust_env=False)
        self._loop = loop

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.address.rpartition(":")[2])

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run work in the server's loop and wait for it."""

        async def there() -> Any:
            return await work()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(timeout=30)


@contextmanager
def served(gateway: Any, *, host: str = "127.0.0.1", options: AppOptions | None = None) -> Iterator[ServedGateway]:
    """Serve a gateway while the block runs."""
    ready = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        server = HttpServer(gateway, host=host, options=options)
        found["loop"], found["end"] = asyncio.get_running_loop(), asyncio.Event()
        try:
            found["address"] = await server.start()
            found["server"] = server
        finally:
            ready.set()
        await found["end"].wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(30)
    made = ServedGateway(found["address"], found["server"], found["loop"])
    try:
        with made.http:
            yield made
    finally:
        found["loop"].call_soon_threadsafe(found["end"].set)
        thread.join(30)

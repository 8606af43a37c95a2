"""Client of a suite's targets: programs and addresses; it passes models on to another client."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from flowai.evals.targets.answers import answer_of
from flowai.evals.targets.code_runners import CodeRunners
from flowai.evals.targets.http_target import HttpTarget
from flowai.evals.targets.records import TargetRequest
from flowai.evals.targets.script_target import call_program, call_script
from flowai.evals.targets.system_prompt import with_system_prompt
from flowai.providers.client import Chunk
from flowai.providers.http.connections import Connections

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from flowai.evals.suites.records import CodeRef, SuiteProvider
    from flowai.evals.targets.http_request import Renderer
    from flowai.evals.targets.records import TargetCompletion
    from flowai.providers.client import Client, Completion, Embeddings, EmbedRequest, Endpoint, Request
    from flowai.redaction import Redactor


class TargetsClient:
    """Client that answers requests to targets that are no models; close it in the event loop that used it.

    Args:
        inner: client of models.
        render: renders templates of `http:` targets.
        redactor: removes secrets from errors and printed text.
        worker_count: calls of one script at a time, >= 1.
        on_printed: called with a piece of code and what it printed, redacted and clipped.
    """

    def __init__(
        self,
        inner: Client,
        *,
        render: Renderer,
        redactor: Redactor,
        worker_count: int = 4,
        on_printed: Callable[[CodeRef, str], None] = lambda _code, _text: None,
    ) -> None:
        self._inner = inner
        self._render = render
        self._redactor = redactor
        self._connections = Connections()
        self._runners = CodeRunners(redactor=redactor, worker_count=worker_count, on_printed=on_printed)

    async def complete(self, request: Request) -> Completion:
        """Return a target's answer, before its `transform`; see `Client.complete`."""
        provider = request.provider if isinstance(request, TargetRequest) else None
        if provider is None or not isinstance(request, TargetRequest):
            return await self._inner.complete(request)
        if provider.delay_s:
            await asyncio.sleep(provider.delay_s)
        if provider.kind == "model":
            return await self._inner.complete(with_system_prompt(request, provider))
        return await self._call(request, provider)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield a target's answer as one chunk, and a model's as its client does; see `Client.stream`."""
        if isinstance(request, TargetRequest) and request.provider is not None:
            completion = await self.complete(request)
            yield Chunk(text=completion.text, completion=completion)
        else:
            async for chunk in self._inner.stream(request):
                yield chunk

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return the inner client's vectors; see `Client.embed`."""
        return await self._inner.embed(request)

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Warm up the inner client; see `Client.warm_up`."""
        await self._inner.warm_up(endpoints)

    async def aclose(self) -> None:
        """End all scripts, and close the connections and the inner client; may be called twice."""
        await self._runners.aclose()
        await self._connections.aclose()
        await self._inner.aclose()

    async def _call(self, request: TargetRequest, provider: SuiteProvider) -> TargetCompletion:
        started_s = time.perf_counter()
        value: Any
        if provider.kind == "echo":
            value = {"output": request.prompt, "cost": 0}
        elif provider.kind == "exec":
            value = await call_program(provider, request, self._redactor)
        elif provider.kind == "http":
            target = HttpTarget(
                provider,
                request,
                connections=self._connections,
                runner=self._runners.of_transforms(request),
                render=self._render,
                redactor=self._redactor,
            )
            value = await target.call()
        else:
            value = await call_script(provider, request, self._runners, self._redactor)
        latency_ms = (time.perf_counter() - started_s) * 1000
        return answer_of(value, provider, latency_ms=latency_ms, redactor=self._redactor)

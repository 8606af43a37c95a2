"""Sends smoke's prompts the way the product will: over HTTP, through the gateway, on a port of its own.

Caches, fallbacks, the degraded model, rollouts and experiments are switched off, or smoke would go green through the
backup.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.gateway.gateway import Gateway
from flowai.gateway.plan import FeatureToggles
from flowai.providers import create_client
from flowai.server.http_server import running

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from flowai.evals.runs.runner import PreparedTrial
    from flowai.providers import Chunk, Client, Completion, Embeddings, EmbedRequest, Endpoint, Request
    from flowai.redaction import Redactor
    from flowai.workspace.workspace import Workspace

PLACEHOLDER_ADDRESS = "http://127.0.0.1"
"""Stands in requests until the gateway's port is known."""


def through_gateway(workspace: Workspace, trials: Sequence[PreparedTrial]) -> list[PreparedTrial]:
    """Turn each trial into the request an application would send: the feature's name and the prompt's variables."""
    return [_as_application(workspace, trial) for trial in trials]


def _as_application(workspace: Workspace, trial: PreparedTrial) -> PreparedTrial:
    request, subject = trial.request, trial.planned.subject
    variables = workspace.library.load(subject.prompt).select(trial.planned.case.vars)
    endpoint = msgspec.structs.replace(
        request.endpoint, model=f"openai/{subject.feature}", api_base=PLACEHOLDER_ADDRESS, api_key=None, file=None
    )
    params: dict[str, Any] = {
        "max_tokens": request.params["max_tokens"],
        "extra_body": {"prompt_variables": variables},
    }
    asked = msgspec.structs.replace(request, endpoint=endpoint, messages=(), params=params, response_schema=None)
    return replace(trial, request=asked)


class SmokeClient:
    """A client whose every request goes through a gateway of its own.

    Args:
        workspace: the opened project; its release is the one that answers.
        on_ready: told of each local model that is loaded.
    """

    def __init__(self, workspace: Workspace, on_ready: Callable[[str, float], None]) -> None:
        self._workspace = workspace
        self._on_ready = on_ready
        self._inner: Client = create_client(redactor=workspace.redactor)
        self._running = AsyncExitStack()
        self._starting = asyncio.Lock()
        self._address: str | None = None

    async def complete(self, request: Request) -> Completion:
        """Ask through the gateway; see `Client.complete`."""
        return await self._inner.complete(await self._addressed(request))

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Ask through the gateway; see `Client.stream`."""
        async for chunk in self._inner.stream(await self._addressed(request)):
            yield chunk

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Ask directly: smoke embeds nothing."""
        return await self._inner.embed(request)

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:  # noqa: ARG002 - the gateway knows its models
        """Start the gateway, and do what its first call would wait for."""
        await self._started()

    async def aclose(self) -> None:
        """Stop the gateway; may be called twice."""
        await self._inner.aclose()
        await self._running.aclose()
        self._address = None

    async def _addressed(self, request: Request) -> Request:
        endpoint = msgspec.structs.replace(request.endpoint, api_base=f"{await self._started()}/v1")
        return msgspec.structs.replace(request, endpoint=endpoint)

    async def _started(self) -> str:
        async with self._starting:
            if self._address is None:
                context = self._workspace.context
                settings = replace(
                    context.runtime_options(),
                    connect=self._connect,
                    toggles=FeatureToggles(
                        caches=False, fallback=False, assignment=False, release=self._workspace.release
                    ),
                )
                gateway = Gateway(self._workspace.project.root, env=context.env, origin="smoke", settings=settings)
                await self._running.enter_async_context(gateway)
                await gateway.warm_up()
                self._address = await self._running.enter_async_context(running(gateway))
        return self._address

    def _connect(self, redactor: Redactor, *, shared_process: bool) -> Client:
        return create_client(redactor=redactor, on_ready=self._on_ready, shared_process=shared_process)

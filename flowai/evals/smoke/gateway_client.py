"""Sends the smoke prompts as the product does: over HTTP, through a gateway of its own on a free port.

Caches, fallbacks, degraded answers, rollouts and experiments are disabled; otherwise smoke would pass by a fallback.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.smoke.fallback_trials import is_fallback_trial
from flowai.gateway.gateway import Gateway
from flowai.gateway.plan import FeatureToggles
from flowai.providers import create_client
from flowai.server.http_server import running

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from flowai.evals.runs.records import PreparedTrial
    from flowai.providers import Chunk, Client, Completion, Embeddings, EmbedRequest, Endpoint, Request
    from flowai.redaction import Redactor
    from flowai.workspace.workspace import Workspace

PLACEHOLDER_ADDRESS = "http://127.0.0.1"
"""Address in requests until the gateway's port is known."""


def build_gateway_requests(workspace: Workspace, trials: Sequence[PreparedTrial]) -> list[PreparedTrial]:
    """Replace each trial's request with the one an application would send: feature name and prompt variables.

    The trial of a fallback model names the model, and sends the rendered prompt.
    """
    return [
        _build_model_request(trial)
        if is_fallback_trial(trial.planned.case.id)
        else _build_gateway_request(workspace, trial)
        for trial in trials
    ]


def _build_model_request(trial: PreparedTrial) -> PreparedTrial:
    """Replace a request with one for its model by name, with the rendered messages."""
    request = trial.request
    return replace(
        trial, request=msgspec.structs.replace(request, endpoint=_at_gateway(request.endpoint.name, request))
    )


def _at_gateway(name: str, request: Request) -> Endpoint:
    """Return the endpoint of a feature or a model of the gateway."""
    return msgspec.structs.replace(
        request.endpoint,
        model=f"openai/{name}",
        api_base=PLACEHOLDER_ADDRESS,
        api_key=None,
        file=None,
        transport="direct",
    )


def _build_gateway_request(workspace: Workspace, trial: PreparedTrial) -> PreparedTrial:
    request, target = trial.request, trial.planned.target
    variables = workspace.library.load(target.prompt).select(trial.planned.case.vars)
    endpoint = _at_gateway(str(target.feature), request)
    params: dict[str, Any] = {"max_tokens": request.params["max_tokens"], "extra_body": {"prompt_variables": variables}}
    application_request = msgspec.structs.replace(
        request, endpoint=endpoint, messages=(), params=params, response_schema=None
    )
    return replace(trial, request=application_request)


class SmokeClient:
    """Client whose every request goes through a gateway of its own, to the workspace's release."""

    def __init__(
        self, workspace: Workspace, on_ready: Callable[[str, float], None], *, fallbacks: bool = False
    ) -> None:
        self._workspace = workspace
        self._fallbacks = fallbacks
        self._on_ready = on_ready
        self._inner: Client = create_client(redactor=workspace.redactor)
        self._running = AsyncExitStack()
        self._starting = asyncio.Lock()
        self._address: str | None = None

    async def complete(self, request: Request) -> Completion:
        """Call a model through the gateway; see `Client.complete`."""
        return await self._inner.complete(await self._addressed(request))

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Call a model through the gateway; see `Client.stream`."""
        async for chunk in self._inner.stream(await self._addressed(request)):
            yield chunk

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Call the provider directly: smoke embeds nothing."""
        return await self._inner.embed(request)

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:  # noqa: ARG002 - the gateway knows its models
        """Start the gateway and do the work that its first call would wait for."""
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
                        caches=False,
                        fallback=False,
                        warms_fallbacks=self._fallbacks,
                        assignment=False,
                        release=self._workspace.release,
                    ),
                )
                gateway = Gateway(self._workspace.project.root, env=context.env, origin="smoke", settings=settings)
                await self._running.enter_async_context(gateway)
                await gateway.warm_up()
                self._address = await self._running.enter_async_context(running(gateway))
        return self._address

    def _connect(self, redactor: Redactor, **options: Any) -> Client:  # noqa: ANN401 - `create_client`'s own
        return create_client(redactor=redactor, on_ready=self._on_ready, **options)

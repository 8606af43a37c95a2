"""Client that serves `local/...` models itself and forwards all other requests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from flowai.errors import CallError, RegistryError, UnreachableError
from flowai.providers.local.server import LocalModel, start_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from flowai.providers.client import Chunk, Client, Completion, Embeddings, EmbedRequest, Endpoint, Request

PREFIX = "local/"


class Server(Protocol):
    """Server of one local model."""

    address: str
    api_key: str
    load_s: float

    def is_alive(self) -> bool:
        """Return whether the server still runs."""
        ...

    def last_log_lines(self) -> str:
        """Return how the server ended."""
        ...

    async def stop(self) -> None:
        """Stop the server."""
        ...


class LocalClient:
    """Client that routes `local/...` models to servers on this machine.

    A server handles one request at a time; other requests wait here, so that waiting is not counted as latency.

    Args:
        inner: client for endpoints with an address.
        on_ready: called with each ready server: the model's name in the registry, and the load time in seconds.
        start: function that starts a server.
    """

    def __init__(
        self,
        inner: Client,
        *,
        on_ready: Callable[[str, float], None] = lambda _name, _load_s: None,
        start: Callable[[LocalModel], Awaitable[Server]] = start_server,
    ) -> None:
        self._inner = inner
        self._on_ready = on_ready
        self._start = start
        self._servers: dict[str, Server] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the complete answer; see `Client.complete`.

        Raises:
            CallError: the call failed.
            RegistryError: a local model's file is missing or not a GGUF file.
            InfrastructureError: a local model's server did not start.
        """
        if not _is_local(request.endpoint):
            return await self._inner.complete(request)
        async with self._served(request.endpoint) as endpoint:
            routed = msgspec.structs.replace(request, endpoint=endpoint)
            completion = await self._inner.complete(routed)
        return msgspec.structs.replace(completion, model=request.endpoint.model)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield the answer in chunks; see `Client.stream` and `complete`."""
        if not _is_local(request.endpoint):
            async for chunk in self._inner.stream(request):
                yield chunk
            return
        async with self._served(request.endpoint) as endpoint:
            routed = msgspec.structs.replace(request, endpoint=endpoint)
            async for chunk in self._inner.stream(routed):
                if chunk.completion is None:
                    yield chunk
                else:
                    whole = msgspec.structs.replace(chunk.completion, model=request.endpoint.model)
                    yield msgspec.structs.replace(chunk, completion=whole)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return one vector per text; see `Client.embed` and `complete`."""
        if not _is_local(request.endpoint):
            return await self._inner.embed(request)
        async with self._served(request.endpoint) as endpoint:
            return await self._inner.embed(msgspec.structs.replace(request, endpoint=endpoint))

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Start the servers of the local models among these, and warm up the inner client for the others."""
        await self._inner.warm_up([endpoint for endpoint in endpoints if not _is_local(endpoint)])
        for endpoint in endpoints:
            if _is_local(endpoint):
                async with self._served(endpoint):
                    pass

    async def aclose(self) -> None:
        """Stop the servers and close the inner client; may be called twice."""
        try:
            while self._servers:
                _, server = self._servers.popitem()
                await server.stop()
        finally:
            await self._inner.aclose()

    @asynccontextmanager
    async def _served(self, endpoint: Endpoint) -> AsyncIterator[Endpoint]:
        """Wait until the model is free, start its server if necessary, and yield the endpoint of the server."""
        if endpoint.file is None:
            raise RegistryError(
                f"model `{endpoint.name}` has no weights",
                hint="name them: `file: package:PACKAGE/FILE.gguf`, or a path",
            )
        async with self._turns.setdefault(endpoint.file, asyncio.Lock()):
            server = await self._server(endpoint.name, endpoint.file)
            try:
                yield msgspec.structs.replace(
                    endpoint,
                    model=f"openai/{endpoint.model.removeprefix(PREFIX)}",
                    api_base=server.address,
                    api_key=server.api_key,
                    file=None,
                    transport="direct",
                )
            except CallError as error:
                if server.is_alive():
                    raise
                raise UnreachableError(
                    f"the local server ended during the call: {server.last_log_lines()}",
                    provider=endpoint.provider,
                    model=endpoint.name,
                    hint="the next call starts it again",
                ) from error

    async def _server(self, name: str, file: str) -> Server:
        server = self._servers.get(file)
        if server is not None and not server.is_alive():
            await self._servers.pop(file).stop()
            server = None
        if server is None:
            server = await self._start(LocalModel(name=name, file=Path(file)))
            self._servers[file] = server
            self._on_ready(name, server.load_s)
        return server


def _is_local(endpoint: Endpoint) -> bool:
    return endpoint.model.startswith(PREFIX) and endpoint.api_base is None

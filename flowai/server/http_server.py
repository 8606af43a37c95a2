"""HTTP server of a gateway: opens a port, serves, drains, stops."""

from __future__ import annotations

import asyncio
import resource
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from flowai.server.app import AppOptions, GatewayApp
from flowai.server.auth import is_loopback
from flowai.server.http.connection_table import HEALTH_CONNECTIONS
from flowai.server.http.listener import LOOPBACK, EmbeddedServer, quiet_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flowai.server.protocol import GatewayProtocol

_SPARE_CONNECTIONS = 512  # for idle connections and refused requests
_MIN_CONNECTIONS = 16
_OTHER_FILES = 128  # of the project, the caches and the state


class HttpServer:
    """Server of one gateway at one address; used within one event loop.

    Args:
        gateway: the gateway; the server neither opens nor closes it.
        host: address or name to listen on.
        port: 0 to 65535; 0 for a free port.
        options: of the application; None for the defaults of the address.
    """

    def __init__(
        self, gateway: GatewayProtocol, *, host: str = LOOPBACK, port: int = 0, options: AppOptions | None = None
    ) -> None:
        self._host = host
        self._port = port
        self.app = GatewayApp(gateway, options or AppOptions(is_local=is_loopback(host)))
        self._gateway = gateway
        self._server: EmbeddedServer | None = None

    async def start(self) -> str:
        """Open the port, serve in the background, and return the address: `http://127.0.0.1:8080`.

        Raises:
            UsageError: no such address on this machine.
            InfrastructureError: the port is in use or not permitted.
        """
        max_concurrency = (await self._gateway.status()).serve.max_concurrency
        self._server = quiet_server(self.app, max_connections=_max_connections(max_concurrency))
        port = await self._server.start(self._host, self._port)
        return f"http://[{self._host}]:{port}" if ":" in self._host else f"http://{self._host}:{port}"

    async def warm_up(self) -> None:
        """Load now what the first call needs; `/readyz` shows when it is done."""
        try:
            await self._gateway.warm_up()
            self.app.is_warm = True
        finally:
            self.app.is_warming = False  # after a failure, calls that need the same fail, and all others are answered

    async def announce_end(self, notice_s: float) -> None:
        """Answer `/readyz` with 503 and go on for `notice_s` (>= 0), until load balancers send no more requests."""
        self.app.is_leaving = True
        await asyncio.sleep(notice_s)

    async def drain(self, timeout_s: float) -> int:
        """Accept no more connections, wait for running calls, and return the number of calls that were cut.

        Calls that are not done after `timeout_s` (>= 0) get an error.
        """
        if self._server is not None:
            self._server.stop_accepting()
        return await self.app.in_flight.drain(timeout_s)

    def cut(self) -> int:
        """End all running calls with an error; return their number."""
        return self.app.in_flight.cut()

    async def stop(self) -> None:
        """Stop the server; running calls are cut."""
        self.cut()
        if self._server is not None:
            await self._server.stop()
            self._server = None
        self.app.close()


def raise_open_files(max_concurrency: int) -> None:
    """Raise this process's limit of open files to what the connections of callers and calls need, if it may."""
    needed = 2 * max_concurrency + _SPARE_CONNECTIONS + HEALTH_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _max_connections(max_concurrency: int) -> int:
    """Return the limit of connections: fewer where this process may open few files, which calls need too."""
    usual = max_concurrency + _SPARE_CONNECTIONS
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files == resource.RLIM_INFINITY:
        return usual
    fitting = open_files - max_concurrency - HEALTH_CONNECTIONS - _OTHER_FILES
    return min(usual, max(_MIN_CONNECTIONS, fitting))


@asynccontextmanager
async def running(
    gateway: GatewayProtocol, *, host: str = LOOPBACK, port: int = 0, options: AppOptions | None = None
) -> AsyncIterator[str]:
    """Serve a gateway while the block runs, as `HttpServer` does.

    Yields:
        The address: `http://127.0.0.1:40123`; OpenAI's base URL is this and `/v1`.

    Raises:
        UsageError: no such address on this machine.
        InfrastructureError: the port is in use or not permitted.
    """
    server = HttpServer(gateway, host=host, port=port, options=options)
    address = await server.start()
    try:
        yield address
    finally:
        await server.stop()

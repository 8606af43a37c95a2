"""The HTTP server around an application: opens a port, serves, drains, ends."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flowai.server.app import AppOptions, GatewayApp
from flowai.server.auth import is_loopback
from flowai.server.http.listener import LOOPBACK, EmbeddedServer, quiet_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flowai.server.protocol import GatewayProtocol

_SPARE_CONNECTIONS_COUNT = 512  # for probes, idle connections and those that are told to come back


class HttpServer:
    """Serves one gateway at one address; used within one event loop.

    Args:
        gateway: who answers; it is neither opened nor closed here.
        host: address or name to listen on.
        port: port, 0 to 65535; 0 takes a free one.
        options: how the application behaves; None for the defaults of the address.
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
        """Open the port and serve.

        Returns:
            The address: `http://127.0.0.1:8080`.

        Raises:
            UsageError: no such address on this machine.
            InfrastructureError: the port is taken or not ours to take.
        """
        limits = (await self._gateway.status()).serve
        most_connections_count = limits.max_concurrency + _SPARE_CONNECTIONS_COUNT
        self._server = quiet_server(self.app, most_connections_count=most_connections_count)
        port = await self._server.start(self._host, self._port)
        return f"http://[{self._host}]:{port}" if ":" in self._host else f"http://{self._host}:{port}"

    async def warm_up(self) -> None:
        """Do now what the first call would wait for; `/readyz` says when it is done."""
        await self._gateway.warm_up()
        self.app.is_warm = True

    async def drain(self, for_s: float) -> int:
        """Accept no more, and wait for the calls under way.

        Args:
            for_s: seconds to wait, >= 0; calls that take longer are cut and told so.

        Returns:
            How many were cut.
        """
        if self._server is not None:
            self._server.stop_accepting()
        return await self.app.under_way.drain(for_s)

    def cut(self) -> int:
        """End every call now; give how many there were."""
        return self.app.under_way.cut()

    async def stop(self) -> None:
        """End; calls still under way are cut."""
        self.cut()
        if self._server is not None:
            await self._server.stop()
            self._server = None


@asynccontextmanager
async def running(
    gateway: GatewayProtocol, *, host: str = LOOPBACK, port: int = 0, options: AppOptions | None = None
) -> AsyncIterator[str]:
    """Serve a gateway while the block runs; calls still under way at its end are cut.

    Args:
        gateway: who answers; it is neither opened nor closed here.
        host: address or name to listen on.
        port: port, 0 to 65535; 0 takes a free one.
        options: how the application behaves; None for the defaults of the address.

    Yields:
        The address: `http://127.0.0.1:40123`; OpenAI's base URL is this and `/v1`.

    Raises:
        UsageError: no such address on this machine.
        InfrastructureError: the port is taken or not ours to take.
    """
    server = HttpServer(gateway, host=host, port=port, options=options)
    address = await server.start()
    try:
        yield address
    finally:
        await server.stop()

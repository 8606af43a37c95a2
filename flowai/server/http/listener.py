"""Listening socket, and uvicorn's server on it."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from flowai.errors import InfrastructureError, UsageError
from flowai.server.http.connection import LimitedConnection
from flowai.server.http.connection_table import ConnectionTable

if TYPE_CHECKING:
    from collections.abc import Iterator


LOOPBACK = "127.0.0.1"
_BACKLOG_CONNECTIONS = 1024
_ACCEPTED_AT_ONCE = 32  # asyncio accepts a whole backlog before any connection counts: files could run out
_CUT_GRACE_S = 2  # for the error responses of calls that were cut


class EmbeddedServer(uvicorn.Server):
    """uvicorn's server, without signal handlers and with an event for its start."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._is_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and set the event."""
        await super().startup(sockets)
        self._is_up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers: uvicorn's would raise the signal again after a graceful exit."""
        yield

    async def start(self, host: str, port: int) -> int:
        """Open the port and serve in the background; return the port.

        Raises:
            UsageError: no such address on this machine.
            InfrastructureError: the port is in use or not permitted.
        """
        listener = await _listen(host, port)
        self._task = asyncio.create_task(self.serve(sockets=[listener]))
        await self._is_up.wait()
        listener.listen(_BACKLOG_CONNECTIONS)
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Stop the server; may be called twice."""
        if self._task is not None:
            self.should_exit = True
            await self._task
            self._task = None

    def stop_accepting(self) -> None:
        """Close the port; open connections stay."""
        for server in self.servers:
            server.close()


def quiet_server(app: Any, *, max_connections: int) -> EmbeddedServer:  # noqa: ANN401 - an ASGI application
    """Build a server for an application: HTTP only, without logs; `max_connections` (>= 1) see `ConnectionTable`."""
    connection: Any = partial(LimitedConnection, table=ConnectionTable(max_connections))  # uvicorn expects a class
    config = uvicorn.Config(
        app,
        http=connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_CUT_GRACE_S,
        backlog=_ACCEPTED_AT_ONCE,
    )
    return EmbeddedServer(config)


async def _listen(host: str, port: int) -> socket.socket:
    """Open the port at the first address of a name."""
    try:
        addresses = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        raise _no_address(host) from None
    family, kind, protocol, _, address = addresses[0]
    # with the protocol set, asyncio disables Nagle's algorithm, which delays each answer by 40 ms
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise _no_address(host) from None
        raise InfrastructureError(
            f"cannot listen on `{host}:{port}`: {error.strerror or error}",
            hint="another process uses the port, or it needs more permissions; port 0 is any free port",
        ) from None
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    return listener


def _no_address(host: str) -> UsageError:
    return UsageError(f"`{host}` is not an address of this machine", hint="use `127.0.0.1`, or `0.0.0.0` for all")

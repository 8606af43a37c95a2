"""A port of this machine, and uvicorn's server on it."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from flowai.errors import InfrastructureError, UsageError
from flowai.server.auth import MAX_HEADER_BYTES
from flowai.server.http.connection import LimitedConnection

if TYPE_CHECKING:
    from collections.abc import Iterator


LOOPBACK = "127.0.0.1"
_BACKLOG_COUNT = 1024
_CUT_GRACE_S = 2  # what calls that were cut get to say so


class EmbeddedServer(uvicorn.Server):
    """uvicorn's server, which tells when it is up and leaves signals to us."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._is_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._is_up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers: uvicorn would kill the process with the same signal once it has ended in good order."""
        yield

    async def start(self, host: str, port: int) -> int:
        """Open the port and serve in the background; return the port.

        Raises:
            UsageError: no such address on this machine.
            InfrastructureError: the port is taken or not ours to take.
        """
        listener = await _listen(host, port)
        self._task = asyncio.create_task(self.serve(sockets=[listener]))
        await self._is_up.wait()
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """End; may be called twice."""
        if self._task is not None:
            self.should_exit = True
            await self._task
            self._task = None

    def stop_accepting(self) -> None:
        """Close the port; connections that are open stay."""
        for server in self.servers:
            server.close()


def quiet_server(app: Any, *, most_connections_count: int) -> EmbeddedServer:  # noqa: ANN401 - an ASGI application
    """Put uvicorn around an application: HTTP alone, bounded, silent.

    Args:
        app: the application.
        most_connections_count: connections at a time, >= 1; who comes above is told to come back.
    """
    config = uvicorn.Config(
        app,
        http=LimitedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        limit_concurrency=most_connections_count,
        timeout_graceful_shutdown=_CUT_GRACE_S,
        backlog=_BACKLOG_COUNT,
    )
    return EmbeddedServer(config)


async def _listen(host: str, port: int) -> socket.socket:
    """Open the port; the first address of a name counts.

    Raises:
        UsageError: no such address on this machine.
        InfrastructureError: the port is taken or not ours to take.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        raise _no_address(host) from None
    family, kind, protocol, _, address = found[0]
    # asyncio switches Nagle's delay off only for sockets that say they are TCP: without it each answer takes 40 ms
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
            hint="another process has the port, or it is not yours to take; port 0 takes a free one",
        ) from None
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    return listener


def _no_address(host: str) -> UsageError:
    return UsageError(f"`{host}` is no address of this machine", hint="`127.0.0.1`, or `0.0.0.0` for all of them")

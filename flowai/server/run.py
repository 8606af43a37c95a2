"""What `flowai serve` does: opens the gateway, serves it until a signal comes, drains, ends; makes keys for callers."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError, UsageError
from flowai.server.api_keys import hash_of, new_key
from flowai.server.auth import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.gateway.records import GatewayStatus
    from flowai.server.http_server import HttpServer

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # what the registry takes for a name


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """What to serve, and where."""

    start: Path
    """The project's directory, or one below it."""
    env: str | None = None
    """The environment; None for FLOWAI_ENV or none."""
    host: str = "127.0.0.1"
    """Address or name to listen on."""
    port: int = 8080
    """Port, 0 to 65535; 0 takes a free one."""
    drain_s: float = 30.0
    """Seconds that calls under way get when the server is told to end, >= 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerInfo:
    """A server that takes calls."""

    address: str
    """`http://127.0.0.1:8080`."""
    standing: GatewayStatus
    """How the gateway stands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeResult:
    """How a server ended."""

    cut_count: int
    """Calls that were cut because they took longer than they were given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKey:
    """A key for a caller; it is not kept anywhere."""

    key: str
    """The key itself."""
    tenant: str
    """Whose it is."""
    lines: tuple[str, ...]
    """What to put into the registry, YAML."""


def make_key(tenant: str) -> NewKey:
    """Make a key for a tenant.

    Raises:
        UsageError: the registry would not take such a name.
    """
    if _TENANT.fullmatch(tenant) is None:
        raise UsageError(f"`{tenant}` cannot name a tenant", hint="letters, digits, `_`, `-` and `.`")
    key = new_key(secrets.token_bytes)
    digest = hash_of(key)
    lines = ("serve:", "  keys:", f"    {tenant}-{digest[:6]}: {{tenant: {tenant}, sha256: {digest}}}")
    return NewKey(key=key, tenant=tenant, lines=lines)


def run_serve(
    options: ServeOptions,
    *,
    on_ready: Callable[[ServerInfo], None],
    on_drain: Callable[[int], None],
    on_error: Callable[[BaseException], None],
) -> ServeResult:
    """Serve until SIGTERM or SIGINT; a second signal ends at once.

    Args:
        options: what and where.
        on_ready: told once calls are taken.
        on_drain: told, with the number of calls under way, that no more are taken.
        on_error: told what no caller is told: exceptions that nothing expected, and a model of this machine that does
            not start.

    Raises:
        UsageError: the address can be reached from other machines and the registry has no keys; no such address.
        InfrastructureError: the port is taken.
        ProjectError: a file of the project is wrong.
    """
    return asyncio.run(_serve(options, on_ready, on_drain, on_error))


async def _serve(
    options: ServeOptions,
    on_ready: Callable[[ServerInfo], None],
    on_drain: Callable[[int], None],
    on_error: Callable[[BaseException], None],
) -> ServeResult:
    from flowai.gateway.gateway import Gateway
    from flowai.server.app import AppOptions
    from flowai.server.http_server import HttpServer

    async with Gateway(options.start, env=options.env, origin="serve") as gateway:
        standing = await gateway.status()
        is_local = is_loopback(options.host)
        if not is_local and not standing.serve.keys:
            raise UsageError(
                f"`{options.host}` can be reached from other machines, and the registry has no keys",
                hint="make one with `flowai serve --new-key TENANT` and put its lines into the registry",
            )
        app_options = AppOptions(is_local=is_local, on_bug=on_error)
        server = HttpServer(gateway, host=options.host, port=options.port, options=app_options)
        signals = _Signals()
        address = await server.start()
        warming = asyncio.create_task(_warm_up(server, on_error))  # after the port is open: nobody waits for it
        try:
            on_ready(ServerInfo(address=address, standing=standing))
            await signals.first.wait()
            on_drain(len(server.app.under_way))
            return ServeResult(cut_count=await _drain(server, options.drain_s, signals))
        finally:
            warming.cancel()
            with suppress(asyncio.CancelledError):
                await warming
            await server.stop()
            signals.forget()


async def _warm_up(server: HttpServer, on_error: Callable[[BaseException], None]) -> None:
    try:
        await server.warm_up()
    except FlowaiError as error:  # the calls that need it will meet the same
        on_error(error)


class _Signals:
    """The first and the second request to end."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        (self.second if self.first.is_set() else self.first).set()

    def forget(self) -> None:
        for number in _SIGNALS:
            self._loop.remove_signal_handler(number)


async def _drain(server: HttpServer, for_s: float, signals: _Signals) -> int:
    """Wait for the calls under way, until their time is over or a second signal comes; give how many were cut."""
    draining = asyncio.create_task(server.drain(for_s))
    hurry = asyncio.create_task(signals.second.wait())
    await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
    cut_count = 0 if draining.done() else server.cut()
    hurry.cancel()
    return cut_count + await draining

"""`flowai serve`: opens the gateway, serves until a signal, drains, stops; also creates keys for callers."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError, UsageError
from flowai.server.api_keys import hash_of, new_key
from flowai.server.auth import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date
    from pathlib import Path

    from flowai.gateway.gateway import Gateway
    from flowai.gateway.records import GatewayStatus
    from flowai.server.app import RequestInfo
    from flowai.server.health import HealthChange, HealthMonitor
    from flowai.server.http_server import HttpServer
    from flowai.server.key_audit import KeyAudit

_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_HEALTH_INTERVAL_S = 0.5
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # names that the registry accepts


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """Options of `flowai serve`."""

    start: Path
    """The project's directory, or one below it."""
    env: str | None = None
    """The environment; None for FLOWAI_ENV or none."""
    host: str = "127.0.0.1"
    """Address or name to listen on."""
    port: int = 8080
    """0 to 65535; 0 for a free port."""
    drain_s: float = 30.0
    """Time for running calls after the signal, >= 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerInfo:
    """A running server."""

    address: str
    """`http://127.0.0.1:8080`."""
    gateway_status: GatewayStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeCallbacks:
    """Reports of a running server."""

    on_ready: Callable[[ServerInfo], None]
    """Called when the server accepts calls."""
    on_drain: Callable[[int], None]
    """Called with the number of running calls when the server begins to end."""
    on_error: Callable[[BaseException], None]
    """Called with errors that callers do not see: unexpected exceptions, and a local model that does not start."""
    on_health_change: Callable[[HealthChange], None] = lambda _: None
    """Called when a part of the gateway fails, and when it works again."""
    on_reload: Callable[[str | None], None] = lambda _: None
    """Called after a reload by SIGHUP, with the reason why the new files do not serve; None if they do."""
    on_request: Callable[[RequestInfo], None] | None = None
    """Called with every answered request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeResult:
    """Result of `flowai serve`."""

    cut_count: int
    """Calls that were cut because they took longer than `drain_s`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKey:
    """A new key for a caller; it is not stored."""

    key: str
    tenant: str
    lines: tuple[str, ...]
    """YAML to add to the registry."""


def create_key(
    tenant: str, *, expires: date | None = None, features: Sequence[str] = (), models: Sequence[str] = ()
) -> NewKey:
    """Create a key for a tenant.

    Args:
        tenant: name of the tenant.
        expires: last day of the key, UTC; None for no end.
        features: the only features that it may call; with `models`, empty for none, else for all.
        models: the only models that it may call; as `features`.

    Raises:
        UsageError: the registry does not accept such a name.
    """
    for kind, name in (
        ("tenant", tenant),
        *(("feature", name) for name in features),
        *(("model", name) for name in models),
    ):
        if _NAME.fullmatch(name) is None:
            raise UsageError(f"`{name}` cannot name a {kind}", hint="letters, digits, `_`, `-` and `.`")
    key = new_key(secrets.token_bytes)
    digest = hash_of(key)
    fields = [f"tenant: {tenant}", f"sha256: {digest}"]
    if expires is not None:
        fields.append(f"expires: {expires}")
    fields += [
        f"{field}: [{', '.join(names)}]" for field, names in (("features", features), ("models", models)) if names
    ]
    lines = ("serve:", "  keys:", f"    {tenant}-{digest[:6]}: {{{', '.join(fields)}}}")
    return NewKey(key=key, tenant=tenant, lines=lines)


def run_serve(options: ServeOptions, callbacks: ServeCallbacks) -> ServeResult:
    """Serve until SIGTERM or SIGINT; a second signal ends at once. SIGHUP reloads the project's files.

    Raises:
        UsageError: other machines can reach the address and the registry has no keys; no such address.
        InfrastructureError: the port is in use.
        ProjectError: a file of the project is wrong.
    """
    return asyncio.run(_serve(options, callbacks))


async def _serve(options: ServeOptions, callbacks: ServeCallbacks) -> ServeResult:
    from flowai.audit import AuditLog, audit_directory
    from flowai.gateway.gateway import Gateway
    from flowai.gateway.runtime import RuntimeOptions
    from flowai.gateway.supervisor import Supervisor
    from flowai.releases.registry_source import open_source, state_address
    from flowai.server.app import AppOptions
    from flowai.server.health import HealthMonitor
    from flowai.server.http_server import HttpServer, raise_open_files
    from flowai.server.key_audit import KeyAudit
    from flowai.state.requests.factory import open_request_store

    signals = _Signals()  # first: a reload that is requested during the start must not end the process
    monitor = HealthMonitor(callbacks.on_health_change)
    settings = RuntimeOptions(on_event=monitor.add_event, on_bug=callbacks.on_error)
    async with Gateway(options.start, env=options.env, origin="serve", settings=settings) as gateway:
        gateway_status = await gateway.status()
        is_local = is_loopback(options.host)
        if not is_local and not gateway_status.serve.keys:
            raise UsageError(
                f"other machines can reach `{options.host}`, but the registry has no keys",
                hint="create one with `flowai serve --new-key TENANT` and add its lines to the registry",
            )
        raise_open_files(gateway_status.serve.max_concurrency)
        with open_source(options.start, named=None, env=options.env, environ=settings.environ) as source:
            request_store = open_request_store(*state_address(source, None, options.start), clock_s=time.time)
            audit_log = AuditLog(audit_directory(source.project))
        audit = KeyAudit(audit_log, now=settings.now, on_error=callbacks.on_error)
        app_options = AppOptions(
            is_local=is_local,
            waits_for_warm_up=True,
            on_bug=callbacks.on_error,
            on_request=callbacks.on_request,
            now=settings.now,
            request_store=request_store,
            audit=audit,
        )
        server = HttpServer(gateway, host=options.host, port=options.port, options=app_options)
        signals.handle_end()
        address = await server.start()
        # after the port is open: nothing waits for them
        background_tasks = [
            asyncio.create_task(_warm_up(server, callbacks.on_error)),
            asyncio.create_task(_reload(gateway, signals, callbacks)),
        ]
        supervisor = Supervisor(callbacks.on_error)
        supervisor.start("health", partial(_check_health, gateway, monitor, audit), interval_s=_HEALTH_INTERVAL_S)
        try:
            callbacks.on_ready(ServerInfo(address=address, gateway_status=gateway_status))
            await signals.first.wait()
            callbacks.on_drain(len(server.app.in_flight))
            drain_policy = (await gateway.status()).serve.drain
            notice_s = drain_policy.notice_s(is_local=is_local) if signals.has_notice else 0.0
            return ServeResult(cut_count=await _drain(server, notice_s, options.drain_s, signals))
        finally:
            for task in background_tasks:
                task.cancel()
            await asyncio.gather(*background_tasks, return_exceptions=True)
            await supervisor.stop()
            await server.stop()
            signals.remove_handlers()
            await request_store.aclose()
            audit.close()


async def _warm_up(server: HttpServer, on_error: Callable[[BaseException], None]) -> None:
    try:
        await server.warm_up()
    except Exception as error:  # noqa: BLE001 - calls that need the same will fail with it
        on_error(error)


async def _check_health(gateway: Gateway, monitor: HealthMonitor, audit: KeyAudit) -> None:
    gateway_status = await gateway.status()
    monitor.check(gateway_status)
    audit.check_keys(gateway_status.serve.keys)


async def _reload(gateway: Gateway, signals: _Signals, callbacks: ServeCallbacks) -> None:
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        try:
            await gateway.reload()
            callbacks.on_reload((await gateway.status()).degraded.get("registry_invalid"))
        except FlowaiError as error:  # no release can serve: each call raises the error
            callbacks.on_reload(str(error))
        except Exception as bug:  # noqa: BLE001 - the edge: the next reload may be better
            callbacks.on_error(bug)


class _Signals:
    """Events of the signals: the first and the second to end, and to reload."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.reload = asyncio.Event()
        self.has_notice = True
        """Whether the first signal leaves load balancers time: Ctrl-C does not."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def handle_end(self) -> None:
        """Handle the signals to end; until then they end the process at once."""
        for number in _END_SIGNALS:
            self._loop.add_signal_handler(number, self._on_end, number)

    def _on_end(self, number: signal.Signals) -> None:
        if self.first.is_set():
            self.second.set()
        else:
            self.has_notice = number != signal.SIGINT
            self.first.set()

    def remove_handlers(self) -> None:
        for number in (*_END_SIGNALS, signal.SIGHUP):
            self._loop.remove_signal_handler(number)


async def _drain(server: HttpServer, notice_s: float, timeout_s: float, signals: _Signals) -> int:
    """Wait for running calls until the time limit or a second signal; return how many were cut."""

    async def end() -> int:
        await server.announce_end(notice_s)
        return await server.drain(timeout_s)

    ending = asyncio.create_task(end())
    second_signal = asyncio.create_task(signals.second.wait())
    await asyncio.wait({ending, second_signal}, return_when=asyncio.FIRST_COMPLETED)
    second_signal.cancel()
    if ending.done():
        return await ending
    ending.cancel()
    cut_count = server.cut()
    return cut_count + await server.drain(timeout_s)

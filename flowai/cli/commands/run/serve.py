"""`flowai serve`: options, messages, and new keys."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption
from flowai.timestamps import format_rfc3339

if TYPE_CHECKING:
    from flowai.server.app import RequestInfo
    from flowai.server.health import HealthChange
    from flowai.server.run import ServerInfo

EXAMPLES = examples(
    "flowai serve",
    "flowai serve --host 0.0.0.0 --port 8000 --env prod",
    "flowai serve --access-log",
    "flowai serve --new-key acme",
    "flowai serve --new-key acme --expires 2027-01-31 --features summarization",
)


def command(  # noqa: PLR0913, PLR0917 - a command's options
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Address to listen on; other than loopback requires keys in the registry."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 selects a free port.")
    ] = 8080,
    drain: Annotated[
        str, typer.Option("--drain", metavar="DURATION", help="Time that active calls get to finish after SIGTERM.")
    ] = "30s",
    new_key: Annotated[
        str | None,
        typer.Option("--new-key", metavar="TENANT", help="Create a key for a tenant, show it once, and exit."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="DAY", help="With --new-key: last day of the key, UTC, as 2027-01-31."),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option("--features", metavar="NAMES", help="With --new-key: the only features it may call, as a,b."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="NAMES", help="With --new-key: the only models it may call, as a,b."),
    ] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="Print one line per request to stdout.")] = False,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Serve the features over HTTP, as OpenAI and Anthropic do.

    Routes: /v1/chat/completions, /v1/responses, /v1/messages, /v1/embeddings, /v1/models, /v1/feedback, /v1/score.
    Exits gracefully on SIGTERM or Ctrl-C; a second signal ends it at once. SIGHUP reloads the project's files.
    """
    from flowai.server.run import ServeCallbacks, ServeOptions, run_serve

    if new_key is not None:
        _show_new_key(new_key, expires=expires, features=features, models=models, json=json)
        return
    _refuse_key_options(expires, features, models)
    options = ServeOptions(start=Path.cwd(), env=env, host=host, port=port, drain_s=_seconds(drain))
    screen = _ServeScreen(json=json)
    callbacks = ServeCallbacks(
        on_ready=screen.ready,
        on_drain=screen.drain,
        on_error=screen.error,
        on_health_change=screen.health_change,
        on_reload=screen.reload,
        on_request=screen.request if access_log else None,
    )
    served = run_serve(options, callbacks)
    if served.cut_count:
        from flowai.cli import console
        from flowai.rendering import formatting

        console.print_progress_line(f"cut {formatting.count(served.cut_count, 'call')} that took longer than {drain}")


class _ServeScreen:
    """Prints the address, warnings, health, errors and requests; address and requests as JSON with --json."""

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def ready(self, serving: ServerInfo) -> None:
        status = serving.gateway_status
        if self._json:
            import msgspec

            facts = {"address": serving.address, "release": status.release, "warnings": status.warnings}
            sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
        else:
            from flowai.cli import console

            for warning in status.warnings:
                console.print_progress_line(f"warning: {warning}")
            sys.stdout.write(f"serving {status.release or 'no release'} at {serving.address}/v1\n")
        sys.stdout.flush()

    def drain(self, call_count: int) -> None:
        from flowai.cli import console
        from flowai.rendering import formatting

        console.print_progress_line(f"shutting down; {formatting.count(call_count, 'call')} under way")

    def health_change(self, change: HealthChange) -> None:
        from flowai.cli import console

        with suppress(OSError):  # a closed terminal fails no call
            console.print_progress_line(f"{_now()} {change.text}")

    def reload(self, problem: str | None) -> None:
        from flowai.cli import console

        text = "reloaded" if problem is None else f"not reloaded, the previous version serves: {problem}"
        with suppress(OSError):
            console.print_progress_line(f"{_now()} {text}")

    def request(self, request: RequestInfo) -> None:
        at, ms = _now(), round(request.duration_s * 1000)
        if self._json:
            import msgspec

            facts = {"at": at, "method": request.method, "route": request.route, "status": request.status}
            line = msgspec.json.encode({**facts, "ms": ms, "model": request.model}).decode()
        else:
            line = f"{at} {request.method} {request.route} {request.status} {ms} ms {request.model or '-'}"
        try:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        except OSError:  # nothing reads the log any more; Python would fail to flush it at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def error(self, error: BaseException) -> None:
        from flowai.cli import console
        from flowai.errors import FlowaiError

        if isinstance(error, FlowaiError):
            console.print_error(error)
        else:
            console.print_traceback(error)


def _now() -> str:
    return format_rfc3339(datetime.now(UTC))


def _show_new_key(tenant: str, *, expires: str | None, features: str | None, models: str | None, json: bool) -> None:
    from flowai.cli import console
    from flowai.server.run import create_key

    made = create_key(
        tenant,
        expires=None if expires is None else _day(expires),
        features=_names(features),
        models=_names(models),
    )
    if json:
        console.print_json({"key": made.key, "tenant": made.tenant, "registry": "\n".join(made.lines)})
        return
    console.print_line(f"key for {made.tenant}, shown this once: {made.key}")
    console.print_line("put this into the registry, which keeps only its hash:")
    for line in made.lines:
        console.print_line(line)


def _refuse_key_options(expires: str | None, features: str | None, models: str | None) -> None:
    from flowai.errors import UsageError

    for option, value in (("--expires", expires), ("--features", features), ("--models", models)):
        if value is not None:
            raise UsageError(f"{option} needs --new-key", hint="flowai serve --new-key TENANT")


def _names(text: str | None) -> list[str]:
    return [] if text is None else [name.strip() for name in text.split(",")]


def _day(text: str) -> date:
    from flowai.errors import UsageError

    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--expires: found `{text}`, expected a day such as `2027-01-31`") from None
    if day < datetime.now(UTC).date():
        raise UsageError(f"--expires: `{day}` is over", hint="name today or a later day, UTC")
    return day


def _seconds(duration: str) -> float:
    from flowai.errors import UsageError
    from flowai.timestamps import parse_duration_s

    try:
        return parse_duration_s(duration)
    except ValueError:
        raise UsageError(f"--drain: found `{duration}`, expected a duration such as `30s` or `2m`") from None

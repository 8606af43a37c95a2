"""`flowai providers`: options and screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.analytics.provider_report import LastFailure, ProviderReport, ProvidersReport

EXAMPLES = examples(
    "flowai providers",
    "flowai providers --env prod --json",
    "flowai providers --reset openai",
)
MAX_NAME_CHARS = 30


def command(
    reset: Annotated[
        str | None,
        typer.Option("--reset", metavar="NAME", help="Close this provider's breaker and end its back-offs now."),
    ] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Show circuit breakers and back-offs of providers; end them.

    The state is the one that all processes share (`state` in the registry); running processes follow --reset at once.
    """
    from flowai.analytics.provider_report import report_providers
    from flowai.cli import console

    report = report_providers(console.command_context(env), reset=reset)
    if json:
        console.print_json(report)
        return
    if reset is not None:
        console.print_styled(_reset_line(reset, was_reset=bool(report.was_reset)))
    for line in screen_lines(report, console.terminal_width()):
        console.print_line(line)


def _reset_line(name: str, *, was_reset: bool) -> str:
    if was_reset:
        return f"done     {name}: the breaker is closed, back-offs have ended"
    return f"NOTHING CHANGED  {name}: the breaker was closed, without failures and back-offs"


_COLUMNS = ("provider", "breaker", "back-off", "failures (24 h)", "models")
_DROP_ORDER = (3, 4)
"""Columns that are left out on a narrow terminal, the least important first."""


def screen_lines(report: ProvidersReport, width: int | None) -> Iterator[str]:
    """Yield the table of providers, their last failures, and the command that ends an open breaker."""
    from flowai.rendering.formatting import aligned, without_columns, wrapped

    if not report.is_shared:
        yield from wrapped("warning: `state: memory:` is not shared: each process has breakers of its own", width)
    if not report.providers:
        yield "no providers: the registry has no models"
        return
    rows = without_columns([_COLUMNS, *map(_cells, report.providers)], _DROP_ORDER, width)
    yield from aligned(rows, "".join(">" if name == "failures (24 h)" else "<" for name in rows[0]))
    for provider in report.providers:
        if provider.last_failure is not None:
            yield from wrapped(_failure_line(provider.provider, provider.last_failure), width)
    stopped = [each for each in report.providers if each.status != "closed" or each.back_offs]
    if stopped:
        yield f"end it now: flowai providers --reset {stopped[0].provider}"


def _cells(provider: ProviderReport) -> tuple[str, ...]:
    from flowai.rendering.markdown import one_line

    back_offs = (f"{one_line(each.model, MAX_NAME_CHARS)} {_time(each.remaining_s)}" for each in provider.back_offs)
    return (
        one_line(provider.provider, MAX_NAME_CHARS),
        _breaker(provider),
        ", ".join(back_offs) or "-",
        f"{provider.recent_failure_count:,}",
        one_line(", ".join(provider.models) or "-", 2 * MAX_NAME_CHARS),
    )


def _breaker(provider: ProviderReport) -> str:
    if provider.status == "closed":
        return f"closed, {provider.failure_count} failed" if provider.failure_count else "closed"
    if provider.status == "probing":
        return "probing"
    return f"open {_time(provider.remaining_s)}" if provider.remaining_s else "open, next probes"


def _time(seconds: float) -> str:
    """Return a remaining time in whole seconds, rounded up: `42 s`, `4 min 02 s`."""
    import math

    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _failure_line(name: str, failure: LastFailure) -> str:
    from flowai.rendering.markdown import one_line

    message = "" if failure.message is None else f": {one_line(failure.message, 200)}"
    when = failure.at[5:19].replace("T", " ")
    return f"last failure of {name}: {when} UTC, {failure.model}, {failure.error_class}{message}"

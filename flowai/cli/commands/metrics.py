"""`flowai metrics`: what the event log says about each feature, model, release or prompt."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.options import Env, JsonOption, Until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.analytics.usage import UsageReport
    from flowai.errors import FlowaiError


def command(  # noqa: PLR0913, PLR0917 - a command's options
    since: Annotated[str, typer.Option("--since", help="Begin: `2h`, `02:10`, `2026-05-02`.")] = "24h",
    until: Until = None,
    by: Annotated[
        str, typer.Option("--by", help="Group by feature, model, release, prompt, variant; several with commas.")
    ] = "feature",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    interval: Annotated[str, typer.Option("--interval", metavar="DURATION", help="Between two looks.")] = "5s",
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", metavar="FILE", help="Also write it here: .json or .md. Repeatable."),
    ] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Show calls, errors, times, acceptance, hallucinations, cache hits, tokens and cost, by feature or anything else.

    --watch draws anew on a terminal, prints one block per look elsewhere, and one JSON object per line with --json.
    Exit status: 0, or 5 when there were no calls; of --watch 130, as Ctrl-C ends it.
    """
    from flowai.analytics.usage_report import MetricsOptions, run_metrics, watch_metrics
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.rendering.report_files import to_json
    from flowai.timestamps import parse_option_s

    every_s = parse_option_s(interval, option="--interval")
    context = console.command_context(env)
    options = MetricsOptions(since=since, until=until, by=by, outputs=tuple(Path(name) for name in output or ()))
    if watch:
        on_report = _line if json else _MetricsScreen(interval).look if _can_redraw() else _block
        watch_metrics(context, options, every_s=every_s, on_report=on_report)
    report = run_metrics(context, options)
    if json:
        console.print_json(to_json(report))
    else:
        for line in lines(report):
            console.print_line(line)
    if not report.total.call_count:
        raise typer.Exit(ExitCode.INCONCLUSIVE)


def lines(report: UsageReport) -> Iterator[str]:
    """Give a report as it is shown."""
    from flowai.analytics.usage_tables import tables
    from flowai.rendering.formatting import aligned

    yield f"{report.total.call_count:,} calls   {report.since} to {report.until}"
    for table in tables(report) if report.rows else ():
        yield ""
        sides = ("<" * len(report.by)).ljust(len(table.columns), ">")
        yield from aligned([table.columns, *table.rows], sides)
    for problem in report.problems:
        yield f"warning: {problem.count:,} lines: {problem.kind.replace('_', ' ')}"


def _can_redraw() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _line(found: UsageReport | FlowaiError) -> None:
    """Print one look as one line of JSON."""
    import msgspec

    from flowai.cli import console
    from flowai.errors import FlowaiError

    if isinstance(found, FlowaiError):
        console.print_error(found)
    else:
        console.print_line(msgspec.json.encode(found, order="deterministic").decode())
        console.flush()


def _block(found: UsageReport | FlowaiError) -> None:
    """Print one look as a block of lines."""
    from flowai.cli import console
    from flowai.errors import FlowaiError

    if isinstance(found, FlowaiError):
        console.print_error(found)
        return
    for line in (*lines(found), ""):
        console.print_line(line)
    console.flush()


class _MetricsScreen:
    """Draws each look over the one before.

    Args:
        interval: time between two looks, as typed.
        size: gives columns and lines of the terminal.
    """

    def __init__(self, interval: str, size: Callable[[], os.terminal_size] = shutil.get_terminal_size) -> None:
        self._foot = f"every {interval}; Ctrl-C ends it"
        self._size = size
        self._shown: list[str] = []

    def look(self, found: UsageReport | FlowaiError) -> None:
        from flowai.cli import console
        from flowai.errors import FlowaiError
        from flowai.redaction import redact

        foot = self._foot
        if isinstance(found, FlowaiError):  # the last figures stay
            foot = f"error: {redact(str(found))}"
        else:
            self._shown = list(lines(found))
        width, height = self._size()
        room = max(1, height - 2)
        body = self._shown if len(self._shown) <= room else [*self._shown[: room - 1], "..."]
        # home, each line up to its end, and nothing below: no flicker
        drawn = "\n".join(f"{line[:width]}\x1b[K" for line in (*body, foot))
        console.print_line(f"\x1b[H{drawn}\x1b[J")
        console.flush()

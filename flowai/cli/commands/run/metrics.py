"""`flowai metrics`: options and screens."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption, Until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.analytics.usage import UsageReport
    from flowai.errors import FlowaiError

EXAMPLES = examples(
    "flowai metrics",
    "flowai metrics --since 7d --by release,feature",
    "flowai metrics --watch --interval 10s",
)


def command(  # noqa: PLR0913, PLR0917 - a command's options
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Start: `2h`, `02:10`, `2026-05-02`.")] = "24h",
    until: Until = None,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="KEYS",
            help="Group by feature, model, release, prompt or variant; separate several with commas.",
        ),
    ] = "feature",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    interval: Annotated[str, typer.Option("--interval", metavar="DURATION", help="Time between two refreshes.")] = "5s",
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Also write the report to this .json or .md file. Repeatable."
        ),
    ] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Show calls, errors, latency, cost and feedback by feature.

    --watch redraws a terminal, prints one block per refresh elsewhere, and one JSON object per line with --json.
    Exit status: 0, or 5 if there were no calls; with --watch 130, because Ctrl-C ends it.
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
    """Yield the lines of a report."""
    from flowai.analytics.judged_usage import judged_line
    from flowai.analytics.usage_tables import embeddings_line, tables
    from flowai.rendering.formatting import aligned

    yield f"{report.total.call_count:,} calls   {report.since} to {report.until}"
    for table in tables(report) if report.rows else ():
        yield ""
        sides = ("<" * len(report.by)).ljust(len(table.columns), ">")
        yield from aligned([table.columns, *table.rows], sides)
    if (judged := judged_line(report.judged)) is not None:
        yield ""
        yield judged
    if (embeddings := embeddings_line(report)) is not None:
        yield ""
        yield embeddings
    for problem in report.problems:
        yield f"warning: {problem.count:,} lines: {problem.kind.replace('_', ' ')}"


def _can_redraw() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _line(found: UsageReport | FlowaiError) -> None:
    """Print one report as one line of JSON."""
    import msgspec

    from flowai.cli import console
    from flowai.errors import FlowaiError

    if isinstance(found, FlowaiError):
        console.print_error(found)
    else:
        console.print_line(msgspec.json.encode(found, order="deterministic").decode())
        console.flush()


def _block(found: UsageReport | FlowaiError) -> None:
    """Print one report as a block of lines."""
    from flowai.cli import console
    from flowai.errors import FlowaiError

    if isinstance(found, FlowaiError):
        console.print_error(found)
        return
    for line in (*lines(found), ""):
        console.print_line(line)
    console.flush()


class _MetricsScreen:
    """Draws each report over the previous one.

    Args:
        interval: time between two looks, as typed.
        size: returns columns and lines of the terminal.
    """

    def __init__(self, interval: str, size: Callable[[], os.terminal_size] = shutil.get_terminal_size) -> None:
        self._foot = f"every {interval}; Ctrl-C ends it"
        self._size = size
        self._shown: list[str] = []

    def look(self, found: UsageReport | FlowaiError) -> None:
        from flowai.cli import console
        from flowai.errors import FlowaiError
        from flowai.redaction import redact
        from flowai.rendering.markdown import visible

        foot = self._foot
        if isinstance(found, FlowaiError):  # the last figures stay
            foot = f"error: {redact(str(found))}"
        else:
            self._shown = list(lines(found))
        width, height = self._size()
        room = max(1, height - 2)
        body = self._shown if len(self._shown) <= room else [*self._shown[: room - 1], "..."]
        # home, each line up to its end, and nothing below: no flicker
        drawn = "\n".join(f"{visible(line)[:width]}\x1b[K" for line in (*body, foot))
        sys.stdout.write(f"\x1b[H{drawn}\x1b[J\n")
        console.flush()

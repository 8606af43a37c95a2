"""`flowai metrics`: what the event log says about each feature, model, release or prompt.

In: options. Out: a table or JSON on stdout. Must never know how figures are counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowai.cli.options import Env, Json


def command(
    since: Annotated[str, typer.Option("--since", help="Begin: `2h`, `02:10`, `2026-05-02`.")] = "24h",
    until: Annotated[str | None, typer.Option("--until", help="End, written as the begin; default now.")] = None,
    by: Annotated[
        str, typer.Option("--by", help="Group by feature, model, release, prompt, variant; several with commas.")
    ] = "feature",
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", metavar="FILE", help="Also write it here: .json or .md. Repeatable."),
    ] = None,
    env: Env = None,
    json: Json = False,
) -> None:
    """Show calls, errors, times, acceptance, cache hits, tokens and cost, by feature or anything else.

    Exit status: 0, or 5 when there were no calls.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.metrics import usage_tables
    from flowai.operations.metrics import MetricsOptions, run_metrics, usage_json
    from flowai.operations.workspace import Surroundings

    around = Surroundings(project=console.project(), env=env)
    options = MetricsOptions(since=since, until=until, by=by, outputs=tuple(Path(name) for name in output or ()))
    report = run_metrics(around, options)
    if json:
        console.print_json(usage_json(report))
    else:
        console.print_line(f"{report.total.call_count:,} calls   {report.since} to {report.until}")
        if report.rows:
            console.print_table(usage_tables.columns(report), usage_tables.rows(report))
        for problem in report.problems:
            console.print_line(f"warning: {problem.count:,} lines: {problem.kind.replace('_', ' ')}")
    if not report.total.call_count:
        raise typer.Exit(ExitCode.UNDECIDED)

"""`flowai runs list`, `show` and `diff`: options and screens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.options import JsonOption, Outputs

if TYPE_CHECKING:
    from flowai.evals.reports import Trial

Run = Annotated[str, typer.Argument(metavar="RUN", help="Number of the run, as in `flowai runs list`, or `last`.")]

app = typer.Typer(
    cls=HelpGroup,
    help="List, show and compare earlier runs of `flowai eval`.",
    epilog=examples("flowai runs list", "flowai runs show last -o compare.html", "flowai runs diff 0412 0413"),
    no_args_is_help=True,
)


@app.callback()
def group() -> None:
    """Keep the group's help."""


@app.command(
    "list", cls=HelpCommand, epilog=examples("flowai runs list", "flowai runs list --target prompts/summary_v2")
)
def list_command(
    target: Annotated[
        str | None, typer.Option("--target", metavar="TARGET", help="List only runs of this target, as it was typed.")
    ] = None,
    max_count: Annotated[int, typer.Option("-n", metavar="N", min=1, max=100_000, help="List at most N runs.")] = 20,
    json: JsonOption = False,
) -> None:
    """List the newest runs: when, target, cases, pass rate, cost, state."""
    from flowai.cli import console
    from flowai.cli.run_list_view import list_lines
    from flowai.evals.runs.run_history import list_runs

    found = list_runs(console.project(), max_count=max_count, target=target)
    if json:
        console.print_json(found)
        return
    for line in list_lines(found, console.terminal_width()):
        console.print_line(line)


@app.command(
    "show",
    cls=HelpCommand,
    epilog=examples(
        "flowai runs show last", "flowai runs show 0412 --case negation-07", "flowai runs show 0412 -o a.html"
    ),
)
def show_command(
    run: Run = "last",
    case: Annotated[
        str | None, typer.Option("--case", metavar="ID", help="Show this case with input and answer.")
    ] = None,
    output: Outputs = None,
    json: JsonOption = False,
) -> None:
    """Show a run as `flowai eval` did; write its report again in any format."""
    from flowai.cli import console, run_view
    from flowai.cli.case_view import case_lines
    from flowai.evals.reports import WRITERS
    from flowai.evals.runs.run_history import load_report
    from flowai.rendering.report_files import check_endings, to_json, write_reports

    outputs = [Path(name) for name in output or ()]
    check_endings(outputs, WRITERS)
    project = console.project()
    report = load_report(project, run)
    trials = _trials_of(report.trials, case) if case is not None else []
    write_reports(report, outputs, WRITERS)
    if json:
        console.print_json(to_json(trials if case is not None else report))
        return
    for warning in report.warnings:
        console.print_progress_line(f"warning: {warning}")
    width = console.terminal_width()
    if case is not None:
        lines = case_lines(trials, width)
    else:
        again = f"flowai eval{f' {report.target}' if report.target else ''} --retry-errors"
        place = ", ".join(map(str, outputs)) or f"run {report.run_id}"
        lines = run_view.report_lines(report, again=again, place=place, width=width)
    for line in lines:
        console.print_styled(line)


@app.command(
    "diff",
    cls=HelpCommand,
    epilog=examples("flowai runs diff 0412 last", "flowai runs diff 0412 0413 -o compare.html"),
)
def diff_command(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Number of the earlier run.")],
    run: Run = "last",
    output: Outputs = None,
    json: JsonOption = False,
) -> None:
    """Compare a run with an earlier one, case by case, and say why.

    Lists the cases that turned worse and better. A written report is that of RUN, compared with BASE.
    """
    from flowai.cli import console
    from flowai.cli.run_list_view import diff_lines
    from flowai.evals.reports import WRITERS
    from flowai.evals.runs.run_diff import diff_runs, with_baseline
    from flowai.evals.runs.run_history import load_report
    from flowai.rendering.report_files import check_endings, write_reports

    outputs = [Path(name) for name in output or ()]
    check_endings(outputs, WRITERS)
    project = console.project()
    earlier, later = load_report(project, base), load_report(project, run)
    diff = diff_runs(earlier, later)
    if outputs:
        write_reports(with_baseline(later, earlier), outputs, WRITERS)
    if json:
        console.print_json(diff)
        return
    for warning in dict.fromkeys((*earlier.warnings, *later.warnings)):
        console.print_progress_line(f"warning: {warning}")
    for line in diff_lines(diff, earlier, later, console.terminal_width()):
        console.print_styled(line)


def _trials_of(trials: tuple[Trial, ...], case: str) -> list[Trial]:
    from difflib import get_close_matches

    from flowai.errors import UsageError

    found = [trial for trial in trials if trial.case == case]
    if not found:
        close = get_close_matches(case, list(dict.fromkeys(trial.case for trial in trials))[:10_000], n=3)
        hint = f"did you mean {', '.join(f'`{name}`' for name in close)}?" if close else "without --case, all are shown"
        raise UsageError(f"case `{case}`: found no such case in this run", hint=hint)
    return found

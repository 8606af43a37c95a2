"""`flowai experiment report|stop|adopt`: options, help, the screens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.options import Env, JsonOption, PageOutputs, Reason, Until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.experiments.stop_adopt import EndResult

app = typer.Typer(help="Hold the arms of an experiment against each other; end it.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The experiment, as the registry calls it.")]
Since = Annotated[
    str | None,
    typer.Option("--since", help="Begin: `2h`, `2026-05-02T10:00Z`; default its first call (within 90 days)."),
]
WindowOption = Annotated[str, typer.Option("--window", help="How long after a call its feedback counts.")]


@app.command("report")
def report_command(
    name: NameArgument,
    since: Since = None,
    until: Until = None,
    window: WindowOption = "1h",
    output: PageOutputs = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Hold every arm against every other: the goal, guardrails, times and cost.

    Look as often as you like. Exit status: 0 one arm won, 1 a guardrail of an arm is worse, 5 no winner yet or invalid.
    """
    from flowai.cli import console
    from flowai.experiments.report import ExperimentOptions, run_experiment_report
    from flowai.experiments.report_records import exit_code
    from flowai.experiments.tables import next_line, screen_lines
    from flowai.rendering.report_files import to_json

    context = console.command_context(env)
    options = ExperimentOptions(
        name=name, since=since, until=until, window=window, outputs=tuple(Path(one) for one in output or ())
    )
    result = run_experiment_report(context, options)
    if json:
        console.print_json(to_json(result.report))
    else:
        for line in screen_lines(result.report):
            console.print_styled(line)
        console.print_line(f"{context.project.show(result.directory / 'report.md')}   report.html   report.json")
        if line := next_line(result.report):
            console.print_line(line)
    raise typer.Exit(exit_code(result.report.verdict))


@app.command("stop")
def stop_command(name: NameArgument, reason: Reason = None, env: Env = None, json: JsonOption = False) -> None:
    """End an experiment: its entry is taken out of the registry, and the release alone serves its feature again.

    Running it again changes nothing and says so. The ledger keeps what the experiment was.
    """
    from flowai.cli import console
    from flowai.experiments.stop_adopt import StopOptions, stop

    _show(stop(console.command_context(), StopOptions(name=name, env=env, reason=reason)), json=json)


@app.command("adopt")
def adopt_command(  # noqa: PLR0913, PLR0917 - one parameter per option
    name: NameArgument,
    arm: Annotated[str | None, typer.Option("--arm", help="The arm; default the winner.")] = None,
    release: Annotated[
        str | None, typer.Option("--as", metavar="RELEASE", help="Name of the new release; default the next number.")
    ] = None,
    since: Since = None,
    window: WindowOption = "1h",
    force: Annotated[
        bool, typer.Option("--force", help="Take an arm that has not won; needs --arm and --reason.")
    ] = False,
    reason: Reason = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Make the winning arm a new release, and end the experiment.

    The arms are held against each other once more; the release is written into the registry, ready for `flowai release
    publish`. Exit status: 0 adopted (or adopted before), 5 no arm has won.
    """
    from flowai.cli import console
    from flowai.experiments.stop_adopt import AdoptOptions, adopt

    options = AdoptOptions(
        name=name, arm=arm, release=release, env=env, force=force, reason=reason, since=since, window=window
    )
    _show(adopt(console.command_context(), options), json=json)


def _show(ended: EndResult, *, json: bool) -> None:
    from flowai.cli import console

    if json:
        console.print_json(ended)
        return
    for line in ended_lines(ended):
        console.print_styled(line)


def ended_lines(ended: EndResult) -> Iterator[str]:
    """Give the screen: what was changed, who serves now, what to type next."""
    from flowai.rendering.markdown import one_line

    yield from (f"warning: {warning}" for warning in ended.warnings)
    env = f" --env {ended.environment}" if ended.environment else ""
    if not ended.changed:
        yield f"{ended.experiment} is over: {one_line(ended.ended)}; nothing changed"
    else:
        yield from _done_lines(ended)
    if ended.release is not None and ended.release != ended.serving:
        yield f"Then: flowai release publish {ended.release}{env}"


def _done_lines(ended: EndResult) -> Iterator[str]:
    if ended.release is not None:
        forced = " (without evidence)" if ended.forced else ""
        yield f"{ended.experiment}: arm {ended.arm} becomes {ended.release}{forced}"
        yield f"done     release             {ended.release} extends {ended.serving}"
    elif ended.arm is not None:
        yield f"{ended.experiment}: arm {ended.arm} is what {ended.serving} serves already; no release is needed"
    files = ", ".join(ended.files)
    yield f"done     experiment          taken out of {files}"
    yield "done     ledger              what it was is kept"
    yield f"{ended.experiment.upper()} IS OVER; {ended.serving} serves {ended.feature}.  Commit {files}."

"""`flowai experiment report|stop|adopt`: options and screens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.options import Env, JsonOption, PageOutputs, Reason, Until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.experiments.stop_adopt import EndResult

app = typer.Typer(
    cls=HelpGroup,
    help="Compare the arms of an experiment; stop it or adopt an arm.",
    epilog=examples(
        "flowai experiment report concise-vs-detailed",
        "flowai experiment adopt concise-vs-detailed --env prod",
        "flowai experiment stop concise-vs-detailed --reason 'no difference'",
    ),
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Experiment of the registry.")]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="Start: `2h`, `2026-05-02T10:00Z`; default the first call within 90 days."
    ),
]
WindowOption = Annotated[
    str, typer.Option("--window", metavar="DURATION", help="Time after a call within which feedback counts.")
]


@app.command(
    "report",
    cls=HelpCommand,
    epilog=examples(
        "flowai experiment report concise-vs-detailed",
        "flowai experiment report concise-vs-detailed --since 7d -o report.html",
    ),
)
def report_command(
    name: NameArgument,
    since: Since = None,
    until: Until = None,
    window: WindowOption = "1h",
    output: PageOutputs = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Compare every arm with every other: goal, guardrails, cost.

    You can read the report at any time and as often as you like. Exit status: 0 an arm won, 1 a guardrail of an arm is
    worse, 5 no winner yet or invalid.
    """
    from flowai.cli import console
    from flowai.experiments.report import ExperimentOptions, run_experiment_report
    from flowai.experiments.report_records import exit_code
    from flowai.experiments.tables import next_line, screen_lines
    from flowai.rendering.report_files import to_json

    context = console.command_context(env)
    options = ExperimentOptions(
        name=name, since=since, until=until, window=window, outputs=tuple(Path(path) for path in output or ())
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


@app.command(
    "stop",
    cls=HelpCommand,
    epilog=examples(
        "flowai experiment stop concise-vs-detailed",
        "flowai experiment stop concise-vs-detailed --reason 'no difference' --env prod",
    ),
)
def stop_command(name: NameArgument, reason: Reason = None, env: Env = None, json: JsonOption = False) -> None:
    """End an experiment: its feature gets only the release again.

    Its entry is removed from the registry; the ledger records it. A second run changes nothing.
    """
    from flowai.cli import console
    from flowai.experiments.stop_adopt import StopOptions, stop

    _show(stop(console.command_context(), StopOptions(name=name, env=env, reason=reason)), json=json)


@app.command(
    "adopt",
    cls=HelpCommand,
    epilog=examples(
        "flowai experiment adopt concise-vs-detailed",
        "flowai experiment adopt concise-vs-detailed --as v4 --env prod",
        "flowai experiment adopt tone-test --arm friendly --force --reason cheaper",
    ),
)
def adopt_command(  # noqa: PLR0913, PLR0917 - one parameter per option
    name: NameArgument,
    arm: Annotated[str | None, typer.Option("--arm", metavar="NAME", help="Arm to adopt; default the winner.")] = None,
    release: Annotated[
        str | None, typer.Option("--as", metavar="RELEASE", help="Name of the new release; default the next number.")
    ] = None,
    since: Since = None,
    window: WindowOption = "1h",
    force: Annotated[
        bool, typer.Option("--force", help="Adopt an arm that has not won; requires --arm and --reason.")
    ] = False,
    reason: Reason = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Turn the winning arm into a new release; end the experiment.

    The arms are compared once more, and the release is added to the registry, ready for `flowai release publish`. Exit
    status: 0 adopted now or before, 5 no arm has won.
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
    """Yield the screen: the changes, the serving release, and the next command."""
    from flowai.rendering.markdown import one_line

    yield from (f"warning: {warning}" for warning in ended.warnings)
    env = f" --env {ended.environment}" if ended.environment else ""
    if not ended.changed:
        yield f"{ended.experiment} has ended: {one_line(ended.ended)}; nothing changed"
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

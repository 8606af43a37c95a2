"""`flowai drift`: options and screen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption, Outputs, SuiteConcurrency

EXAMPLES = examples(
    "flowai drift",
    "flowai drift nightly --max-cost 0.50 -o drift.md",
    "flowai drift nightly --margin 0.05 --repeat 5 --json",
)


def command(  # noqa: PLR0913, PLR0917 - one argument per option is typer's form
    baseline: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Baseline: a name or file of evals/baselines/; default the only one."),
    ] = None,
    margin: Annotated[
        float,
        typer.Option("--margin", metavar="SHARE", help="Shift of the pass rate that must be excluded, either way."),
    ] = 0.1,
    repeat: Annotated[
        int | None,
        typer.Option("--repeat", metavar="N", help="Run each case N times; default as the baseline, at least 3."),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", metavar="USD", help="Stop before the calls cost more than this."),
    ] = None,
    max_errors: Annotated[
        float,
        typer.Option("--max-errors", metavar="SHARE", help="Trials that may have no answer before it is an error."),
    ] = 0.05,
    max_concurrency: SuiteConcurrency = None,
    output: Outputs = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Run a baseline again: did its models change?

    Runs the cases of evals/baselines/NAME.jsonl on the same prompts and models, never from the cache, and stops as soon
    as the result is certain. At most one in a hundred runs calls an unchanged model drifted.

    Exit status: 0 not drifted, 1 drifted, 3 no or a wrong baseline, 4 the models could not be read, 5 undecided.
    """
    from flowai.cli import ci_output, console
    from flowai.cli.progress import RunProgress
    from flowai.evals.drift.drift import run_drift
    from flowai.evals.drift.options import DriftOptions
    from flowai.evals.gates import exit_code
    from flowai.evals.reports.tables import verdict_words
    from flowai.rendering.formatting import wrapped

    options = DriftOptions(
        baseline=baseline,
        margin=margin,
        repeats=repeat,
        max_cost_usd=max_cost,
        max_error_rate=max_errors,
        concurrency=max_concurrency,
        outputs=tuple(Path(name) for name in output or ()),
    )
    ci_output.check_outputs(options.outputs)
    context = console.command_context(env).for_suite(None)
    with RunProgress() as progress:
        result = run_drift(context, options, progress)
    report = result.report
    if json:
        from flowai.evals.reports.writer import report_json_parts

        console.print_json_parts(report_json_parts(report))
    else:
        for warning in report.warnings:
            console.print_progress_line(f"warning: {warning}")
        for line in wrapped(f"{verdict_words(report)}  {report.decision.sentence}", console.terminal_width()):
            console.print_styled(line)
    ci_output.publish(report, context.project, comment=None, unwritten=result.unwritten, annotates=False)
    raise typer.Exit(exit_code(report.decision))

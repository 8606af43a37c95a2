"""`flowai judge check`: options and screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption, JudgeConcurrency

if TYPE_CHECKING:
    from flowai.evals.judge_identity import JudgeIdentity
    from flowai.evals.judge_runs.records import LabelCounts

EXAMPLES = examples(
    "flowai judge check evals/answers.yaml",
    "flowai judge check evals/facts.yaml --name hallucination -o judge.md",
    "flowai judge check summarization --since 30d --max-cost 2",
    "flowai judge check evals/summary.yaml --run last --labels labels-0412.jsonl",
)


def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    suite: Annotated[
        str,
        typer.Argument(metavar="SUITE", help="Suite whose graded assertions judge, or feature with labelled calls."),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="Check only this judge: an assertion's type and metric, or hallucination."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="Judge the labelled answers of this run; default the suite's own."),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Start of a feature's time range: `90d`, `2026-05-02`.")
    ] = "90d",
    labels: Annotated[
        list[Path] | None,
        typer.Option("--labels", metavar="FILE", help="Also use the labels of this .jsonl file. Repeatable."),
    ] = None,
    repeats: Annotated[
        int, typer.Option("--repeats", metavar="N", min=1, max=20, help="Times that 50 of the answers are asked about.")
    ] = 3,
    pairs: Annotated[
        int, typer.Option("--pairs", metavar="N", min=0, max=1000, help="Pairs of answers asked in both orders.")
    ] = 20,
    judge: Annotated[
        str | None,
        typer.Option("--judge", metavar="NAME", help="Model that compares labelled pairs; default feature `judge`."),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", metavar="USD", help="Stop before the judge costs more; run it again to continue."),
    ] = None,
    concurrency: JudgeConcurrency = 4,
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="FILE", help="Use recorded verdicts; call no model.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="Record the verdicts to this file.")
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", metavar="FILE", help="Also write the report to this .json or .md file."),
    ] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Measure how often a judge is right, on labelled answers.

    Labels are `metadata.label: pass` or `fail` of cases with `providerOutput`, or those of `flowai judge label`. A
    feature's calls are judged by the fact check. Cases with `providerOutput: {A: TEXT, B: TEXT}` and the better one as
    label measure the judge of `upgrade --from-log`: `preference`. No cache is used. The calibration is written to
    evals/judges/NAME.json. Exit status: 0 above the floor (`policies.judging`), 1 below it, 4 if the judge is down, 5
    with too few labels or at --max-cost.
    """
    from flowai.cli import console
    from flowai.evals.judge_runs.check import JudgeCheckOptions, check_judges, exit_code
    from flowai.evals.judge_runs.check_report import WRITERS, screen_lines
    from flowai.rendering.report_files import check_endings, write_reports

    outputs = list(output or ())
    check_endings(outputs, WRITERS)
    options = JudgeCheckOptions(
        suite=suite,
        name=name,
        labels=tuple(labels or ()),
        since=since,
        run=run,
        repeats=repeats,
        max_pairs=pairs,
        concurrency=concurrency,
        replay=replay,
        record=record,
        judge=judge,
        max_cost_usd=max_cost,
    )
    report = check_judges(console.command_context(env), options, on_begin=_announce)
    write_reports(report, outputs, WRITERS)
    if json:
        console.print_json(report)
    else:
        for warning in report.warnings:
            console.print_progress_line(warning)
        for line in screen_lines(report, console.terminal_width()):
            console.print_styled(line)
    code = exit_code(report)
    if code:
        raise typer.Exit(code)


def _announce(identity: JudgeIdentity, labels: LabelCounts, verdict_count: int) -> None:
    from flowai.cli import console

    console.print_progress_line(
        f"{identity.name}: {labels.pass_count + labels.fail_count:,} labelled answers, {verdict_count:,} verdicts"
    )

"""`flowai eval`: options and screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Comment, Env, JsonOption, Outputs, SuiteConcurrency, UseCache

if TYPE_CHECKING:
    from flowai.evals.runs.eval import EvalResult
    from flowai.evals.runs.eval_options import EvalOptions

OPTION_GROUPS = {
    "What to run": (
        "--model", "--repeat", "--filter-first-n", "--filter-pattern", "--filter-failing", "--resume", "--retry-errors",
        "--watch", "--env",
    ),
    "Answers": ("--cache", "--replay", "--on-miss", "--record", "--from-outputs", "--rescore"),
    "Limits": (
        "--max-concurrency", "--max-calls", "--max-cost", "--max-duration", "--case-timeout", "--fail-fast",
        "--no-code", "--allow-net",
    ),
    "Gate": ("--baseline", "--margin", "--ab", "--retry-failing", "--aa", "--write-baseline"),
    "Output": ("--output", "--html", "--comment", "--json", "--help"),
}  # fmt: skip
"""Options by section of the help."""
EXAMPLES = examples(
    "flowai eval",
    "flowai eval promptfooconfig.yaml --html compare.html",
    "flowai eval prompts/summary_v2 -m gpt-4o-mini -m smollm2",
    "flowai eval evals/summary_v2.yaml --replay evals/recordings/summary_v2.jsonl",
    "flowai eval prompts/summary_v2 --baseline prompts/summary_v1 --ab",
)


def command(  # noqa: PLR0913, PLR0917 - one argument per option is typer's form
    target: Annotated[
        str | None,
        typer.Argument(metavar="TARGET", help="Prompt id, prompt file or suite file; default every suite."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Use this model instead, by its name here or in LiteLLM. Repeatable.",
        ),
    ] = None,
    repeat: Annotated[int | None, typer.Option("--repeat", metavar="N", min=1, help="Run each case N times.")] = None,
    filter_first_n: Annotated[
        int | None,
        typer.Option("--filter-first-n", "-n", metavar="N", min=1, help="Run only the first N cases of each suite."),
    ] = None,
    filter_pattern: Annotated[
        str | None,
        typer.Option("--filter-pattern", metavar="REGEX", help="Run only cases whose id or description matches."),
    ] = None,
    filter_failing: Annotated[
        bool, typer.Option("--filter-failing", help="Run only cases that did not pass in the last run.")
    ] = False,
    max_concurrency: SuiteConcurrency = None,
    cache: UseCache = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay", metavar="PATH", help="Use recorded answers, of a file or directory, instead of models."
        ),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="Record every answer into this file.")
    ] = None,
    on_miss: Annotated[
        str,
        typer.Option(
            "--on-miss",
            metavar="error|call",
            help="With --replay: what to do without a recorded answer.",
        ),
    ] = "error",
    from_outputs: Annotated[
        Path | None,
        typer.Option(
            "--from-outputs",
            metavar="FILE",
            help='Check these answers: JSONL with "id" and "output".',
        ),
    ] = None,
    rescore: Annotated[
        str | None,
        typer.Option("--rescore", metavar="RUN", help="Check the answers of this run again; `last` is one."),
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first case that does not pass.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the last interrupted run.")] = False,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Run only the errors of the last run again.")
    ] = False,
    case_timeout: Annotated[
        str | None,
        typer.Option("--case-timeout", metavar="TIME", help="Limit of one case with its checks: `30s`, `2m`."),
    ] = None,
    max_duration: Annotated[
        str | None,
        typer.Option("--max-duration", metavar="TIME", help="Stop after this time: `10m`; --resume continues."),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", metavar="USD", help="Stop before the calls cost more; --resume continues."),
    ] = None,
    no_code: Annotated[bool, typer.Option("--no-code", help="Run no code of suites.")] = False,
    allow_net: Annotated[bool, typer.Option("--allow-net", help="Let suites load tests from the network.")] = False,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="NAME", help="Compare with `last`, or a run, release, prompt or file."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", metavar="SHARE", help="Loss against the baseline that is accepted."),
    ] = None,
    ab: Annotated[bool, typer.Option("--ab", help="Run the baseline's prompts too, call by call.")] = False,
    retry_failing: Annotated[
        int, typer.Option("--retry-failing", metavar="N", show_default=False, help="Run failing cases N more times.")
    ] = 0,
    max_calls: Annotated[
        int | None,
        typer.Option("--max-calls", metavar="N", help="Stop after N calls, or once the result is certain."),
    ] = None,
    aa: Annotated[
        int,
        typer.Option(
            "--aa", metavar="N", show_default=False, help="Compare the run with itself N times, to count false alarms."
        ),
    ] = 0,
    write_baseline: Annotated[
        str | None,
        typer.Option("--write-baseline", metavar="NAME", help="Write the results to evals/baselines/NAME.jsonl."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Run again when a prompt, suite or dataset is saved.")
    ] = False,
    output: Outputs = None,
    html: Annotated[
        str | None,
        typer.Option("--html", metavar="FILE", help="Also write the compare page to this .html file."),
    ] = None,
    comment: Comment = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Run prompts on the cases of their suites; check the gate.

    Exit status: 0 gate met, 1 not met, 4 errors, 5 inconclusive, 130 interrupted (continue with --resume).
    """
    from flowai.cli import ci_output
    from flowai.errors import UsageError
    from flowai.evals.runs.eval_options import EvalOptions
    from flowai.evals.runs.gating import GateOptions
    from flowai.evals.runs.plan import Selection

    if on_miss not in ("error", "call"):
        raise UsageError(f"--on-miss: found `{on_miss}`, expected `error` or `call`")
    if html is not None and Path(html).suffix.lower() != ".html":
        raise UsageError(f"--html: found `{html}`, expected a name that ends with `.html`")
    options = EvalOptions(
        target=target,
        models=tuple(model or ()),
        selection=Selection(first_n=filter_first_n, pattern=filter_pattern, repeats=repeat),
        failing_only=filter_failing,
        concurrency=max_concurrency,
        cached=cache,
        replay=replay,
        record=record,
        call_on_miss=on_miss == "call",
        from_outputs=from_outputs,
        rescore=rescore,
        fail_fast=fail_fast,
        resume=resume,
        retry_errors=retry_errors,
        case_timeout_s=_seconds("--case-timeout", case_timeout),
        max_duration_s=_seconds("--max-duration", max_duration),
        max_cost_usd=max_cost,
        runs_code=not no_code,
        allows_net=allow_net,
        outputs=tuple(Path(name) for name in [*(output or ()), *([html] if html else [])]),
        gate=GateOptions(
            baseline=baseline,
            margin=margin,
            retry_failing=retry_failing,
            max_calls=max_calls,
            self_rounds=aa,
            interleaves_baseline=ab,
            new_baseline=write_baseline,
        ),
    )
    ci_output.check_outputs([*options.outputs, *([comment] if comment else [])])
    if watch:
        _watch(options, env, comment, json=json)
    raise typer.Exit(_run(options, env, comment, json=json))


def _seconds(option: str, text: str | None) -> float | None:
    from flowai.errors import UsageError
    from flowai.timestamps import parse_duration_ms

    if text is None:
        return None
    try:
        seconds = parse_duration_ms(text) / 1000
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise UsageError(f"{option}: found `{text}`, expected a duration", hint="such as `30s`, `10m` or `2h`")
    return seconds


def _run(options: EvalOptions, env: str | None, comment: Path | None, *, json: bool) -> int:
    from dataclasses import replace

    from flowai.cli import ci_output, console
    from flowai.cli.progress import RunProgress
    from flowai.evals.gates import exit_code
    from flowai.evals.runs.eval import run_eval

    context = console.command_context(env).for_suite(options.target)
    target = context.target_of(options.target)
    options = replace(options, target=target)
    if not options.calls_no_model and options.record is None and not console.uses_cache(context, options.cached):
        options = replace(options, cached=False)
    with RunProgress() as progress:
        result = run_eval(context, options, progress)
    if json:
        from flowai.evals.reports.writer import report_json_parts

        console.print_json_parts(report_json_parts(result.report))
    else:
        _print(result, options, context.project.show(result.directory))
    ci_output.publish(result.report, context.project, comment=comment, unwritten=result.unwritten, annotates=not json)
    return exit_code(result.report.decision)


def _print(result: EvalResult, options: EvalOptions, place: str) -> None:
    from flowai.cli import console, gate_view, run_view

    report = result.report
    for warning in report.warnings:
        console.print_progress_line(f"warning: {warning}")
    lines = run_view.report_lines(
        report,
        again=f"{_command_line(options)} --retry-errors",
        place=f"{place}/report.json  report.md  junit.xml",
        width=console.terminal_width(),
    )
    for line in (*gate_view.baseline_lines(result.new_baseline), *lines):
        console.print_styled(line)


def _command_line(options: EvalOptions) -> str:
    """Return the command that plans the same trials, ready to paste."""
    import shlex

    selection = options.selection
    words = ["flowai", "eval", *([options.target] if options.target else [])]
    words += [word for model in options.models for word in ("--model", model)]
    words += ["--repeat", str(selection.repeats)] if selection.repeats else []
    words += ["-n", str(selection.first_n)] if selection.first_n else []
    words += ["--filter-pattern", selection.pattern] if selection.pattern else []
    return shlex.join(words)


def _watch(options: EvalOptions, env: str | None, comment: Path | None, *, json: bool) -> None:
    """Run, wait until a file is saved, run again; until Ctrl-C."""
    import time

    from flowai.cli import console
    from flowai.errors import FlowaiError
    from flowai.evals.runs.eval import watched_files
    from flowai.storage.files import read_fingerprints

    context = console.command_context(env).for_suite(options.target)

    while True:
        seen = read_fingerprints(watched_files(context))
        try:
            _run(options, env, comment, json=json)
        except FlowaiError as error:  # a file half-way through an edit is no reason to stop watching
            console.print_error(error)
        console.print_progress_line("watching prompts/, evals/ and datasets/; Ctrl-C stops")
        while read_fingerprints(watched_files(context)) == seen:
            time.sleep(0.3)

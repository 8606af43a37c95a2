"""`flowai smoke`: options, screen, and the output for CI systems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Comment, Env, JsonOption, Outputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.reports import Trial
    from flowai.evals.runs.trials import Forecast
    from flowai.evals.smoke.smoke import SmokeResult

EXAMPLES = examples(
    "flowai smoke",
    "flowai smoke --release v3 --env prod --fallbacks",
    "flowai smoke --base-url http://127.0.0.1:8000/v1",
)


def command(  # noqa: PLR0913, PLR0917 - one argument per option is typer's form
    release: Annotated[
        str | None,
        typer.Option(
            "--release", metavar="NAME", help="Release to check; default the candidate of the rollout, else `current`."
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", metavar="URL", help="Send all requests to this OpenAI-compatible server instead."),
    ] = None,
    filter_pattern: Annotated[
        str | None,
        typer.Option(
            "--filter-pattern", metavar="REGEX", help="Run only cases whose id or description matches this regex."
        ),
    ] = None,
    fallbacks: Annotated[
        bool, typer.Option("--fallbacks/--no-fallbacks", help="Also try every model of the fallback chains once.")
    ] = False,
    output: Outputs = None,
    comment: Comment = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Check that a release is safe to deploy with a few prompts.

    Exit status: 0 safe, 1 an assertion failed, 4 a model did not respond. CI systems read reports/smoke.xml.
    """
    from flowai.cli import ci_output, console
    from flowai.evals.gates import exit_code
    from flowai.evals.smoke.smoke import SmokeOptions, run_smoke

    context = console.command_context(env)
    outputs = tuple(Path(name) for name in output or ())
    ci_output.check_outputs([*outputs, *([comment] if comment else [])])
    options = SmokeOptions(
        release=release,
        base_url=base_url,
        pattern=filter_pattern,
        fallbacks=fallbacks,
        outputs=outputs,
    )
    backend = _Backend()
    result = run_smoke(context, options, backend)
    junit = context.project.show(result.junit)
    if json:
        from flowai.rendering.report_files import to_json

        console.print_json(to_json(result.report))
    else:
        for line in screen_lines(result, backend.line, junit):
            console.print_styled(line)
    ci_output.publish(result.report, context.project, comment=comment, unwritten=result.unwritten, annotates=not json)
    raise typer.Exit(exit_code(result.report.decision))


class _Backend:
    """Records the backend and its start time; shows no progress."""

    def __init__(self) -> None:
        self.line = ""

    def forecast(self, forecast: Forecast) -> None:
        self.line = f"backend {', '.join(forecast.models)}"

    def ready(self, model: str, load_s: float) -> None:
        self.line = f"backend {model}, ready in {load_s:.1f} s (not counted)"

    def trial(self, trial: Trial) -> None:
        pass


def screen_lines(result: SmokeResult, backend: str, junit: str) -> Iterator[str]:
    """Yield the screen: a line per case, the totals, and the next step."""
    from flowai.evals.reports.tables import OUTCOME_WORDS
    from flowai.rendering import formatting

    report, totals = result.report, result.report.totals
    yield f"release {result.release} (current: {result.current})   {backend}"
    for warning in report.warnings:
        yield f"warning: {warning}"
    width = max(len(trial.case) for trial in report.trials)
    for trial in report.trials:
        word = OUTCOME_WORDS[trial.outcome]
        parts = [
            f"{word:<5} {trial.case:<{width}}",
            f"{formatting.duration(trial.latency_ms):>7}",
            *_failure_reasons(trial),
        ]
        yield "  ".join(parts).rstrip()
        if trial.outcome == "fail" and trial.finish_reason == "length":
            yield "      hint: finish_reason is length; the answer was cut off: shorten it, or allow more tokens"
    counts = f"{totals.pass_count} passed, {totals.fail_count} failed, {formatting.count(totals.error_count, 'error')}"
    yield f"{counts}   {junit}"
    yield _verdict(result)


def _failure_reasons(trial: Trial) -> Iterator[str]:
    from flowai.rendering.markdown import one_line

    if trial.failure is not None:
        yield one_line(trial.failure.message, 160)
    for check in trial.checks:
        if check.passed is not True and check.weight > 0:
            yield f"{one_line(check.reason, 120)}  {check.place}"


def _verdict(result: SmokeResult) -> str:
    from flowai.evals.smoke.fallback_trials import CASE_PREFIX

    verdict = result.report.decision.verdict
    if verdict == "pass":
        return "READY TO DEPLOY"
    bad = "|".join(trial.case for trial in result.report.trials if trial.outcome != "pass")
    quoted = bad.replace("'", "'\\''")  # a pasted line runs nothing else
    fallbacks = " --fallbacks" if CASE_PREFIX in bad else ""
    again = f"again: flowai smoke --release {result.release}{fallbacks} --filter-pattern '{quoted}'"
    return f"{'DEPLOY BLOCKED' if verdict == 'fail' else 'NOT CHECKED, DEPLOY BLOCKED'}   {again}"

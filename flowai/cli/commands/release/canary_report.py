"""`flowai canary-report`: options and screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption, OnlyFeature, PageOutputs, Until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.canary.planning.power import PowerOptions
    from flowai.comparison.records import CanaryVerdict
    from flowai.workspace.workspace import CommandContext

_VERDICTS = ("promote", "hold", "rollback", "invalid")

EXAMPLES = examples(
    "flowai canary-report",
    "flowai canary-report --env prod --fail-on rollback,invalid",
    "flowai canary-report --candidate v2 --stage 5 --since 2026-05-02",
    "flowai canary-report --power --since 14d",
)


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    candidate: Annotated[
        str | None,
        typer.Option("--candidate", metavar="NAME", help="Release; default the candidate of the active rollout."),
    ] = None,
    stage: Annotated[
        int | None,
        typer.Option(
            "--stage", metavar="N", min=1, max=99, help="Percentage of the stage, if the ledger does not contain it."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Start: `2h`, `02:10`, `2026-05-02T10:00Z`; default the start of the rollout.",
        ),
    ] = None,
    until: Until = None,
    feature: OnlyFeature = None,
    window: Annotated[
        str,
        typer.Option("--window", metavar="DURATION", help="Time after a call within which feedback and scores count."),
    ] = "1h",
    replay_hourly: Annotated[
        bool, typer.Option("--replay-hourly", help="Also show the verdict at each earlier hour.")
    ] = False,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on", metavar="VERDICTS", help="Exit 0 unless the verdict is one of these: `rollback,invalid`."
        ),
    ] = None,
    output: PageOutputs = None,
    power: Annotated[
        bool,
        typer.Option(
            "--power",
            help="Instead: users and days that each guardrail needs, from the serving release's last 7 days.",
        ),
    ] = False,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Compare the candidate of a rollout with its control.

    Exit status: 0 promote, 1 rollback, 5 hold or invalid.
    """
    from flowai.canary.planning.power import PowerOptions
    from flowai.canary.report import CanaryOptions, run_canary_report
    from flowai.canary.tables import screen_lines
    from flowai.cli import console
    from flowai.comparison.verdict import exit_code

    failing = _failing(fail_on)
    context = console.command_context(env)
    if power:
        excluded = {
            "--candidate": candidate,
            "--replay-hourly": replay_hourly,
            "--fail-on": fail_on,
            "--output": output,
        }
        _show_power(context, PowerOptions(since=since, until=until, feature=feature, stage=stage), excluded, json=json)
        return
    options = CanaryOptions(
        candidate=candidate,
        stage=stage,
        since=since,
        until=until,
        feature=feature,
        window=window,
        replay=replay_hourly,
        outputs=tuple(Path(name) for name in output or ()),
    )
    result = run_canary_report(context, options)
    if json:
        from flowai.rendering.report_files import to_json

        console.print_json(to_json(result.report))
    else:
        place = context.project.show(result.directory / "report.md")
        for line in screen_lines(result.report, place, console.terminal_width()):
            console.print_styled(line)
    raise typer.Exit(exit_code(result.report.verdict, failing))


def _show_power(context: CommandContext, options: PowerOptions, excluded: Mapping[str, object], *, json: bool) -> None:
    """Print what each guardrail needs; `excluded` are options that have no meaning then, with their values."""
    from flowai.canary.planning.power import run_power
    from flowai.canary.planning.power_text import power_lines
    from flowai.cli import console
    from flowai.errors import UsageError

    for name, value in excluded.items():
        if value:
            raise UsageError(f"--power needs no rollout: it excludes `{name}`", hint="remove one of them")
    report = run_power(context, options)
    if json:
        console.print_json(report)
        return
    for line in power_lines(report):
        console.print_line(line)


def _failing(text: str | None) -> frozenset[CanaryVerdict] | None:
    if text is None:
        return None
    from flowai.errors import UsageError, expected_one_of

    verdicts: set[CanaryVerdict] = set()
    for name in (part.strip() for part in text.split(",")):
        known = next((verdict for verdict in _VERDICTS if verdict == name), None)
        if known is None:
            raise UsageError(f"--fail-on: no verdict `{name}`", hint=expected_one_of(_VERDICTS, found=name))
        verdicts.add(known)  # type: ignore[arg-type]
    return frozenset(verdicts)

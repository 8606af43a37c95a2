"""`flowai canary-report`: is the candidate as good as what serves now?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.options import Env, JsonOption, OnlyFeature, PageOutputs, Until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.canary.report_records import CanaryReport
    from flowai.comparison.records import CanaryVerdict

_VERDICTS = ("promote", "hold", "rollback", "invalid")


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="The release; default the one of the rollout that is on.")
    ] = None,
    stage: Annotated[
        int | None, typer.Option("--stage", min=1, max=99, help="Its percentage, where no ledger knows it.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Begin: `2h`, `02:10`, `2026-05-02T10:00Z`; default the rollout's.")
    ] = None,
    until: Until = None,
    feature: OnlyFeature = None,
    window: Annotated[
        str, typer.Option("--window", help="How long after a call its feedback and scores count.")
    ] = "1h",
    replay_hourly: Annotated[
        bool, typer.Option("--replay-hourly", help="Also say what the verdict would have been at each hour before.")
    ] = False,
    fail_on: Annotated[
        str | None,
        typer.Option("--fail-on", metavar="VERDICTS", help="Exit 0 unless it is one of these (`rollback,invalid`)."),
    ] = None,
    output: PageOutputs = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Hold the candidate of a rollout against its control, over the event log.

    Exit status: 0 promote, 1 rollback, 5 hold or invalid.
    """
    from flowai.canary.report import CanaryOptions, run_canary_report
    from flowai.cli import console
    from flowai.comparison.verdict import exit_code

    failing = _failing(fail_on)
    context = console.command_context(env)
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
        for line in screen_lines(result.report, place):
            console.print_styled(line)
    raise typer.Exit(exit_code(result.report.verdict, failing))


def screen_lines(report: CanaryReport, place: str) -> Iterator[str]:
    """Give the screen: who against whom, a line per metric, the verdict, and where the evidence lies."""
    from flowai.canary import tables
    from flowai.rendering.formatting import aligned

    yield tables.headline(report)
    yield from aligned([tables.COLUMNS, *tables.metric_rows(report)])
    yield tables.times_line(report)
    yield from (f"warning: {one}" for one in report.warnings)
    yield from ("  ".join(row) for row in tables.replay_rows(report))
    yield tables.verdict_line(report)
    yield f"{place}   report.html   report.json"


def _failing(text: str | None) -> frozenset[CanaryVerdict] | None:
    """Read the verdicts that fail.

    Raises:
        UsageError: one is none.
    """
    if text is None:
        return None
    from flowai.errors import UsageError, expected_one_of

    wanted: set[CanaryVerdict] = set()
    for word in (part.strip() for part in text.split(",")):
        known = next((verdict for verdict in _VERDICTS if verdict == word), None)
        if known is None:
            raise UsageError(f"--fail-on: no verdict `{word}`", hint=expected_one_of(_VERDICTS, found=word))
        wanted.add(known)  # type: ignore[arg-type]
    return frozenset(wanted)

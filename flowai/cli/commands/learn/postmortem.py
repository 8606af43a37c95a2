"""`flowai postmortem`: options and screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import AnyEnv, JsonOption, OnlyFeature, PageOutputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.postmortem.report_records import PostmortemReport

MAX_FINDINGS = 10
MAX_CLUSTERS = 3
MAX_CHANGES = 4
MAX_FOLLOW_UPS = 4

EXAMPLES = examples(
    "flowai postmortem --env prod",
    "flowai postmortem --since 02:10 --until 04:00",
    "flowai postmortem --release v2 --feature extract --add-cases",
)


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Start: `2h`, `02:10`, `2026-05-02T10:00Z`; default that of the newest rollback.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="End, written like --since; default the rollback, or now."),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option("--release", metavar="NAME", help="Release to examine; default the release that was rolled back."),
    ] = None,
    env: AnyEnv = None,
    feature: OnlyFeature = None,
    add_cases: Annotated[
        bool, typer.Option("--add-cases", help="Add the worst calls to datasets/ as regression cases.")
    ] = False,
    output: PageOutputs = None,
    json: JsonOption = False,
) -> None:
    """Find what failed in an incident: where, since when, and why.

    Compares the calls of the incident, by default that of the newest rollback, with the calls before it: prompts,
    inputs, languages, models, and changes. Exit status: 0, or 5 if there were no calls.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.postmortem.report import run_postmortem
    from flowai.postmortem.report_records import PostmortemOptions
    from flowai.rendering.report_files import to_json

    options = PostmortemOptions(
        since=since,
        until=until,
        release=release,
        env=env,
        feature=feature,
        adds_cases=add_cases,
        outputs=tuple(Path(name) for name in output or ()),
    )
    result = run_postmortem(console.command_context(), options)
    if json:
        console.print_json(to_json(result.report))
    else:
        for line in screen_lines(result.report, f"{result.directory}/report.md"):
            console.print_styled(line)
    if not result.report.investigation.call_count:
        raise typer.Exit(ExitCode.INCONCLUSIVE)


def screen_lines(report: PostmortemReport, place: str) -> Iterator[str]:
    """Yield the screen: headline, timeline, findings, follow-ups, and the path of the report."""
    from flowai.postmortem import pages
    from flowai.postmortem import wording as words
    from flowai.rendering.formatting import aligned
    from flowai.rendering.markdown import one_line

    investigation = report.investigation
    yield words.headline(report)
    yield from aligned([(*row[:3], one_line(row[3], 80)) for row in pages.timeline_rows(report)], "<><<")
    if spark := words.spark_line(investigation):
        bucket_min = max(1, investigation.bucket_s // 60)
        yield f"{words.KIND_LABELS[investigation.timeline_kind]}, every {bucket_min} min: {spark}"
    if investigation.findings:
        yield ""
        head = words.FINDING_COLUMNS
        rows = [
            (*row[:2], one_line(row[2], 60), *row[3:])
            for row in words.finding_rows(investigation.findings[:MAX_FINDINGS])
        ]
        yield from aligned([head, *rows], "><<<>>>>")
        if len(investigation.findings) > MAX_FINDINGS:
            yield f"{len(investigation.findings) - MAX_FINDINGS} more in the report"
        yield ""
    for row in words.cluster_rows(investigation, MAX_CLUSTERS):
        yield f"error  {row[0]} calls  {row[2]}: {one_line(row[3], 90)}"
    yield words.impact_line(investigation)
    for difference in report.differences[:MAX_CHANGES]:
        before, after = difference.before or "-", difference.after or "-"
        yield f"changed  {difference.feature}: {difference.what} {before} -> {after}"
    if len(report.differences) > MAX_CHANGES:
        yield f"changed  {len(report.differences) - MAX_CHANGES} more things"
    yield from (f"warning: {one_line(warning, 200)}" for warning in report.warnings)
    yield from (f"todo  {one_line(follow_up, 140)}" for follow_up in report.follow_ups[:MAX_FOLLOW_UPS])
    if report.added is not None:
        yield from (f"cases  {line}" for line in pages.added_lines(report.added))
    yield words.conclusion(report)
    yield f"{place}   report.html   report.json"

"""`flowai postmortem`: what broke, where, since when, and what to do about it.

In: options. Out: a screen or JSON on stdout, the report's files. Must never know how anything is found.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.operations.postmortem_model import PostmortemReport

MOST_FINDINGS = 10
MOST_CLUSTERS = 3
MOST_CHANGES = 4
MOST_FOLLOW_UPS = 4


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    since: Annotated[
        str | None,
        typer.Option("--since", help="Begin: `2h`, `02:10`, `2026-05-02T10:00Z`; default the newest rollback's."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="End, written as the begin; default the rollback, or now.")
    ] = None,
    release: Annotated[
        str | None, typer.Option("--release", help="Release to look into; default the one that was rolled back.")
    ] = None,
    env: Annotated[
        str | None,
        typer.Option("--env", help="Environment (default FLOWAI_ENV); needed where there are several."),
    ] = None,
    feature: Annotated[str | None, typer.Option("--feature", help="Only this feature.")] = None,
    add_cases: Annotated[
        bool, typer.Option("--add-cases", help="Add the worst calls to datasets/ as regression cases.")
    ] = False,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", metavar="FILE", help="Also write it here: .json, .md or .html. Repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Find what broke in an incident: which prompts, inputs, languages, models, and what changed.

    Looks into the event log around an incident, by default that of the newest rollback, against what was before it.
    Exit status: 0, or 5 when there were no calls.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.operations.postmortem import run_postmortem
    from flowai.operations.postmortem_model import PostmortemOptions, report_json

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
        console.print_json(report_json(result.report))
    else:
        for line in screen_lines(result.report, f"{result.directory}/report.md"):
            console.print_marked(line)
    if not result.report.investigation.call_count:
        raise typer.Exit(ExitCode.UNDECIDED)


def screen_lines(report: PostmortemReport, place: str) -> Iterator[str]:
    """Give the screen: what it is about, when, what stands out, what to do, and where the report lies."""
    from flowai.markup import one_line
    from flowai.operations import postmortem_pages as pages
    from flowai.operations import postmortem_words as words

    found = report.investigation
    yield words.headline(report)
    yield from _aligned([(*row[:3], one_line(row[3], 80)) for row in pages.timeline_rows(report)], "<><<")
    if spark := words.spark_line(found):
        yield f"{words.KIND_WORDS[found.timeline_kind]}, every {max(1, found.bucket_s // 60)} min: {spark}"
    if found.findings:
        yield ""
        head = words.FINDING_COLUMNS
        rows = [
            (*row[:2], one_line(row[2], 60), *row[3:]) for row in words.finding_rows(found.findings[:MOST_FINDINGS])
        ]
        yield from _aligned([head, *rows], "><<<>>>>")
        if len(found.findings) > MOST_FINDINGS:
            yield f"{len(found.findings) - MOST_FINDINGS} more in the report"
        yield ""
    for row in words.cluster_rows(found, MOST_CLUSTERS):
        yield f"error  {row[0]} calls  {row[2]}: {one_line(row[3], 90)}"
    yield words.touched_line(found)
    for one in report.differences[:MOST_CHANGES]:
        yield f"changed  {one.feature}: {one.what} {one.before or '-'} -> {one.after or '-'}"
    if len(report.differences) > MOST_CHANGES:
        yield f"changed  {len(report.differences) - MOST_CHANGES} more things"
    yield from (f"warning: {one_line(one, 200)}" for one in report.warnings)
    yield from (f"todo  {one_line(one, 140)}" for one in report.follow_ups[:MOST_FOLLOW_UPS])
    if report.added is not None:
        yield from (f"cases  {one}" for one in pages.added_lines(report.added))
    yield words.conclusion(report)
    yield f"{place}   report.html   report.json"


def _aligned(rows: Sequence[Sequence[str]], sides: str) -> Iterator[str]:
    """Align columns: `<` to the left, `>` to the right."""
    widths = [max((len(row[index]) for row in rows), default=0) for index in range(len(sides))]
    for row in rows:
        yield "  ".join(
            cell.rjust(width) if side == ">" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ).rstrip()

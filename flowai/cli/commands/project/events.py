"""`flowai events compact|sync|validate`: options and screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from flowai.events.lake.compact import DayResult

_MAX_PATH_CHARS = 300

app = typer.Typer(
    cls=HelpGroup,
    help="Keep the event log in a data lake of Parquet files.",
    epilog=examples("flowai events compact", "flowai events sync s3://bucket/prefix", "flowai events validate"),
    no_args_is_help=True,
)


@app.command(
    cls=HelpCommand, epilog=examples("flowai events compact", "flowai events compact --before 2026-05-01 --keep")
)
def compact(
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="DATE", help="Compact days before this one (UTC); default all but today and yesterday."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the JSONL files in `compacted/` of each day; default removes them.")
    ] = False,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Convert closed days of the event log into Parquet.

    Files are separated by day and feature; reports count each event once at any moment. Exit status: 0, also if there
    was nothing to do; 4 if it could not continue: run it again.
    """
    from flowai.cli import console
    from flowai.events.lake.compact import BACKUP_NAME
    from flowai.workspace.lake_commands import CompactOptions, run_compact

    context = console.command_context(env)
    show = (lambda _: None) if json else _show_day
    done = run_compact(context, CompactOptions(before=before, keep=keep), show)
    if json:
        console.print_json(done)
        return
    if not done.days:
        console.print_line(f"nothing to do: no closed lines before {done.before}")
    for one in done.skipped:
        console.print_line(f"skipped  {one.file}: {one.reason}")
    if done.removed_count or done.backed_up_count:
        moved = f"{done.backed_up_count:,} JSONL files moved to `{BACKUP_NAME}/`"
        console.print_line(moved if keep else f"{done.removed_count:,} JSONL files removed")


def _show_day(day: DayResult) -> None:
    from flowai.cli import console
    from flowai.rendering import formatting

    is_smaller = day.line_bytes > day.parquet_bytes > 0
    ratio = f", {day.line_bytes / day.parquet_bytes:.1f} times smaller" if is_smaller else ""
    console.print_line(
        f"{day.day}  {formatting.count(day.event_count, 'event')} of {formatting.count(day.file_count, 'file')}: "
        f"{formatting.size(day.line_bytes)} -> {formatting.size(day.parquet_bytes)}{ratio}"
    )
    if day.unparsed_count:
        why = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in day.problems.items())
        console.print_line(f"warn  {formatting.count(day.unparsed_count, 'line')} kept as lines: {why}")
    console.flush()


@app.command(cls=HelpCommand, epilog=examples("flowai events sync", "flowai events sync s3://bucket/prefix"))
def sync(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="`s3://bucket/prefix`, `gs://`, `az://` or a directory; default the registry's `events`.",
        ),
    ] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Copy compacted files to an object store; never overwrite.

    Each copy is read back. Exit status: 0; 1 if a file of the target differs; 4 if the target is unreachable or
    refuses the request: run it again.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.rendering import formatting
    from flowai.workspace.lake_commands import run_sync

    def show(key: str, byte_count: int) -> None:
        if console.wants_progress():
            console.print_progress_line(f"{key}  {formatting.size(byte_count)}")

    done = run_sync(console.command_context(env), target, show)
    if json:
        console.print_json(done)
    else:
        console.print_line(
            f"{formatting.count(done.copied_count, 'file')} copied ({formatting.size(done.copied_bytes)}), "
            f"{done.present_count:,} unchanged; {formatting.count(done.event_count, 'event')} at {done.target}"
        )
        if done.skipped_count:
            files = formatting.count(done.skipped_count, "JSONL file", "JSONL files")
            console.print_line(f"{files} not compacted yet: `flowai events compact`")
        for conflict in done.conflicts:
            console.print_styled(f"FAILED  {conflict.key}: {conflict.reason}")
    if done.conflicts:
        raise typer.Exit(ExitCode.GATE_NOT_MET)


@app.command(
    cls=HelpCommand, epilog=examples("flowai events validate", "flowai events validate s3://bucket/prefix --json")
)
def validate(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH", help="Directory of a log, JSONL file, or URL of an object store; default the project's log."
        ),
    ] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Check every event, and every Parquet file against its manifest.

    Exit status: 0 valid, 1 invalid.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.rendering import formatting
    from flowai.rendering.markdown import one_line
    from flowai.workspace.lake_commands import run_validate

    result = run_validate(console.command_context(env), path)
    if json:
        console.print_json(result)
    else:
        kinds = ", ".join(f"{name} {count:,}" for name, count in result.kinds.items()) or "no events"
        console.print_line(
            f"{one_line(result.target, _MAX_PATH_CHARS)}  {formatting.count(result.file_count, 'file')}: {kinds}"
        )
        for problem, count in result.problems.items():
            console.print_styled(f"FAILED  {problem.replace('_', ' ')}: {count:,}")
            for one in result.locations:
                if one.problem == problem:
                    where = one.file if one.line is None else f"{one.file}:{one.line}"
                    console.print_line("  " + one_line("  ".join(filter(None, (where, one.detail))), _MAX_PATH_CHARS))
        if not result.problems:
            console.print_styled("OK  no problems")
    if result.problems:
        raise typer.Exit(ExitCode.GATE_NOT_MET)

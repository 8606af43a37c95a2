"""`flowai secrets check|scan`: options and screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.secrets.records import Finding, ScanReport

app = typer.Typer(
    cls=HelpGroup,
    help="Find keys in files; check the keys that features need.",
    epilog=examples("flowai secrets scan", "flowai secrets scan --staged", "flowai secrets check --live"),
    no_args_is_help=True,
)


@app.command(
    cls=HelpCommand,
    epilog=examples(
        "flowai secrets scan", "flowai secrets scan --staged", "flowai secrets scan logs/ --exclude 'logs/old/*'"
    ),
)
def scan(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", help="Files and directories; default the tracked, staged and logged files."),
    ] = None,
    staged: Annotated[bool, typer.Option("--staged", help="Search only staged changes, as a pre-commit hook.")] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="PATTERN", help="Leave out paths like `tests/*`. Repeatable."),
    ] = None,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Search files for keys, and check who gets `.env`.

    No key is shown. A line with `flowai:allow-secret` in a comment is no finding. Binary files and files over 256 MiB
    are skipped, and named. Exit status: 0, or 1 with findings.
    """
    import os
    from pathlib import Path

    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.secrets.scan import ScanOptions, dotenv_files, log_directories
    from flowai.secrets.scan import scan as run_scan

    here = Path.cwd()
    is_whole = not paths and not staged
    options = ScanOptions(
        directory=here,
        paths=tuple(paths or ()),
        logs=log_directories(here, os.environ, env=env) if is_whole else (),
        dotenv=() if paths else dotenv_files(here, os.environ),
        only_staged=staged,
        excluded=tuple(exclude or ()),
    )
    report = run_scan(options)
    if json:
        console.print_json(report)
    else:
        for line in _skipped_lines(report):
            console.print_progress_line(line)
        for line in scan_lines(report):
            console.print_line(line)
    if report.findings:
        raise typer.Exit(ExitCode.GATE_NOT_MET)


def scan_lines(report: ScanReport) -> Iterator[str]:
    """Yield a line per finding, what to do about each kind, and the summary."""
    from flowai.rendering import formatting

    for found in report.findings:
        yield _finding_line(found)
    for hint in dict.fromkeys(found.hint for found in report.findings):
        yield f"hint: {hint}"
    searched = f"{formatting.count(report.file_count, 'file')}, {formatting.size(report.size_bytes)}"
    yield f"{formatting.count(len(report.findings), 'finding')} in {searched}"


def _finding_line(found: Finding) -> str:
    if found.kind == "env_tracked":
        return f"{found.file}: git tracks this file of variables"
    if found.kind == "env_readable":
        return f"{found.file}: other users can read this file of variables"
    place = " (staged)" if found.place == "staged" else ""
    return f"{found.file}:{found.line}:{found.column}: {found.shape} {found.masked}{place}"


def _skipped_lines(report: ScanReport) -> Iterator[str]:
    """Yield a line per skipped file; binary files are counted."""
    from flowai.rendering import formatting
    from flowai.secrets.scan import BINARY

    binary_count = sum(each.reason == BINARY for each in report.skipped)
    if binary_count:
        yield f"skipped  {formatting.count(binary_count, 'binary file')}; --json names them"
    for each in report.skipped:
        if each.reason != BINARY:
            yield f"skipped  {each.file}: {each.reason}"

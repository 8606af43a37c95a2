"""`flowai secrets check|scan`: options and screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import HelpCommand, HelpGroup, examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.secrets.records import CheckedKey, KeyReport, ScanReport, SecretFinding

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


@app.command(
    cls=HelpCommand,
    epilog=examples("flowai secrets check", "flowai secrets check --live", "flowai secrets check --max-age 30"),
)
def check(
    live: Annotated[bool, typer.Option("--live", help="Ask each provider for its models with each key.")] = False,
    max_age: Annotated[
        int, typer.Option("--max-age", metavar="DAYS", min=1, max=3650, help="Greatest age of a key.")
    ] = 90,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Show which keys features need, their source and their age.

    The environment wins over `.env`, both over the files of FLOWAI_KEY_FILES. A key is as old as the first check that
    saw it. Exit status: 0; 1 with a key that is missing, refused or too old; 4 if providers did not answer.
    """
    from flowai.cli import console
    from flowai.secrets.check import KeyCheckOptions, check_keys, exit_code
    from flowai.workspace.workspace import open_workspace

    context = console.command_context(env)
    workspace = open_workspace(context)
    report = check_keys(
        KeyCheckOptions(
            project=workspace.project,
            registry=workspace.registry,
            release=workspace.release,
            environ=context.environ,
            today=context.now().date(),
            redact=workspace.redactor.text,
            max_age_days=max_age,
            is_live=live,
        )
    )
    if json:
        console.print_json(report)
    else:
        for warning in report.warnings:
            console.print_progress_line(f"warning: {warning}")
        for line in check_lines(report, console.terminal_width()):
            console.print_line(line)
    code = exit_code(report)
    if code:
        raise typer.Exit(code)


_COLUMNS = ("key", "from", "age", "live", "state", "used by")
_DROP_ORDER = (5, 3, 2)
"""Columns that are left out on a narrow terminal, the least important first."""
MAX_CELL_CHARS = 40


def check_lines(report: KeyReport, width: int | None) -> Iterator[str]:
    """Yield the table of keys, the reasons, and what to do."""
    from flowai.rendering import formatting

    if not report.keys:
        yield "no keys: no model of the registry needs one"
        return
    table = [_COLUMNS, *map(_cells, report.keys)]
    drop_order = list(_DROP_ORDER)
    if all(key.live is None for key in report.keys):
        table = [(*row[:3], *row[4:]) for row in table]
        drop_order = [4, 2]
    rows = formatting.without_columns(table, drop_order, width)
    yield from formatting.aligned(rows, "".join(">" if name == "age" else "<" for name in rows[0]))
    for key in report.keys:
        if key.reason is not None and key.status != "absent":
            yield from formatting.wrapped(f"{key.name}: {key.reason}", width)
    missing = [key.name for key in report.keys if key.status == "missing" and not key.name.startswith("file:")]
    if missing:
        hint = f"hint: set `{missing[0]}` in the environment, or write `{missing[0]}=...` into `.env`"
        yield from formatting.wrapped(hint, width)
    if any(key.status in {"refused", "too_old"} for key in report.keys):
        yield from formatting.wrapped("hint: make a new key at the provider, write it, then revoke the old one", width)


def _cells(key: CheckedKey) -> tuple[str, ...]:
    from flowai.rendering.markdown import one_line

    state = key.status.replace("_", " ")
    return (
        one_line(key.name, MAX_CELL_CHARS),
        one_line(key.source or "-", MAX_CELL_CHARS),
        "-" if key.age_days is None else f">= {key.age_days} d",
        "-" if key.live in {None, "not_asked"} else str(key.live),
        {"ok": "ok", "absent": "-"}.get(key.status, state.upper()),
        one_line(", ".join(key.users) or "-", MAX_CELL_CHARS),
    )


def scan_lines(report: ScanReport) -> Iterator[str]:
    """Yield a line per finding, what to do about each kind, and the summary."""
    from flowai.rendering import formatting

    for found in report.findings:
        yield _finding_line(found)
    for hint in dict.fromkeys(found.hint for found in report.findings):
        yield f"hint: {hint}"
    searched = f"{formatting.count(report.file_count, 'file')}, {formatting.size(report.size_bytes)}"
    yield f"{formatting.count(len(report.findings), 'finding')} in {searched}"


def _finding_line(found: SecretFinding) -> str:
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

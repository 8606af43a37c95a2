"""Writes the parts of README and docs that repeat the code: command help, exit codes, field tables; or checks them.

In: the code, and Markdown files with `<!-- generated:NAME -->` ... `<!-- /generated -->`. Out: the same files, filled.
Run it as `python docs/generate.py`, or with `--check` to fail when a file would change.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flowai.json_schema import describe_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
REGION = re.compile(r"(<!-- generated:([a-z-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
COMMANDS = (
    (),
    ("eval",),
    ("smoke",),
    ("serve",),
    ("cache",),
    ("cache", "stats"),
    ("cache", "clear"),
    ("canary-report",),
    ("rollback",),
    ("metrics",),
    ("watch",),
    ("finetune",),
    ("finetune", "check"),
    ("release",),
    ("release", "list"),
    ("release", "diff"),
    ("release", "publish"),
    ("release", "promote"),
)


def command_help() -> str:
    """Give the help of every command, as a terminal of 100 columns shows it."""
    environ = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    parts = []
    for command in COMMANDS:
        arguments = [sys.executable, "-m", "flowai", *command, "--help"]
        done = subprocess.run(arguments, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
        text = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
        parts.append(f"### `{' '.join(('flowai', *command))}`\n\n```text\n{text}\n```")
    return "\n\n".join(parts)


def exit_codes() -> str:
    """Give the table of exit codes."""
    from flowai.errors import ExitCode

    return _table(("code", "meaning"), [(f"**{code.value}**", code.meaning) for code in ExitCode])


def fields(module: str, *, skip: frozenset[str] = frozenset()) -> str:
    """Give one table per record of a module: field, type, default, meaning."""
    records = importlib.import_module(module)
    parts = []
    for name, record in vars(records).items():
        if isinstance(record, type) and issubclass(record, msgspec.Struct) and record.__module__ == module:
            rows = list(_rows(record))
            if rows and name not in skip:
                summary = (record.__doc__ or "").strip().splitlines()[0]
                parts.append(f"### {name}\n\n{summary}\n\n{_table(('field', 'type', 'default', 'meaning'), rows)}")
    return "\n\n".join(parts)


def faults() -> str:
    """Give the table of faults that `tests/gateway/test_faults.py` tries, row by row."""
    sys.path[:0] = [str(ROOT / "tests" / "gateway"), str(ROOT / "tests")]
    table: str = importlib.import_module("fault_table").markdown()
    return table


def check_rules(table: str) -> str:
    """Give the table of the rules of `flowai finetune check`: `ERRORS` or `WARNINGS`."""
    rules: dict[str, str] = getattr(importlib.import_module("flowai.finetune.check_model"), table)
    return _table(("rule", "meaning"), [(f"`{rule}`", meaning) for rule, meaning in rules.items()])


def _rows(record: type[msgspec.Struct]) -> Iterator[tuple[str, str, str, str]]:
    meanings = describe_fields(record)
    for field in msgspec.structs.fields(record):
        annotation = record.__annotations__.get(field.name)
        if annotation is None:  # inherited: described where it was declared
            continue
        default = "required"
        if field.default is not msgspec.NODEFAULT:
            default = f"`{field.default!r}`"
        elif field.default_factory is not msgspec.NODEFAULT:
            default = f"`{field.default_factory()!r}`"
        yield f"`{field.encode_name}`", f"`{annotation}`", default, meanings.get(field.name, "")


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


GENERATORS: dict[str, Callable[[], str]] = {
    "command-help": command_help,
    "exit-codes": exit_codes,
    "registry-fields": lambda: "\n\n".join(
        (
            fields("flowai.registry.model", skip=frozenset({"Registry"})),
            fields("flowai.registry.policies"),
            fields("flowai.registry.serving"),
        )
    ),
    "faults": faults,
    "check-errors": lambda: check_rules("ERRORS"),
    "check-warnings": lambda: check_rules("WARNINGS"),
    "event-fields": lambda: fields("flowai.events.model"),
    "report-fields": lambda: fields("flowai.reports.model"),
    "suite-fields": lambda: fields("flowai.suites.model"),
}


def main() -> int:
    """Fill or check every Markdown file; give 1 when a check found drift."""
    check = "--check" in sys.argv[1:]
    drifted = []
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = file.read_text(encoding="utf-8")
        fresh = REGION.sub(lambda match: f"{match[1]}{GENERATORS[match[2]]()}\n{match[3]}", text)
        if fresh != text:
            drifted.append(str(file.relative_to(ROOT)))
            if not check:
                file.write_text(fresh, encoding="utf-8")
    for name in drifted:
        sys.stdout.write(f"{name}: {'differs from the code; run `make docs`' if check else 'written'}\n")
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())

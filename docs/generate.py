"""Writes the parts of README and docs that repeat the code: command help, exit codes, field tables; or checks them.

In: the code, and Markdown files with `<!-- generated:NAME -->` ... `<!-- /generated -->`. Out: the same files, filled.
Run it as `python docs/generate.py`, or with `--check` to fail when a file would change.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from flowai.storage.json_schema import describe_fields, records_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
REGION = re.compile(r"(<!-- generated:([a-z-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def command_help() -> str:
    """Return the help of every command, as a wide terminal shows it."""
    import typer  # noqa: TID251 - help is taken from the real command line

    from flowai.cli.app import app

    os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb")

    def pages(name: str, command: Any, parent: Any) -> Iterator[str]:  # noqa: ANN401 - of typer's private classes
        context = command.make_context(name, [], parent=parent, resilient_parsing=True)
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        yield f"### `{context.command_path}`\n\n```text\n{text}\n```"
        for inner, one in getattr(command, "commands", {}).items():
            yield from pages(inner, one, context)

    return "\n\n".join(pages("flowai", typer.main.get_command(app), None))


def exit_codes() -> str:
    """Give the table of exit codes."""
    from flowai.errors import ExitCode

    return _table(("code", "meaning"), [(f"**{code.value}**", code.meaning) for code in ExitCode])


def fields(*outermost: type[msgspec.Struct]) -> str:
    """Return one table for each of these records and those inside them: field, type, default, meaning."""
    parts = []
    for record in records_in(*outermost):
        rows = list(_rows(record))
        if rows:
            summary = (record.__doc__ or "").strip().splitlines()[0]
            table = _table(("field", "type", "default", "meaning"), rows)
            parts.append(f"### {record.__name__}\n\n{summary}\n\n{table}")
    return "\n\n".join(parts)


def registry_fields() -> str:
    """Return the tables of registry.yaml."""
    from flowai.registry.records import RegistryFile

    return fields(RegistryFile)


def event_fields() -> str:
    """Return the tables of the event log."""
    from flowai.events import Event

    return fields(*get_args(Event))


def report_fields() -> str:
    """Return the tables of report.json."""
    from flowai.evals.reports.records import Report

    return fields(Report)


def faults() -> str:
    """Give the table of faults that `tests/gateway/test_faults.py` tries, row by row."""
    sys.path[:0] = [str(ROOT / "tests" / "gateway"), str(ROOT / "tests")]
    table: str = importlib.import_module("support.fault_table").markdown()
    return table


def check_rules(table: str) -> str:
    """Give the table of the rules of `flowai finetune check`: `ERRORS` or `WARNINGS`."""
    rules: dict[str, str] = getattr(importlib.import_module("flowai.finetune.check.records"), table)
    return _table(("rule", "meaning"), [(f"`{rule}`", meaning) for rule, meaning in rules.items()])


def decision_index() -> str:
    """Return one table of decision notes per package: number, title, status."""
    packages: dict[str, list[tuple[str, str, str]]] = {}
    for note in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        text = note.read_text(encoding="utf-8")
        number, title = text.splitlines()[0].removeprefix("# ").split(": ", 1)
        status, package = (re.search(rf"^{key}: (.+)$", text, re.MULTILINE) for key in ("Status", "Package"))
        if status is None or package is None:
            raise ValueError(f"{note.name} needs a line `Status: ...` and a line `Package: ...`")
        packages.setdefault(package[1], []).append((f"[{number}]({note.name})", title, status[1]))
    sections = (f"## {name}\n\n{_table(('note', 'decision', 'status'), packages[name])}" for name in sorted(packages))
    return "\n\n".join(sections)


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
    "registry-fields": registry_fields,
    "faults": faults,
    "check-errors": lambda: check_rules("ERRORS"),
    "check-warnings": lambda: check_rules("WARNINGS"),
    "decision-index": decision_index,
    "event-fields": event_fields,
    "report-fields": report_fields,
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

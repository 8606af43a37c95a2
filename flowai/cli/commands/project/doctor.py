"""`flowai doctor`: options and screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.diagnosis import CheckFinding, Diagnosis

EXAMPLES = examples("flowai doctor", "flowai doctor --live", "flowai doctor --env prod --json")
_WORDS = {"ok": "ok", "warning": "warning", "error": "error", "skipped": "-"}


def command(
    live: Annotated[
        bool, typer.Option("--live", help="Ask each provider whether it answers and lists the models.")
    ] = False,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Check project, keys, models, state and machine.

    Nothing is changed and no key is shown. Exit status: 0 if nothing is wrong or there are only warnings; 3 if a file
    of the project or the installation is wrong; 4 if only this machine or a service fails.
    """
    from flowai.cli import console
    from flowai.diagnosis import diagnose

    found = diagnose(console.command_context(env), is_live=live)
    if json:
        facts = {name: found.count(name) for name in ("ok", "warning", "error", "skipped")}
        console.print_json({"schema_version": found.schema_version, "counts": facts, "findings": found.findings})
    else:
        for line in screen_lines(found, console.terminal_width()):
            console.print_styled(line)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def screen_lines(found: Diagnosis, width: int | None) -> Iterator[str]:
    """Yield a line per finding, with its hint below it, and the counts."""
    from flowai.rendering.formatting import count

    name_width = max(len(finding.check) for finding in found.findings)
    last = None
    for finding in found.findings:
        name = "" if finding.check == last else finding.check
        last = finding.check
        yield from _lines(finding, name.ljust(name_width), width)
    yield ""
    errors, warnings = found.count("error"), found.count("warning")
    yield f"{count(errors, 'error')}, {count(warnings, 'warning')}" if errors or warnings else "OK  nothing is wrong"


def _lines(finding: CheckFinding, name: str, width: int | None) -> Iterator[str]:
    from flowai.rendering.formatting import wrapped
    from flowai.rendering.markdown import one_line

    head = f"{_WORDS[finding.status]:<7}  {name}  "
    indent = " " * len(head)
    text_width = None if width is None else max(width - len(head), 20)
    texts = [one_line(finding.text, 600), *([f"hint: {one_line(finding.hint, 400)}"] if finding.hint else [])]
    lines = [line for text in texts for line in wrapped(text, text_width)]
    for number, line in enumerate(lines):
        yield f"{indent if number else head}{line}"

"""Output of commands: lines, tables, JSON, errors; and the context of the process."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.project import find_project_of_runs
from flowai.rendering.formatting import aligned
from flowai.rendering.markdown import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from flowai.errors import FlowaiError
    from flowai.project import Project
    from flowai.workspace.workspace import CommandContext

_WORKFLOW_COMMAND = re.compile(r"^(?=\s*::)", re.MULTILINE)
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def project() -> Project:
    """Find the project of the current directory, also one without a registry in which suites have run.

    Raises:
        ProjectError: there is none.
    """
    return find_project_of_runs(Path.cwd(), os.environ)


def current_user(environ: Mapping[str, str]) -> str:
    """Return user and host of the process: `ann@build-7`."""
    import socket

    names = (environ.get(name) for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "SUDO_USER", "USER", "LOGNAME"))
    name = next((name for name in names if name), "unknown")
    return f"{name}@{socket.gethostname()}".encode(errors="replace").decode()  # a variable can contain any bytes


def command_context(env: str | None = None) -> CommandContext:
    """Build the context of the running command."""
    from flowai.workspace.workspace import CommandContext

    return CommandContext(directory=Path.cwd(), user=current_user(os.environ), env=env)


def uses_cache(context: CommandContext, option: bool | None) -> bool:
    """Return whether to use cached answers; the default is no in CI, which a line on stderr says."""
    if option is None and context.is_ci:
        print_progress_line("cache off, because CI=true; --cache uses it")
        return False
    return option is not False


def flush() -> None:
    """Flush stdout."""
    sys.stdout.flush()


def discard_stdout() -> None:
    """Write stdout to nowhere from now on: its reader is gone (`| head`), and the flush at exit must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_github() -> bool:
    """Return whether the process runs in GitHub Actions, which reads commands in its output."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def print_line(text: str = "") -> None:
    """Print a line to stdout, control characters escaped."""
    sys.stdout.write(f"{_shown(text)}\n")


def print_workflow_command(text: str) -> None:
    """Print a command that GitHub Actions runs; its values are escaped already."""
    sys.stdout.write(f"{visible(text)}\n")


def _shown(text: str) -> str:
    """Return a text with control characters escaped, and in GitHub Actions without commands of its own.

    Source: github.com/actions/runner, ActionCommand.cs: `::` after white space, and `##[` anywhere, begin a command.
    """
    safe = visible(text)
    return _WORKFLOW_COMMAND.sub("\\\\", safe).replace("##[", "#\\#[") if is_github() else safe


def print_json(document: object) -> None:
    """Print a JSON document to stdout, indented, with a final line feed."""
    import msgspec

    raw = document if isinstance(document, bytes) else msgspec.json.encode(document, order="deterministic")
    sys.stdout.write(escape_json(msgspec.json.format(raw, indent=1).decode()) + "\n")


def print_json_parts(parts: Iterable[bytes]) -> None:
    """Print the parts of a JSON document, indented already, to stdout."""
    for part in parts:
        sys.stdout.write(escape_json(part.decode()))


def escape_json(text: str) -> str:
    """Return the same JSON with characters that JSON allows but that move a cursor or reverse a line as escapes."""
    safe = text.replace("##[", "#\\u0023[") if is_github() else text
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", safe)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to stdout: the first column aligned left, the others right."""
    for line in aligned([columns, *rows], "<".ljust(len(columns), ">")):
        print_line(line)


def terminal_width() -> int | None:
    """Return the width of the terminal that stdout is; None for a file or a pipe."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wants_progress() -> bool:
    """Return whether to draw progress: stderr is a terminal, without NO_COLOR or TERM=dumb."""
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def stderr() -> Console:
    """Return rich's console for progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_progress_line(text: str) -> None:
    """Print a line to stderr, control characters escaped."""
    sys.stderr.write(f"{_shown(text)}\n")
    sys.stderr.flush()


_COLOURS = {
    "ok": "green",
    "FAIL": "red",
    "ERROR": "yellow",
    "????": "yellow",
    "GATE MET": "green",
    "GATE NOT MET": "red",
    "NOT DRIFTED": "green",
    "DRIFTED": "red",
    "NOT DECIDED: ERRORS": "yellow",
    "INCONCLUSIVE": "yellow",
    "READY TO DEPLOY": "green",
    "DEPLOY BLOCKED": "red",
    "NOT CHECKED, DEPLOY BLOCKED": "yellow",
    "done": "green",
    "PENDING": "yellow",
    "FAILED": "red",
    "NOT CONFIRMED": "red",
    "NOT PUBLISHED": "red",
    "NOTHING CHANGED": "yellow",
    "warn": "yellow",
    "warning": "yellow",
    "error": "red",
    "BROKEN": "red",
    "OK": "green",
    "NO LIVE PROCESS SEEN": "yellow",
    "ALERT": "red",
    "ROLLED BACK": "yellow",
    "RESOLVED": "green",
    "RETIRING": "yellow",
    "PROMOTE": "green",
    "HOLD": "yellow",
    "ROLLBACK": "red",
    "WINNER": "green",
    "WORSE": "red",
    "NO WINNER YET": "yellow",
    "ABOVE THE FLOOR": "green",
    "BELOW THE FLOOR": "red",
    "TOO FEW LABELS": "yellow",
    "JUDGE DOWN": "red",
    "EQUAL OR BETTER": "green",
    "UNDECIDED": "yellow",
    "INVALID": "yellow",
}
"""First words of result lines and their colours; the word alone is enough to understand the line."""
_ENDS = ("", " ", ".", ",", ":", ";")


def print_styled(line: str) -> None:
    """Print a line; colour its first word on a terminal if it is a result, unless NO_COLOR is set."""
    words = sorted(_COLOURS, key=len, reverse=True)
    mark = next((word for word in words if line.startswith(word) and line[len(word) : len(word) + 1] in _ENDS), None)
    if mark is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        from typer import style

        sys.stdout.write(f"{style(mark, fg=_COLOURS[mark], bold=True)}{_shown(line[len(mark) :])}\n")
    else:
        print_line(line)


def print_error(error: FlowaiError) -> None:
    """Print an error and its hint to stderr, secrets redacted."""
    from flowai.redaction import redact

    sys.stderr.write(f"error: {_shown(redact(str(error)))}\n")
    if error.hint:
        sys.stderr.write(f"hint: {_shown(redact(error.hint))}\n")
    sys.stderr.flush()


def print_traceback(error: BaseException) -> None:
    """Print a traceback to stderr, secrets redacted."""
    import traceback

    from flowai.redaction import redact

    sys.stderr.write(_shown(redact("".join(traceback.format_exception(error)))))
    sys.stderr.flush()

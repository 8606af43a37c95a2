"""Writes AI_MODEL_VERSION into version targets: dotenv files and commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError, InfrastructureError, ProjectError
from flowai.registry.resolve import VERSION_VARIABLE
from flowai.storage.files import read_text, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND_TIMEOUT_S = 10.0
PLACEHOLDER = "{version}"
_LINE = re.compile(rf"^([ \t]*(?:export[ \t]+)?{VERSION_VARIABLE}[ \t]*=)[^\r\n]*", re.MULTILINE)


def write_version(target: str, release: str, *, root: Path, environ: Mapping[str, str]) -> None:
    """Write the name of a release to a version target.

    Args:
        target: `dotenv:FILE` or `command:PROGRAM ARGUMENTS`.
        release: the new value.
        root: base of relative files, and working directory of commands.
        environ: variables of a command.

    Raises:
        FlowaiError: the target failed; the message never contains a command's output.
    """
    kind, _, rest = target.partition(":")
    if kind == "dotenv":
        _write_dotenv(root / Path(rest).expanduser(), rest, release)
    elif kind == "command":
        _run_command(rest, release, root=root, environ=environ)
    else:
        raise ProjectError(
            f"found `{kind}:`, expected `dotenv:` or `command:`",
            hint="`command:` runs any program that sets the variable",
        )


def short_name(target: str) -> str:
    """Return a target's name for the screen; of a command only its program."""
    kind, _, rest = target.partition(":")
    return f"{kind}:{rest.split()[0]}" if kind == "command" and rest.split() else target


def _write_dotenv(path: Path, name: str, release: str) -> None:
    """Replace the value in every line that sets the variable, or add a line; keep every other byte."""
    path = path.resolve()
    text = read_text(path, name=name) if path.exists() else ""
    # read_text drops a byte-order mark: it would be a part of the first variable's name
    changed, count = _LINE.subn(lambda match: match.group(1) + release, text)
    if count == 0:
        gap = "" if not text or text.endswith("\n") else "\n"
        changed = f"{text}{gap}{VERSION_VARIABLE}={release}\n"
    if changed != text:
        write_atomic(path, changed)


def _run_command(text: str, release: str, *, root: Path, environ: Mapping[str, str]) -> None:
    """Run a program without a shell.

    It gets the release in AI_MODEL_VERSION, instead of `{version}` in its arguments, and as the only line of stdin.
    """
    import os
    import shlex
    import signal
    import subprocess

    try:
        words = [word.replace(PLACEHOLDER, release) for word in shlex.split(text)]
    except ValueError as error:
        raise ProjectError(f"`command:` cannot be parsed: {error}") from None
    if not words:
        raise ProjectError("`command:` has no program")
    try:
        child = subprocess.Popen(  # noqa: S603 - from the registry; no shell
            words,
            cwd=root,
            env={**environ, VERSION_VARIABLE: release},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise InfrastructureError(f"`{words[0]}` cannot be run: {error.strerror}") from None
    try:
        child.communicate(f"{release}\n".encode(), timeout=COMMAND_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise InfrastructureError(f"`{words[0]}` took longer than {COMMAND_TIMEOUT_S:.0f} s") from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # its children too
            child.wait()
    if child.returncode != 0:
        raise InfrastructureError(f"`{words[0]}` exited with status {child.returncode}")


def version_error(error: FlowaiError) -> str:
    """Return the error and its hint in one line."""
    return f"{error}; {error.hint}" if error.hint else str(error)

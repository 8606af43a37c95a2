"""Tells the places that hold AI_MODEL_VERSION which release it shall name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError, InfrastructureError, ProjectError
from flowai.registry.resolve import VERSION_VARIABLE
from flowai.storage.files import read_text, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND_LIMIT_S = 10.0
PLACEHOLDER = "{version}"
_LINE = re.compile(rf"^([ \t]*(?:export[ \t]+)?{VERSION_VARIABLE}[ \t]*=)[^\r\n]*", re.MULTILINE)


def write_version(target: str, release: str, *, root: Path, environ: Mapping[str, str]) -> None:
    """Put a release's name where a target says.

    Args:
        target: `dotenv:FILE` or `command:PROGRAM ARGUMENTS`.
        release: the release.
        root: directory that relative files start from, and in which commands run.
        environ: the variables a command gets.

    Raises:
        FlowaiError: it did not work; says why, without what a command printed.
    """
    kind, _, rest = target.partition(":")
    if kind == "dotenv":
        _write_dotenv(root / Path(rest).expanduser(), rest, release)
    elif kind == "command":
        _run_command(rest, release, root=root, environ=environ)
    else:
        raise ProjectError(
            f"`{kind}:` is not known to this version", hint="`command:` runs any program that sets the variable"
        )


def short_name(target: str) -> str:
    """Give a target's name for the screen: a command's program only, since its arguments may be long."""
    kind, _, rest = target.partition(":")
    return f"{kind}:{rest.split()[0]}" if kind == "command" and rest.split() else target


def _write_dotenv(path: Path, name: str, release: str) -> None:
    """Replace the variable's value, in every line that sets it, or add a line; every other byte stays."""
    path = path.resolve()
    text = read_text(path, name=name) if path.exists() else ""
    # read_text drops a byte-order mark: in such a file it would part the first variable's name from its value anyway
    changed, count = _LINE.subn(lambda match: match.group(1) + release, text)
    if count == 0:
        gap = "" if not text or text.endswith("\n") else "\n"
        changed = f"{text}{gap}{VERSION_VARIABLE}={release}\n"
    if changed != text:
        write_atomic(path, changed)


def _run_command(text: str, release: str, *, root: Path, environ: Mapping[str, str]) -> None:
    """Run a program, without a shell.

    It gets the release in AI_MODEL_VERSION, in the place of `{version}` in its arguments, and as the only line of its
    input.
    """
    import os
    import shlex
    import signal
    import subprocess

    try:
        words = [word.replace(PLACEHOLDER, release) for word in shlex.split(text)]
    except ValueError as error:
        raise ProjectError(f"not a command: {error}") from None
    if not words:
        raise ProjectError("not a command: nothing to run")
    try:
        child = subprocess.Popen(  # noqa: S603 - the registry's owner names it; there is no shell
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
        child.communicate(f"{release}\n".encode(), timeout=COMMAND_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise InfrastructureError(f"`{words[0]}` took longer than {COMMAND_LIMIT_S:.0f} s") from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # its children too
            child.wait()
    if child.returncode != 0:
        raise InfrastructureError(f"`{words[0]}` ended with status {child.returncode}")


def version_error(error: FlowaiError) -> str:
    """Phrase why a target was not written, in one line."""
    return f"{error}; {error.hint}" if error.hint else str(error)

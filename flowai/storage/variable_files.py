"""Reads variables from files: `NAME=value` lines, and mounted directories with a file per variable."""

from __future__ import annotations

import os
import re
from pathlib import Path

from flowai.errors import Place, ProjectError
from flowai.storage.files import read_text

KEY_FILES_VARIABLE = "FLOWAI_KEY_FILES"
"""Names files and directories with variables, separated like those of PATH; the first that has a variable wins."""
MAX_VALUE_BYTES = 64 * 1024
"""Larger files of a mounted directory are no variables; Kubernetes' greatest secrets are certificates."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_variables(path: Path, *, name: str) -> dict[str, str]:
    """Read a file of `NAME=value` lines; `${...}` in values is not substituted.

    Args:
        path: the file.
        name: its name in errors.

    Raises:
        ProjectError: it cannot be read, or a line has another form; its content is not shown.
    """
    from io import StringIO  # late: only for projects with such a file

    from dotenv.parser import parse_stream  # late: as above

    variables: dict[str, str] = {}
    for binding in parse_stream(StringIO(read_text(path, name=name))):
        if binding.error:
            raise ProjectError(
                "not a line of the form `NAME=value`",
                place=Place(file=name, line=binding.original.line),
                hint="write a value with spaces or quotes in quotes",
            )
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    return variables


def key_file_paths(text: str | None, *, root: Path) -> tuple[Path, ...]:
    """Return the paths in a value of FLOWAI_KEY_FILES; relative ones begin at the project's root."""
    parts = (text or "").split(os.pathsep)
    return tuple(root / Path(part.strip()).expanduser() for part in parts if part.strip())


def read_key_files(path: Path, *, name: str) -> dict[str, str]:
    """Read the variables of a file, or of a mounted directory: the name of each file is a variable.

    Args:
        path: the file or directory.
        name: its name in errors.

    Raises:
        ProjectError: there is neither, or it cannot be read.
    """
    if path.is_file():
        return read_variables(path, name=name)
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        return {
            entry.name: Path(entry.path).read_text(encoding="utf-8").rstrip("\r\n")
            for entry in entries
            if _NAME.fullmatch(entry.name) and entry.is_file() and entry.stat().st_size <= MAX_VALUE_BYTES
        }
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "a file in it is no text"
        raise ProjectError(
            f"{KEY_FILES_VARIABLE} names `{name}`, which cannot be read: {reason}",
            hint="name a file of `NAME=value` lines, or a directory with a file per variable",
        ) from None


def files_behind(path: Path) -> tuple[Path, ...]:
    """Return the files that decide the variables of a file or directory, for the check whether they changed."""
    try:
        return (path, *(Path(entry.path) for entry in os.scandir(path) if _NAME.fullmatch(entry.name)))
    except OSError:
        return (path,)

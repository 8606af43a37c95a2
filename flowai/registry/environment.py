"""Environment variables of a project, and their substitution in texts of a registry."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from flowai.errors import MissingKeyError, ProjectError
from flowai.storage.variable_files import (
    KEY_FILES_VARIABLE,
    files_behind,
    key_file_paths,
    read_key_files,
    read_variables,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from flowai.errors import Place
    from flowai.project import Project

ENVIRONMENT = "environment"
"""Name of the process environment as a source of variables."""
DOTENV = ".env"

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\Aos\.environ/([A-Za-z_][A-Za-z0-9_]*)\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class VariableSource:
    """A place that variables come from."""

    name: str
    """`environment`, `.env`, or the path of a file or directory."""
    variables: Mapping[str, str] = field(repr=False)


def environment_of(project: Project, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables of all sources, read-only; the process environment wins over .env, both over key files.

    `${...}` in values of files is not substituted.

    Raises:
        ProjectError: a file cannot be read, or a line is not `NAME=value`; its content is not shown.
    """
    merged: dict[str, str] = {}
    for source in reversed(variable_sources(project, environ)):
        merged |= source.variables
    return MappingProxyType(merged)


def variable_sources(project: Project, environ: Mapping[str, str]) -> tuple[VariableSource, ...]:
    """Return the sources of variables, the one that wins first.

    Raises:
        ProjectError: see `environment_of`.
    """
    found = [VariableSource(name=ENVIRONMENT, variables=environ)]
    if project.dotenv.is_file():
        variables = read_variables(project.dotenv, name=project.show(project.dotenv))
        found.append(VariableSource(name=DOTENV, variables=variables))
    return (
        *found,
        *(
            VariableSource(name=project.show(path), variables=read_key_files(path, name=project.show(path)))
            for path in key_file_paths(_named_key_files(found), root=project.root)
        ),
    )


def variable_files(project: Project, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files whose change may change a variable; one that cannot be read changes nothing yet."""
    found = [VariableSource(name=ENVIRONMENT, variables=environ)]
    if project.dotenv.is_file():
        with suppress(ProjectError):
            variables = read_variables(project.dotenv, name=project.show(project.dotenv))
            found.append(VariableSource(name=DOTENV, variables=variables))
    paths = key_file_paths(_named_key_files(found), root=project.root)
    return (project.dotenv, *(file for path in paths for file in files_behind(path)))


def _named_key_files(sources: Iterable[VariableSource]) -> str | None:
    values = (source.variables.get(KEY_FILES_VARIABLE) for source in sources)
    return next((value for value in values if value is not None), None)


def fill(text: str, environ: Mapping[str, str], *, owner: str, place: Place | None = None) -> str:
    """Substitute `${NAME}` and `os.environ/NAME`.

    Args:
        text: text of the registry.
        environ: see `environment_of`.
        owner: the entry that needs the variable, for errors (``model `gpt-4o` ``).
        place: position of the text.

    Raises:
        MissingKeyError: a variable is not set, or empty.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        found = environ.get(name)
        if not found:
            raise missing_key(name, owner=owner, place=place)
        return found

    return REFERENCE.sub(value, text)


def references(text: str) -> tuple[str, ...]:
    """Return the names of the variables in a text."""
    return tuple(match.group(1) or match.group(2) for match in REFERENCE.finditer(text))


def missing_key(name: str, *, owner: str, place: Place | None) -> MissingKeyError:
    """Build the error for a variable that is not set."""
    return MissingKeyError(
        f"{owner} needs the variable `{name}`, which is not set",
        place=place,
        hint=f"set it in the environment, or write `{name}=...` into `.env` beside the registry",
    )

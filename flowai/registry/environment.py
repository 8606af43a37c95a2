"""Environment variables of a project, and their substitution in texts of a registry."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from flowai.errors import MissingKeyError, Place, ProjectError
from flowai.storage.files import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.project import Project

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\Aos\.environ/([A-Za-z_][A-Za-z0-9_]*)\Z")


def environment_of(project: Project, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the process environment over the project's .env, read-only.

    `${...}` in values of .env is not substituted.

    Raises:
        ProjectError: .env cannot be read, or a line is not `NAME=value`; its content is not shown.
    """
    if not project.dotenv.is_file():
        return MappingProxyType(dict(environ))
    from io import StringIO  # late: only for projects with a .env

    from dotenv.parser import parse_stream  # late: as above

    name = project.show(project.dotenv)
    variables: dict[str, str] = {}
    for binding in parse_stream(StringIO(read_text(project.dotenv, name=name))):
        if binding.error:
            raise ProjectError(
                "not a line of the form `NAME=value`",
                place=Place(file=name, line=binding.original.line),
                hint="write a value with spaces or quotes in quotes",
            )
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    return MappingProxyType({**variables, **environ})


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

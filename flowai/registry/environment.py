"""The variables a project runs with, and the texts of a registry that name them."""

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
    """Merge the project's .env under the process environment; neither is changed.

    Values in .env are taken as they stand: `${...}` in them is not filled in.

    Args:
        project: whose .env is read, if it has one.
        environ: the process environment; it wins.

    Returns:
        The variables, read-only.

    Raises:
        ProjectError: .env cannot be read, or a line of it is no `NAME=value`; its content is not shown.
    """
    if not project.dotenv.is_file():
        return MappingProxyType(dict(environ))
    from io import StringIO  # only where there is a .env

    from dotenv.parser import parse_stream  # as above

    name = project.show(project.dotenv)
    variables: dict[str, str] = {}
    for binding in parse_stream(StringIO(read_text(project.dotenv, name=name))):
        if binding.error:
            raise ProjectError(
                "not a line of the form `NAME=value`",
                place=Place(file=name, line=binding.original.line),
                hint="a value with spaces or quotes goes in quotes",
            )
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    return MappingProxyType({**variables, **environ})


def fill(text: str, environ: Mapping[str, str], *, owner: str, place: Place | None = None) -> str:
    """Fill in `${NAME}` and `os.environ/NAME`.

    Args:
        text: as it stands in the registry.
        environ: see `environment_of`.
        owner: who needs it, for the message (``model `gpt-4o` ``).
        place: where the text stands.

    Returns:
        The text with values in place of names.

    Raises:
        MissingKeyError: a variable is not set, or empty; names it.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        found = environ.get(name)
        if not found:
            raise missing(name, owner=owner, place=place)
        return found

    return REFERENCE.sub(value, text)


def references(text: str) -> tuple[str, ...]:
    """Give the names of the variables a text refers to."""
    return tuple(match.group(1) or match.group(2) for match in REFERENCE.finditer(text))


def missing(name: str, *, owner: str, place: Place | None) -> MissingKeyError:
    """Make the error for a variable that is not set."""
    return MissingKeyError(
        f"{owner} needs the variable `{name}`, which is not set",
        place=place,
        hint=f"set it in the environment, or write `{name}=...` into `.env` beside the registry",
    )

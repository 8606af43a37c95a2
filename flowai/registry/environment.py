"""Environment variables of a project, and their substitution in texts of a registry."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from flowai.errors import MissingKeyError, ProjectError
from flowai.storage.aws_secrets import AWS_SECRETS_VARIABLE, aws_secret_names, aws_secrets_cache
from flowai.storage.files import FileFingerprint, read_fingerprints
from flowai.storage.variable_files import (
    KEY_FILES_VARIABLE,
    files_behind,
    key_file_paths,
    read_key_files,
    read_variables,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from flowai.errors import Place
    from flowai.project import Project

ENVIRONMENT = "environment"
"""Name of the process environment as a source of variables."""
DOTENV = ".env"
AWS_PREFIX = "aws:"
"""Begins the name of a secret of AWS Secrets Manager as a source of variables."""

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\Aos\.environ/([A-Za-z_][A-Za-z0-9_]*)\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class VariableSource:
    """A place that variables come from."""

    name: str
    """`environment`, `.env`, the path of a file or directory, or `aws:NAME`."""
    variables: Mapping[str, str] = field(repr=False)
    changed_at: datetime | None = None
    """Time at which its values were made; None if the source does not know."""
    problem: str | None = None
    """Why it could not be read; its variables are then the last known ones."""


def environment_of(project: Project, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables of all sources, read-only; see `variable_sources` for their order.

    `${...}` in values of files is not substituted.

    Raises:
        ProjectError: a file cannot be read, or a line is not `NAME=value`; its content is not shown.
    """
    return merge_sources(variable_sources(project, environ))


def merge_sources(sources: Sequence[VariableSource]) -> Mapping[str, str]:
    """Return the variables of sources, the first of which wins, read-only."""
    merged: dict[str, str] = {}
    for source in reversed(sources):
        merged |= source.variables
    return MappingProxyType(merged)


def variable_sources(project: Project, environ: Mapping[str, str]) -> tuple[VariableSource, ...]:
    """Return the sources of variables, the one that wins first: environment, .env, key files, AWS Secrets Manager.

    Raises:
        ProjectError: see `environment_of`; or boto3 is needed and not installed.
    """
    found = _own_sources(project, environ)
    names = aws_secret_names(_value(found, AWS_SECRETS_VARIABLE))
    for path in key_file_paths(_value(found, KEY_FILES_VARIABLE), root=project.root):
        name = project.show(path)
        found.append(VariableSource(name=name, variables=read_key_files(path, name=name)))
    cache = aws_secrets_cache(merge_sources(found)) if names else None
    for secret in () if cache is None else map(cache.get, names):
        found.append(
            VariableSource(
                name=f"{AWS_PREFIX}{secret.name}",
                variables=secret.variables,
                changed_at=secret.changed_at,
                problem=secret.problem,
            )
        )
    return tuple(found)


def fingerprint_sources(project: Project, environ: Mapping[str, str]) -> dict[str, FileFingerprint]:
    """Return what changes when a variable may have changed; a file that cannot be read changes nothing yet."""
    found: list[VariableSource] = []
    with suppress(ProjectError):
        found = _own_sources(project, environ)
    paths = key_file_paths(_value(found, KEY_FILES_VARIABLE), root=project.root)
    fingerprints = read_fingerprints((project.dotenv, *(file for path in paths for file in files_behind(path))))
    if _value(found, AWS_SECRETS_VARIABLE):
        with suppress(ProjectError):
            for source in variable_sources(project, environ):
                if source.name.startswith(AWS_PREFIX):
                    state = hash((source.changed_at, source.problem, tuple(source.variables.items())))
                    fingerprints[source.name] = FileFingerprint(state, 0, 0)
    return fingerprints


def refresh_secrets(project: Project, environ: Mapping[str, str]) -> None:
    """Read the secrets of AWS Secrets Manager again now, if there are any."""
    with suppress(ProjectError):
        sources = variable_sources(project, environ)
        local = merge_sources([source for source in sources if not source.name.startswith(AWS_PREFIX)])
        for source in sources:
            if source.name.startswith(AWS_PREFIX):
                aws_secrets_cache(local).refresh(source.name.removeprefix(AWS_PREFIX))


def _own_sources(project: Project, environ: Mapping[str, str]) -> list[VariableSource]:
    found = [VariableSource(name=ENVIRONMENT, variables=environ)]
    if project.dotenv.is_file():
        variables = read_variables(project.dotenv, name=project.show(project.dotenv))
        found.append(VariableSource(name=DOTENV, variables=variables))
    return found


def _value(sources: Iterable[VariableSource], name: str) -> str | None:
    values = (source.variables.get(name) for source in sources)
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

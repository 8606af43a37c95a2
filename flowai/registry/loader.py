"""Loads registry.yaml, with the environment's file over it, into a checked Registry."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import Place, RegistryError, UsageError, expected_one_of
from flowai.registry.decode import decode
from flowai.registry.overlay import merge
from flowai.registry.records import Registry
from flowai.registry.validate import validate
from flowai.storage.files import Document, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flowai.project import Project

ENVIRONMENT_VARIABLE = "FLOWAI_ENV"
OWN_KEYS = ("current", "history", "bad", "rollout")  # written by flowai; users write all others


def load_registry(project: Project, *, env: str | None, environ: Mapping[str, str]) -> Registry:
    """Load and check the registry of a project.

    Variables (`${OPENAI_API_KEY}`) are not substituted: one that is not set is an error only when its model is used.

    Args:
        project: the project.
        env: the environment (`prod` reads `registry.prod.yaml`); None for FLOWAI_ENV, and without it the plain file.
        environ: the variables, see `environment_of`.

    Raises:
        RegistryError: a file is missing or wrong.
        UsageError: there is no such environment.
    """
    chosen = env or environ.get(ENVIRONMENT_VARIABLE) or None
    path = environment_file(project, chosen)
    documents = _read(project, path)
    sources = merge(*documents)
    _refuse_redefined_releases(documents)
    records = decode(sources)
    validate(records, sources)
    return Registry(
        **msgspec.structs.asdict(records),
        environment=chosen,
        own_file=project.show(path),
        places={name: sources.place("models", name) for name in records.models},
    )


def environments(project: Project) -> tuple[str, ...]:
    """Return the names of the environments that have a file, in alphabetical order."""
    stem, ending = project.registry.stem, project.registry.suffix
    pattern = re.compile(rf"{re.escape(stem)}\.([A-Za-z0-9_-]+){re.escape(ending)}")
    names = (pattern.fullmatch(path.name) for path in project.registry.parent.iterdir())
    return tuple(sorted(match.group(1) for match in names if match))


def environment_file(project: Project, env: str | None) -> Path:
    """Return the file that contains flowai's own keys in an environment; None for the plain registry.

    Raises:
        UsageError: there is no such environment.
    """
    if env is None:
        return project.registry
    known = environments(project)
    if env not in known:
        stem, ending = project.registry.stem, project.registry.suffix
        raise UsageError(
            f"no environment `{env}`: there is no `{stem}.{env}{ending}`", hint=expected_one_of(known, found=env)
        )
    return project.registry.with_name(f"{project.registry.stem}.{env}{project.registry.suffix}")


def _read(project: Project, path: Path) -> tuple[Document, ...]:
    """Read a file and the one that it extends; the base first."""
    document = _read_one(project, path)
    if not isinstance(document.value, dict) or "extends" not in document.value:
        if path != project.registry:
            raise RegistryError(
                "missing key `extends`, expected the base file",
                place=document.location(),
                hint=f"begin it with `extends: {project.registry.name}`",
            )
        return (document,)
    named = document.value["extends"]
    if not isinstance(named, str) or "/" in named or named == path.name:
        raise RegistryError(
            f"found `{named}`, expected the name of a registry file in the same directory",
            place=document.location("extends"),
            hint=f"write `extends: {project.registry.name}`",
        )
    base_path = path.with_name(named)
    if not base_path.is_file():
        raise RegistryError(f"no file `{named}` in the same directory", place=document.location("extends"))
    base = _read_one(project, base_path)
    if isinstance(base.value, dict) and "extends" in base.value:
        raise RegistryError(
            f"`{named}` extends another file, expected at most one level", place=document.location("extends")
        )
    # `policies:` without a value must not remove the base's policies; `rollout: null` ends the base's rollout
    values = {key: value for key, value in document.value.items() if value is not None or key in OWN_KEYS}
    return (base, Document(value=values, file=document.file, lines=document.lines))


def _read_one(project: Project, path: Path) -> Document:
    document = read_yaml(path, name=project.show(path), kind=RegistryError)
    if isinstance(document.value, dict) and not document.value:
        return Document(value=None, file=document.file, lines=document.lines)
    return document


def _refuse_redefined_releases(documents: tuple[Document, ...]) -> None:
    """Refuse a release that both files define: a name must mean the same in every environment."""
    seen: dict[str, Place] = {}
    for document in documents:
        releases = document.value.get("releases")
        for name in releases if isinstance(releases, dict) else ():
            place = document.location("releases", name)
            if name in seen:
                raise RegistryError(
                    f"release `{name}` is defined already at `{seen[name].file}:{seen[name].line}`",
                    place=place,
                    hint="releases are immutable; use another name for the new one",
                )
            seen[name] = place

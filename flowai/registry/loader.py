"""Reads registry.yaml, and the chosen environment's file over it, into a checked Registry."""

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
OWN_KEYS = ("current", "history", "bad", "rollout")  # what flowai writes; all else belongs to people


def load_registry(project: Project, *, env: str | None, environ: Mapping[str, str]) -> Registry:
    """Read and check the registry of a project.

    Variables that it names (`${OPENAI_API_KEY}`) are not looked at: one that is not set is an error only when its
    model is used.

    Args:
        project: whose registry.
        env: the environment (`prod` reads `registry.prod.yaml`); None takes FLOWAI_ENV, and without it the plain file.
        environ: the variables, see `environment_of`.

    Returns:
        The registry; every name in it leads somewhere.

    Raises:
        RegistryError: a file is missing or wrong; names file, line, key, what was found and what was expected.
        UsageError: there is no such environment; lists those there are.
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
    """Give the names of the environments that have a file of their own, in alphabetical order."""
    stem, ending = project.registry.stem, project.registry.suffix
    pattern = re.compile(rf"{re.escape(stem)}\.([A-Za-z0-9_-]+){re.escape(ending)}")
    names = (pattern.fullmatch(path.name) for path in project.registry.parent.iterdir())
    return tuple(sorted(match.group(1) for match in names if match))


def environment_file(project: Project, env: str | None) -> Path:
    """Give the file that holds flowai's own keys in an environment.

    Args:
        project: whose registry.
        env: the environment; None for the plain registry.

    Returns:
        An existing file.

    Raises:
        UsageError: there is no such environment; lists those there are.
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
    """Read a file, and before it the one it extends."""
    document = _read_one(project, path)
    if not isinstance(document.value, dict) or "extends" not in document.value:
        if path != project.registry:
            raise RegistryError(
                "missing key `extends`, expected the file it starts from",
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
        raise RegistryError(f"no file `{named}` beside it", place=document.location("extends"))
    base = _read_one(project, base_path)
    if isinstance(base.value, dict) and "extends" in base.value:
        raise RegistryError(
            f"`{named}` extends another file itself; one level is the limit", place=document.location("extends")
        )
    # `policies:` with all below it commented out must not wipe out the base's; `rollout: null` ends one
    said = {key: value for key, value in document.value.items() if value is not None or key in OWN_KEYS}
    return (base, Document(value=said, file=document.file, lines=document.lines))


def _read_one(project: Project, path: Path) -> Document:
    document = read_yaml(path, name=project.show(path), kind=RegistryError)
    if isinstance(document.value, dict) and not document.value:
        return Document(value=None, file=document.file, lines=document.lines)
    return document


def _refuse_redefined_releases(documents: tuple[Document, ...]) -> None:
    """A release is immutable: the same name must mean the same in every environment."""
    seen: dict[str, Place] = {}
    for document in documents:
        releases = document.value.get("releases")
        for name in releases if isinstance(releases, dict) else ():
            place = document.location("releases", name)
            if name in seen:
                raise RegistryError(
                    f"release `{name}` is defined already at `{seen[name].file}:{seen[name].line}`",
                    place=place,
                    hint="releases never change; give the new one a name of its own",
                )
            seen[name] = place

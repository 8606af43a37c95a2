"""The project on disk: its root and the paths of its files."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import ProjectError, UsageError
from flowai.storage.own_files import LOCAL_DIRECTORY, REGISTRY_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """Paths of one project."""

    root: Path
    """Absolute path of the directory with the registry."""
    registry: Path
    readable: Path | None = None
    """Directory above the root in which files may be read too; None for the root."""
    is_standalone: bool = False
    """Whether there is no registry: a suite brings its prompts and models along."""

    @property
    def prompts(self) -> Path:
        """Prompt files."""
        return self.root / "prompts"

    @property
    def prompts_lock(self) -> Path:
        """Hashes of released prompts."""
        return self.root / "prompts.lock"

    @property
    def evals(self) -> Path:
        """Suites."""
        return self.root / "evals"

    @property
    def datasets(self) -> Path:
        """Tables of cases."""
        return self.root / "datasets"

    @property
    def reports(self) -> Path:
        """Reports for people: one directory per run."""
        return self.root / "reports"

    @property
    def local(self) -> Path:
        """Files that flowai manages; never committed."""
        return self.root / LOCAL_DIRECTORY

    @property
    def runs(self) -> Path:
        """Run logs, one directory per run."""
        return self.local / "runs"

    @property
    def upgrades(self) -> Path:
        """Answers that upgrades of models have so far, one directory per feature and plan."""
        return self.local / "upgrades"

    @property
    def ledger(self) -> Path:
        """Release steps (publish, promote, roll back): one file per environment."""
        return self.local / "ledger"

    @property
    def outbox(self) -> Path:
        """Messages that are not delivered yet."""
        return self.local / "outbox.jsonl"

    @property
    def overlays(self) -> Path:
        """Remembered overlays of rollbacks."""
        return self.local / "overlays"

    @property
    def watch(self) -> Path:
        """Incidents that `watch` opened: one file per environment."""
        return self.local / "watch"

    @property
    def cache(self) -> Path:
        """The exact cache."""
        return self.local / "cache"

    @property
    def lake(self) -> Path:
        """Days of the event log copied from an object store, and the record of those copied there."""
        return self.local / "lake"

    @property
    def dotenv(self) -> Path:
        """Variables of this checkout; the environment wins over it."""
        return self.root / ".env"

    def show(self, path: Path) -> str:
        """Return a path relative to the root where possible."""
        resolved = path.resolve()
        if resolved.is_relative_to(self.root):
            return str(resolved.relative_to(self.root))
        if self.readable is not None and resolved.is_relative_to(self.readable):
            return os.path.relpath(resolved, self.root)
        return str(path)

    def may_read(self, path: Path) -> bool:
        """Return whether a resolved path is inside the directories that may be read."""
        return path.is_relative_to(self.root) or (self.readable is not None and path.is_relative_to(self.readable))

    def is_hidden(self, path: Path) -> bool:
        """Return whether a resolved path that may be read is a hidden file, or in a hidden directory."""
        base = self.root if path.is_relative_to(self.root) else self.readable or self.root
        return any(part.startswith(".") for part in path.relative_to(base).parts)

    def from_folder(self, text: str, folder: Path) -> str:
        """Return a path, typed in a folder, as a path from the root; unchanged if no file or prompt of it is there."""
        path = folder / text
        for found in (path, path.with_name(f"{path.name}.prompt")):
            if found.exists() and found.resolve().is_relative_to(self.root):
                return path.resolve().relative_to(self.root).as_posix()
        return text

    def inside(self, text: str, *, base: Path | None = None) -> Path:
        """Resolve a path, links included, and refuse one that leaves the project.

        Args:
            text: path relative to `base`, or absolute.
            base: default the root.

        Raises:
            UsageError: the path leads outside the project.
        """
        path = ((base or self.root) / text).resolve()
        if not self.may_read(path):
            raise UsageError(
                f"`{text}` is outside the project `{self.readable or self.root}`",
                hint="flowai reads only prompts, suites and datasets inside the project; copy the file into it",
            )
        return path


def find_project(start: Path, environ: Mapping[str, str]) -> Project:
    """Find the project: by FLOWAI_REGISTRY, else the nearest directory from `start` upwards with a registry.yaml.

    Raises:
        ProjectError: no registry was found, or FLOWAI_REGISTRY is not a file.
    """
    named = environ.get("FLOWAI_REGISTRY")
    if named:
        registry = (start / named).resolve()
        if not registry.is_file():
            raise ProjectError(
                f"FLOWAI_REGISTRY names `{named}`, which is not a file", hint="point it at a registry.yaml"
            )
        return Project(root=registry.parent, registry=registry)
    here = start.resolve()
    for directory in (here, *here.parents):
        registry = directory / REGISTRY_FILE
        if registry.is_file():
            return Project(root=directory, registry=registry)
    raise ProjectError(
        f"no `{REGISTRY_FILE}` in `{here}` or above it",
        hint="run flowai inside a project, or set FLOWAI_REGISTRY to its registry file",
    )


STANDALONE_NAMES = ("promptfooconfig.yaml", "promptfooconfig.yml", "promptfooconfig.json")
"""Suites that run in a directory without a registry, the first one that exists."""


def find_standalone_suite(directory: Path) -> Path | None:
    """Return the suite of a directory that has no registry; None if there is none."""
    return next((directory / name for name in STANDALONE_NAMES if (directory / name).is_file()), None)


def standalone_project(directory: Path, suite: Path) -> Project:
    """Return a project without a registry for one suite.

    Reports and flowai's own files go to `directory`; the suite may read files inside the Git repository that contains
    it, without one inside its own directory.
    """
    root, folder = directory.resolve(), suite.resolve().parent
    repository = next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder)
    return Project(root=root, registry=root / REGISTRY_FILE, readable=repository, is_standalone=True)

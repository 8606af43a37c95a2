"""The project on disk: its root and the paths of its files."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.errors import ProjectError, UsageError
from flowai.storage.own_files import LOCAL_DIRECTORY, REGISTRY_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

_PRIVATE_FOLDERS = frozenset((
    ".aws", ".azure", ".cache", ".codex", ".config", ".docker", ".gemini", ".git", ".gnupg", ".kube", ".local",
    ".ollama", ".password-store", ".secrets", ".ssh", ".svn", ".terraform", ".vault", LOCAL_DIRECTORY,
))  # fmt: skip


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

    def is_hidden(self, path: Path, *, below: Path | None = None) -> bool:
        """Return whether a resolved path that may be read is a hidden file, or in a hidden directory.

        Args:
            path: the path.
            below: directory whose own path does not count; default the root, or the directory that may be read.
        """
        base = below if below is not None and path.is_relative_to(below) else self._base_of(path)
        return any(part.startswith(".") for part in path.relative_to(base).parts)

    def is_private(self, path: Path) -> bool:
        """Return whether a resolved path that may be read is a hidden file, or in a directory of keys or state.

        Other hidden directories (`.github`, `.promptfoo`) belong to a repository; in a home directory all are private.
        """
        base = self._base_of(path)
        *folders, name = path.relative_to(base).parts or ("",)
        hidden = [part for part in folders if part.startswith(".")]
        return name.startswith(".") or bool(hidden and (base == _home() or _PRIVATE_FOLDERS.intersection(hidden)))

    def _base_of(self, path: Path) -> Path:
        return self.root if path.is_relative_to(self.root) else self.readable or self.root

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


def _home() -> Path | None:
    """Return the resolved home directory; None if the system names none."""
    try:
        return Path.home().resolve()
    except (OSError, RuntimeError):
        return None


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
        hint="run flowai inside a project, create one with `flowai init`, or set FLOWAI_REGISTRY to its registry file",
    )


def find_project_of_runs(directory: Path, environ: Mapping[str, str]) -> Project:
    """Find the project of earlier runs: as `find_project`, else a directory in which suites ran without a registry.

    Raises:
        ProjectError: there is neither.
    """
    try:
        return find_project(directory, environ)
    except ProjectError:
        if environ.get("FLOWAI_REGISTRY"):
            raise
        project = standalone_project(directory, directory / STANDALONE_NAMES[0])
        if not project.runs.is_dir() and find_standalone_suite(directory) is None:
            raise
        return project


STANDALONE_NAMES = ("promptfooconfig.yaml", "promptfooconfig.yml", "promptfooconfig.json")
"""Suites that run in a directory without a registry, the first one that exists."""


def find_standalone_suite(directory: Path) -> Path | None:
    """Return the suite of a directory that has no registry; None if there is none."""
    return next((directory / name for name in STANDALONE_NAMES if (directory / name).is_file()), None)


_REPOSITORY_MARKS = (".github", "LICENSE", "LICENSE.md", "README.md", "README.rst", "package.json", "pyproject.toml")
"""Entries that the top directory of a repository has; a downloaded archive brings no `.git`."""


def standalone_project(directory: Path, suite: Path) -> Project:
    """Return a project without a registry for one suite.

    Reports and flowai's own files go to `directory`; the suite may read files inside the repository that contains it,
    without one inside its own directory.
    """
    root, folder = directory.resolve(), suite.resolve().parent
    return Project(root=root, registry=root / REGISTRY_FILE, readable=_repository(folder), is_standalone=True)


def _repository(folder: Path) -> Path:
    """Return the nearest directory from `folder` upwards with `.git`, else the outermost that looks like its copy."""
    import tempfile  # loads a dozen modules that other commands need not

    shared = {_home(), Path(tempfile.gettempdir()).resolve(), Path(folder.anchor)}  # they hold much else
    directories = [path for path in (folder, *folder.parents) if path not in shared]
    for directory in directories:
        if (directory / ".git").exists():
            return directory
    marked = [path for path in directories if any((path / mark).exists() for mark in _REPOSITORY_MARKS)]
    return marked[-1] if marked else folder

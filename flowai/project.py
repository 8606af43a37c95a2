"""The project on disk: finds its root and names every path once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import ProjectError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REGISTRY_FILE = "registry.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """Where everything of one project lies."""

    root: Path
    """Absolute directory that holds the registry."""
    registry: Path
    """The registry file itself."""

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
        """What people read: one directory per run."""
        return self.root / "reports"

    @property
    def local(self) -> Path:
        """What flowai keeps for itself; never committed."""
        return self.root / ".flowai"

    @property
    def runs(self) -> Path:
        """Run logs, one directory per run."""
        return self.local / "runs"

    @property
    def ledger(self) -> Path:
        """What was published, promoted and rolled back: one file per environment."""
        return self.local / "ledger"

    @property
    def outbox(self) -> Path:
        """Messages on their way out."""
        return self.local / "outbox.jsonl"

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
        """Days of the event log that were brought from an object store, and what was copied there."""
        return self.local / "lake"

    @property
    def dotenv(self) -> Path:
        """Variables of this checkout; the environment wins over it."""
        return self.root / ".env"

    def show(self, path: Path) -> str:
        """Give a path the way a person would type it from the root."""
        try:
            return str(path.resolve().relative_to(self.root))
        except ValueError:
            return str(path)

    def inside(self, text: str, *, base: Path | None = None) -> Path:
        """Resolve a path that a file or a person names, and refuse one that leaves the project.

        Args:
            text: path relative to `base`, or absolute.
            base: directory the path is relative to; default the root.

        Returns:
            The absolute path, links followed.

        Raises:
            UsageError: the path leads outside the project.
        """
        path = ((base or self.root) / text).resolve()
        if not path.is_relative_to(self.root):
            raise UsageError(
                f"`{text}` lies outside the project `{self.root}`",
                hint="flowai reads prompts, suites and datasets of its own project only; copy the file into it",
            )
        return path


def find_project(start: Path, environ: Mapping[str, str]) -> Project:
    """Find the project: FLOWAI_REGISTRY names the file, else the nearest directory upwards that holds registry.yaml.

    Args:
        start: directory to search from.
        environ: the process environment.

    Returns:
        The project, with absolute paths, links followed.

    Raises:
        ProjectError: no registry was found, or FLOWAI_REGISTRY names none.
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

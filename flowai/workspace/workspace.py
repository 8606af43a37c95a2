"""The project of a command: registry, prompts, variables and redactor, loaded once."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import ProjectError, UsageError, expected_one_of
from flowai.project import find_project, find_standalone_suite, standalone_project
from flowai.prompts import PromptLibrary
from flowai.redaction import Redactor
from flowai.registry import (
    ModelEntry,
    Registry,
    endpoint_as_written,
    endpoint_of,
    events_directory,
    load_registry,
    resolve_release,
    secret_values,
)
from flowai.registry.environment import merge_sources, variable_sources
from flowai.timestamps import format_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from flowai.gateway.runtime import RuntimeOptions
    from flowai.project import Project
    from flowai.providers import Endpoint


SUITE_SUFFIXES = frozenset((".yaml", ".yml", ".json"))


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandContext:
    """Directory, user, variables and clocks of a command; tests pass their own."""

    directory: Path
    """Start of the upward search for the project."""
    found_project: Project | None = None
    """Project if already known; None to search for it."""
    user: str = "unknown"
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    env: str | None = None
    """Environment; None for FLOWAI_ENV or none."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock_s: Callable[[], float] = time.perf_counter
    """Monotonic."""
    new_id: Callable[[], str] = _new_id

    @property
    def project(self) -> Project:
        """Project of the directory.

        Raises:
            ProjectError: there is none.
        """
        return self.found_project or find_project(self.directory, self.environ)

    def for_suite(self, target: str | None) -> CommandContext:
        """Return the context for a suite that may run without a registry.

        Without a registry, the project is the directory of the command, and the suite is `target`, or the directory's
        `promptfooconfig.yaml`.

        Raises:
            ProjectError: there is neither a registry nor such a suite.
        """
        if self.found_project is not None:
            return self
        try:
            return replace(self, found_project=find_project(self.directory, self.environ))
        except ProjectError as error:
            if self.environ.get("FLOWAI_REGISTRY"):
                raise
            suite = find_standalone_suite(self.directory) if target is None else self.directory / target
            if suite is None or not suite.is_file() or suite.suffix not in SUITE_SUFFIXES:
                missing = f", and no file `{target}`" if suite is not None and suite.suffix in SUITE_SUFFIXES else ""
                hint = "run flowai inside a project, or name a suite with prompts and providers of its own"
                raise ProjectError(
                    f"{error.what}{missing}", hint=f"{hint}: `flowai eval promptfooconfig.yaml`"
                ) from None
            return replace(self, found_project=standalone_project(self.directory, suite))

    def target_of(self, target: str | None) -> str | None:
        """Return a target, typed in the directory, as a path from the project's root; None for every suite."""
        if target is not None:
            return self.project.from_folder(target, self.directory)
        suite = find_standalone_suite(self.project.root) if self.project.is_standalone else None
        return None if suite is None else suite.name

    @property
    def is_ci(self) -> bool:
        """Return whether a CI system runs the command; a pull request decides the files there, a cache among them."""
        return self.environ.get("CI", "").lower() in {"true", "1"}

    def runtime_options(self) -> RuntimeOptions:
        """Return gateway options with the same variables, clocks and ids."""
        from flowai.gateway.runtime import RuntimeOptions  # slow to import

        return RuntimeOptions(environ=self.environ, now=self.now, clock_s=self.clock_s, new_id=self.new_id)

    def timestamp(self) -> str:
        """Return the time in the format of reports: UTC, RFC 3339, whole seconds."""
        return format_rfc3339(self.now(), whole_seconds=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """An open project."""

    context: CommandContext
    project: Project
    environ: Mapping[str, str]
    """Variables of the process, and those of .env that it does not set."""
    registry: Registry
    """With entries for models named on the command line."""
    release: str
    """Serving release, or the one named on the command line."""
    library: PromptLibrary
    redactor: Redactor
    warnings: tuple[str, ...]

    @property
    def events(self) -> Path:
        """Directory that events are written to; to read them, use `open_event_source`.

        Raises:
            RegistryError: the registry names an unknown kind of store.
            UsageError: the directory is outside the project.
        """
        return events_directory(self.registry, self.project)

    def with_models(self, names: Iterable[str]) -> Workspace:
        """Return the workspace with entries for LiteLLM's names that the registry does not have.

        Raises:
            UsageError: a name is neither in the registry nor one of LiteLLM's.
        """
        return replace(self, registry=_with_models(self.registry, names))

    def endpoint(self, model: str) -> Endpoint:
        """Return a model's endpoint without resolving key and weights, which may be missing."""
        return endpoint_as_written(self.registry, model)

    def resolve_endpoint(self, model: str) -> Endpoint:
        """Return a model's endpoint with key, address and weights.

        Raises:
            MissingKeyError: a variable is not set.
            RegistryError: the weights are missing.
        """
        return endpoint_of(self.registry, model, self.environ, root=self.project.root)


def open_workspace(context: CommandContext, *, models: Iterable[str] = (), release: str | None = None) -> Workspace:
    """Open a project.

    Args:
        context: directory, user, variables and clocks.
        models: names from the command line; LiteLLM's names need no entry in the registry.
        release: release to use; None for the serving one.

    Raises:
        ProjectError: the registry, .env or a named file is invalid.
        UsageError: a model or release is unknown.
    """
    project = context.project
    sources = variable_sources(project, context.environ)
    environ = merge_sources(sources)
    loaded = Registry(schema_version=1) if project.is_standalone else None
    registry = _with_models(loaded or load_registry(project, env=context.env, environ=environ), models)
    warnings: tuple[str, ...] = ()
    if project.is_standalone:
        release = release or ""
    elif release is None:
        serving = resolve_release(registry, environ)
        release, warnings = serving.name, serving.warnings
    else:
        registry.release(release)
    return Workspace(
        context=context,
        project=project,
        environ=environ,
        registry=registry,
        release=release,
        library=PromptLibrary(project),
        redactor=Redactor(secret_values(registry, environ, project.root)),
        warnings=(*warnings, *(source.problem for source in sources if source.problem is not None)),
    )


def _with_models(registry: Registry, names: Iterable[str]) -> Registry:
    added = {}
    for name in names:
        if name in registry.models:
            continue
        if "/" not in name:
            raise UsageError(
                f"no model `{name}` in the registry, and it is not one of LiteLLM's names (`openai/gpt-4o-mini`)",
                hint=expected_one_of(registry.models, found=name),
            )
        added[name] = ModelEntry(model=name)
    return msgspec.structs.replace(registry, models={**registry.models, **added}) if added else registry

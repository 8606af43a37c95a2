"""The project as far as it can be read: each part is loaded once, and a broken one is known by its error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError
from flowai.prompts import PromptLibrary, PromptLock
from flowai.providers import PriceTable
from flowai.providers.local.server import LocalModel, check_weights
from flowai.redaction import Redactor
from flowai.registry import binding as binding_of
from flowai.registry import (
    endpoint_of,
    events_directory,
    features_of,
    load_registry,
    model_chain,
    resolve_release,
    secret_values,
)
from flowai.registry.environment import ENVIRONMENT, VariableSource, merge_sources, variable_sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.project import Project
    from flowai.registry import ModelChain, Registry
    from flowai.workspace.workspace import CommandContext


class UnreadableError(Exception):
    """A part that a check needs cannot be read; the part's own check reports it."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Project, registry, releases and models, for the checks."""

    context: CommandContext
    is_live: bool

    @cached_property
    def project(self) -> Project:
        """The project.

        Raises:
            ProjectError: there is none.
        """
        return self.context.project

    @cached_property
    def sources(self) -> tuple[VariableSource, ...]:
        """Sources of variables, the one that wins first; those of the process alone if another cannot be read."""
        try:
            return variable_sources(self.project, self.context.environ)
        except FlowaiError:
            return (VariableSource(name=ENVIRONMENT, variables=self.context.environ),)

    @cached_property
    def environ(self) -> Mapping[str, str]:
        """Variables of all sources."""
        return merge_sources(self.sources)

    @cached_property
    def loaded(self) -> Registry:
        """The registry.

        Raises:
            RegistryError: it is wrong.
        """
        return load_registry(self.project, env=self.context.env, environ=self.environ)

    @cached_property
    def registry(self) -> Registry:
        """The registry, for checks of other things.

        Raises:
            UnreadableError: it cannot be read.
        """
        try:
            return self.loaded
        except FlowaiError:
            raise UnreadableError("the registry cannot be read") from None

    @cached_property
    def release(self) -> str:
        """The serving release.

        Raises:
            UnreadableError: none serves.
        """
        try:
            return resolve_release(self.registry, self.environ).name
        except UnreadableError:
            raise
        except FlowaiError:
            raise UnreadableError("no release serves") from None

    @property
    def releases(self) -> tuple[str, ...]:
        """The serving release, and the candidate of a rollout."""
        rollout = self.registry.rollout
        return tuple(dict.fromkeys((self.release, *((rollout.candidate,) if rollout else ()))))

    @cached_property
    def chains(self) -> dict[str, tuple[ModelChain, ...]]:
        """The fallback chains of each feature in these releases."""
        found: dict[str, list[ModelChain]] = {}
        for release in self.releases:
            for feature in features_of(self.registry, release):
                chain = model_chain(self.registry, binding_of(self.registry, release, feature))
                found.setdefault(feature, []).append(chain)
        return {feature: tuple(chains) for feature, chains in found.items()}

    @cached_property
    def first_models(self) -> tuple[str, ...]:
        """Models that are called first."""
        return tuple(dict.fromkeys(chain.models[0] for chains in self.chains.values() for chain in chains))

    @cached_property
    def spare_models(self) -> tuple[str, ...]:
        """Models that only a fallback calls, the last resorts included."""
        names = (
            name
            for chains in self.chains.values()
            for chain in chains
            for name in (*chain.models[1:], *((chain.degrade,) if chain.degrade else ()))
        )
        return tuple(name for name in dict.fromkeys(names) if name not in self.first_models)

    def check_local_model(self, name: str) -> None:
        """Raise FlowaiError if the weights of a local model, or its server, are missing."""
        endpoint = endpoint_of(self.registry, name, self.environ, root=self.project.root)
        if endpoint.file is not None:
            check_weights(LocalModel(name=name, file=Path(endpoint.file)))

    @cached_property
    def library(self) -> PromptLibrary:
        """The prompts."""
        return PromptLibrary(self.project)

    @cached_property
    def lock(self) -> PromptLock:
        """The lock.

        Raises:
            PromptError: it is damaged.
        """
        return PromptLock.read(self.project.prompts_lock)

    @cached_property
    def prices(self) -> PriceTable:
        """LiteLLM's price table."""
        return PriceTable()

    @cached_property
    def events(self) -> Path:
        """Directory of the event log.

        Raises:
            FlowaiError: it is no place to write to.
        """
        return events_directory(self.registry, self.project)

    @cached_property
    def redactor(self) -> Redactor:
        """Removes every known key from texts."""
        try:
            return Redactor(secret_values(self.registry, self.environ, self.project.root))
        except FlowaiError:
            return Redactor(())

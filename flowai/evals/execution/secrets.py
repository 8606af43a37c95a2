"""Redaction of the keys that suites bring along."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from flowai.redaction import Redactor, names_a_secret
from flowai.registry import secret_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from flowai.evals.suites.records import Suite, SuiteProvider
    from flowai.workspace.workspace import Workspace

_REFERENCE = "${"


class SuiteHolder(Protocol):
    """A suite with the targets to try it on."""

    @property
    def suite(self) -> Suite:
        """The suite."""
        ...


def with_suite_secrets(workspace: Workspace, holders: Iterable[SuiteHolder]) -> Workspace:
    """Return the workspace with a redactor that also removes the keys written into suites."""
    suites = {holder.suite.path: holder.suite for holder in holders}
    added = {value for suite in suites.values() for value in _secrets(suite)}
    if not added:
        return workspace
    known = secret_values(workspace.registry, workspace.environ, workspace.project.root)
    return replace(workspace, redactor=Redactor([*known, *added]))


def _secrets(suite: Suite) -> Iterator[str]:
    yield from _secret_texts(suite.env)
    for provider in _providers(suite):
        if provider.api_key is not None and _REFERENCE not in provider.api_key:
            yield provider.api_key
        yield from _secret_texts(provider.env)
        yield from _secret_texts(provider.config)


def _providers(suite: Suite) -> Iterator[SuiteProvider]:
    yield from suite.targets
    if suite.grader is not None:
        yield suite.grader
    for case in suite.cases:
        if case.provider is not None:
            yield case.provider


def _secret_texts(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts under names of secrets (`apiKey`, `Authorization`), at any depth."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _secret_texts(value)
        elif isinstance(value, str) and names_a_secret(name) and _REFERENCE not in value:
            yield value

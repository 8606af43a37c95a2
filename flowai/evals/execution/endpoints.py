"""Endpoints of a suite's own targets and graders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.providers import Endpoint
from flowai.registry.environment import fill
from flowai.registry.resolve import provider_name

if TYPE_CHECKING:
    from flowai.evals.suites.records import SuiteProvider
    from flowai.workspace.workspace import Workspace


def endpoint_as_written(workspace: Workspace, provider: SuiteProvider) -> Endpoint:
    """Return the endpoint of a target without its key, which may be missing."""
    if provider.kind != "model" or provider.model is None:
        return Endpoint(name=provider.name, model=provider.id, provider=provider.kind)
    workspace = workspace.with_models((provider.model,))
    return _with_own_address(workspace.endpoint(provider.model), provider, provider.api_base)


def resolve_endpoint(workspace: Workspace, provider: SuiteProvider) -> Endpoint:
    """Return the endpoint of a target with key and address.

    Raises:
        MissingKeyError: a variable is not set.
        RegistryError: the weights of a local model are missing.
    """
    if provider.kind != "model" or provider.model is None:
        return endpoint_as_written(workspace, provider)
    workspace = workspace.with_models((provider.model,))
    if provider.api_base is None and provider.api_key is None:
        return msgspec.structs.replace(workspace.resolve_endpoint(provider.model), name=provider.name)
    environ, owner = {**workspace.environ, **provider.env}, f"target `{provider.name}`"
    api_base = None if provider.api_base is None else fill(provider.api_base, environ, owner=owner)
    endpoint = _with_own_address(workspace.endpoint(provider.model), provider, api_base)
    key = None if provider.api_key is None else fill(provider.api_key, environ, owner=owner)
    return msgspec.structs.replace(endpoint, api_key=key)  # the usual key is never sent to another address


def _with_own_address(endpoint: Endpoint, provider: SuiteProvider, api_base: str | None) -> Endpoint:
    named = msgspec.structs.replace(endpoint, name=provider.name)
    if api_base is None:
        return named
    return msgspec.structs.replace(named, api_base=api_base, provider=provider_name(endpoint.model, api_base))

"""Turns a model of the registry into an endpoint that clients call.

In: a registry, variables. Out: an Endpoint. Must never know who calls it, or whether it answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.calls import Endpoint
from flowai.registry import endpoint_fields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flowai.registry import Registry


def endpoint_of(registry: Registry, model: str, environ: Mapping[str, str], *, root: Path) -> Endpoint:
    """Give a model as it can be called: key, address and weights looked up.

    Args:
        registry: where it stands.
        model: the registry's name of it.
        environ: the variables.
        root: directory that relative paths of weights start from.

    Raises:
        UsageError: there is no such model.
        MissingKeyError: a variable is not set.
        RegistryError: the weights are not there.
    """
    fields = endpoint_fields(registry, model, environ, root=root)
    return Endpoint(
        name=fields.name,
        model=fields.model,
        provider=fields.provider,
        api_base=fields.api_base,
        api_key=fields.api_key,
        file=fields.file,
    )


def endpoint_as_written(registry: Registry, model: str) -> Endpoint:
    """Give a model as the registry has it: nothing looked up, so that it needs no key and no weights.

    Raises:
        UsageError: there is no such model.
    """
    entry = registry.model(model)
    provider = entry.provider or entry.model.partition("/")[0]
    return Endpoint(name=model, model=entry.model, provider=provider, api_base=entry.api_base, file=entry.file)

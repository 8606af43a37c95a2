"""Parameters that the new model renames, ignores or refuses: from the provider data, and from one probe call."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from flowai.errors import CallError, InfrastructureError, InvalidRequestError
from flowai.providers import Request, create_client
from flowai.providers.anthropic.models import ModelCatalog
from flowai.providers.catalog import CUSTOM, ProviderCatalog, family_name
from flowai.providers.openai.chat_features import parameter_feature
from flowai.upgrades.records import ParameterChange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.providers import Completion, Endpoint, PriceTable
    from flowai.workspace.workspace import Workspace

PROBE_MESSAGES = ({"role": "user", "content": "Reply with the word OK."},)
SAMPLING = ("temperature", "top_p", "top_k")
"""Refused by models without sampling parameters."""
MAX_REMOVED = 8
"""Parameters that a probe removes before it gives up."""


class Probe(NamedTuple):
    """Answer of a model to a request with a feature's parameters."""

    completion: Completion
    removed: tuple[ParameterChange, ...]
    """Parameters that it refuses."""
    call_count: int


def known_changes(endpoint: Endpoint, params: Mapping[str, Any], prices: PriceTable) -> tuple[ParameterChange, ...]:
    """Return what the provider data says about parameters; nothing is called."""
    abilities = ModelCatalog(prices).abilities(endpoint.model)
    if abilities is not None and not abilities.supports_sampling_params:
        return tuple(
            ParameterChange(name=name, effect="removed", source="price table: no sampling parameters")
            for name in params
            if name in SAMPLING
        )
    data = ProviderCatalog().data
    provider, _, model = endpoint.model.partition("/")
    own = data.providers.get(provider)
    if own is None:
        return ()
    record = own if endpoint.api_base is None else data.providers.get(provider + CUSTOM, own)
    family = data.families.get(family_name(record, model))
    if family is None:
        return ()
    found = []
    for name, value in params.items():
        if name in family.rename:
            sent_as = family.rename[name]
            found.append(ParameterChange(name=name, effect="renamed", sent_as=sent_as, source="provider data"))
        elif parameter_feature(name, value) in family.drop:
            found.append(ParameterChange(name=name, effect="not_sent", source="provider data"))
    return tuple(found)


def probe(workspace: Workspace, model: str, params: Mapping[str, Any]) -> Probe:
    """Call a model once with a feature's parameters; again without each parameter that it refuses.

    Raises:
        MissingKeyError: its key is not set.
        InfrastructureError: it is unreachable, or refuses the request for another reason.
    """
    endpoint = workspace.resolve_endpoint(model)
    return asyncio.run(_probe(workspace, endpoint, params))


async def _probe(workspace: Workspace, endpoint: Endpoint, params: Mapping[str, Any]) -> Probe:
    client = create_client(redactor=workspace.redactor)
    kept = dict(params)
    removed: list[ParameterChange] = []
    try:
        while True:
            try:
                request = Request(endpoint=endpoint, messages=PROBE_MESSAGES, params=kept)
                completion = await client.complete(request)
            except InvalidRequestError as error:
                name = refused_parameter(str(error), kept)
                if name is None or len(removed) >= MAX_REMOVED:
                    raise _unusable(endpoint, error) from None
                del kept[name]
                removed.append(ParameterChange(name=name, effect="removed", source=f"probe: {error.what}"))
            except CallError as error:
                raise _unusable(endpoint, error) from None
            else:
                return Probe(completion, tuple(removed), len(removed) + 1)
    finally:
        await client.aclose()


def refused_parameter(message: str, params: Mapping[str, Any]) -> str | None:
    """Return the parameter that a refusal names; None if it names none or several alike."""
    named = [name for name in params if re.search(rf"(?<![A-Za-z_]){re.escape(name)}(?![A-Za-z_])", message)]
    return min(named, key=message.index) if named else None


def _unusable(endpoint: Endpoint, error: CallError) -> InfrastructureError:
    return InfrastructureError(
        f"`{endpoint.name}` ({endpoint.model}) does not answer: {error}",
        hint="`flowai ask --model NAME` tries it alone; nothing was changed",
    )

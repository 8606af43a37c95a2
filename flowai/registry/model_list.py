"""Lists the models of a registry with what LiteLLM's price table knows of them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import msgspec

from flowai.providers.endpoint_price import price_of
from flowai.providers.model_facts import ModelFacts, model_facts, table_version
from flowai.registry.bindings import binding, features_of, model_chain
from flowai.registry.resolve import TOKENS_PER_PRICE, endpoint_as_written

if TYPE_CHECKING:
    from flowai.providers import PriceTable
    from flowai.registry.records import Registry

SCHEMA_VERSION = 1


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the registry."""

    name: str
    """Name in the registry."""
    model: str
    """LiteLLM's name."""
    provider: str
    input_usd_per_million_tokens: float | None
    """None when the price is not known."""
    output_usd_per_million_tokens: float | None
    """None when the price is not known."""
    max_input_tokens: int | None
    """None when not listed."""
    max_output_tokens: int | None
    """None when not listed."""
    capabilities: tuple[str, ...]
    """Those that the table lists."""
    end_date: date | None
    """Day from which the provider no longer promises to serve it; None if none is known."""
    days_left: int | None
    """Days until the end date, negative after it."""
    features: tuple[str, ...]
    """Features of the serving release whose fallback chain has it, sorted."""


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models of a registry."""

    schema_version: int = SCHEMA_VERSION
    table: str | None
    """Source of prices, limits and end dates: package and version; None if it is not installed."""
    release: str | None
    """The serving release; None if there is none."""
    models: tuple[ListedModel, ...]
    """In the registry's order."""


def list_models(registry: Registry, release: str | None, *, today: date, prices: PriceTable) -> ModelList:
    """List the models of a registry; a model behind an address of its own has no end date."""
    users: dict[str, set[str]] = {}
    for feature in features_of(registry, release) if release is not None else ():
        for model in model_chain(registry, binding(registry, str(release), feature)).models:
            users.setdefault(model, set()).add(feature)
    models = tuple(_listed(registry, name, users.get(name, set()), today, prices) for name in registry.models)
    return ModelList(table=table_version(), release=release, models=models)


def _listed(registry: Registry, name: str, features: set[str], today: date, prices: PriceTable) -> ListedModel:
    entry, endpoint = registry.model(name), endpoint_as_written(registry, name)
    price = price_of(endpoint, prices)
    facts = model_facts(entry.model, prices) or ModelFacts()
    if entry.api_base is not None:
        facts = msgspec.structs.replace(facts, end_date=None)
    return ListedModel(
        name=name,
        model=entry.model,
        provider=endpoint.provider,
        input_usd_per_million_tokens=None if price is None else _per_million(price.input_cost_per_token),
        output_usd_per_million_tokens=None if price is None else _per_million(price.output_cost_per_token),
        max_input_tokens=facts.max_input_tokens,
        max_output_tokens=facts.max_output_tokens,
        capabilities=facts.capabilities,
        end_date=facts.end_date,
        days_left=facts.days_left(today),
        features=tuple(sorted(features)),
    )


def _per_million(price: float | None) -> float | None:
    return None if price is None else round(price * TOKENS_PER_PRICE, 6)

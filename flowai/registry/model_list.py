"""Lists the models of a registry with what LiteLLM's price table knows of them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError
from flowai.providers.endpoint_price import price_of
from flowai.providers.model_facts import ModelFacts, model_facts, table_version
from flowai.providers.model_lists.families import guess_replacement
from flowai.providers.model_lists.records import LiveModel
from flowai.registry.bindings import feature_models, features_of
from flowai.registry.resolve import TOKENS_PER_PRICE, endpoint_as_written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flowai.providers import Endpoint, PriceTable
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
    """Day from which the provider no longer promises to serve it, by its own list if it was asked; None if none is
    known."""
    days_left: int | None
    """Days until the end date, negative after it."""
    features: tuple[str, ...]
    """Features that may call it in the serving release, as fallback, last resort, juror or arm of an experiment too;
    sorted."""
    replacement: str | None = None
    """LiteLLM's name of the model that follows it; None without an end date, and if none is known."""
    is_replacement_guess: bool = False
    """True for the newest living model of its family in the table, False for one that the provider names."""
    live: LiveModel | None = None
    """The provider's word on it; None without `--live`."""


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models of a registry."""

    schema_version: int = SCHEMA_VERSION
    table: str | None
    """Source of prices, limits and end dates: package and version; None if it is not installed."""
    release: str | None
    """The serving release; None if there is none."""
    models: tuple[ListedModel, ...]
    """In the registry's order."""


def list_models(
    registry: Registry,
    release: str | None,
    *,
    today: date,
    prices: PriceTable,
    live: Mapping[str, LiveModel] | None = None,
) -> ModelList:
    """List the models of a registry; one behind an address of its own has an end date only if that lists it.

    Args:
        registry: the registry.
        release: the serving release; None if there is none.
        today: for the days that are left.
        prices: LiteLLM's price table.
        live: the providers' word on each model; None if they were not asked.
    """
    users: dict[str, set[str]] = {}
    for feature in features_of(registry, release) if release is not None else ():
        for model in feature_models(registry, str(release), feature):
            users.setdefault(model, set()).add(feature)
    models = tuple(
        _with_live(
            _listed(registry, name, users.get(name, set()), today, prices), (live or {}).get(name), today, prices
        )
        for name in registry.models
    )
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


def _with_live(listed: ListedModel, live: LiveModel | None, today: date, prices: PriceTable) -> ListedModel:
    """Add the provider's word, and the model that follows: as the provider says, else as its family suggests."""
    end_date = live.end_date if live is not None and live.end_date is not None else listed.end_date
    is_ending = end_date is not None or (live is not None and (live.is_deprecated or live.status == "not_listed"))
    named = None if live is None else live.replacement
    if named is not None:
        named = named if "/" in named else f"{listed.model.partition('/')[0]}/{named}"
    guess = guess_replacement(listed.model, prices, today=today) if is_ending and named is None else None
    return msgspec.structs.replace(
        listed,
        end_date=end_date,
        days_left=None if end_date is None else (end_date - today).days,
        replacement=named or guess,
        is_replacement_guess=named is None and guess is not None,
        live=live,
    )


def ask_live(
    names: Iterable[str], endpoint_of: Callable[[str], Endpoint], redact: Callable[[str], str]
) -> dict[str, LiveModel]:
    """Ask the providers of models for their lists; a model without key or weights is a failure of its own.

    Args:
        names: models of the registry.
        endpoint_of: returns a model's endpoint, with its key.
        redact: removes secrets from reasons.
    """
    from flowai.providers.model_lists.live import ask_providers  # late: only `--live` asks

    endpoints: dict[str, Endpoint] = {}
    found: dict[str, LiveModel] = {}
    for name in names:
        try:
            endpoints[name] = endpoint_of(name)
        except FlowaiError as error:
            found[name] = LiveModel(status="failed", reason=redact(error.what))
    return found | ask_providers(endpoints, redact)


def _per_million(price: float | None) -> float | None:
    return None if price is None else round(price * TOKENS_PER_PRICE, 6)

"""Checks of a feature's models that need the price table or the environment, and so are not part of loading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import MissingKeyError, Place, RegistryError
from flowai.providers.endpoint_price import price_of
from flowai.registry.bindings import feature_models, features_of
from flowai.registry.environment import fill
from flowai.registry.resolve import endpoint_as_written, provider_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.providers import PriceTable
    from flowai.registry.records import Registry


def check_daily_limits(registry: Registry, prices: PriceTable) -> None:
    """Raise if a feature or a model has a daily limit, and the cost of one of its models cannot be known.

    Raises:
        RegistryError: the first such model.
    """
    for feature, models in _models_by_feature(registry, registry.releases).items():
        if registry.feature(feature).budget.usd_per_day is None:
            continue
        for model in models:
            _check_price(registry, prices, model, owner=feature)
    for model, entry in registry.models.items():
        if entry.usd_per_day is not None:
            _check_price(registry, prices, model, owner=model)


def _check_price(registry: Registry, prices: PriceTable, model: str, *, owner: str) -> None:
    """Raise if the price of a model is not known; `owner` is the feature or the model that has the limit."""
    endpoint = endpoint_as_written(registry, model)
    if price_of(endpoint, prices) is not None:
        return
    place = registry.places.get(model)
    raise RegistryError(
        f"`{owner}` has `usd_per_day`, but the price of its model `{endpoint.model}` is not known, "
        "so the limit cannot be enforced",
        place=place and Place(file=place.file, line=place.line, key=f"models.{model}.price"),
        hint="set US dollars per 1 million tokens: `price: {input: 0.15, output: 0.6}`; or `price: unknown_is_free`",
    )


def single_provider_warnings(
    registry: Registry, environ: Mapping[str, str], releases: Iterable[str | None]
) -> tuple[str, ...]:
    """Return a warning for each feature whose models are all behind one `api_base`, and so count as one provider.

    A breaker or a back-off of one of them stops all. A model with `provider:` is never warned about.
    """
    warnings = []
    for feature, models in _models_by_feature(registry, releases).items():
        hosts = {_shared_host(registry, model, environ) for model in models}
        if len(models) > 1 and len(hosts) == 1 and (host := hosts.pop()) is not None:
            names = ", ".join(f"`{model}`" for model in models)
            warnings.append(
                f"the models of `{feature}` are behind one address (`{host}`) and count as one provider, so none is "
                f"called when another fails: set `provider:` of {names} if they fail independently"
            )
    return tuple(warnings)


def _shared_host(registry: Registry, model: str, environ: Mapping[str, str]) -> str | None:
    """Return the host that names a model's provider; None if something else does, or a variable is not set."""
    entry = registry.model(model)
    if entry.provider is not None or entry.api_base is None:
        return None
    try:
        return provider_name(entry.model, fill(entry.api_base, environ, owner=f"model `{model}`"))
    except MissingKeyError:
        return None


def _models_by_feature(registry: Registry, releases: Iterable[str | None]) -> dict[str, list[str]]:
    """Return the models that each feature may call in these releases and its experiments, each once."""
    models: dict[str, dict[str, None]] = {}
    for release in releases:
        for feature in () if release is None else features_of(registry, release):
            models.setdefault(feature, {}).update(dict.fromkeys(feature_models(registry, release or "", feature)))
    return {feature: list(names) for feature, names in models.items()}

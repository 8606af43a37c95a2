"""Resolves prompt, model, parameters and fallback models of a feature in a release or an arm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flowai.errors import UsageError, expected_one_of
from flowai.registry.fields import TIERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.registry.records import BindingEntry, ModelEntry, Registry

# set by flowai only: as parameters they would bypass the registry, the prompt or the budget, or send a key elsewhere
OWN_PARAMS = frozenset(
    {
        "api_base",
        "api_key",
        "base_url",
        "custom_llm_provider",
        "fallbacks",
        "messages",
        "mock_response",
        "model",
        "n",
        "response_format",
        "stream",
        "stream_options",
        "timeout",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """Prompt, model and parameters of a feature in a release."""

    feature: str
    release: str
    prompt: str
    """Prompt id."""
    model: str
    """Name in the registry; of a tier, its first model."""
    entry: ModelEntry
    params: Mapping[str, Any]
    """Sampling parameters, LiteLLM's names; None for one that is not sent, whatever the prompt sets."""
    tier: str | None = None
    """The tier, if the release names one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChain:
    """Models that a call may try, in order, each once; names in the registry."""

    models: tuple[str, ...]
    """The first model, then the fallbacks."""
    degrade: str | None = None
    """The last resort; None without one, or if it is the first model."""
    disclaimer: str | None = None
    """Text for the user with an answer of the last resort."""


def features_of(registry: Registry, release: str) -> tuple[str, ...]:
    """Return the features that a release binds, its own first, then the inherited ones.

    Raises:
        UsageError: there is no such release.
    """
    return tuple(dict.fromkeys(feature for link in _chain(registry, release) for feature in link))


def binding(registry: Registry, release: str, feature: str) -> Binding:
    """Return the binding of a feature in a release; its own parameters win over those of releases that it extends.

    Raises:
        UsageError: there is no such release or feature, or the release does not bind it.
    """
    registry.feature(feature)
    prompt = model = None
    params: dict[str, Any] = {}
    for link in _chain(registry, release):
        entry = link.get(feature)
        if entry is not None:
            prompt = prompt or entry.prompt
            model = model or entry.model
            params = {**entry.params, **params}
    if prompt is None or model is None:  # both are: `validate` refuses incomplete bindings
        raise UsageError(
            f"release `{release}` binds no `{feature}`",
            hint=f"it binds {', '.join(f'`{name}`' for name in features_of(registry, release)) or 'nothing'}",
        )
    first, tier = _first(registry, model)
    return Binding(
        feature=feature,
        release=release,
        prompt=prompt,
        model=first,
        entry=registry.model(first),
        params=params,
        tier=tier,
    )


def sent_params(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request: a later layer wins, and one that it sets to null is not sent."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return {name: value for name, value in merged.items() if value is not None}


def arm_binding(registry: Registry, binding: Binding, experiment: str, arm: str) -> Binding:
    """Return the release's binding with the changes of an experiment's arm; parameters are merged.

    Raises:
        UsageError: there is no such experiment or arm.
    """
    if experiment not in registry.experiments:
        hint = expected_one_of(registry.experiments, found=experiment)
        raise UsageError(f"no experiment `{experiment}` in `{registry.own_file}`", hint=hint)
    arms = registry.experiments[experiment].arms
    if arm not in arms:
        raise UsageError(f"experiment `{experiment}` has no arm `{arm}`", hint=expected_one_of(arms, found=arm))
    entry = arms[arm]
    changed = replace(binding, prompt=entry.prompt or binding.prompt, params={**binding.params, **entry.params})
    if entry.model is None:
        return changed
    first, tier = _first(registry, entry.model)
    return replace(changed, model=first, entry=registry.model(first), tier=tier)


def model_chain(registry: Registry, binding: Binding) -> ModelChain:
    """Return the fallback chain of a binding.

    A tier is replaced by its models, in order. Of a model listed twice the first position counts, but the last resort
    stays last, so that its answers always carry the disclaimer.
    """
    feature = registry.feature(binding.feature)
    rest = [*_models(registry, binding.tier), *(name for item in feature.fallback for name in _models(registry, item))]
    models = dict.fromkeys((binding.model, *rest))
    if feature.degrade is None:
        return ModelChain(models=tuple(models))
    last = next((name for name in _models(registry, feature.degrade.to) if name != binding.model), None)
    if last is None:  # it is the first model
        return ModelChain(models=tuple(models))
    models.pop(last, None)
    return ModelChain(models=tuple(models), degrade=last, disclaimer=feature.degrade.disclaimer)


def feature_models(registry: Registry, release: str, feature: str) -> tuple[str, ...]:
    """Return all models that a feature may call in a release, each once.

    They are the fallback chains of the release and of the feature's experiments, the last resort, and the jury.
    """
    bound = binding(registry, release, feature)
    arms = [
        arm_binding(registry, bound, name, arm)
        for name, experiment in registry.experiments.items()
        if experiment.feature == feature
        for arm in experiment.arms
    ]
    models: dict[str, None] = {}
    for each in (bound, *arms):
        chain = model_chain(registry, each)
        models |= dict.fromkeys(chain.models)
        if chain.degrade is not None:
            models[chain.degrade] = None
    jury = registry.feature(feature).jury
    return tuple(models | dict.fromkeys(() if jury is None else jury.models))


def _first(registry: Registry, name: str) -> tuple[str, str | None]:
    """Return the model that the name of a model or tier means, and the tier, if it is one."""
    return (registry.tiers[name][0], name) if name in TIERS else (name, None)  # `validate` refuses empty tiers


def _models(registry: Registry, name: str | None) -> Iterable[str]:
    if name is None:
        return ()
    return registry.tiers[name] if name in TIERS else (name,)


def _chain(registry: Registry, release: str) -> list[Mapping[str, BindingEntry]]:
    """Return the bindings of a release and of those it extends, its own first."""
    chain: list[Mapping[str, BindingEntry]] = []
    name: str | None = release
    while name is not None:  # ends: `validate` refuses loops
        entry = registry.release(name)
        chain.append(entry.bindings)
        name = entry.extends
    return chain

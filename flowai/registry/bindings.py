"""Answers what a feature uses in a release or an arm: prompt, model, parameters, and the models it may fall back on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flowai.errors import UsageError, expected_one_of
from flowai.registry.fields import TIERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.registry.records import BindingEntry, ModelEntry, Registry

# what flowai says itself: who set them would talk past the registry, the prompt or the budget, or send a key elsewhere
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
    """What a feature uses in a release."""

    feature: str
    """The feature."""
    release: str
    """The release."""
    prompt: str
    """Prompt id."""
    model: str
    """The registry's name of the model; the first of the tier, where a tier is named."""
    entry: ModelEntry
    """The model's entry."""
    params: Mapping[str, Any]
    """Sampling parameters, LiteLLM's names."""
    tier: str | None = None
    """The tier that is named in place of a model; None where a model is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChain:
    """The models a call may try, each once."""

    models: tuple[str, ...]
    """The one it asks first, then those it falls back on, in order; registry's names, at least one."""
    degrade: str | None = None
    """The last resort after all of these; None where there is none, or it is the one asked first."""
    disclaimer: str | None = None
    """What the user is told with an answer of the last resort; None without one."""


def features_of(registry: Registry, release: str) -> tuple[str, ...]:
    """Give the features a release binds, its own first, then the inherited ones.

    Raises:
        UsageError: there is no such release.
    """
    return tuple(dict.fromkeys(feature for link in _chain(registry, release) for feature in link))


def binding(registry: Registry, release: str, feature: str) -> Binding:
    """Give what a feature uses in a release, the releases it extends included.

    Args:
        registry: the registry.
        release: name of the release.
        feature: name of the feature.

    Returns:
        The binding; parameters of nearer releases win.

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
    if prompt is None or model is None:  # half a binding cannot be: the checks refuse it
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


def arm_binding(registry: Registry, binding: Binding, experiment: str, arm: str) -> Binding:
    """Give what an arm of an experiment uses: its own entry over the release's binding.

    Args:
        registry: the registry.
        binding: what the release gives the experiment's feature.
        experiment: name of the experiment.
        arm: name of the arm.

    Returns:
        The binding; parameters of the arm win, one by one.

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
    """Give the models that a call of a binding may try.

    Where a tier is named, its models stand in its place, in its order. A model that is listed again stays where it
    stood first, but the last resort stays last, so that its answers always carry the disclaimer.

    Args:
        registry: the registry.
        binding: what is asked first.
    """
    feature = registry.feature(binding.feature)
    rest = [*_models(registry, binding.tier), *(name for item in feature.fallback for name in _models(registry, item))]
    models = dict.fromkeys((binding.model, *rest))
    if feature.degrade is None:
        return ModelChain(models=tuple(models))
    last = next((name for name in _models(registry, feature.degrade.to) if name != binding.model), None)
    if last is None:  # it is the one asked first: nothing stands below it
        return ModelChain(models=tuple(models))
    models.pop(last, None)
    return ModelChain(models=tuple(models), degrade=last, disclaimer=feature.degrade.disclaimer)


def _first(registry: Registry, name: str) -> tuple[str, str | None]:
    """Give the model that is meant by a model's or a tier's name, and the tier, if it is one."""
    return (registry.tiers[name][0], name) if name in TIERS else (name, None)  # the checks refuse empty tiers


def _models(registry: Registry, name: str | None) -> Iterable[str]:
    """Give all models that are meant by a model's or a tier's name, in order; none for None."""
    if name is None:
        return ()
    return registry.tiers[name] if name in TIERS else (name,)


def _chain(registry: Registry, release: str) -> list[Mapping[str, BindingEntry]]:
    """Give a release's bindings and those of the releases it extends, the nearest first."""
    chain: list[Mapping[str, BindingEntry]] = []
    name: str | None = release
    while name is not None:  # ends: the checks refuse loops
        found = registry.release(name)
        chain.append(found.bindings)
        name = found.extends
    return chain

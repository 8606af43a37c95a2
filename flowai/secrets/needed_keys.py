"""Lists the keys that a registry names, from where they come, and which features use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.errors import MissingKeyError, Place
from flowai.registry import arm_binding, binding, features_of, model_chain
from flowai.registry.environment import merge_sources, references
from flowai.registry.keys import KEY_FILE, read_key, signs_in, usual_variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from flowai.registry import ModelEntry, Registry
    from flowai.registry.environment import VariableSource

IN_REGISTRY = "registry"
IN_KEY_FILE = "key file"


@dataclass(kw_only=True, slots=True)
class NeededKey:
    """A key that the registry names."""

    name: str
    source: str | None
    """None if it is not there."""
    provider: str | None
    value: str | None = field(repr=False)
    changed_at: datetime | None = None
    """Time at which it was made, if its source knows."""
    is_spare: bool = False
    """Whether another key of its list is there."""
    models: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)


def needed_keys(
    registry: Registry, release: str, sources: Sequence[VariableSource], *, root: Path
) -> tuple[NeededKey, ...]:
    """Return the keys that a registry names, by name; those of models that sign in without a key are left out.

    Args:
        registry: the registry.
        release: the serving release.
        sources: the sources of variables, the one that wins first.
        root: base directory of relative key files.
    """
    environ = merge_sources(sources)
    users = _users_of_models(registry, release)
    found: dict[tuple[str, str | None], NeededKey] = {}
    for model, entry in registry.models.items():
        place = registry.places.get(model)
        named = tuple(_keys_of_model(model, entry, environ, sources, place, root))
        has_one = any(key.value for key in named)
        for key in named:
            key.is_spare = has_one and key.value is None
            kept = found.setdefault((key.name, key.provider), key)
            kept.models.append(model)
            kept.users += [user for user in users.get(model, ()) if user not in kept.users]
            kept.is_spare = kept.is_spare and key.is_spare
    for setting, text in _other_texts(registry):
        for name in references(text):
            key = _variable(name, None, sources)
            found.setdefault((name, None), key).users.append(setting)
    return tuple(sorted(found.values(), key=lambda key: (key.name, key.provider or "")))


def _users_of_models(registry: Registry, release: str) -> dict[str, list[str]]:
    """Return the features whose calls may reach each model: fallbacks, arms and juries too."""
    users: dict[str, list[str]] = {}
    candidate = None if registry.rollout is None else registry.rollout.candidate
    for each in dict.fromkeys(name for name in (release, candidate) if name in registry.releases):
        for feature in features_of(registry, str(each)):
            for model in dict.fromkeys(_models_of_feature(registry, str(each), feature)):
                if feature not in users.setdefault(model, []):
                    users[model].append(feature)
    if registry.embeddings is not None:
        users.setdefault(registry.embeddings, []).append("embeddings")
    return users


def _models_of_feature(registry: Registry, release: str, feature: str) -> Iterator[str]:
    bound = binding(registry, release, feature)
    experiments = ((name, entry) for name, entry in registry.experiments.items() if entry.feature == feature)
    bindings = [bound, *(arm_binding(registry, bound, name, arm) for name, entry in experiments for arm in entry.arms)]
    for each in bindings:
        chain = model_chain(registry, each)
        yield from chain.models
        if chain.degrade is not None:
            yield chain.degrade
    jury = registry.feature(feature).jury
    yield from () if jury is None else jury.models


def _keys_of_model(
    model: str,
    entry: ModelEntry,
    environ: Mapping[str, str],
    sources: Sequence[VariableSource],
    place: Place | None,
    root: Path,
) -> Iterator[NeededKey]:
    provider = entry.provider or entry.model.partition("/")[0]
    for text in entry.key_texts:
        names = references(text)
        if text.startswith(KEY_FILE):
            try:
                value = read_key(text, environ, owner=f"model `{model}`", place=place, root=root)
            except MissingKeyError:
                yield NeededKey(name=text, source=None, provider=provider, value=None)
            else:
                yield NeededKey(name=text, source=IN_KEY_FILE, provider=provider, value=value)
        elif not names:
            yield NeededKey(name=f"models.{model}.api_key", source=IN_REGISTRY, provider=provider, value=text)
        for name in names:
            yield _variable(name, provider, sources)
    if entry.api_key is None and entry.api_base is None:
        own = entry.model.partition("/")[0]
        usual = usual_variables(own)
        found = next((name for name in usual if environ.get(name)), None)
        if found is not None or (usual and not signs_in(own, environ)):
            yield _variable(found or usual[0], provider, sources)


def _other_texts(registry: Registry) -> Iterator[tuple[str, str]]:
    """Yield the settings whose variables are secrets too."""
    texts = {
        "alerts.pagerduty": registry.alerts.pagerduty,
        "alerts.webhook": registry.alerts.webhook,
        "state": registry.state,
        "cache.url": registry.cache.url,
    }
    yield from ((setting, text) for setting, text in texts.items() if text)


def _variable(name: str, provider: str | None, sources: Sequence[VariableSource]) -> NeededKey:
    """Return a key from the first source that has the variable; an empty value there hides the others."""
    source = next((source for source in sources if name in source.variables), None)
    if source is None or not source.variables[name]:
        return NeededKey(name=name, source=None, provider=provider, value=None)
    return NeededKey(
        name=name,
        source=source.name,
        provider=provider,
        value=source.variables[name],
        changed_at=source.changed_at,
    )

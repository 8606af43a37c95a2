"""The new release: which features use the old model, what changes, and the edit of the registry's files."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import UsageError, expected_one_of
from flowai.providers.endpoint_price import price_of
from flowai.providers.model_facts import ModelFacts, model_facts
from flowai.registry import BindingEntry, ModelEntry, Release, binding, endpoint_as_written, features_of
from flowai.registry.resolve import TOKENS_PER_PRICE
from flowai.registry.writer import EntryEdit, preview_entries
from flowai.upgrades.records import UpgradeModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.providers import PriceTable
    from flowai.registry import Binding, Registry
    from flowai.workspace.workspace import Workspace

_NUMBERED = re.compile(r"^(.*?)(\d+)$")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChange:
    """Old and new model, and the serving release that uses the old one."""

    serving: str
    old: str
    """Name in the registry."""
    new: str
    """Name in the registry, perhaps of the entry that is added."""
    new_entry: ModelEntry | None
    """Entry to add; None if the registry has one."""
    features: tuple[str, ...]
    """Features of the serving release whose model is the old one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A release with the new model."""

    name: str
    changes: Mapping[str, Mapping[str, Any]]
    """Binding of each changed feature, as the registry writes it."""
    edits: tuple[EntryEdit, ...] = field(default=())
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Files of new prompts that are not written yet, by id."""


def resolve_change(workspace: Workspace, old: str, new: str, only: Sequence[str]) -> ModelChange:
    """Resolve the models and the features that use the old one.

    Raises:
        UsageError: a name is unknown, the old model is unused, or both models are the same.
    """
    registry, serving = workspace.registry, workspace.release
    old = _registry_name(registry, old)
    registry.model(old)
    new, entry = _new_model(registry, old, new)
    _check_different(registry, old, new, entry)
    for name in only:
        registry.feature(name)
    using = tuple(name for name in features_of(registry, serving) if binding(registry, serving, name).model == old)
    for name in only:
        if name not in using:
            raise UsageError(
                f"`{name}` does not use `{old}` in the serving release `{serving}`",
                hint=f"it uses {_model_of(registry, serving, name)}; {expected_one_of(using)}",
            )
    features = tuple(name for name in using if name in only) if only else using
    if not features:
        uses = list(other_uses(registry, old))
        where = f"only {', '.join(uses)} name it: change these by hand" if uses else "nothing else names it"
        raise UsageError(f"no feature of the serving release `{serving}` uses `{old}`", hint=where)
    return ModelChange(serving=serving, old=old, new=new, new_entry=entry, features=features)


def with_new_model(registry: Registry, change: ModelChange) -> Registry:
    """Return the registry with the new model's entry."""
    if change.new_entry is None:
        return registry
    return msgspec.structs.replace(registry, models={**registry.models, change.new: change.new_entry})


def build_candidate(
    workspace: Workspace,
    change: ModelChange,
    removed: Mapping[str, Sequence[str]],
    *,
    name: str | None,
    prompts: Mapping[str, str] | None = None,
) -> Candidate:
    """Build the new release.

    Args:
        workspace: the project, its registry as it is on disk.
        change: the models and features.
        removed: parameters that the new model refuses, by feature.
        name: name of the release; None for the next free one.
        prompts: prompts written for the new model, by feature.

    Raises:
        UsageError: there is a release of this name with other content.
    """
    changes: dict[str, dict[str, Any]] = {}
    for feature in change.features:
        entry: dict[str, Any] = {}
        if prompts and feature in prompts:
            entry["prompt"] = prompts[feature]
        entry["model"] = change.new
        if removed.get(feature):
            entry["params"] = dict.fromkeys(removed[feature])
        changes[feature] = entry
    registry = workspace.registry
    release = Release(
        extends=change.serving,
        bindings={feature: msgspec.convert(entry, BindingEntry) for feature, entry in changes.items()},
    )
    same = next((known for known, item in registry.releases.items() if item == release), None)
    if name is None:
        name = same or _next_name(registry, change.serving)
    elif name in registry.releases and registry.releases[name] != release:
        raise UsageError(f"there is a release `{name}` with other content", hint="--release NAME takes another name")
    edits = []
    if change.new_entry is not None:
        value = msgspec.to_builtins(change.new_entry)
        edits.append(
            EntryEdit(
                key="models",
                name=change.new,
                value={key: item for key, item in value.items() if item is not None},
                same_file_as=change.old,
            )
        )
    if name not in registry.releases:
        value = {"extends": change.serving, **changes}
        edits.append(EntryEdit(key="releases", name=name, value=value, same_file_as=change.serving))
    return Candidate(name=name, changes=changes, edits=tuple(edits))


def candidate_registry(registry: Registry, change: ModelChange, candidate: Candidate) -> Registry:
    """Return the registry with the new model and the new release, in memory."""
    release = Release(
        extends=change.serving,
        bindings={feature: msgspec.convert(entry, BindingEntry) for feature, entry in candidate.changes.items()},
    )
    added = with_new_model(registry, change)
    return msgspec.structs.replace(added, releases={**added.releases, candidate.name: release})


def registry_diff(workspace: Workspace, candidate: Candidate) -> str:
    """Return the edit of the registry's files as a unified diff; empty if nothing changes.

    Raises:
        RegistryError: the files cannot be edited without changing other text.
    """
    previews = preview_entries(workspace.project, candidate.edits, env=workspace.context.env, environ=workspace.environ)
    lines: list[str] = []
    for preview in previews:
        lines += difflib.unified_diff(
            preview.before.splitlines(), preview.after.splitlines(), preview.name, preview.name, lineterm="", n=2
        )
    return "".join(f"{line}\n" for line in lines)


def other_uses(registry: Registry, old: str) -> Iterator[str]:
    """Yield the keys of the registry that name the old model and that no release changes."""
    for tier, names in registry.tiers.items():
        if old in names:
            yield f"tiers.{tier}"
    for name, feature in registry.features.items():
        named = {
            "fallback": feature.fallback,
            "degrade": () if feature.degrade is None else (feature.degrade.to,),
            "jury": () if feature.jury is None else feature.jury.models,
        }
        yield from (f"features.{name}.{key}" for key, models in named.items() if old in models)
    for name, experiment in registry.experiments.items():
        for arm, entry in experiment.arms.items():
            if entry.model == old:
                yield f"experiments.{name}.arms.{arm}"
    if registry.embeddings == old:
        yield "embeddings"


def describe_model(registry: Registry, name: str, prices: PriceTable, *, is_new_entry: bool = False) -> UpgradeModel:
    """Return what is known about a model."""
    entry, endpoint = registry.model(name), endpoint_as_written(registry, name)
    facts = model_facts(entry.model, prices) or ModelFacts()
    price = price_of(endpoint, prices)
    return UpgradeModel(
        name=name,
        model=entry.model,
        provider=endpoint.provider,
        is_new_entry=is_new_entry,
        input_usd_per_million_tokens=None if price is None else _per_million(price.input_cost_per_token),
        output_usd_per_million_tokens=None if price is None else _per_million(price.output_cost_per_token),
        max_input_tokens=facts.max_input_tokens,
        max_output_tokens=facts.max_output_tokens,
        end_date=None if entry.api_base is not None else facts.end_date,  # another server may keep it
    )


def _registry_name(registry: Registry, name: str) -> str:
    """Return a model's name in the registry; LiteLLM's name is accepted if one entry has it."""
    if name in registry.models:
        return name
    named = [known for known, entry in registry.models.items() if entry.model == name]
    return named[0] if len(named) == 1 else name


def _new_model(registry: Registry, old: str, new: str) -> tuple[str, ModelEntry | None]:
    known = _registry_name(registry, new)
    if known in registry.models:
        return known, None
    provider, slash, rest = new.partition("/")
    if not slash or not rest:
        raise UsageError(
            f"no model `{new}` in the registry, and it is not one of LiteLLM's names (`openai/gpt-4o-mini`)",
            hint=expected_one_of(registry.models, found=new),
        )
    before = registry.model(old)
    is_same_provider = before.model.partition("/")[0] == provider and before.api_base is None
    name = _NOT_IN_NAMES.sub("-", rest.rpartition("/")[2]).strip("-.") or provider
    if name in registry.models:
        name = f"{provider}-{name}"
    entry = ModelEntry(model=new, api_key=before.api_key) if is_same_provider else ModelEntry(model=new)
    return name, entry


def _check_different(registry: Registry, old: str, new: str, entry: ModelEntry | None) -> None:
    before, after = registry.model(old), entry or registry.model(new)
    if old == new or (before.model, before.api_base, before.file) == (after.model, after.api_base, after.file):
        raise UsageError(f"`{old}` and `{new}` are the same model", hint="name another model as NEW")


def _model_of(registry: Registry, release: str, feature: str) -> str:
    if feature not in features_of(registry, release):
        return "no model there"
    bound: Binding = binding(registry, release, feature)
    return f"`{bound.model}`"


def _next_name(registry: Registry, serving: str) -> str:
    """Return the name of the next release: `v3` after `v2`, else the serving one's with a number."""
    match = _NUMBERED.match(serving)
    stem, number = (match[1], int(match[2]) + 1) if match else (f"{serving}-", 2)
    while f"{stem}{number}" in registry.releases:
        number += 1
    return f"{stem}{number}"


def _per_million(price: float | None) -> float | None:
    return None if price is None else round(price * TOKENS_PER_PRICE, 6)

"""Hashes of the prompts and models of a release, and whether they changed since it was published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import FlowaiError, PromptError
from flowai.prompts import PromptLock, entry_hash
from flowai.prompts.lockfile import LockedRelease
from flowai.registry import binding, features_of, model_chain

if TYPE_CHECKING:
    from flowai.prompts import PromptLibrary
    from flowai.prompts.lockfile import Change
    from flowai.registry import ModelEntry, Registry


def model_hash(entry: ModelEntry) -> str:
    """Return the hash of a model entry, without its API key: the key does not change answers."""
    return entry_hash({"model": entry.model, "api_base": entry.api_base, "file": entry.file})


def locked_release(registry: Registry, release: str, library: PromptLibrary) -> LockedRelease:
    """Return the hashes of a release's prompts and of its first models.

    Raises:
        PromptError: a prompt is missing or invalid.
        UsageError: there is no such release.
    """
    bound = [binding(registry, release, feature) for feature in features_of(registry, release)]
    models = {name for one in bound for name in model_chain(registry, one).models[:1]}
    return LockedRelease(
        prompts={name: library.load(name).hash for name in sorted({one.prompt for one in bound})},
        models={name: model_hash(registry.model(name)) for name in sorted(models)},
    )


def changes_since(registry: Registry, lock: PromptLock, library: PromptLibrary, release: str) -> list[Change]:
    """Return the prompts and models that changed since a release was published; empty if it never was."""
    locked = lock.releases.get(release)
    if locked is None:
        return []
    prompts = {name: _hash(library, name) for name in locked.prompts}
    models = {name: model_hash(registry.models[name]) if name in registry.models else None for name in locked.models}
    return PromptLock(releases={release: locked}).changes(prompts=prompts, models=models)


def integrity_problem(registry: Registry, lock: PromptLock, library: PromptLibrary, release: str) -> str:
    """Return a text about how a release differs from its published state; empty if it does not."""
    locked = lock.releases.get(release)
    if locked is None:
        return f"`{release}` was never published: it is not in `prompts.lock`"
    changed = [f"{change.kind} `{change.name}`" for change in changes_since(registry, lock, library, release)]
    if changed:
        return f"`{release}` changed after it was published: {', '.join(changed)}"
    try:
        is_same = locked_release(registry, release, library) == locked
    except FlowaiError as error:
        return str(error)
    return "" if is_same else f"`{release}` uses other prompts or models than when it was published"


def _hash(library: PromptLibrary, name: str) -> str | None:
    """Return a prompt's hash; None if it is missing or unreadable."""
    try:
        return library.load(name).hash
    except PromptError:
        return None

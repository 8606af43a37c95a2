"""Differences between two releases, by feature."""

from __future__ import annotations

import msgspec

from flowai.registry import Registry, binding, features_of


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that a feature uses differently in two releases."""

    feature: str
    what: str
    """`prompt`, `model`, `params.NAME`, or `feature` if only one release binds it."""
    before: str | None
    """Value in the first release; None if it has none."""
    after: str | None
    """Value in the second release; None if it has none."""


def differences(registry: Registry, before: str, after: str) -> tuple[Difference, ...]:
    """Compare two releases.

    Raises:
        UsageError: there is no such release.
    """
    result: list[Difference] = []
    old, new = features_of(registry, before), features_of(registry, after)
    for feature in dict.fromkeys((*old, *new)):
        if (feature in old) != (feature in new):
            before_text, after_text = ("bound", None) if feature in old else (None, "bound")
            result.append(Difference(feature=feature, what="feature", before=before_text, after=after_text))
            continue
        old_settings, new_settings = _settings(registry, before, feature), _settings(registry, after, feature)
        result += [
            Difference(feature=feature, what=what, before=old_settings.get(what), after=new_settings.get(what))
            for what in dict.fromkeys((*old_settings, *new_settings))
            if old_settings.get(what) != new_settings.get(what)
        ]
    return tuple(result)


def known_differences(registry: Registry | None, before: str | None, after: str) -> tuple[Difference, ...]:
    """Compare two releases as far as a registry knows both; nothing otherwise."""
    if registry is None or before is None or before not in registry.releases or after not in registry.releases:
        return ()
    return differences(registry, before, after)


def changed_features(registry: Registry, before: str, after: str) -> tuple[str, ...]:
    """Return the features that two releases serve differently."""
    return tuple(dict.fromkeys(difference.feature for difference in differences(registry, before, after)))


def _settings(registry: Registry, release: str, feature: str) -> dict[str, str]:
    bound = binding(registry, release, feature)
    params = {f"params.{name}": msgspec.json.encode(value).decode() for name, value in sorted(bound.params.items())}
    model = bound.model if bound.tier is None else f"{bound.tier} ({bound.model})"
    return {"prompt": bound.prompt, "model": model, **params}

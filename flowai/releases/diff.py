"""What differs between two releases, feature by feature."""

from __future__ import annotations

import msgspec

from flowai.registry import Registry, binding, features_of


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that one feature uses differently."""

    feature: str
    """The feature."""
    what: str
    """`prompt`, `model`, `params.NAME`, or `feature` where one release does not bind it at all."""
    before: str | None
    """As the first release has it; None where it has none."""
    after: str | None
    """As the second has it; None where it has none."""


def differences(registry: Registry, before: str, after: str) -> tuple[Difference, ...]:
    """Compare two releases.

    Raises:
        UsageError: there is no such release.
    """
    found: list[Difference] = []
    old, new = features_of(registry, before), features_of(registry, after)
    for feature in dict.fromkeys((*old, *new)):
        if (feature in old) != (feature in new):
            said = ("bound", None) if feature in old else (None, "bound")
            found.append(Difference(feature=feature, what="feature", before=said[0], after=said[1]))
            continue
        one, other = _facts(registry, before, feature), _facts(registry, after, feature)
        found += [
            Difference(feature=feature, what=what, before=one.get(what), after=other.get(what))
            for what in dict.fromkeys((*one, *other))
            if one.get(what) != other.get(what)
        ]
    return tuple(found)


def changed_features(registry: Registry, before: str, after: str) -> tuple[str, ...]:
    """Give the features that two releases serve differently."""
    return tuple(dict.fromkeys(one.feature for one in differences(registry, before, after)))


def _facts(registry: Registry, release: str, feature: str) -> dict[str, str]:
    bound = binding(registry, release, feature)
    params = {f"params.{name}": msgspec.json.encode(value).decode() for name, value in sorted(bound.params.items())}
    model = bound.model if bound.tier is None else f"{bound.tier} ({bound.model})"
    return {"prompt": bound.prompt, "model": model, **params}

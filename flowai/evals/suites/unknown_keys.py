"""Keys that flowai does not know: a misspelling of a known one is an error, any other is ignored with a warning."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from flowai.errors import expected_one_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.evals.suites.yaml_reader import YamlNode

_SIMILARITY = 0.75


def closest(key: str, known: Iterable[str], *, similarity: float = _SIMILARITY) -> str | None:
    """Return the known word that a text is probably a misspelling of; None if there is none."""
    matches = difflib.get_close_matches(key, list(known), n=1, cutoff=similarity)
    return matches[0] if matches else None


def refuse_misspelt(key: str, known: Iterable[str], node: YamlNode) -> None:
    """Raise an error if a key is probably a misspelling of a known one."""
    names = frozenset(known)
    if closest(key, names) is not None:
        raise node.at(key).error(f"unknown key `{key}`", hint=expected_one_of(names, found=key))


def warn_unknown(
    found: dict[str, Any],
    known: Iterable[str],
    node: YamlNode,
    *,
    unsupported: Mapping[str, str],
    ignored: Mapping[str, str],
    words: Iterable[str] = (),
) -> dict[str, Any]:
    """Return a mapping without the keys that flowai does not know.

    Args:
        found: the mapping.
        known: the keys that are read.
        node: its location.
        unsupported: keys that are an error, with the alternative.
        ignored: keys that are ignored, with the reason.
        words: more words of which a key may be a misspelling.
    """
    names = frozenset(known)
    if found.keys() <= names:
        return found
    for key in found:
        if key in names:
            continue
        child = node.at(key)
        if key in unsupported:
            raise child.error(f"`{key}` is not supported", hint=unsupported[key])
        if key in ignored:
            child.warn(f"`{key}` is ignored: {ignored[key]}")
            continue
        refuse_misspelt(key, names.union(words), node)
        child.warn(f"`{key}` is ignored: it is no key of a suite")
    return {key: value for key, value in found.items() if key in names}

"""Guesses which model follows a retired one: the newest living model of its family in LiteLLM's price table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import date

    from flowai.providers.prices import ModelSummary, PriceTable

_DATE = re.compile(r"20\d\d-\d\d-\d\d|(?<!\d)20\d{6}(?!\d)|-(?:\d\d-20\d\d|[01]\d[0-3]\d)(?!\d)")
"""`2025-08-07`, `20250807`, `10-2025`, and the month and day of older snapshots (`0613`)."""
_SIZE = re.compile(r"\d+(?:\.\d+)?[bmk]")
"""`70b`, `16k`: another size is another family."""
_VERSION = re.compile(r"([a-z]?)(\d+(?:\.\d+)*)[a-z]?")
_SEPARATORS = re.compile(r"[-_@:/ ]+")
_UNSTABLE = frozenset({"exp", "experimental", "latest", "preview"})


class Family(NamedTuple):
    """Parts of a model's name."""

    provider: str
    mode: str
    path: str
    """Beginning of the name up to the last `/`."""
    words: tuple[str, ...]
    """Sorted, without version, date and state."""


class _Member(NamedTuple):
    version: tuple[int, ...]
    is_alias: bool
    """Whether the name has no date: the provider may move it, and it ends later."""
    name: str


def guess_replacement(model: str, table: PriceTable, *, today: date) -> str | None:
    """Return the newest living model of the same family, if it is newer (`openai/gpt-5-mini`); None if there is none.

    Args:
        model: LiteLLM's name.
        table: LiteLLM's price table.
        today: models whose end date is past are not living.
    """
    summaries = table.summaries()
    prefix, _, bare = model.partition("/")
    name = model if model in summaries else bare
    own = summaries.get(name)
    if own is None:
        return None
    family, version, _ = _family(name, own)
    ends_after = max(today, own.end_date or today)
    found = []
    for other, summary in summaries.items():
        if (summary.provider, summary.mode) != (own.provider, own.mode) or other == name or other.startswith("ft:"):
            continue
        if summary.end_date is not None and summary.end_date <= ends_after:
            continue
        same, newer, is_unstable = _family(other, summary)
        if same == family and newer > version and not is_unstable:
            found.append(_Member(newer, _DATE.search(other) is None, other))
    if not found:
        return None
    newest = max(found, key=lambda member: (member.version, member.is_alias, -len(member.name), member.name)).name
    return newest if name == model else f"{prefix}/{newest}"


def _family(name: str, summary: ModelSummary) -> tuple[Family, tuple[int, ...], bool]:
    """Return the family of a model, its version, and whether its name says that it is not final."""
    path, _, last = name.rpartition("/")
    words: list[str] = []
    version: list[int] = []
    for word in _SEPARATORS.split(_DATE.sub("", last.lower())):
        matched = _VERSION.fullmatch(word)
        if matched is None or _SIZE.fullmatch(word):
            words.append(word)
            continue
        if matched[1] and matched[1] != "v":
            words.append(matched[1])
        version += map(int, matched[2].split("."))
    kept = tuple(sorted(word for word in words if word and word not in _UNSTABLE))
    return Family(summary.provider, summary.mode, path, kept), tuple(version), not _UNSTABLE.isdisjoint(words)

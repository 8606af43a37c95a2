"""Reads providers' lists of models; fields about the end of a model have several names."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import msgspec

END_FIELDS = (
    "deprecation", "deprecation_date", "deprecated_at", "expiration_date", "shutdown_date", "retirement_date",
    "end_of_life", "sunset_date",
)  # fmt: skip
"""Names of the day on which a model ends. Mistral has the first, OpenRouter `expiration_date`."""
REPLACEMENT_FIELDS = ("deprecation_replacement_model", "replacement", "replacement_model", "successor")
_MIN_SECONDS = 1_000_000_000
"""Smaller numbers are no time in seconds."""


class ListedName(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a provider's list."""

    end_date: date | None = None
    replacement: str | None = None
    is_deprecated: bool = False
    """Whether the provider says so, or says that it is not active."""


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a list."""

    models: dict[str, ListedName]
    """By id, and by each alias."""
    last_id: str | None = None
    """The next page begins after it; None for the last page."""


def read_page(body: bytes) -> ModelPage | None:
    """Read a page; None if it is no list of models."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    rows = value
    if isinstance(value, dict):
        rows = next((value[name] for name in ("data", "models") if isinstance(value.get(name), list)), None)
    if not isinstance(rows, list):
        return None
    models: dict[str, ListedName] = {}
    for row in rows:
        if isinstance(row, dict):
            listed = _listed(row)
            models.update((name, listed) for name in _names(row))
    last_id = value.get("last_id") if isinstance(value, dict) and value.get("has_more") is True else None
    return ModelPage(models=models, last_id=last_id if isinstance(last_id, str) else None)


def read_model(body: bytes) -> ListedName | None:
    """Read the answer about one model; None if it is none."""
    try:
        row = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _listed(row) if isinstance(row, dict) and _names(row) else None


def _names(row: dict[str, Any]) -> list[str]:
    aliases = row.get("aliases")
    values = [row.get("id"), row.get("name"), *(aliases if isinstance(aliases, list) else ())]
    return [value.removeprefix("models/") for value in values if isinstance(value, str) and value]


def _listed(row: dict[str, Any]) -> ListedName:
    ends = [found for name in END_FIELDS if (found := _date(row.get(name))) is not None]
    replacement = next((row[name] for name in REPLACEMENT_FIELDS if isinstance(row.get(name), str) and row[name]), None)
    is_deprecated = row.get("deprecated") is True or row.get("active") is False
    return ListedName(end_date=min(ends, default=None), replacement=replacement, is_deprecated=is_deprecated)


def _date(value: Any) -> date | None:  # noqa: ANN401 - a field of an answer
    if isinstance(value, str):
        try:
            return date.fromisoformat(value[:10])
        except ValueError:
            return None
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= _MIN_SECONDS:
        try:
            return datetime.fromtimestamp(value, UTC).date()
        except (OverflowError, OSError, ValueError):
            return None
    return None

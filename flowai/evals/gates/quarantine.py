"""Quarantine: cases that the gate leaves out until a date, from a reviewed file; an expired entry counts again."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, NamedTuple

from flowai.errors import ProjectError
from flowai.storage.files import Document, read_yaml

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "quarantine.yaml"
_KEYS = ("suite", "case", "reason", "until")
_EXAMPLE = "such as `- {suite: evals/summary.yaml, case: negation-07, reason: provider bug, until: 2027-01-31}`"


class QuarantineEntry(NamedTuple):
    """A case in quarantine."""

    suite: str
    case: str
    reason: str
    until: dt.date
    """Last day, UTC."""
    place: str


def read_quarantine(path: Path, *, name: str) -> list[QuarantineEntry]:
    """Read the entries of the file, called `name` in messages; a missing file has none."""
    if not path.exists():
        return []
    document = read_yaml(path, name=name)
    if document.value is None:
        return []
    if not isinstance(document.value, list):
        raise ProjectError("expected a list of entries", place=document.location(), hint=_EXAMPLE)
    return [_entry(document, index, value) for index, value in enumerate(document.value)]


def active_and_expired(
    entries: list[QuarantineEntry], today: dt.date
) -> tuple[dict[tuple[str, str], QuarantineEntry], list[str]]:
    """Return the entries in force, by suite and case, and a warning for each expired one."""
    active = {(entry.suite, entry.case): entry for entry in entries if entry.until >= today}
    expired = [
        f"{entry.place}: the quarantine of `{entry.case}` ended on {entry.until}; the case counts again"
        for entry in entries
        if entry.until < today
    ]
    return active, expired


def _entry(document: Document, index: int, value: Any) -> QuarantineEntry:  # noqa: ANN401 - any YAML value
    if not isinstance(value, dict):
        raise ProjectError("expected an entry", place=document.location(index), hint=_EXAMPLE)
    unknown = [key for key in value if key not in _KEYS]
    missing = [key for key in _KEYS if key not in value]
    if unknown or missing:
        what = f"unknown key `{unknown[0]}`" if unknown else f"no `{missing[0]}`"
        raise ProjectError(what, place=document.location(index, *unknown[:1]), hint=_EXAMPLE)
    for key in ("suite", "case", "reason"):
        if not isinstance(value[key], str | int) or not str(value[key]).strip():
            raise ProjectError("expected a text", place=document.location(index, key), hint=_EXAMPLE)
    place = document.location(index)
    return QuarantineEntry(
        suite=str(value["suite"]),
        case=str(value["case"]),
        reason=str(value["reason"]),
        until=_date(document, index, value["until"]),
        place=f"{place.file}:{place.line}",
    )


def _date(document: Document, index: int, value: Any) -> dt.date:  # noqa: ANN401 - any YAML value
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError:
        raise ProjectError(
            f"found `{value}`, expected a date", place=document.location(index, "until"), hint="such as `2027-01-31`"
        ) from None

"""Reads msgspec's text of a value that does not fit its record: the path of the value, and the problem."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_PATH = re.compile(r" - at `\$\.?(.*)`$")
_INDEX = re.compile(r"\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`$")


class RecordProblem(NamedTuple):
    """A value that does not fit its record."""

    kind: Literal["unknown", "missing", "invalid"]
    path: str
    """Dotted (`messages.0.content`); of the field that is unknown or missing; empty for the outermost value."""
    what: str
    """Found and expected, of an invalid value; begins with a small letter."""


def record_problem(text: str) -> RecordProblem:
    """Return the problem that a ValidationError of msgspec describes."""
    match = _PATH.search(text)
    what = text[: match.start()] if match else text
    path = _INDEX.sub(r".\1", match[1]).strip(".") if match else ""
    unknown, missing = _UNKNOWN.search(what), _MISSING.search(what)
    named = unknown or missing
    if named is None:
        return RecordProblem("invalid", path, what[:1].lower() + what[1:])
    return RecordProblem("unknown" if unknown else "missing", f"{path}.{named[1]}" if path else named[1], what)

"""Hashes of what a trial asks and how its answer is judged, to find what changed since a baseline."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.replay import request_key

if TYPE_CHECKING:
    from flowai.evals.runs.records import PreparedTrial
    from flowai.evals.suites.records import Case

HASH_DIGITS = 16


def request_hash(prepared: PreparedTrial) -> str | None:
    """Return the hash of model, messages and parameters; None if they are not known before the call."""
    provider = prepared.planned.target.provider
    if prepared.is_late or prepared.recorded is not None or (provider is not None and provider.kind != "model"):
        return None
    return request_key(prepared.request)[:HASH_DIGITS]


def case_hash(case: Case) -> str:
    """Return the hash of variables and assertions, without their places and the content of code files."""
    parts = (case.vars, case.dynamic_vars, case.assertions, case.threshold, case.scoring, case.options)
    data = msgspec.json.encode(_without_places(msgspec.to_builtins(parts)), order="sorted")
    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]


def _without_places(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value without lines of files and folders of the machine, and without empty fields.

    A field that a later version adds is empty in a case that does not use it.
    """
    if isinstance(value, dict):
        kept = {name: _without_places(item) for name, item in value.items() if name != "place" and not _is_empty(item)}
        if isinstance(value.get("file"), str) and "language" in value:
            kept["file"] = PurePath(value["file"]).name
        return kept
    return [_without_places(item) for item in value] if isinstance(value, list | tuple) else value


def _is_empty(value: Any) -> bool:  # noqa: ANN401 - as above
    return value is None or value is False or (isinstance(value, str | list | tuple | dict) and not value)

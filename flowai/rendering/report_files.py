"""Writes report files; the ending of a name chooses the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec

from flowai.errors import UsageError
from flowai.storage.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

Report = TypeVar("Report")
Writers = Mapping[str, Callable[[Report], str | bytes]]
"""The formats of a report: ending, in small letters, to its writer."""


def to_json(record: object) -> bytes:
    """Return a record as indented JSON with a line feed at its end; equal records give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(record, order="deterministic"), indent=1) + b"\n"


def check_endings(paths: Iterable[Path], writers: Writers[Report]) -> None:
    """Check that every file can be written, before anything is run.

    Raises:
        UsageError: an ending is not one of `writers`.
    """
    for path in paths:
        if path.suffix.lower() not in writers:
            expected = ", ".join(f"`{ending}`" for ending in writers)
            raise UsageError(
                f"`{path.name}`: found ending `{path.suffix}`, expected one of {expected}",
                hint="the ending chooses the format",
            )


def write_reports(report: Report, paths: Iterable[Path], writers: Writers[Report]) -> None:
    """Write a report to each file, in order; each file is whole or unchanged.

    Raises:
        UsageError: an ending is not one of `writers`; no file was written.
        InfrastructureError: a file cannot be written.
    """
    wanted = tuple(paths)
    check_endings(wanted, writers)
    for path in wanted:
        write_atomic(path, writers[path.suffix.lower()](report))

"""Writes report files; the ending of a file name selects the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec

from flowai.errors import FileWriteError, UsageError
from flowai.storage.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

Report = TypeVar("Report")
Writers = Mapping[str, Callable[[Report], str | bytes | Iterable[bytes]]]
"""Writers of a report by ending in lower case."""


def to_json(record: object) -> bytes:
    """Return a record as indented JSON with a line feed at the end; equal records give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(record, order="deterministic"), indent=1) + b"\n"


def json_parts(record: msgspec.Struct, field: str) -> Iterator[bytes]:
    """Yield the parts of `to_json(record)`; the items of a field, a list of records, are encoded one by one."""
    items = getattr(record, field)
    empty = to_json(msgspec.structs.replace(record, **{field: ()}))
    mark = f'\n "{field}": []'.encode()  # one space: only a field of the record itself
    before, _, after = empty.partition(mark)
    separator = before + mark[:-1]
    for item in items:
        yield (
            separator
            + b"\n  "
            + msgspec.json.format(msgspec.json.encode(item, order="deterministic"), indent=1).replace(b"\n", b"\n  ")
        )
        separator = b","
    yield (before + mark if separator != b"," else b"\n ]") + after


def check_endings(paths: Iterable[Path], writers: Writers[Report]) -> None:
    """Check that there is a writer for every file, before the report is computed.

    Raises:
        UsageError: an ending is not in `writers`.
    """
    for path in paths:
        if path.suffix.lower() not in writers:
            expected = ", ".join(f"`{ending}`" for ending in writers)
            raise UsageError(
                f"`{path.name}`: found ending `{path.suffix}`, expected one of {expected}",
                hint="the ending selects the format",
            )


def write_reports(report: Report, paths: Iterable[Path], writers: Writers[Report]) -> None:
    """Write a report to each file, in order; each file is complete or unchanged.

    Raises:
        UsageError: an ending is not in `writers`; no file was written.
        InfrastructureError: a file cannot be written.
    """
    targets = tuple(paths)
    check_endings(targets, writers)
    for path in targets:
        write_atomic(path, writers[path.suffix.lower()](report))


def write_result(report: Report, paths: Iterable[Path], writers: Writers[Report]) -> tuple[str, ...]:
    """Write a report whose result must not be lost with its files; return a line for each file that cannot be written.

    Raises:
        UsageError: an ending is not in `writers`; no file was written.
        InfrastructureError: a path is a link, or no file.
    """
    unwritten = []
    for path in paths:
        try:
            write_reports(report, (path,), writers)
        except FileWriteError as error:
            unwritten.append(str(error))
    return tuple(unwritten)

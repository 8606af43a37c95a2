"""Finds the first unreadable lines of a log, so that a person can look them up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flowai.analytics.event_query import files_of
from flowai.analytics.records import LogLocation
from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.analytics.event_query import TimeRange

MAX_PLACES = 3


class _LogLine(msgspec.Struct):
    kind: str


def first_unreadable(directories: Sequence[Path], time_range: TimeRange) -> tuple[LogLocation, ...]:
    """Return file and number of the first lines that are not events; at most `MAX_PLACES`."""
    places: list[LogLocation] = []
    for name in files_of(directories, "jsonl", time_range):
        path = Path(name)
        shown = next((path.relative_to(one) for one in directories if path.is_relative_to(one)), path).as_posix()
        try:
            for line in _unreadable(path):
                places.append(LogLocation(file=shown, line=line))
                if len(places) == MAX_PLACES:
                    return tuple(places)
        except OSError as error:
            raise InfrastructureError(f"`{name}` cannot be read: {error.strerror}") from error
    return tuple(places)


def _unreadable(path: Path) -> Iterator[int]:
    decoder = msgspec.json.Decoder(_LogLine)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if line.strip():
                    decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                yield number

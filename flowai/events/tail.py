"""Reads what was added to the event log since the last time: new files, new lines, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Record = TypeVar("Record", bound=msgspec.Struct)

MAX_LINE_BYTES = 32 << 20
"""A longer line is passed over as unreadable."""

CLOCK_TOLERANCE = timedelta(minutes=15)
"""A call's line is written when the call ends; so much later than it began, at most, it is looked for."""

_INITIAL_SEEK_BYTES = 1 << 20
_DAY = "dt="


class _Moment(msgspec.Struct, frozen=True):
    """When the event of a line happened."""

    at: Annotated[datetime, Meta(tz=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class TailReport:
    """What one reading could not use."""

    unreadable_count: int = 0
    """Lines that give no record: torn, damaged, too long."""
    errors: tuple[str, ...] = ()
    """Files and directories that cannot be read, and why."""


@dataclass(kw_only=True, slots=True)
class _FilePosition:
    """How far a file was read."""

    inode: int
    """Which file it was."""
    offset: int
    """Begin of the first line that was not yet read, bytes."""
    is_in_long_line: bool = False
    """Whether the offset lies within a line that is too long."""


@dataclass(kw_only=True)
class _Reading:
    unreadable_count: int = 0
    errors: list[str] = field(default_factory=list)


class EventTail(Generic[Record]):
    """Follows a log.

    A file that is met for the first time is not read from its begin but from where it becomes interesting, however
    large it is. A last line without its end is left for the next time. A file that was replaced, or that shrank, is
    read again from its begin.

    Args:
        directory: the log; it need not exist yet.
        record: what a line is read as; fields that it lacks are passed over.
    """

    def __init__(self, directory: Path, record: type[Record]) -> None:
        self.directory = directory
        self._decode = msgspec.json.Decoder(record).decode
        self._moment = msgspec.json.Decoder(_Moment)
        self._places: dict[str, _FilePosition] = {}

    def read(self, on_record: Callable[[Record], None], *, since: datetime) -> TailReport:
        """Read what is new.

        Args:
            on_record: told each record, in the order of each file.
            since: older events are not needed: they may be given or passed over. UTC.

        Returns:
            What could not be used.
        """
        found = _Reading()
        places: dict[str, _FilePosition] = {}
        for path in self._files(since, found):
            place = self._places.get(str(path))
            try:
                with path.open("rb") as stream:
                    places[str(path)] = self._read_file(stream, place, since, on_record, found)
            except FileNotFoundError:  # compacted between the two looks
                continue
            except OSError as error:
                found.errors.append(f"{path.parent.name}/{path.name}: {error.strerror or error}")
                if place is not None:
                    places[str(path)] = place
        self._places = places
        return TailReport(unreadable_count=found.unreadable_count, errors=tuple(found.errors))

    def _files(self, since: datetime, found: _Reading) -> list[Path]:
        """Give the files of days that matter; a writer's clock may be a day behind."""
        first = f"{_DAY}{(since - timedelta(days=1)).date().isoformat()}"
        try:
            days = sorted(one for one in self.directory.iterdir() if one.name.startswith(_DAY) and one.name >= first)
        except FileNotFoundError:
            return []
        except OSError as error:
            found.errors.append(f"{self.directory.name}: {error.strerror or error}")
            return []
        files: list[Path] = []
        for day in days:
            try:
                files += sorted(one for one in day.iterdir() if one.suffix == ".jsonl")
            except OSError as error:
                found.errors.append(f"{day.name}: {error.strerror or error}")
        return files

    def _read_file(
        self,
        stream: IO[bytes],
        place: _FilePosition | None,
        since: datetime,
        on_record: Callable[[Record], None],
        found: _Reading,
    ) -> _FilePosition:
        import os

        status = os.fstat(stream.fileno())
        if place is None:
            place = _FilePosition(inode=status.st_ino, offset=self._begin(stream, status.st_size, since))
        elif place.inode != status.st_ino or place.offset > status.st_size:
            place = _FilePosition(inode=status.st_ino, offset=0)
        if place.offset == status.st_size:
            return place
        stream.seek(place.offset)
        decode = self._decode
        for line in _whole_lines(stream, place, found):
            try:
                record = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                found.unreadable_count += bool(line.strip())
                continue
            on_record(record)
        return place

    def _begin(self, stream: IO[bytes], size: int, since: datetime) -> int:
        """Find the begin of a line before which all are too old: from the end backwards, in growing steps."""
        reach = _INITIAL_SEEK_BYTES
        while reach < size:
            stream.seek(size - reach)
            stream.readline(MAX_LINE_BYTES)  # the rest of a line
            begin = stream.tell()
            at = self._first_moment(stream)
            if at is not None and at < since - CLOCK_TOLERANCE:
                return begin
            reach *= 2
        return 0

    def _first_moment(self, stream: IO[bytes]) -> datetime | None:
        """Give when the next event happened; None where the next lines do not say."""
        for _ in range(10):
            try:
                return self._moment.decode(stream.readline(MAX_LINE_BYTES)).at
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
        return None


def _whole_lines(stream: IO[bytes], place: _FilePosition, found: _Reading) -> Iterator[bytes]:
    """Give lines that have their end, and move the place on; the caller's stream stands at it."""
    while line := stream.readline(MAX_LINE_BYTES):
        is_whole = line.endswith(b"\n")
        if not is_whole and len(line) < MAX_LINE_BYTES and not place.is_in_long_line:
            return  # torn, or still being written
        place.offset += len(line)
        if is_whole and not place.is_in_long_line:
            yield line
            continue
        found.unreadable_count += not place.is_in_long_line
        place.is_in_long_line = not is_whole

"""Reads what was added to the event log since the last read: new files, new lines, in constant memory."""

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
"""Longer lines are skipped as unreadable."""

CLOCK_TOLERANCE = timedelta(minutes=15)
"""A call's line is written when the call ends: lines are in order of time up to this tolerance."""

_INITIAL_SEEK_BYTES = 1 << 20
_DAY = "dt="


class _Timestamp(msgspec.Struct, frozen=True):
    at: Annotated[datetime, Meta(tz=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class TailReport:
    """Lines and files that a read had to skip."""

    unreadable_count: int = 0
    """Lines that are no record: torn, damaged, too long."""
    errors: tuple[str, ...] = ()
    """Unreadable files and directories, with reasons."""


@dataclass(kw_only=True, slots=True)
class _FilePosition:
    inode: int
    offset: int
    """Start of the first unread line, bytes."""
    is_in_long_line: bool = False
    """Whether the offset is inside a line that is too long."""


@dataclass(kw_only=True)
class _Problems:
    unreadable_count: int = 0
    errors: list[str] = field(default_factory=list)


class EventTail(Generic[Record]):
    """Follows a log, which need not exist yet; fields that `record` lacks are ignored.

    A new file is read from the first line that is recent enough, however large the file is. An incomplete last line is
    left for the next read. A file that was replaced or became shorter is read again from its start.
    """

    def __init__(self, directory: Path, record: type[Record]) -> None:
        self.directory = directory
        self._decode = msgspec.json.Decoder(record).decode
        self._timestamp = msgspec.json.Decoder(_Timestamp)
        self._positions: dict[str, _FilePosition] = {}

    def read(self, on_record: Callable[[Record], None], *, since: datetime) -> TailReport:
        """Pass each record that is new since the last read to `on_record`, in the order of each file.

        Events before `since` (UTC) may be passed or skipped.
        """
        problems = _Problems()
        positions: dict[str, _FilePosition] = {}
        for path in self._files(since, problems):
            position = self._positions.get(str(path))
            try:
                with path.open("rb") as stream:
                    positions[str(path)] = self._read_file(stream, position, since, on_record, problems)
            except FileNotFoundError:  # compacted after it was listed
                continue
            except OSError as error:
                problems.errors.append(f"{path.parent.name}/{path.name}: {error.strerror or error}")
                if position is not None:
                    positions[str(path)] = position
        self._positions = positions
        return TailReport(unreadable_count=problems.unreadable_count, errors=tuple(problems.errors))

    def _files(self, since: datetime, problems: _Problems) -> list[Path]:
        """Return the files of days that matter; a writer's clock may be a day behind."""
        first = f"{_DAY}{(since - timedelta(days=1)).date().isoformat()}"
        try:
            days = sorted(day for day in self.directory.iterdir() if day.name.startswith(_DAY) and day.name >= first)
        except FileNotFoundError:
            return []
        except OSError as error:
            problems.errors.append(f"{self.directory.name}: {error.strerror or error}")
            return []
        files: list[Path] = []
        for day in days:
            try:
                files += sorted(path for path in day.iterdir() if path.suffix == ".jsonl")
            except OSError as error:
                problems.errors.append(f"{day.name}: {error.strerror or error}")
        return files

    def _read_file(
        self,
        stream: IO[bytes],
        position: _FilePosition | None,
        since: datetime,
        on_record: Callable[[Record], None],
        problems: _Problems,
    ) -> _FilePosition:
        import os

        status = os.fstat(stream.fileno())
        if position is None:
            position = _FilePosition(inode=status.st_ino, offset=self._find_start(stream, status.st_size, since))
        elif position.inode != status.st_ino or position.offset > status.st_size:
            position = _FilePosition(inode=status.st_ino, offset=0)
        if position.offset == status.st_size:
            return position
        stream.seek(position.offset)
        decode = self._decode
        for line in _whole_lines(stream, position, problems):
            try:
                record = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                problems.unreadable_count += bool(line.strip())
                continue
            on_record(record)
        return position

    def _find_start(self, stream: IO[bytes], size: int, since: datetime) -> int:
        """Return the start of a line before which all are too old; searches backwards in growing steps."""
        reach = _INITIAL_SEEK_BYTES
        while reach < size:
            stream.seek(size - reach)
            stream.readline(MAX_LINE_BYTES)  # the rest of a line
            start = stream.tell()
            at = self._next_timestamp(stream)
            if at is not None and at < since - CLOCK_TOLERANCE:
                return start
            reach *= 2
        return 0

    def _next_timestamp(self, stream: IO[bytes]) -> datetime | None:
        """Return the time of the next event; None if the next ten lines have none."""
        for _ in range(10):
            try:
                return self._timestamp.decode(stream.readline(MAX_LINE_BYTES)).at
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
        return None


def _whole_lines(stream: IO[bytes], position: _FilePosition, problems: _Problems) -> Iterator[bytes]:
    """Yield complete lines and advance the position, which is the stream's."""
    while line := stream.readline(MAX_LINE_BYTES):
        is_whole = line.endswith(b"\n")
        if not is_whole and len(line) < MAX_LINE_BYTES and not position.is_in_long_line:
            return  # torn, or still being written
        position.offset += len(line)
        if is_whole and not position.is_in_long_line:
            yield line
            continue
        problems.unreadable_count += not position.is_in_long_line
        position.is_in_long_line = not is_whole

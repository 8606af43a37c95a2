"""JSONL files: crash-safe appends, and readers that report the line of an error."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

import msgspec

from flowai.errors import Place, ProjectError
from flowai.storage.files import check_encodable, unreadable_json, writing
from flowai.storage.own_files import open_private_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Record = TypeVar("Record", bound=msgspec.Struct)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines(Generic[Record]):
    """The records of a file."""

    records: tuple[Record, ...] = ()
    damaged: tuple[int, ...] = ()
    """Numbers, from 1, of lines that are not JSON: torn by a crash, or conflict markers of a merge."""


def read_lines(path: Path, kind: type[Record], *, name: str) -> Lines[Record]:
    """Read a file of `kind` records, called `name` in messages; a missing file is empty."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return Lines()
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", place=Place(file=name)) from error
    decoder = msgspec.json.Decoder(kind)
    records: list[Record] = []
    damaged: list[int] = []
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(decoder.decode(line))
        except msgspec.ValidationError as error:
            what = str(error)
            raise ProjectError(what[:1].lower() + what[1:], place=Place(file=name, line=number)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            damaged.append(number)
    return Lines(records=tuple(records), damaged=tuple(damaged))


def iterate_jsonl(
    path: Path, *, name: str | None = None, kind: type[ProjectError] = ProjectError
) -> Iterator[tuple[int, Any]]:
    """Yield line number from 1 and value of each line that is not blank, in constant memory.

    Raises `kind` if the file is missing or unreadable, or a line is not JSON or has an unpaired surrogate.
    """
    for line in iterate_lines(path, name=name, kind=kind):
        yield line.number, line.value


class JsonLine(NamedTuple):
    """A line of a JSONL file and its position."""

    number: int
    """Counted from 1."""
    offset: int
    """First byte in the file."""
    size_bytes: int
    """With its line feed."""
    value: Any


def iterate_lines(
    path: Path, *, name: str | None = None, kind: type[ProjectError] = ProjectError
) -> Iterator[JsonLine]:
    """Yield each line that is not blank, with its position; otherwise as `iterate_jsonl`."""
    shown = name or str(path)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise kind(f"cannot be read: {error.strerror}", place=Place(file=shown)) from None
    end = 0
    with stream:
        for number, raw in enumerate(stream, start=1):
            start, end = end, end + len(raw)
            if not raw.strip():
                continue
            try:
                value = json.loads(raw)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                problem = error.msg if isinstance(error, json.JSONDecodeError) else "not UTF-8"
                raise kind(f"not valid JSON: {problem}", place=Place(file=shown, line=number)) from None
            except (ValueError, RecursionError) as error:
                raise kind(unreadable_json(error), place=Place(file=shown, line=number)) from None
            check_encodable(value, place=Place(file=shown, line=number), kind=kind)
            yield JsonLine(number, start, len(raw), value)


class AppendLog:
    """An append-only JSONL file: one record, one line, one write.

    The kernel has the bytes when `append` returns, so that kill -9 loses no line. A torn last line (a machine crash, a
    full disk) is ended by a newline at the next opening; readers skip it and may count it. File and directories are
    created for their owner only; a symbolic link is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._encoder = msgspec.json.Encoder()
        with writing(path):
            self._descriptor = open_private_file(path, os.O_RDWR | os.O_APPEND)
            size = os.fstat(self._descriptor).st_size
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                os.write(self._descriptor, b"\n")

    def lock(self) -> bool:
        """Lock the file until it is closed, shared with other writers; return whether its path still names it.

        If the file was removed meanwhile, open it again.
        """
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def append(self, record: object) -> int:
        """Write one record (anything msgspec encodes) as one line, and return its number of bytes.

        On a full disk, a half-written line is removed.
        """
        data = self._encoder.encode(record) + b"\n"
        with writing(self.path):
            written = os.write(self._descriptor, data)
            if written != len(data):  # a full disk writes short before it refuses
                size = os.fstat(self._descriptor).st_size
                os.ftruncate(self._descriptor, size - written)
                raise OSError(28, "No space left on device")
        return len(data)

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        with writing(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; the log can be opened again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

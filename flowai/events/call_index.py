"""Index of the calls in an event log's newest days: each line of the log is read once, also of other processes.

A call takes 16 bytes of memory: the hash of its id, and its place. A hash may be another call's; the line decides.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.events.records import CallEvent, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

MAX_CALLS = 4_000_000
"""Calls in the index; above that, those that were read first are forgotten. They take 72 MB."""
_GENERATION_COUNT = 8
_BUCKET_COUNT = 4096  # a search compares the hashes of one bucket in each generation
_ENTRY_BYTES = 16
_HASH_MASK = (1 << 64) - 1
_OFFSET_BITS = 40  # files up to a terabyte
_READ_BYTES = 65_536
_LINES_PER_PAUSE = 1024
_PAUSE_S = 0.001  # lets the threads of calls go first


_USUAL_LINE = re.compile(rb'\{"kind":"call","schema_version":\d+,"call_id":"([^"\\]+)",')  # ten times as fast


class _LineHead(msgspec.Struct):
    """The fields of a line that the index needs."""

    kind: str = ""
    call_id: str = ""


@dataclass(kw_only=True, slots=True)
class _IndexedFile:
    number: int
    path: str
    inode: tuple[int, int]
    end: int = 0
    """Offset of the first line that was not read."""


class CallIndex:
    """Finds calls in the log of given days; used by one thread at a time.

    Args:
        directory: the event log.
        max_calls: capacity, > 0.
    """

    def __init__(self, directory: Path, *, max_calls: int = MAX_CALLS) -> None:
        self._directory = directory
        self._max_generation = max(1, max_calls // _GENERATION_COUNT)
        self._generations: deque[list[bytearray]] = deque(maxlen=_GENERATION_COUNT)
        self._newest_count = self._max_generation  # so that the first call begins a generation
        self._files: dict[str, _IndexedFile] = {}
        self._paths: dict[int, str] = {}
        self._next_number = 0
        self._decode_head = msgspec.json.Decoder(_LineHead).decode
        self._decode_event = msgspec.json.Decoder(Event).decode
        self._is_stopped = False

    def find(self, call_id: str, days: Sequence[str], *, is_match: Callable[[CallEvent], bool]) -> CallEvent | None:
        """Return a call of the log; None if there is none, or only one that does not match.

        Args:
            call_id: the call.
            days: directory names of the days to search, oldest first.
            is_match: whether a call with this id is the requested one; a refused one takes as long as an unknown one.
        """
        event = self._indexed(call_id, is_match)
        if event is None:
            self._refresh(days)
            event = self._indexed(call_id, is_match)
        return event

    def stop(self) -> None:
        """End a running search early; may be called from another thread."""
        self._is_stopped = True

    def _indexed(self, call_id: str, is_match: Callable[[CallEvent], bool]) -> CallEvent | None:
        for location in self._locations(hash(call_id) & _HASH_MASK):
            event = self._read(location)
            if event is not None and event.call_id == call_id and is_match(event):
                return event
        return None

    def _locations(self, key: int) -> Iterator[int]:
        needle = key.to_bytes(8, "little")
        for generation in reversed(self._generations):
            bucket = generation[key % _BUCKET_COUNT]
            at = bucket.find(needle)
            while at >= 0:
                if at % _ENTRY_BYTES == 0:
                    yield int.from_bytes(bucket[at + 8 : at + _ENTRY_BYTES], "little")
                at = bucket.find(needle, at + 1)

    def _read(self, location: int) -> CallEvent | None:
        """Return the call at a place; None if the file is gone or has another line there."""
        path = self._paths.get(location >> _OFFSET_BITS)
        if path is None:
            return None
        try:
            with open(path, "rb") as stream:  # noqa: PTH123 - hundreds of files, as strings
                stream.seek(location & ((1 << _OFFSET_BITS) - 1))
                event = self._decode_event(stream.readline())
        except (OSError, msgspec.DecodeError, RecursionError):
            return None
        return event if isinstance(event, CallEvent) else None

    def _refresh(self, days: Sequence[str]) -> None:
        """Read the lines that are new, and forget files that are gone or of other days."""
        found: dict[str, _IndexedFile] = {}
        for day in days:
            for entry in _log_files(os.path.join(self._directory, day)):  # noqa: PTH118 - as above
                if self._is_stopped:
                    return
                try:
                    status = entry.stat()
                    file = self._known(entry.path, status)
                    found[entry.path] = file
                    if status.st_size > file.end:
                        self._read_new(file)
                except OSError:  # removed meanwhile
                    continue
        self._files = found
        self._paths = {file.number: path for path, file in found.items()}

    def _known(self, path: str, status: os.stat_result) -> _IndexedFile:
        """Return what is known of a file; a file that was replaced or cut is a new one."""
        inode = (status.st_dev, status.st_ino)
        file = self._files.get(path)
        if file is None or file.inode != inode or status.st_size < file.end:
            file = _IndexedFile(number=self._next_number, path=path, inode=inode)
            self._next_number += 1
            self._files[path] = file
        return file

    def _read_new(self, file: _IndexedFile) -> None:
        """Add the calls of a file's new lines; a line without its end is read again later."""
        with open(file.path, "rb", buffering=_READ_BYTES) as stream:  # noqa: PTH123 - as above
            stream.seek(file.end)
            for count, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    return
                if count % _LINES_PER_PAUSE == 0:
                    time.sleep(_PAUSE_S)
                    if self._is_stopped:
                        return
                call_id = self._call_id(line)
                if call_id is not None:
                    self._add(call_id, file.number << _OFFSET_BITS | file.end)
                file.end += len(line)

    def _call_id(self, line: bytes) -> str | None:
        """Return the id of a line's call; None for other events and damaged lines."""
        usual = _USUAL_LINE.match(line)
        try:
            if usual is not None:
                return usual[1].decode()
            head = self._decode_head(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return head.call_id if head.kind == "call" and head.call_id else None

    def _add(self, call_id: str, location: int) -> None:
        if self._newest_count >= self._max_generation:
            self._generations.append([bytearray() for _ in range(_BUCKET_COUNT)])
            self._newest_count = 0
        key = hash(call_id) & _HASH_MASK
        self._generations[-1][key % _BUCKET_COUNT] += (key | location << 64).to_bytes(_ENTRY_BYTES, "little")
        self._newest_count += 1


def _log_files(day: str) -> list[os.DirEntry[str]]:
    """Return the JSONL files of a day by name; none of a missing day."""
    try:
        with os.scandir(day) as entries:
            files = [entry for entry in entries if entry.name.endswith(".jsonl") and entry.is_file()]
    except OSError:
        return []
    return sorted(files, key=lambda entry: entry.name)

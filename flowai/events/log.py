"""The append-only event log: one file per process and day, and a reader for all of them, in the lake too."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from flowai.errors import Place
from flowai.events.lake.catalog import days_of, files_of_day, hold_read_lock
from flowai.events.lake.parquet import open_parquet
from flowai.events.records import CallEvent, Event
from flowai.storage.jsonl import AppendLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from flowai.redaction import Redactor

PROCESS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class EventLog:
    """Writes the events of one process into `dt=YYYY-MM-DD/` directories; threads may share it.

    The first event of a UTC day opens a new file. `process` is a name that no other process uses (host, process id,
    start): letters, digits, `_`, `.`, `-`. `redactor` removes secrets from every string; `clock` is aware of its zone.
    """

    def __init__(self, directory: Path, process: str, redactor: Redactor, clock: Callable[[], datetime]) -> None:
        if PROCESS_NAME.fullmatch(process) is None:
            raise ValueError(f"`{process}` cannot name a file")
        self.directory = directory
        self._process = process
        self._redactor = redactor
        self._clock = clock
        self._lock = threading.Lock()
        self._day = ""
        self._file: AppendLog | None = None

    def append(self, event: Event) -> None:
        """Write one event, `at` in UTC; when this returns, the kernel has it and a killed process does not lose it.

        Raises InfrastructureError if the disk is full or the directory cannot be written; no earlier line is damaged.
        """
        if event.at.utcoffset():
            event = msgspec.structs.replace(event, at=event.at.astimezone(UTC))
        line = event if self._is_clean(event) else self._redactor.value(msgspec.to_builtins(event))
        with self._lock:
            file = self._file_of_today()
            try:
                file.append(line)
            except UnicodeEncodeError:  # found before a byte is written
                file.append(_replace_surrogates(msgspec.to_builtins(line)))

    def close(self) -> None:
        """Close the file; the next event opens one again."""
        with self._lock:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_clean(self, event: Event) -> bool:
        """Return whether redaction would change nothing, at a third of its cost: no field's name is a secret's name."""
        if isinstance(event, CallEvent) and event.content is not None:
            return False
        return all(self._redactor.text(text) == text for text in _texts(event))

    def _file_of_today(self) -> AppendLog:
        day = self._clock().astimezone(UTC).date().isoformat()
        if self._file is None or day != self._day:
            self._close()
            path = self.directory / f"dt={day}" / f"{self._process}.jsonl"
            self._file, self._day = AppendLog(path), day
            while not self._file.lock():  # a compaction removed it between opening and locking
                self._file.close()
                self._file = AppendLog(path)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _texts(record: msgspec.Struct) -> Iterator[str]:
    """Yield the strings of a record and of the records in its tuples."""
    for value in msgspec.structs.astuple(record):
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple):
            for item in value:
                yield from _texts(item)


def _replace_surrogates(value: Any) -> Any:  # noqa: ANN401 - JSON is anything
    """Replace unpaired surrogates: Python's JSON reader accepts them, UTF-8 cannot encode them."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
    return [_replace_surrogates(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True, slots=True)
class UnreadableLine:
    """A line of the log that is not an event: torn when a machine crashed, or damaged."""

    place: Place
    reason: str


def read_events(
    directories: Path | Sequence[Path], *, on_unreadable: Callable[[UnreadableLine], None]
) -> Iterator[Event]:
    """Read every event of a log, day by day, file by file, in bounded memory; lines and Parquet alike.

    Fields that a newer flowai added are ignored. No file of the log is removed before the last event is read.

    Args:
        directories: the log, or several directories that contain one log together; missing ones contain no events.
        on_unreadable: receives each line that is not an event (`list.append` collects them), so that no loss is silent.

    Yields:
        The events of each day, those in Parquet first, in the order of each file.

    Raises:
        InfrastructureError: a file of the lake is damaged.
    """
    places = (directories,) if isinstance(directories, Path) else tuple(directories)
    decode = msgspec.json.Decoder(Event).decode
    with hold_read_lock(places):
        for name in days_of(places):
            files = files_of_day(places, name)
            if files.parquet:
                yield from _read_parquet(files.parquet, decode, on_unreadable)
            for path in files.lines:
                yield from _read_lines(path, decode, on_unreadable)


def _read_lines(
    path: Path, decode: Callable[[bytes | str], Event], on_unreadable: Callable[[UnreadableLine], None]
) -> Iterator[Event]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                yield decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                reason = str(error) if line.endswith(b"\n") else f"the line is incomplete: {error}"
                on_unreadable(UnreadableLine(place=Place(file=str(path), line=number), reason=reason))


def _read_parquet(
    paths: Sequence[Path], decode: Callable[[bytes | str], Event], on_unreadable: Callable[[UnreadableLine], None]
) -> Iterator[Event]:
    with open_parquet() as rows:
        for path in paths:
            for number, (line, _) in enumerate(rows.read(path), start=1):
                try:
                    yield decode(line)
                except (msgspec.DecodeError, RecursionError) as error:
                    on_unreadable(UnreadableLine(place=Place(file=str(path), line=number), reason=str(error)))

"""Copies the lake to an object store and verifies each copy; a manifest is copied after the files that it names.

Nothing at the target is ever overwritten or removed: file names contain a digest of their content.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.events.lake.catalog import date_of, days_of, is_unchanged_source, manifests_of
from flowai.events.lake.manifest import hash_blocks, read_blocks
from flowai.storage.jsonl import AppendLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.events.lake.object_store import ObjectInfo, ObjectStore


class SyncedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A verified copy; one line of the record."""

    key: str
    byte_count: int
    sha256: str
    etag: str | None
    """The target's version tag; while it is the same, the file need not be read again."""


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A file that could not be copied."""

    key: str
    reason: str


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `flowai events sync`."""

    target: str
    copied_count: int
    """Files that were copied and verified."""
    copied_bytes: int
    present_count: int
    """Files that were at the target already, with the same content."""
    event_count: int
    """Events in all manifests that are at the target now."""
    skipped_count: int
    """JSONL files that are not compacted yet."""
    conflicts: tuple[Conflict, ...]
    """Files that were not copied; nothing was overwritten."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _SourceFile:
    key: str
    path: Path
    byte_count: int
    sha256: str


def sync(directory: Path, store: ObjectStore, *, record: Path, on_copied: Callable[[str, int], None]) -> SyncReport:
    """Copy the compacted files; skip those that were copied before, finish an interrupted copy.

    The file `record` remembers verified copies; without it all copies are read back once. `on_copied` receives key and
    size of each file. If it raises InfrastructureError, files copied so far stay there.
    """
    known = _read_record(record)
    with AppendLog(record) as log:
        work = _Sync(store, known, log, on_copied)
        for name in days_of([directory]):
            if date_of(name) is not None:
                work.copy_day(directory / name)
        return work.report()


class _Sync:
    def __init__(
        self, store: ObjectStore, known: dict[str, SyncedFile], log: AppendLog, on_copied: Callable[[str, int], None]
    ) -> None:
        self._copied_count = 0
        self._copied_bytes = 0
        self._present_count = 0
        self._event_count = 0
        self._skipped_count = 0
        self._conflicts: list[Conflict] = []
        self._store = store
        self._known = known
        self._log = log
        self._on_copied = on_copied

    def report(self) -> SyncReport:
        return SyncReport(
            target=self._store.address,
            copied_count=self._copied_count,
            copied_bytes=self._copied_bytes,
            present_count=self._present_count,
            event_count=self._event_count,
            skipped_count=self._skipped_count,
            conflicts=tuple(self._conflicts),
        )

    def copy_day(self, day: Path) -> None:
        """Copy the files that the manifests of a day name, and each manifest after all of its files."""
        manifests = manifests_of(day)
        sources = [source for manifest in manifests.values() for source in manifest.sources]
        for path in day.glob("*.jsonl"):
            self._skipped_count += not any(
                source.name == path.name and is_unchanged_source(path, source) for source in sources
            )
        remote = self._store.objects(day.name) if manifests else {}
        for name, manifest in manifests.items():
            is_complete = True
            for entry in manifest.files:
                file = _SourceFile(
                    key=f"{day.name}/{entry.path}",
                    path=day / entry.path,
                    byte_count=entry.byte_count,
                    sha256=entry.sha256,
                )
                is_complete &= self._copy(file, remote.get(file.key))
            data = (day / name).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            last = _SourceFile(key=f"{day.name}/{name}", path=day / name, byte_count=len(data), sha256=digest)
            if is_complete and self._copy(last, remote.get(last.key)):
                self._event_count += manifest.event_count

    def _copy(self, file: _SourceFile, remote: ObjectInfo | None) -> bool:
        """Copy a file unless it is at the target; return whether it is there now."""
        if remote is not None:
            return self._is_same(file, remote.byte_count, remote.etag)
        problem = _damage_reason(file)
        if problem is not None:
            self._conflicts.append(Conflict(key=file.key, reason=problem))
            return False
        try:
            etag = self._store.put(file.key, file.path)
        except FileExistsError:  # another machine copied it meanwhile
            return self._is_same(file, file.byte_count, None)
        copied = hash_blocks(self._store.blocks(file.key))
        if copied != (file.sha256, file.byte_count):
            raise InfrastructureError(
                "the copy differs from the file",
                place=Place(file=f"{self._store.address}/{file.key}"),
                hint="remove this object, and run the command again",
            )
        self._record_copy(file, etag)
        self._copied_count += 1
        self._copied_bytes += file.byte_count
        self._on_copied(file.key, file.byte_count)
        return True

    def _is_same(self, file: _SourceFile, byte_count: int, etag: str | None) -> bool:
        expected = SyncedFile(key=file.key, byte_count=file.byte_count, sha256=file.sha256, etag=etag)
        if byte_count == file.byte_count:
            if etag is not None and self._known.get(file.key) == expected:
                self._present_count += 1
                return True
            if hash_blocks(self._store.blocks(file.key)) == (file.sha256, file.byte_count):
                self._record_copy(file, etag)
                self._present_count += 1
                return True
        reason = "the target has a different file of this name; it was not overwritten"
        self._conflicts.append(Conflict(key=file.key, reason=reason))
        return False

    def _record_copy(self, file: _SourceFile, etag: str | None) -> None:
        copied = SyncedFile(key=file.key, byte_count=file.byte_count, sha256=file.sha256, etag=etag)
        self._known[file.key] = copied
        self._log.append(copied)


def _damage_reason(file: _SourceFile) -> str | None:
    """Return why a file must not be copied, so that damage does not spread; None if it is intact."""
    try:
        digest = hash_blocks(read_blocks(file.path))
    except OSError as error:
        return f"the local file cannot be read: {error.strerror or error}"
    return None if digest == (file.sha256, file.byte_count) else "the local file is damaged: its digest differs"


def _read_record(path: Path) -> dict[str, SyncedFile]:
    """Read the verified copies; a torn line only means that its file is read again."""
    decoder = msgspec.json.Decoder(SyncedFile)
    known: dict[str, SyncedFile] = {}
    try:
        with path.open("rb") as stream:
            for line in stream:
                try:
                    copied = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                known[copied.key] = copied
    except FileNotFoundError:
        return {}
    return known

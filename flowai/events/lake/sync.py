"""Copies what manifests name to another place, checks each copy, and lets a manifest follow only what it names.

Nothing at the target is ever overwritten or removed: the names say what the files are made of.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.events.lake.catalog import date_of, days_of, is_unchanged_source, manifests_of
from flowai.storage.jsonl import AppendLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowai.events.lake.object_store import ObjectInfo, ObjectStore

_READ_BYTES = 1 << 20


class SyncedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that was checked, as one line of the record."""

    key: str
    """Its name at the target."""
    byte_count: int
    """Its size."""
    sha256: str
    """Of its bytes, hex."""
    etag: str | None
    """What the target calls it; as long as that is the same, it need not be read again."""


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A file that could not be copied."""

    key: str
    """Its name."""
    reason: str
    """Why."""


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync did."""

    target: str
    """Where to."""
    copied_count: int
    """Files that were copied, and read back."""
    copied_bytes: int
    """Their size."""
    present_count: int
    """Files that were there already, and are the same."""
    event_count: int
    """Events in all manifests that stand at the target now."""
    waiting_count: int
    """Files of lines that are not compacted yet."""
    conflicts: tuple[Conflict, ...]
    """What was not copied; nothing was overwritten."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """A file to be copied."""

    key: str
    path: Path
    byte_count: int
    sha256: str


def sync(directory: Path, store: ObjectStore, *, record: Path, on_copied: Callable[[str, int], None]) -> SyncReport:
    """Copy what is compacted; what was copied before is passed over, what was interrupted is finished.

    Args:
        directory: the log.
        store: where to.
        record: the file that remembers what was checked; without it all is read back once.
        on_copied: told each file's key and size.

    Raises:
        InfrastructureError: the target is away or refuses; what was copied is kept.
    """
    known = _read_record(record)
    with AppendLog(record) as log:
        work = _Sync(store, known, log, on_copied)
        for name in days_of([directory]):
            if date_of(name) is not None:
                work.copy_day(directory / name)
        return work.report()


class _Sync:
    """One sync at work."""

    def __init__(
        self, store: ObjectStore, known: dict[str, SyncedFile], log: AppendLog, on_copied: Callable[[str, int], None]
    ) -> None:
        self._copied_count = 0
        self._copied_bytes = 0
        self._present_count = 0
        self._event_count = 0
        self._waiting_count = 0
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
            waiting_count=self._waiting_count,
            conflicts=tuple(self._conflicts),
        )

    def copy_day(self, day: Path) -> None:
        """Copy what the manifests of a day name, and each manifest after all that it names."""
        manifests = manifests_of(day)
        sources = [source for manifest in manifests.values() for source in manifest.sources]
        for path in day.glob("*.jsonl"):
            self._waiting_count += not any(
                source.name == path.name and is_unchanged_source(path, source) for source in sources
            )
        there = self._store.objects(day.name) if manifests else {}
        for name, manifest in manifests.items():
            is_whole = True
            for one in manifest.files:
                file = _File(
                    key=f"{day.name}/{one.path}", path=day / one.path, byte_count=one.byte_count, sha256=one.sha256
                )
                is_whole &= self._copy(file, there.get(file.key))
            last = _manifest_file(day, name)
            if is_whole and self._copy(last, there.get(last.key)):
                self._event_count += manifest.event_count

    def _copy(self, file: _File, there: ObjectInfo | None) -> bool:
        """Bring a file over unless it is there; tell whether it stands there now."""
        if there is not None:
            return self._is_same(file, there.byte_count, there.etag)
        problem = _problem(file)
        if problem is not None:
            self._conflicts.append(Conflict(key=file.key, reason=problem))
            return False
        try:
            etag = self._store.put(file.key, file.path)
        except FileExistsError:  # another machine was quicker
            return self._is_same(file, file.byte_count, None)
        found = digest_of(self._store.blocks(file.key))
        if found != (file.sha256, file.byte_count):
            raise InfrastructureError(
                "the copy is not what was sent",
                place=Place(file=f"{self._store.address}/{file.key}"),
                hint="remove this object, and run it again",
            )
        self._record_copy(file, etag)
        self._copied_count += 1
        self._copied_bytes += file.byte_count
        self._on_copied(file.key, file.byte_count)
        return True

    def _is_same(self, file: _File, byte_count: int, etag: str | None) -> bool:
        expected = SyncedFile(key=file.key, byte_count=file.byte_count, sha256=file.sha256, etag=etag)
        if byte_count == file.byte_count:
            if etag is not None and self._known.get(file.key) == expected:
                self._present_count += 1
                return True
            if digest_of(self._store.blocks(file.key)) == (file.sha256, file.byte_count):
                self._record_copy(file, etag)
                self._present_count += 1
                return True
        reason = "the target holds other bytes under this name; it was not overwritten"
        self._conflicts.append(Conflict(key=file.key, reason=reason))
        return False

    def _record_copy(self, file: _File, etag: str | None) -> None:
        copied = SyncedFile(key=file.key, byte_count=file.byte_count, sha256=file.sha256, etag=etag)
        self._known[file.key] = copied
        self._log.append(copied)


def _manifest_file(day: Path, name: str) -> _File:
    data = (day / name).read_bytes()
    return _File(
        key=f"{day.name}/{name}",
        path=day / name,
        byte_count=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def digest_of(blocks: Iterator[bytes]) -> tuple[str, int]:
    """Give the SHA-256 and the size of what comes in blocks."""
    whole, size = hashlib.sha256(), 0
    for block in blocks:
        whole.update(block)
        size += len(block)
    return whole.hexdigest(), size


def blocks_of(path: Path) -> Iterator[bytes]:
    """Read a file, block by block."""
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            yield block


def _problem(file: _File) -> str | None:
    """Tell why a file must not be copied: what is damaged here shall not look whole there."""
    try:
        found = digest_of(blocks_of(file.path))
    except OSError as error:
        return f"it cannot be read here: {error.strerror or error}"
    return None if found == (file.sha256, file.byte_count) else "it is damaged here: its digest is another one"


def _read_record(path: Path) -> dict[str, SyncedFile]:
    """Read what was checked before; a torn line only means that its file is read again."""
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

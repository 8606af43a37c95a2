"""Brings days of a lake to this machine, so that readers read files whatever the place: a bounded, checked copy."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, Place
from flowai.events.lake.catalog import date_of, hold_read_lock
from flowai.events.lake.manifest import parse_manifest
from flowai.storage.files import take_lock, write_atomic, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date
    from pathlib import Path

    from flowai.events.lake.object_store import ObjectInfo, ObjectStore

MAX_BYTES = 20 << 30
"""What stays on the disk, days that are wanted now included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """What shall be brought."""

    is_day: Callable[[date | None], bool]
    """Whether a day is wanted."""
    present: Sequence[Path]
    """Directories of the same log on this machine: what lies there is not fetched."""
    most_bytes: int
    """What may stay on the disk."""
    clock_s: Callable[[], float]
    """A clock that never goes back, seconds."""


@contextmanager
def local_copy(store: ObjectStore, directory: Path, wanted: RemoteFile) -> Iterator[None]:
    """Bring the wanted days into a directory, and keep them there until the end; the oldest other days make room.

    Raises:
        InfrastructureError: the store is away, refuses, or lacks what a manifest names; the disk is full; or the days
            are more than may stay here.
    """
    days = [name for name in store.directories() if name.startswith("dt=") and wanted.is_day(date_of(name))]
    listed = {name: store.objects(name) for name in days}
    need = sum(
        stored.byte_count
        for objects in listed.values()
        for key, stored in objects.items()
        if not _is_file(wanted.present, key, stored.byte_count)
    )
    if need > wanted.most_bytes:
        raise InfrastructureError(
            f"{len(days)} days hold {need / 1e9:,.1f} GB, {wanted.most_bytes / 1e9:,.1f} GB may be kept here",
            place=Place(file=store.address),
            hint="ask for fewer days, or set FLOWAI_LAKE_CACHE_GB",
        )
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    _evict(directory, set(days), wanted.most_bytes - need, wanted.clock_s)
    with hold_read_lock([directory]):
        for name, objects in listed.items():
            _Day(store, directory, name, wanted.present).download(objects)
        yield


class _Day:
    """One day on its way."""

    def __init__(self, store: ObjectStore, directory: Path, name: str, present: Sequence[Path]) -> None:
        self._store = store
        self._day = directory / name
        self._name = name
        self._present = present

    def download(self, objects: dict[str, ObjectInfo]) -> None:
        """Bring what counts: what a manifest names before the manifest, and files of other writers as they are."""
        for key, stored in sorted(objects.items()):
            inside = key.removeprefix(f"{self._name}/")
            if "/" in inside:
                continue
            if inside.startswith("manifest-") and inside.endswith(".json"):
                self._bring_manifest(inside, objects)
            elif inside.endswith((".jsonl", ".parquet")):
                self._bring_other(inside, stored)

    def _bring_manifest(self, inside: str, objects: dict[str, ObjectInfo]) -> None:
        target = self._day / inside
        key = f"{self._name}/{inside}"
        data = target.read_bytes() if target.is_file() else self._store.read(key)
        manifest = parse_manifest(data, day=self._name, name=inside, shown=f"{self._store.address}/{key}")
        for one in manifest.files:
            if _is_file((self._day.parent, *self._present), f"{self._name}/{one.path}", one.byte_count):
                continue
            if f"{self._name}/{one.path}" not in objects:
                raise InfrastructureError(
                    f"`{inside}` names it, and it is not there",
                    place=Place(file=f"{self._store.address}/{self._name}/{one.path}"),
                    hint="run `flowai events sync` again where it was compacted",
                )
            self._fetch(one.path, one.sha256)
        if not target.is_file():
            write_atomic(target, data)

    def _bring_other(self, inside: str, stored: ObjectInfo) -> None:
        """Bring a file that no manifest names; it is the same as long as its size and time are."""
        target, at = self._day / inside, stored.modified_at.timestamp()
        with suppress(FileNotFoundError):
            status = target.stat()
            if (status.st_size, int(status.st_mtime)) == (stored.byte_count, int(at)):
                return
        self._fetch(inside, None)
        os.utime(target, (at, at))

    def _fetch(self, inside: str, sha256: str | None) -> None:
        target, whole = self._day / inside, hashlib.sha256()
        # of this process alone: two readers may fetch the same file
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as stream:
                    for block in self._store.blocks(f"{self._name}/{inside}"):
                        whole.update(block)
                        stream.write(block)
                if sha256 is not None and whole.hexdigest() != sha256:
                    raise InfrastructureError(
                        "the object is damaged: its digest is not what its manifest says",
                        place=Place(file=f"{self._store.address}/{self._name}/{inside}"),
                        hint="remove the object, and run `flowai events sync` again where it was compacted",
                    )
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)


def _is_file(directories: Sequence[Path], key: str, byte_count: int) -> bool:
    for directory in directories:
        with suppress(FileNotFoundError, NotADirectoryError):
            if (directory / key).stat().st_size == byte_count:
                return True
    return False


def _evict(directory: Path, wanted: set[str], most_bytes: int, clock_s: Callable[[], float]) -> None:
    """Remove the oldest days that are not wanted until the others fit; not while somebody reads here."""
    others = sorted(day for day in directory.glob("dt=*") if day.name not in wanted)
    sizes = [sum(path.stat().st_size for path in day.rglob("*") if path.is_file()) for day in others]
    spare = sum(sizes) - most_bytes
    if spare <= 0:
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not take_lock(descriptor, limit_s=0, clock_s=clock_s):
            return
        for day, size in zip(others, sizes, strict=True):
            if spare <= 0:
                break
            shutil.rmtree(day, ignore_errors=True)
            spare -= size
    finally:
        os.close(descriptor)

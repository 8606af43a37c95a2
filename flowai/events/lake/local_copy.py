"""Downloads days of a lake to this machine, because readers read only files; the copy is bounded and verified."""

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
from flowai.storage.files import open_directory, take_lock, write_atomic, writing
from flowai.storage.own_files import check_no_link, make_private_directory, open_private_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date
    from pathlib import Path

    from flowai.events.lake.object_store import ObjectInfo, ObjectStore

MAX_BYTES = 20 << 30
"""Limit of the local copy, days in use included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadOptions:
    """Options of a download."""

    is_needed: Callable[[date | None], bool]
    local_directories: Sequence[Path]
    """Directories of the same log on this machine; their files are not downloaded."""
    max_bytes: int
    clock_s: Callable[[], float]
    """Monotonic clock, seconds."""


@contextmanager
def local_copy(store: ObjectStore, directory: Path, options: DownloadOptions) -> Iterator[None]:
    """Download the needed days into a directory, and keep them there until the end; the oldest other days are removed.

    Raises InfrastructureError also if a file that a manifest names is missing, or the days exceed `max_bytes`.
    """
    days = [name for name in store.directories() if name.startswith("dt=") and options.is_needed(date_of(name))]
    listed = {name: store.objects(name) for name in days}
    needed_bytes = sum(
        stored.byte_count
        for objects in listed.values()
        for key, stored in objects.items()
        if not _is_file(options.local_directories, key, stored.byte_count)
    )
    if needed_bytes > options.max_bytes:
        raise InfrastructureError(
            f"{len(days)} days have {needed_bytes / 1e9:,.1f} GB, the limit of the local copy is "
            f"{options.max_bytes / 1e9:,.1f} GB",
            place=Place(file=store.address),
            hint="request fewer days, or set FLOWAI_LAKE_CACHE_GB",
        )
    with writing(directory):
        check_no_link(directory)
        make_private_directory(directory)
    _evict(directory, set(days), options.max_bytes - needed_bytes, options.clock_s)
    with hold_read_lock([directory]):
        for name, objects in listed.items():
            _DayDownload(store, directory, name, options.local_directories).download(objects)
        yield


class _DayDownload:
    def __init__(self, store: ObjectStore, directory: Path, name: str, local_directories: Sequence[Path]) -> None:
        self._store = store
        self._day = directory / name
        self._name = name
        self._local_directories = local_directories

    def download(self, objects: dict[str, ObjectInfo]) -> None:
        """Download the files that manifests name, each before its manifest, and the files of other writers."""
        for key, stored in sorted(objects.items()):
            inside = key.removeprefix(f"{self._name}/")
            if "/" in inside:
                continue
            if inside.startswith("manifest-") and inside.endswith(".json"):
                self._download_manifest(inside, objects)
            elif inside.endswith((".jsonl", ".parquet")):
                self._download_other(inside, stored)

    def _download_manifest(self, inside: str, objects: dict[str, ObjectInfo]) -> None:
        target = self._day / inside
        key = f"{self._name}/{inside}"
        data = target.read_bytes() if target.is_file() else self._store.read(key)
        manifest = parse_manifest(data, day=self._name, name=inside, shown=f"{self._store.address}/{key}")
        for file in manifest.files:
            file_key = f"{self._name}/{file.path}"
            if _is_file((self._day.parent, *self._local_directories), file_key, file.byte_count):
                continue
            if file_key not in objects:
                raise InfrastructureError(
                    f"`{inside}` names this file, but it is missing",
                    place=Place(file=f"{self._store.address}/{file_key}"),
                    hint="run `flowai events sync` again where it was compacted",
                )
            self._fetch(file.path, file.sha256)
        if not target.is_file():
            write_atomic(target, data, is_private=True)

    def _download_other(self, inside: str, stored: ObjectInfo) -> None:
        """Download a file that no manifest names; it is unchanged while its size and time are."""
        target, at = self._day / inside, stored.modified_at.timestamp()
        with suppress(FileNotFoundError):
            status = target.stat()
            if (status.st_size, int(status.st_mtime)) == (stored.byte_count, int(at)):
                return
        self._fetch(inside, None)
        os.utime(target, (at, at))

    def _fetch(self, inside: str, sha256: str | None) -> None:
        target, digest = self._day / inside, hashlib.sha256()
        # a name of this process alone: two readers may fetch the same file
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        with writing(target):
            try:
                with os.fdopen(open_private_file(temporary, os.O_WRONLY | os.O_TRUNC), "wb") as stream:
                    for block in self._store.blocks(f"{self._name}/{inside}"):
                        digest.update(block)
                        stream.write(block)
                if sha256 is not None and digest.hexdigest() != sha256:
                    raise InfrastructureError(
                        "the object is damaged: its digest is not the manifest's",
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


def _evict(directory: Path, needed: set[str], max_bytes: int, clock_s: Callable[[], float]) -> None:
    """Remove the oldest days that are not needed until the others fit; never while another process reads here."""
    others = sorted(day for day in directory.glob("dt=*") if day.name not in needed)
    sizes = [sum(path.stat().st_size for path in day.rglob("*") if path.is_file()) for day in others]
    excess_bytes = sum(sizes) - max_bytes
    if excess_bytes <= 0:
        return
    with open_directory(directory) as descriptor:
        if not take_lock(descriptor, limit_s=0, clock_s=clock_s):
            return
        for day, size in zip(others, sizes, strict=True):
            if excess_bytes <= 0:
                break
            shutil.rmtree(day, ignore_errors=True)
            excess_bytes -= size

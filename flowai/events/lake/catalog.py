"""Which files of a log count: lines not compacted yet, and what manifests name. Every reader asks here."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date
from typing import TYPE_CHECKING

from flowai.events.lake.manifest import DAY, MAX_MANIFEST_BYTES, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from flowai.events.lake.manifest import CompactedFile, LakeManifest


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFiles:
    """The files of some days that count, each once."""

    lines: tuple[Path, ...]
    """Files of lines."""
    parquet: tuple[Path, ...]
    """Parquet files."""


@contextmanager
def hold_read_lock(directories: Sequence[Path]) -> Iterator[None]:
    """Hold a log still: no file that counted when it was listed is removed before the end.

    Nothing waits for readers: a compaction leaves what is being read to the next one.

    Args:
        directories: the log; those that do not exist, or have no locks, are passed over.
    """
    with ExitStack() as stack:
        for directory in directories:
            with suppress(OSError):
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


def days_of(directories: Sequence[Path]) -> list[str]:
    """Give the names of a log's days, oldest first; directories of other names that begin with `dt=` come last."""
    names = {path.name for directory in directories for path in directory.glob("dt=*") if path.is_dir()}
    return sorted(names, key=lambda name: (date_of(name) or date.max, name))


def date_of(name: str) -> date | None:
    """Give the date that a day's directory is named after; None where it is named after none."""
    found = DAY.fullmatch(name)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def manifests_of(day: Path) -> dict[str, LakeManifest]:
    """Give the manifests of a day by file name.

    Raises:
        InfrastructureError: one cannot be read.
    """
    return {path.name: read_manifest(path) for path in sorted(day.glob("manifest-*.json"))}


def files_of_day(directories: Sequence[Path], name: str) -> LogFiles:
    """Give what counts of a day.

    A file that lies in several of the directories counts once: names are those of processes, or say a digest.

    Args:
        directories: they hold one log together; the first one wins.
        name: the day's directory.

    Raises:
        InfrastructureError: a manifest cannot be read.
    """
    # lines first, manifests after them: what is compacted between the two looks is known as compacted
    lines = _by_name(directories, name, "*.jsonl")
    parquet = _by_name(directories, name, "*.parquet")
    asides: dict[str, Path] = {}
    sources: dict[str, list[CompactedFile]] = {}
    for directory in directories:
        for manifest in manifests_of(directory / name).values():
            for part in manifest.parts:
                parquet.setdefault(part.path, _where(directories, name, part.path))
            for aside in manifest.asides:
                asides.setdefault(aside.path, _where(directories, name, aside.path))
            for source in manifest.sources:
                sources.setdefault(source.name, []).append(source)
    waiting = [path for path in lines.values() if not _is_done(path, sources.get(path.name, []))]
    return LogFiles(
        lines=(*waiting, *(asides[key] for key in sorted(asides))),
        parquet=tuple(parquet[key] for key in sorted(parquet)),
    )


def files_of_days(directories: Sequence[Path], is_wanted: Callable[[date | None], bool]) -> LogFiles:
    """Give what counts of the days that are wanted; see `files_of_day`."""
    days = [files_of_day(directories, name) for name in days_of(directories) if is_wanted(date_of(name))]
    return LogFiles(
        lines=tuple(path for day in days for path in day.lines),
        parquet=tuple(path for day in days for path in day.parquet),
    )


def has_file_for_day(directory: Path, process: str, at: datetime) -> bool:
    """Tell whether a process has a file of a day, compacted or not.

    Args:
        directory: the log.
        process: its name.
        at: a moment of the day, with a time zone.

    Raises:
        InfrastructureError: a manifest cannot be read.
    """
    day, name = directory / f"dt={at.astimezone(UTC).date().isoformat()}", f"{process}.jsonl"
    if (day / name).exists():
        return True
    return any(source.name == name for manifest in manifests_of(day).values() for source in manifest.sources)


def is_unchanged_source(path: Path, source: CompactedFile) -> bool:
    """Tell whether a file is the one that was compacted, by its size and its first bytes."""
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size != source.byte_count:
                return False
            return hashlib.sha256(stream.read(MAX_MANIFEST_BYTES)).hexdigest() == source.head_sha256
    except OSError:
        return False


def _by_name(directories: Sequence[Path], name: str, pattern: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for directory in directories:
        for path in sorted((directory / name).glob(pattern)):
            found.setdefault(path.name, path)
    return found


def _where(directories: Sequence[Path], name: str, path: str) -> Path:
    """Give a file that a manifest names: it need not lie beside every copy of the manifest."""
    places = [directory / name / path for directory in directories]
    return next((place for place in places if place.is_file()), places[0])


def _is_done(path: Path, sources: Sequence[CompactedFile]) -> bool:
    return any(is_unchanged_source(path, source) for source in sources)

"""Decides which files of a log count: JSONL files not compacted yet, and files that manifests name."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date
from typing import TYPE_CHECKING

from flowai.events.lake.manifest import DAY, HEAD_BYTES, read_manifest
from flowai.storage.files import open_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from flowai.events.lake.manifest import CompactedFile, LakeManifest


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFiles:
    """Files that count, each once."""

    lines: tuple[Path, ...]
    parquet: tuple[Path, ...]


@contextmanager
def hold_read_lock(directories: Sequence[Path]) -> Iterator[None]:
    """Hold the log's read lock: no listed file is removed meanwhile; a compaction leaves that to the next one.

    Missing directories, and file systems without locks, are skipped.
    """
    with ExitStack() as stack:
        for directory in directories:
            with suppress(OSError):
                fcntl.flock(stack.enter_context(open_directory(directory)), fcntl.LOCK_SH)
        yield


def days_of(directories: Sequence[Path]) -> list[str]:
    """Return the directory names of a log's days, oldest first; `dt=` directories without a date come last."""
    names = {path.name for directory in directories for path in directory.glob("dt=*") if path.is_dir()}
    return sorted(names, key=lambda name: (date_of(name) or date.max, name))


def date_of(name: str) -> date | None:
    """Return the date in a day's directory name; None without a valid one."""
    match = DAY.fullmatch(name)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None


def manifests_of(day: Path) -> dict[str, LakeManifest]:
    """Return the manifests of a day by file name; raises InfrastructureError if one cannot be read."""
    return {path.name: read_manifest(path) for path in sorted(day.glob("manifest-*.json"))}


def files_of_day(directories: Sequence[Path], name: str) -> LogFiles:
    """Return the files of a day that count; `directories` together contain one log.

    A file that is in several of them counts once, in the first: names contain the process or a digest.
    """
    # JSONL files before manifests: a file that is compacted in between is then known as compacted
    lines = _by_name(directories, name, "*.jsonl")
    parquet = _by_name(directories, name, "*.parquet")
    unparsed: dict[str, Path] = {}
    sources: dict[str, list[CompactedFile]] = {}
    for directory in directories:
        for manifest in manifests_of(directory / name).values():
            for part in manifest.parts:
                parquet.setdefault(part.path, _locate(directories, name, part.path))
            for file in manifest.unparsed:
                unparsed.setdefault(file.path, _locate(directories, name, file.path))
            for source in manifest.sources:
                sources.setdefault(source.name, []).append(source)
    open_lines = [path for path in lines.values() if not _is_compacted(path, sources.get(path.name, []))]
    return LogFiles(
        lines=(*open_lines, *(unparsed[key] for key in sorted(unparsed))),
        parquet=tuple(parquet[key] for key in sorted(parquet)),
    )


def files_of_days(directories: Sequence[Path], is_needed: Callable[[date | None], bool]) -> LogFiles:
    """Return the files that count of all needed days; see `files_of_day`."""
    days = [files_of_day(directories, name) for name in days_of(directories) if is_needed(date_of(name))]
    return LogFiles(
        lines=tuple(path for day in days for path in day.lines),
        parquet=tuple(path for day in days for path in day.parquet),
    )


def has_file_for_day(directory: Path, process: str, at: datetime) -> bool:
    """Return whether a process has a file for the UTC day of a time, compacted or not."""
    day, name = directory / f"dt={at.astimezone(UTC).date().isoformat()}", f"{process}.jsonl"
    if (day / name).exists():
        return True
    return any(source.name == name for manifest in manifests_of(day).values() for source in manifest.sources)


def is_unchanged_source(path: Path, source: CompactedFile) -> bool:
    """Return whether a file is the compacted one, by its size and its first bytes."""
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size != source.byte_count:
                return False
            return hashlib.sha256(stream.read(HEAD_BYTES)).hexdigest() == source.head_sha256
    except OSError:
        return False


def _by_name(directories: Sequence[Path], name: str, pattern: str) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for directory in directories:
        for path in sorted((directory / name).glob(pattern)):
            files.setdefault(path.name, path)
    return files


def _locate(directories: Sequence[Path], name: str, path: str) -> Path:
    """Return the path of a file that a manifest names: it need not be beside every copy of the manifest."""
    paths = [directory / name / path for directory in directories]
    return next((path for path in paths if path.is_file()), paths[0])


def _is_compacted(path: Path, sources: Sequence[CompactedFile]) -> bool:
    return any(is_unchanged_source(path, source) for source in sources)

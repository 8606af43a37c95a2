"""Compacts closed days: JSONL lines become Parquet, and one rename decides which of the two counts.

A file is closed when its day is over and no process holds its lock (the kernel frees a dead process's lock). New files
are prepared in a directory without readers, verified against the lines and moved into place; then a manifest is renamed
into the day: before that the lines count, afterwards the Parquet. Lines are removed once no reader holds the log.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.events.lake.catalog import date_of, days_of, is_unchanged_source, manifests_of
from flowai.events.lake.manifest import (
    UNPARSED_NAME,
    LakeManifest,
    ParquetFile,
    UnparsedLinesFile,
    manifest_bytes,
    manifest_name,
)
from flowai.events.lake.parquet import open_parquet
from flowai.events.lake.staging import StagedFile, Staging
from flowai.storage.files import open_directory, take_lock, write_atomic, writing
from flowai.storage.own_files import PRIVATE_DIRECTORY_MODE, check_no_link, make_private, open_private_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date
    from pathlib import Path

    from flowai.events.lake.manifest import CompactedFile
    from flowai.events.lake.parquet import ParquetCodec

STAGE_NAME = ".compacting"
LOCK_NAME = ".compact.lock"
BACKUP_NAME = "compacted"
"""Directory for lines that `--keep` moves instead of removing."""

_OURS = re.compile(r"(part|lines)-[0-9a-f]{32}\.(parquet|jsonl)")

MAX_BATCH_BYTES = 512 << 20
MAX_BATCH_FILES = 200
READER_TIMEOUT_S = 5.0
"""Longest wait for readers before lines are removed; then the next compaction removes them."""


class DayResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result for one day."""

    day: str
    """Directory of the day."""
    file_count: int
    """JSONL files that were compacted."""
    line_bytes: int
    event_count: int
    parquet_bytes: int
    unparsed_count: int
    """Lines that are no event of this version; they stay lines."""
    problems: dict[str, int]
    """Unparsed lines by problem."""


class SkippedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was not compacted or not removed."""

    file: str
    """Day and file name."""
    reason: str


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `flowai events compact`."""

    before: str
    """Only days before this one were compacted."""
    days: tuple[DayResult, ...]
    skipped: tuple[SkippedFile, ...]
    removed_count: int
    """JSONL files that were removed, those of an interrupted compaction included."""
    backed_up_count: int
    """JSONL files that were moved to `compacted/` instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactionSettings:
    """Settings of a compaction."""

    before: date
    """Days before this one (UTC) are closed."""
    should_back_up: bool
    """Whether lines are moved to `compacted/` instead of removed."""
    clock_s: Callable[[], float]
    """Monotonic clock, seconds."""
    on_day: Callable[[DayResult], None]


def compact(directory: Path, settings: CompactionSettings) -> Compaction:
    """Compact a log; skip what was compacted before, finish what was interrupted.

    Raises InfrastructureError if another compaction is running, the disk is full, or a file cannot be read; every event
    still counts once.
    """
    if not directory.is_dir():
        return Compaction(before=settings.before.isoformat(), days=(), skipped=(), removed_count=0, backed_up_count=0)
    with _compact_lock(directory, settings.clock_s), open_parquet() as rows:
        work = _Compactor(directory=directory, settings=settings, rows=rows)
        for name in days_of([directory]):
            day = date_of(name)
            if day is not None and day < settings.before:
                work.finish_interrupted(directory / name)
                work.compact_day(directory / name)
        return work.result()


@contextmanager
def _compact_lock(directory: Path, clock_s: Callable[[], float]) -> Iterator[None]:
    """Hold the lock of the log's only compaction, with an empty staging directory."""
    path, stage = directory / LOCK_NAME, directory / STAGE_NAME
    with writing(path):
        descriptor = open_private_file(path, os.O_RDWR)
    try:
        if not take_lock(descriptor, limit_s=0, clock_s=clock_s):
            raise InfrastructureError(
                "another compaction of this log is running",
                place=Place(file=str(directory)),
                hint="wait until it ends; running it again is always safe",
            )
        with writing(stage):
            shutil.rmtree(stage, ignore_errors=True)  # of a compaction that was killed
        try:
            yield
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    finally:
        os.close(descriptor)


class _Compactor:
    def __init__(self, *, directory: Path, settings: CompactionSettings, rows: ParquetCodec) -> None:
        self._directory = directory
        self._settings = settings
        self._rows = rows
        self._days: list[DayResult] = []
        self._skipped: list[SkippedFile] = []
        self._removed_count = 0
        self._backed_up_count = 0

    def result(self) -> Compaction:
        return Compaction(
            before=self._settings.before.isoformat(),
            days=tuple(self._days),
            skipped=tuple(self._skipped),
            removed_count=self._removed_count,
            backed_up_count=self._backed_up_count,
        )

    def finish_interrupted(self, day: Path) -> None:
        """Finish a killed compaction: remove lines that are in Parquet, and files that no manifest names."""
        manifests = manifests_of(day)
        named = {day / file.path for manifest in manifests.values() for file in manifest.files}
        with writing(day):
            for path in (*day.glob("feature=*/*.parquet"), *day.glob(f"{UNPARSED_NAME}/*.jsonl")):
                if path not in named and _OURS.fullmatch(path.name):
                    path.unlink()
        self._remove_leftovers(day, [source for manifest in manifests.values() for source in manifest.sources])

    def compact_day(self, day: Path) -> None:
        sources = {source.name: source for manifest in manifests_of(day).values() for source in manifest.sources}
        done: list[tuple[LakeManifest, Mapping[str, int]]] = []
        for batch in _batches(self._closed_files(day, sources)):
            while batch:
                result = self._compact_batch(day, batch)
                if isinstance(result, tuple):
                    done.append(result)
                    break
                batch = [path for path in batch if path not in result]  # noqa: PLW2901 - again, without those
        if done:
            day_result = _day_result(day.name, done)
            self._days.append(day_result)
            self._settings.on_day(day_result)

    def _closed_files(self, day: Path, sources: Mapping[str, CompactedFile]) -> list[Path]:
        """Return the day's JSONL files that no process writes and no manifest names."""
        closed = []
        for path in sorted(day.glob("*.jsonl")):
            is_compacted = path.name in sources and is_unchanged_source(path, sources[path.name])
            if is_compacted or path.is_symlink() or not path.is_file():
                continue
            with ExitStack() as stack:
                if _acquire_lock(path, stack) is None:
                    self._skip(path, "a process still writes to it")
                    continue
            closed.append(path)
        return closed

    def _compact_batch(self, day: Path, batch: list[Path]) -> tuple[LakeManifest, Mapping[str, int]] | set[Path]:
        """Compact some files of a day; if some of them changed meanwhile, change nothing and return those."""
        directory = self._directory / STAGE_NAME
        with writing(directory):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(mode=PRIVATE_DIRECTORY_MODE)
        stage = Staging(directory, self._rows)
        for path in batch:
            stage.add_file(path)
        stage.finish()
        manifest = LakeManifest(
            day=day.name,
            sources=tuple(stage.sources),
            parts=tuple(file.entry for file in stage.staged if isinstance(file.entry, ParquetFile)),
            unparsed=tuple(file.entry for file in stage.staged if isinstance(file.entry, UnparsedLinesFile)),
        )
        with ExitStack() as stack:
            # held until the manifest is in place, so that no writer can add a line in between
            changed = {
                path
                for path, source in zip(batch, stage.sources, strict=True)
                if _acquire_lock(path, stack) != source.byte_count
            }
            if changed:
                for path in sorted(changed):
                    self._skip(path, "it changed while it was read")
                return changed
            _put_in_place(day, stage.staged)
            data = manifest_bytes(manifest)
            write_atomic(day / manifest_name(data), data, is_private=True)
            _sync(day)
        self._remove_leftovers(day, manifest.sources)
        return manifest, {str(problem): count for problem, count in stage.problems.items()}

    def _remove_leftovers(self, day: Path, sources: list[CompactedFile] | tuple[CompactedFile, ...]) -> None:
        """Remove lines that are in Parquet, once no reader holds the log."""
        paths = [path for source in sources if is_unchanged_source(path := day / source.name, source)]
        if not paths:
            return
        with open_directory(self._directory) as descriptor:
            is_free = take_lock(descriptor, limit_s=READER_TIMEOUT_S, clock_s=self._settings.clock_s)
            for path in paths:
                if is_free:
                    self._remove_source(path)
                else:
                    self._skip(path, "it is in Parquet, but still being read; the next compaction removes it")

    def _remove_source(self, path: Path) -> None:
        with writing(path):
            if self._settings.should_back_up:
                backup = path.parent / BACKUP_NAME
                check_no_link(backup)
                backup.mkdir(mode=PRIVATE_DIRECTORY_MODE, exist_ok=True)
                path.replace(backup / path.name)
                self._backed_up_count += 1
            else:
                path.unlink()
                self._removed_count += 1

    def _skip(self, path: Path, reason: str) -> None:
        self._skipped.append(SkippedFile(file=f"{path.parent.name}/{path.name}", reason=reason))


def _batches(paths: list[Path]) -> Iterator[list[Path]]:
    """Yield groups of files that share a manifest: bounded in open files and in work lost by a kill."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        with suppress(FileNotFoundError):
            size += path.stat().st_size
        if batch and (size > MAX_BATCH_BYTES or len(batch) == MAX_BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(path)
    if batch:
        yield batch


def _acquire_lock(path: Path, stack: ExitStack) -> int | None:
    """Lock a file against its writer until the stack closes; return its size, or None while a process writes it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:  # a file system without locks: a change shows in the size
        pass
    return os.fstat(descriptor).st_size


def _put_in_place(day: Path, staged: list[StagedFile]) -> None:
    """Move files to where a manifest will name them, and sync the directories before the manifest exists."""
    with writing(day):
        for file in staged:
            target = day / file.entry.path
            check_no_link(target)
            target.parent.mkdir(mode=PRIVATE_DIRECTORY_MODE, exist_ok=True)
            make_private(file.path)
            file.path.replace(target)
        for directory in {(day / file.entry.path).parent for file in staged} | {day}:
            _sync(directory)


def _sync(directory: Path) -> None:
    """Sync the renames in a directory to the disk."""
    with open_directory(directory) as descriptor:
        os.fsync(descriptor)


def _day_result(name: str, done: list[tuple[LakeManifest, Mapping[str, int]]]) -> DayResult:
    problems: Counter[str] = Counter()
    for _, counts in done:
        problems.update(counts)
    manifests = [manifest for manifest, _ in done]
    return DayResult(
        day=name,
        file_count=sum(len(manifest.sources) for manifest in manifests),
        line_bytes=sum(source.byte_count for manifest in manifests for source in manifest.sources),
        event_count=sum(manifest.event_count for manifest in manifests),
        parquet_bytes=sum(part.byte_count for manifest in manifests for part in manifest.parts),
        unparsed_count=sum(manifest.unparsed_count for manifest in manifests),
        problems=dict(sorted(problems.items())),
    )

"""Compacts closed days: lines become Parquet, and one rename decides which of the two counts.

A file of lines is closed when its day is over and no process holds it: writers lock what they write, and the kernel
frees the lock of a dead one. Everything is made ready in a directory that nobody reads, checked against the lines, and
put in place; then a manifest is renamed into the day. Before that rename the lines count, after it the Parquet does.
Lines are removed when no reader holds the log; until then readers pass them over.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.events.lake.catalog import date_of, days_of, is_unchanged_source, manifests_of
from flowai.events.lake.manifest import LakeManifest, ParquetFile, UnparsedLinesFile, manifest_bytes, manifest_name
from flowai.events.lake.parquet import open_rows
from flowai.events.lake.staging import Staged, Staging
from flowai.storage.files import take_lock, write_atomic, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date
    from pathlib import Path

    from flowai.events.lake.manifest import CompactedFile
    from flowai.events.lake.parquet import ParquetCodec

STAGE_NAME = ".compacting"
LOCK_NAME = ".compact.lock"
BACKUP_NAME = "compacted"
"""Where `--keep` puts lines that are Parquet now."""

_OURS = re.compile(r"(part|lines)-[0-9a-f]{32}\.(parquet|jsonl)")

MAX_BATCH_BYTES = 512 << 20
MAX_BATCH_FILES = 200
READERS_LIMIT_S = 5.0
"""So long the removal of lines waits for readers; then it is left to the next compaction."""


class DayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a day."""

    day: str
    """Its directory."""
    file_count: int
    """Files of lines."""
    line_bytes: int
    """Their size."""
    event_count: int
    """Their events, now in Parquet."""
    parquet_bytes: int
    """Its size."""
    aside_count: int
    """Lines that were kept as lines."""
    problems: dict[str, int]
    """Of those, how many by what is wrong with them."""


class SkippedDay(msgspec.Struct, frozen=True, kw_only=True):
    """A file that stays as it is for now."""

    file: str
    """Day and name."""
    reason: str
    """Why."""


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction did."""

    before: str
    """Days before this one were looked at."""
    days: tuple[DayResult, ...]
    """What was compacted; empty where there was nothing to do."""
    skipped: tuple[SkippedDay, ...]
    """What was not."""
    removed_count: int
    """Files of lines that were removed, those of an interrupted compaction too."""
    kept_count: int
    """Files of lines that were put aside instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactionSettings:
    """How to compact."""

    before: date
    """Days before this one (UTC) are closed."""
    is_kept: bool
    """Whether lines are put aside instead of removed."""
    clock_s: Callable[[], float]
    """A clock that never goes back, seconds."""
    on_day: Callable[[DayResult], None]
    """Told each day when it is done."""


def compact(directory: Path, order: CompactionSettings) -> Compaction:
    """Compact a log. What was compacted is passed over; what was interrupted is finished.

    Raises:
        InfrastructureError: another compaction is at work, the disk is full, or a file cannot be read; every event
            still counts once.
    """
    if not directory.is_dir():
        return Compaction(before=order.before.isoformat(), days=(), skipped=(), removed_count=0, kept_count=0)
    with _compact_lock(directory, order.clock_s), open_rows() as rows:
        work = _Work(directory=directory, order=order, rows=rows)
        for name in days_of([directory]):
            day = date_of(name)
            if day is not None and day < order.before:
                work.finish_interrupted(directory / name)
                work.compact_day(directory / name)
        return work.result()


@contextmanager
def _compact_lock(directory: Path, clock_s: Callable[[], float]) -> Iterator[None]:
    """Let one compaction at a time work on a log, in a clean directory of its own."""
    path, stage = directory / LOCK_NAME, directory / STAGE_NAME
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not take_lock(descriptor, limit_s=0, clock_s=clock_s):
            raise InfrastructureError(
                "another compaction of this log is at work",
                place=Place(file=str(directory)),
                hint="wait until it is done; it may be run again at any time",
            )
        with writing(stage):
            shutil.rmtree(stage, ignore_errors=True)  # of a compaction that was killed
        try:
            yield
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    finally:
        os.close(descriptor)


class _Work:
    """One compaction at work."""

    def __init__(self, *, directory: Path, order: CompactionSettings, rows: ParquetCodec) -> None:
        self._directory = directory
        self._order = order
        self._rows = rows
        self._days: list[DayResult] = []
        self._waiting: list[SkippedDay] = []
        self._removed_count = 0
        self._kept_count = 0

    def result(self) -> Compaction:
        return Compaction(
            before=self._order.before.isoformat(),
            days=tuple(self._days),
            skipped=tuple(self._waiting),
            removed_count=self._removed_count,
            kept_count=self._kept_count,
        )

    def finish_interrupted(self, day: Path) -> None:
        """Do what a killed compaction left undone: take away Parquet's lines, and files that no manifest names."""
        manifests = manifests_of(day)
        named = {day / one.path for manifest in manifests.values() for one in manifest.files}
        with writing(day):
            for path in (*day.glob("feature=*/*.parquet"), *day.glob("aside/*.jsonl")):
                if path not in named and _OURS.fullmatch(path.name):
                    path.unlink()
        self._remove_leftovers(day, [source for manifest in manifests.values() for source in manifest.sources])

    def compact_day(self, day: Path) -> None:
        sources = {source.name: source for manifest in manifests_of(day).values() for source in manifest.sources}
        done: list[tuple[LakeManifest, Mapping[str, int]]] = []
        for batch in _batches(self._closed(day, sources)):
            while batch:
                found = self._compact_batch(day, batch)
                if isinstance(found, tuple):
                    done.append(found)
                    break
                batch = [path for path in batch if path not in found]  # noqa: PLW2901 - once more, without those
        if done:
            result = _day_done(day.name, done)
            self._days.append(result)
            self._order.on_day(result)

    def _closed(self, day: Path, sources: Mapping[str, CompactedFile]) -> list[Path]:
        """Give the day's files of lines that nobody writes and that no manifest names."""
        closed = []
        for path in sorted(day.glob("*.jsonl")):
            is_done = path.name in sources and is_unchanged_source(path, sources[path.name])
            if is_done or path.is_symlink() or not path.is_file():
                continue
            with ExitStack() as stack:
                if _acquire_lock(path, stack) is None:
                    self._wait(path, "a process still writes it")
                    continue
            closed.append(path)
        return closed

    def _compact_batch(self, day: Path, batch: list[Path]) -> tuple[LakeManifest, Mapping[str, int]] | set[Path]:
        """Compact some files of a day; where some of them cannot be, give those, and nothing has changed."""
        directory = self._directory / STAGE_NAME
        with writing(directory):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        stage = Staging(directory, self._rows)
        for path in batch:
            stage.add_file(path)
        stage.finish()
        manifest = LakeManifest(
            day=day.name,
            sources=tuple(stage.sources),
            parts=tuple(one.entry for one in stage.staged if isinstance(one.entry, ParquetFile)),
            asides=tuple(one.entry for one in stage.staged if isinstance(one.entry, UnparsedLinesFile)),
        )
        with ExitStack() as stack:
            # held until the manifest stands, so that no writer can add a line in between
            moved = {
                path
                for path, source in zip(batch, stage.sources, strict=True)
                if _acquire_lock(path, stack) != source.byte_count
            }
            if moved:
                for path in sorted(moved):
                    self._wait(path, "it changed while it was read")
                return moved
            _put_in_place(day, stage.staged)
            data = manifest_bytes(manifest)
            write_atomic(day / manifest_name(data), data)
            _sync(day)
        self._remove_leftovers(day, manifest.sources)
        return manifest, {str(problem): count for problem, count in stage.problems.items()}

    def _remove_leftovers(self, day: Path, sources: list[CompactedFile] | tuple[CompactedFile, ...]) -> None:
        """Take lines away that are Parquet now, once no reader holds the log."""
        paths = [path for source in sources if is_unchanged_source(path := day / source.name, source)]
        if not paths:
            return
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            is_free = take_lock(descriptor, limit_s=READERS_LIMIT_S, clock_s=self._order.clock_s)
            if not is_free:
                for path in paths:
                    self._wait(path, "it is Parquet already, but still being read; the next compaction removes it")
                return
            for path in paths:
                self._delete_sources(path)
        finally:
            os.close(descriptor)

    def _delete_sources(self, path: Path) -> None:
        with writing(path):
            if self._order.is_kept:
                kept = path.parent / BACKUP_NAME
                kept.mkdir(exist_ok=True)
                path.replace(kept / path.name)
                self._kept_count += 1
            else:
                path.unlink()
                self._removed_count += 1

    def _wait(self, path: Path, reason: str) -> None:
        self._waiting.append(SkippedDay(file=f"{path.parent.name}/{path.name}", reason=reason))


def _batches(paths: list[Path]) -> Iterator[list[Path]]:
    """Give files in groups that share a manifest: not too many to be held open, not too much work to be lost."""
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
    """Lock a file against its writer until the stack is closed; give its size, or None where somebody writes it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:  # a file system without locks: what grows is found by its size
        pass
    return os.fstat(descriptor).st_size


def _put_in_place(day: Path, staged: list[Staged]) -> None:
    """Rename files to where a manifest will name them; the disk knows before the manifest does."""
    with writing(day):
        for one in staged:
            target = day / one.entry.path
            target.parent.mkdir(exist_ok=True)
            one.path.replace(target)
        for directory in {(day / one.entry.path).parent for one in staged} | {day}:
            _sync(directory)


def _sync(directory: Path) -> None:
    """Have the disk keep what was renamed in a directory."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _day_done(name: str, done: list[tuple[LakeManifest, Mapping[str, int]]]) -> DayResult:
    problems: dict[str, int] = {}
    for _, found in done:
        for problem, count in found.items():
            problems[problem] = problems.get(problem, 0) + count
    manifests = [manifest for manifest, _ in done]
    return DayResult(
        day=name,
        file_count=sum(len(manifest.sources) for manifest in manifests),
        line_bytes=sum(source.byte_count for manifest in manifests for source in manifest.sources),
        event_count=sum(manifest.event_count for manifest in manifests),
        parquet_bytes=sum(part.byte_count for manifest in manifests for part in manifest.parts),
        aside_count=sum(manifest.aside_count for manifest in manifests),
        problems=dict(sorted(problems.items())),
    )

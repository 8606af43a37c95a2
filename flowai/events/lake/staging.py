"""Groups the lines of closed files by feature, writes Parquet from them, and verifies every row against the lines."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.events.lake.line_reader import LakeRow, LineReader, add_digests, digest_text, line_pieces
from flowai.events.lake.manifest import (
    HEAD_BYTES,
    UNPARSED_NAME,
    CompactedFile,
    ParquetFile,
    UnparsedLinesFile,
    hash_blocks,
    partition_directory,
    read_blocks,
    short_digest,
)
from flowai.events.lake.parquet import rows_per_group
from flowai.storage.files import writing

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.events.lake.line_reader import LineProblem
    from flowai.events.lake.parquet import ParquetCodec

MAX_STAGED_BYTES = 512 << 20
"""JSON beside the log, at most, before it is written as Parquet."""

LARGE_BYTES = 64 << 10
"""Longer rows get files of their own with small row groups, so that a reader of many rows at once fits in memory."""

_MAX_BUFFER_BYTES = 8 << 20


@dataclass(kw_only=True, slots=True)
class _FeaturePartition:
    """Rows of one feature that are not yet Parquet."""

    feature: str | None
    path: Path
    """File of the rows that left the buffer."""
    buffer: list[bytes] = field(default_factory=list)
    event_count: int = 0
    byte_count: int = 0
    longest_bytes: int = 0
    digest: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedFile:
    """A file that is ready to be moved into the day."""

    path: Path
    entry: ParquetFile | UnparsedLinesFile
    """Its entry in the manifest; names its later path."""


class Staging:
    """Collects the lines of a day's files and writes them as Parquet.

    `directory` is empty and on the log's own disk, so that files can be renamed into their place.
    """

    def __init__(self, directory: Path, rows: ParquetCodec) -> None:
        self.staged: list[StagedFile] = []
        self.sources: list[CompactedFile] = []
        self.problems: Counter[LineProblem] = Counter()
        self._directory = directory
        self._rows = rows
        self._reader = LineReader()
        self._partitions: dict[tuple[str | None, bool], _FeaturePartition] = {}
        self._buffered_bytes = 0
        self._staged_bytes = 0
        self._number = 0
        self._unparsed_path = self._new_path("lines.jsonl")
        self._unparsed_count = 0

    def add_file(self, path: Path) -> None:
        """Add the lines of a file."""
        head = b""
        sha256 = hashlib.sha256()
        line_count = byte_count = 0
        with writing(self._directory), self._unparsed_path.open("ab") as unparsed, path.open("rb") as stream:
            is_inside = False
            for piece, is_last in line_pieces(stream):
                sha256.update(piece)
                if len(head) < HEAD_BYTES:
                    head += piece[: HEAD_BYTES - len(head)]
                byte_count += len(piece)
                if not piece.strip() and not is_inside:
                    continue
                line_count += not is_inside
                self._add_piece(piece, unparsed, is_first=not is_inside, is_last=is_last)
                is_inside = not is_last
        self.sources.append(
            CompactedFile(
                name=path.name,
                line_count=line_count,
                byte_count=byte_count,
                sha256=sha256.hexdigest(),
                head_sha256=hashlib.sha256(head).hexdigest(),
            )
        )

    def finish(self) -> None:
        """Write everything left to files; raises InfrastructureError if the written rows differ from the lines."""
        self._write_parts()
        if self._unparsed_count:
            digest, size = _sync_and_hash(self._unparsed_path)
            entry = UnparsedLinesFile(
                path=_file_name(f"{UNPARSED_NAME}/lines", digest, ".jsonl"),
                line_count=self._unparsed_count,
                byte_count=size,
                sha256=digest,
            )
            self.staged.append(StagedFile(path=self._unparsed_path, entry=entry))
        self._name_by_source()
        read_count = sum(source.line_count for source in self.sources)
        written_count = self.event_count + self._unparsed_count
        if read_count != written_count:
            raise InfrastructureError(f"{read_count} lines were read and {written_count} written; nothing was removed")

    @property
    def event_count(self) -> int:
        """Events in the Parquet files written so far."""
        return sum(file.entry.event_count for file in self.staged if isinstance(file.entry, ParquetFile))

    def _name_by_source(self) -> None:
        """Name each file after its content and the lines' sources: lines that were written twice count twice."""
        origin = b"".join(f"{source.name}\0{source.sha256}\0".encode() for source in self.sources)
        for index, file in enumerate(self.staged):
            digest = hashlib.sha256(f"{index}\0{file.entry.sha256}\0".encode() + origin).hexdigest()
            head = file.entry.path.rpartition("-")[0]
            entry = msgspec.structs.replace(file.entry, path=_file_name(head, digest, file.path.suffix))
            self.staged[index] = StagedFile(path=file.path, entry=entry)

    def _add_piece(self, piece: bytes, unparsed: BinaryIO, *, is_first: bool, is_last: bool) -> None:
        row = self._reader.read(piece) if is_first and is_last else "too_long"
        if isinstance(row, LakeRow):
            self._add_row(row)
            return
        if is_first:
            self.problems[row] += 1
            self._unparsed_count += 1
        unparsed.write(piece if piece.endswith(b"\n") or not is_last else piece + b"\n")

    def _add_row(self, row: LakeRow) -> None:
        feature = getattr(row.event, "feature", None)
        key = (feature, len(row.line) > LARGE_BYTES)
        partition = self._partitions.get(key)
        if partition is None:
            partition = self._partitions[key] = _FeaturePartition(feature=feature, path=self._new_path("rows.jsonl"))
        size = len(row.line) + 1
        partition.buffer.append(row.line)
        partition.event_count += 1
        partition.byte_count += size
        partition.longest_bytes = max(partition.longest_bytes, size)
        partition.digest = add_digests(partition.digest, row.digest)
        self._buffered_bytes += size
        self._staged_bytes += size
        if self._buffered_bytes >= _MAX_BUFFER_BYTES:
            self._flush()
        if self._staged_bytes >= MAX_STAGED_BYTES:
            self._write_parts()

    def _flush(self) -> None:
        """Append the buffers to their files; no file stays open, however many features there are."""
        for partition in self._partitions.values():
            if partition.buffer:
                with partition.path.open("ab") as stream:
                    stream.write(b"\n".join(partition.buffer) + b"\n")
                partition.buffer.clear()
        self._buffered_bytes = 0

    def _write_parts(self) -> None:
        with writing(self._directory):
            self._flush()
        for partition in self._partitions.values():
            self.staged.append(self._write_part(partition))
            partition.path.unlink()
        self._partitions.clear()
        self._staged_bytes = 0

    def _write_part(self, partition: _FeaturePartition) -> StagedFile:
        path = self._new_path("part.parquet")
        is_large = partition.longest_bytes > LARGE_BYTES
        typical_bytes = partition.longest_bytes if is_large else partition.byte_count // partition.event_count
        self._rows.write(partition.path, path, group_rows=rows_per_group(typical_bytes))
        self._verify(partition, path)
        digest, size = _sync_and_hash(path)
        entry = ParquetFile(
            path=_file_name(f"{partition_directory(partition.feature)}/part", digest, ".parquet"),
            feature=partition.feature,
            event_count=partition.event_count,
            byte_count=size,
            sha256=digest,
            events_digest=digest_text(partition.digest),
        )
        return StagedFile(path=path, entry=entry)

    def _verify(self, partition: _FeaturePartition, path: Path) -> None:
        """Compare the written Parquet with the lines, event by event."""
        try:
            count, digest = events_digest(self._rows, self._reader, path)
        except msgspec.DecodeError as error:
            raise _mismatch_error(partition, str(error)) from error
        if (count, digest) != (partition.event_count, partition.digest):
            raise _mismatch_error(partition, f"{partition.event_count} events were read, {count} written")

    def _new_path(self, ending: str) -> Path:
        self._number += 1
        return self._directory / f"{self._number}-{ending}"


def events_digest(rows: ParquetCodec, reader: LineReader, path: Path) -> tuple[int, int]:
    """Return the number of events in a Parquet file, and their digest; raises msgspec.DecodeError for another row."""
    count = digest = 0
    for line, others in rows.read(path):
        digest = add_digests(digest, reader.digest_of(reader.event_of(line), others))
        count += 1
    return count, digest


def _mismatch_error(partition: _FeaturePartition, problem: str) -> InfrastructureError:
    return InfrastructureError(
        f"the Parquet of feature `{partition.feature}` differs from the log ({problem}); nothing was removed",
        place=Place(file=str(partition.path)),
        hint="this is a bug in flowai; all lines are still there",
    )


def _file_name(head: str, digest: str, suffix: str) -> str:
    return f"{head}-{short_digest(digest)}{suffix}"


def _sync_and_hash(path: Path) -> tuple[str, int]:
    """Sync a file to the disk; return its SHA-256 and size."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    return hash_blocks(read_blocks(path))

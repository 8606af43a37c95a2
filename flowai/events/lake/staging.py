"""Gathers the lines of closed files by feature, makes Parquet of them, and holds every row against the lines."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.events.lake.line_reader import LakeRow, LineReader, add_digests, digest_text, pieces
from flowai.events.lake.manifest import (
    MAX_MANIFEST_BYTES,
    CompactedFile,
    ParquetFile,
    UnparsedLinesFile,
    partition,
    short,
)
from flowai.events.lake.parquet import rows_per_group
from flowai.storage.files import writing

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.events.lake.line_reader import LineProblem
    from flowai.events.lake.parquet import ParquetCodec

MAX_STAGED_BYTES = 512 << 20
"""So much JSON lies beside the log, at most, before Parquet is made of it."""

LARGE_BYTES = 64 << 10
"""Longer rows get files of their own, in small groups: who reads a thousand rows at once still can."""

_MAX_HELD_BYTES = 8 << 20
_READ_BYTES = 1 << 20


@dataclass(kw_only=True, slots=True)
class _FeaturePartition:
    """The rows of one feature that wait to become a part."""

    feature: str | None
    """The feature."""
    path: Path
    """Where they wait."""
    held: list[bytes] = field(default_factory=list)
    """Those that are not yet written there."""
    event_count: int = 0
    """All of them."""
    byte_count: int = 0
    """Of all of them."""
    longest_bytes: int = 0
    """Of the longest."""
    digest: int = 0
    """Of all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """A file that is ready to take its place."""

    path: Path
    """Where it lies now."""
    entry: ParquetFile | UnparsedLinesFile
    """What the manifest will say of it."""


class Staging:
    """Takes in files of one day.

    Args:
        directory: to work in; on the log's own disk, so that files can be renamed into their place; empty.
        rows: writes and reads Parquet.
    """

    def __init__(self, directory: Path, rows: ParquetCodec) -> None:
        self.staged: list[Staged] = []
        self.sources: list[CompactedFile] = []
        self.problems: Counter[LineProblem] = Counter()
        self._directory = directory
        self._rows = rows
        self._reader = LineReader()
        self._shares: dict[tuple[str | None, bool], _FeaturePartition] = {}
        self._held_bytes = 0
        self._staged_bytes = 0
        self._number = 0
        self._aside = self._new_path("lines.jsonl")
        self._aside_count = 0

    def add_file(self, path: Path) -> None:
        """Take in a file of lines.

        Raises:
            InfrastructureError: the disk is full, or a file cannot be read.
        """
        head = b""
        whole = hashlib.sha256()
        line_count = byte_count = 0
        with writing(self._directory), self._aside.open("ab") as aside, path.open("rb") as stream:
            is_inside = False
            for piece, is_last in pieces(stream):
                whole.update(piece)
                if len(head) < MAX_MANIFEST_BYTES:
                    head += piece[: MAX_MANIFEST_BYTES - len(head)]
                byte_count += len(piece)
                if not piece.strip() and not is_inside:
                    continue
                line_count += not is_inside
                self._add_chunk(piece, aside, is_begin=not is_inside, is_last=is_last)
                is_inside = not is_last
        self.sources.append(
            CompactedFile(
                name=path.name,
                line_count=line_count,
                byte_count=byte_count,
                sha256=whole.hexdigest(),
                head_sha256=hashlib.sha256(head).hexdigest(),
            )
        )

    def finish(self) -> None:
        """Make files of all that still waits.

        Raises:
            InfrastructureError: the disk is full, or what was written is not what was read.
        """
        self._make_parts()
        if self._aside_count:
            digest, size = _digest_of(self._aside)
            entry = UnparsedLinesFile(
                path=_named("aside/lines", digest, ".jsonl"),
                line_count=self._aside_count,
                byte_count=size,
                sha256=digest,
            )
            self.staged.append(Staged(path=self._aside, entry=entry))
        self._name_by_source()
        expected, found = sum(source.line_count for source in self.sources), self.event_count + self._aside_count
        if expected != found:
            raise InfrastructureError(f"{expected} lines were read and {found} written; nothing was removed")

    @property
    def event_count(self) -> int:
        """Events in the parts made so far."""
        return sum(one.entry.event_count for one in self.staged if isinstance(one.entry, ParquetFile))

    def _name_by_source(self) -> None:
        """Give each file a name that says where its lines came from: lines that were written twice count twice."""
        origin = b"".join(f"{source.name}\0{source.sha256}\0".encode() for source in self.sources)
        for index, one in enumerate(self.staged):
            digest = hashlib.sha256(f"{index}\0{one.entry.sha256}\0".encode() + origin).hexdigest()
            head = one.entry.path.rpartition("-")[0]
            entry = msgspec.structs.replace(one.entry, path=_named(head, digest, one.path.suffix))
            self.staged[index] = Staged(path=one.path, entry=entry)

    def _add_chunk(self, piece: bytes, aside: BinaryIO, *, is_begin: bool, is_last: bool) -> None:
        row = self._reader.read(piece) if is_begin and is_last else "too_long"
        if isinstance(row, LakeRow):
            self._take_row(row)
            return
        if is_begin:
            self.problems[row] += 1
            self._aside_count += 1
        aside.write(piece if piece.endswith(b"\n") or not is_last else piece + b"\n")

    def _take_row(self, row: LakeRow) -> None:
        feature = getattr(row.event, "feature", None)
        key = (feature, len(row.line) > LARGE_BYTES)
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = _FeaturePartition(feature=feature, path=self._new_path("rows.jsonl"))
        size = len(row.line) + 1
        share.held.append(row.line)
        share.event_count += 1
        share.byte_count += size
        share.longest_bytes = max(share.longest_bytes, size)
        share.digest = add_digests(share.digest, row.digest)
        self._held_bytes += size
        self._staged_bytes += size
        if self._held_bytes >= _MAX_HELD_BYTES:
            self._write_held()
        if self._staged_bytes >= MAX_STAGED_BYTES:
            self._make_parts()

    def _write_held(self) -> None:
        """Write what is held: no file stays open, however many features there are."""
        for share in self._shares.values():
            if share.held:
                with share.path.open("ab") as stream:
                    stream.write(b"\n".join(share.held) + b"\n")
                share.held.clear()
        self._held_bytes = 0

    def _make_parts(self) -> None:
        with writing(self._directory):
            self._write_held()
        for share in self._shares.values():
            self.staged.append(self._make_part(share))
            share.path.unlink()
        self._shares.clear()
        self._staged_bytes = 0

    def _make_part(self, share: _FeaturePartition) -> Staged:
        path = self._new_path("part.parquet")
        is_large = share.longest_bytes > LARGE_BYTES
        typical_bytes = share.longest_bytes if is_large else share.byte_count // share.event_count
        self._rows.write(share.path, path, group_rows=rows_per_group(typical_bytes))
        self._check(share, path)
        digest, size = _digest_of(path)
        entry = ParquetFile(
            path=_named(f"{partition(share.feature)}/part", digest, ".parquet"),
            feature=share.feature,
            event_count=share.event_count,
            byte_count=size,
            sha256=digest,
            events_digest=digest_text(share.digest),
        )
        return Staged(path=path, entry=entry)

    def _check(self, share: _FeaturePartition, path: Path) -> None:
        """Hold what was written against what was read, event by event.

        Raises:
            InfrastructureError: an event is missing, or is another one.
        """
        try:
            count, digest = events_digest(self._rows, self._reader, path)
        except msgspec.DecodeError as error:
            raise _mismatch_error(share, str(error)) from error
        if (count, digest) != (share.event_count, share.digest):
            raise _mismatch_error(share, f"{share.event_count} events were read, {count} written")

    def _new_path(self, ending: str) -> Path:
        self._number += 1
        return self._directory / f"{self._number}-{ending}"


def events_digest(rows: ParquetCodec, reader: LineReader, path: Path) -> tuple[int, int]:
    """Count the events of a Parquet file and give their digest.

    Raises:
        msgspec.DecodeError: a row is no event.
        InfrastructureError: the file cannot be read.
    """
    count = digest = 0
    for line, others in rows.read(path):
        digest = add_digests(digest, reader.digest_of(reader.event_of(line), others))
        count += 1
    return count, digest


def _mismatch_error(share: _FeaturePartition, found: str) -> InfrastructureError:
    return InfrastructureError(
        f"the Parquet of feature `{share.feature}` does not hold what the log says ({found}); nothing was removed",
        place=Place(file=str(share.path)),
        hint="this is a bug in flowai; the lines are all still there",
    )


def _named(head: str, digest: str, suffix: str) -> str:
    return f"{head}-{short(digest)}{suffix}"


def _digest_of(path: Path) -> tuple[str, int]:
    """Give a file's SHA-256 and size; the disk has it then."""
    whole, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            whole.update(block)
            size += len(block)
        os.fsync(stream.fileno())
    return whole.hexdigest(), size

"""The records of the lake: a manifest names Parquet files and the JSONL files that they replace.

    dt=2026-05-02/
      <process>.jsonl                        lines that processes write; not compacted yet
      feature=chat/part-<digest>.parquet     events of one feature
      unparsed/lines-<digest>.jsonl          lines that are no event of this version, byte for byte
      manifest-<digest>.json                 the files that count, and the sources that they replace

A file that a manifest names never changes: its name is a digest of its bytes and of its sources.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from flowai.errors import InfrastructureError, Place
from flowai.events.records import NonNegativeInt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST_VERSION = 1
HEAD_BYTES = 1 << 16
"""Size of a JSONL file's head, which tells the file from others of the same name and size."""

DAY = re.compile(r"dt=(\d{4}-\d{2}-\d{2})")
NO_FEATURE = "__HIVE_DEFAULT_PARTITION__"
"""The directory name that readers of partitioned Parquet read as null."""

UNPARSED_NAME = "unparsed"

_DIGEST_CHARS = 32
_READ_BYTES = 1 << 20
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Directory = Annotated[str, Meta(pattern=r"^dt=\d{4}-\d{2}-\d{2}\Z")]
PartPath = Annotated[str, Meta(pattern=r"^feature=[A-Za-z0-9_.-]+/part-[0-9a-f]{32}\.parquet\Z")]
UnparsedPath = Annotated[str, Meta(pattern=rf"^{UNPARSED_NAME}/lines-[0-9a-f]{{32}}\.jsonl\Z")]
SourceName = Annotated[str, Meta(pattern=r"^[^/]+\.jsonl\Z")]


class CompactedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSONL file that was compacted."""

    name: SourceName
    line_count: NonNegativeInt
    """Lines that are not blank."""
    byte_count: NonNegativeInt
    sha256: Digest
    head_sha256: Digest
    """SHA-256 of its first 64 KiB, hex."""


class ParquetFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Parquet file with events of one feature."""

    path: PartPath
    """Path within the day."""
    feature: str | None
    """The feature; None for events without one."""
    event_count: NonNegativeInt
    byte_count: NonNegativeInt
    sha256: Digest
    events_digest: str
    """Digest of its events in any order, hex: the sum, modulo 2**128, of each event's BLAKE2b over its JSON."""


class UnparsedLinesFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of lines that are kept byte for byte: torn, damaged, of an unknown version, or too long for a row."""

    path: UnparsedPath
    """Path within the day."""
    line_count: NonNegativeInt
    byte_count: NonNegativeInt
    sha256: Digest


class LakeManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files that replace sources: once the manifest exists, `parts` and `unparsed` count and `sources` do not."""

    manifest_version: int = MANIFEST_VERSION
    day: Directory
    sources: tuple[CompactedFile, ...]
    parts: tuple[ParquetFile, ...]
    unparsed: tuple[UnparsedLinesFile, ...]

    @property
    def event_count(self) -> int:
        """Events in all parts."""
        return sum(part.event_count for part in self.parts)

    @property
    def unparsed_count(self) -> int:
        """Lines in all unparsed files."""
        return sum(file.line_count for file in self.unparsed)

    @property
    def files(self) -> tuple[ParquetFile | UnparsedLinesFile, ...]:
        """Files that must exist before the manifest does."""
        return (*self.parts, *self.unparsed)


def manifest_bytes(manifest: LakeManifest) -> bytes:
    """Return the content of a manifest's file; equal manifests give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def manifest_name(data: bytes) -> str:
    """Return the file name of a manifest, which contains its digest."""
    return f"manifest-{short_digest(hashlib.sha256(data).hexdigest())}.json"


def read_manifest(path: Path) -> LakeManifest:
    """Read a manifest; see `parse_manifest` for what it raises."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InfrastructureError(f"cannot be read: {error.strerror or error}", place=Place(file=str(path))) from error
    return parse_manifest(data, day=path.parent.name, name=path.name, shown=str(path))


def parse_manifest(data: bytes, *, day: str, name: str, shown: str) -> LakeManifest:
    """Parse the manifest `name` of a day's directory, called `shown` in messages.

    Raises InfrastructureError if it is damaged, or of a newer version.
    """
    place = Place(file=shown)
    hint = "copy the file again from its origin; `flowai events validate` lists what is damaged"
    if manifest_name(data) != name:
        raise InfrastructureError("the manifest is damaged: its name has another digest", place=place, hint=hint)
    try:
        manifest = msgspec.json.decode(data, type=LakeManifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InfrastructureError(f"not a manifest of this version: {error}", place=place, hint=hint) from None
    if manifest.manifest_version != MANIFEST_VERSION or manifest.day != day:
        raise InfrastructureError("the manifest is of another version or another day", place=place, hint=hint)
    return manifest


def hash_blocks(blocks: Iterator[bytes]) -> tuple[str, int]:
    """Return the SHA-256 and the size of a sequence of blocks."""
    sha256, size = hashlib.sha256(), 0
    for block in blocks:
        sha256.update(block)
        size += len(block)
    return sha256.hexdigest(), size


def read_blocks(path: Path) -> Iterator[bytes]:
    """Read a file, block by block."""
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            yield block


def short_digest(sha256: str) -> str:
    """Return the part of a digest that file names contain: 128 bits."""
    return sha256[:_DIGEST_CHARS]


def partition_directory(feature: str | None) -> str:
    """Return the directory name of a feature: its name if it is plain, else a digest. The rows have the name."""
    if feature is None:
        return f"feature={NO_FEATURE}"
    if _PLAIN.fullmatch(feature):
        return f"feature={feature}"
    return f"feature=_{short_digest(hashlib.sha256(feature.encode()).hexdigest())}"

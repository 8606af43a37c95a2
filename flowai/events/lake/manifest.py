"""The records of the lake: what one manifest says about Parquet files and the lines they were made of.

    dt=2026-05-02/
      <process>.jsonl                        lines, as processes write them; not compacted yet
      feature=chat/part-<digest>.parquet     events of one feature
      aside/lines-<digest>.jsonl             lines that give no event of this version, byte for byte
      manifest-<digest>.json                 what took the place of which lines: what it does not name does not count

A file that a manifest names never changes: a digest of its bytes and of where its lines came from is its name.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from flowai.errors import InfrastructureError, Place

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST_VERSION = 1
MAX_MANIFEST_BYTES = 1 << 16
"""So much of a file of lines tells it from others of the same name and size."""

DAY = re.compile(r"dt=(\d{4}-\d{2}-\d{2})")
NO_FEATURE = "__HIVE_DEFAULT_PARTITION__"
"""The directory name that readers of partitioned Parquet take for null."""

_DIGEST_CHARS = 32
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

NonNegativeInt = Annotated[int, Meta(ge=0)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Directory = Annotated[str, Meta(pattern=r"^dt=\d{4}-\d{2}-\d{2}\Z")]
PartPath = Annotated[str, Meta(pattern=r"^feature=[A-Za-z0-9_.-]+/part-[0-9a-f]{32}\.parquet\Z")]
AsidePath = Annotated[str, Meta(pattern=r"^aside/lines-[0-9a-f]{32}\.jsonl\Z")]
SourceName = Annotated[str, Meta(pattern=r"^[^/]+\.jsonl\Z")]


class CompactedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of lines that was compacted."""

    name: SourceName
    """Its name within the day."""
    line_count: NonNegativeInt
    """Lines it held, blank ones left out."""
    byte_count: NonNegativeInt
    """Its size."""
    sha256: Digest
    """Of its bytes, hex."""
    head_sha256: Digest
    """Of its first 64 KiB, hex."""


class ParquetFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Parquet file: events of one feature."""

    path: PartPath
    """Where it lies within the day."""
    feature: str | None
    """The feature; None for events that name none."""
    event_count: NonNegativeInt
    """Its rows."""
    byte_count: NonNegativeInt
    """Its size."""
    sha256: Digest
    """Of its bytes, hex."""
    events_digest: str
    """Of its events in any order, hex: the sum, modulo 2**128, of each event's BLAKE2b over its JSON."""


class UnparsedLinesFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of lines that are kept as they are: torn, damaged, of an unknown version, or too long for a row."""

    path: AsidePath
    """Where it lies within the day."""
    line_count: NonNegativeInt
    """Its lines."""
    byte_count: NonNegativeInt
    """Its size."""
    sha256: Digest
    """Of its bytes, hex."""


class LakeManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What took the place of which lines. Once it stands, its parts count and its sources do not."""

    manifest_version: int = MANIFEST_VERSION
    """Version of this format: 1."""
    day: Directory
    """The day's directory."""
    sources: tuple[CompactedFile, ...]
    """What was compacted."""
    parts: tuple[ParquetFile, ...]
    """Its events."""
    asides: tuple[UnparsedLinesFile, ...]
    """Its other lines."""

    @property
    def event_count(self) -> int:
        """Events in all parts."""
        return sum(part.event_count for part in self.parts)

    @property
    def aside_count(self) -> int:
        """Lines that were kept as lines."""
        return sum(aside.line_count for aside in self.asides)

    @property
    def files(self) -> tuple[ParquetFile | UnparsedLinesFile, ...]:
        """All that must be there before the manifest may stand."""
        return (*self.parts, *self.asides)


def manifest_bytes(manifest: LakeManifest) -> bytes:
    """Give a manifest's file; equal manifests give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def manifest_name(data: bytes) -> str:
    """Give the name of a manifest's file: it says its digest."""
    return f"manifest-{short(hashlib.sha256(data).hexdigest())}.json"


def read_manifest(path: Path) -> LakeManifest:
    """Read a manifest; see `parse_manifest` for what it raises."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InfrastructureError(f"cannot be read: {error.strerror or error}", place=Place(file=str(path))) from error
    return parse_manifest(data, day=path.parent.name, name=path.name, shown=str(path))


def parse_manifest(data: bytes, *, day: str, name: str, shown: str) -> LakeManifest:
    """Read the bytes of a manifest.

    Args:
        data: the file.
        day: the directory it lies in.
        name: its file name.
        shown: how messages call it.

    Raises:
        InfrastructureError: it is damaged, or of a newer version; what it names cannot be counted.
    """
    place = Place(file=shown)
    hint = "fetch the file again from where it was copied to; `flowai events validate` lists what is damaged"
    if manifest_name(data) != name:
        raise InfrastructureError("the manifest is damaged: its name says another digest", place=place, hint=hint)
    try:
        manifest = msgspec.json.decode(data, type=LakeManifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InfrastructureError(f"not a manifest of this version: {error}", place=place, hint=hint) from None
    if manifest.manifest_version != MANIFEST_VERSION or manifest.day != day:
        raise InfrastructureError("the manifest is of another version or another day", place=place, hint=hint)
    return manifest


def short(sha256: str) -> str:
    """Give the piece of a digest that stands in file names: 128 bits."""
    return sha256[:_DIGEST_CHARS]


def partition(feature: str | None) -> str:
    """Give the directory of a feature: readable where the name is plain, else a digest. The rows hold the name."""
    if feature is None:
        return f"feature={NO_FEATURE}"
    if _PLAIN.fullmatch(feature):
        return f"feature={feature}"
    return f"feature=_{short(hashlib.sha256(feature.encode()).hexdigest())}"

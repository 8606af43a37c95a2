"""Parses lines of the log: a row of the lake for each event of this version, else the line's problem."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC
from typing import IO, TYPE_CHECKING, Literal

import msgspec

from flowai.events.lake.columns import OTHER_FIELDS, columns, fields_by_kind
from flowai.events.records import SCHEMA_VERSION, Event
from flowai.timestamps import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterator

LineProblem = Literal["torn", "unreadable", "unknown_version", "schema_mismatch", "too_long"]
"""`torn`: an incomplete last line. `unreadable`: not JSON, or not UTF-8. `unknown_version`: written by a newer flowai.
`schema_mismatch`: the JSON does not follow the event schema. `too_long`: longer than `MAX_LINE_BYTES`."""

MAX_LINE_BYTES = 12 << 20
"""Limit because Parquet readers hold thousands of rows in memory."""

_DIGEST_BITS = 128
_MAX_INT = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class LakeRow:
    """An event as a row of the lake."""

    event: Event
    """The event, its time in UTC."""
    line: bytes
    """Its JSON, fields that this version does not know under `other_fields`."""
    digest: int


class _Version(msgspec.Struct, frozen=True):
    schema_version: int = SCHEMA_VERSION


class LineReader:
    """Parses lines; build it once."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(Event).decode
        self._fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._version = msgspec.json.Decoder(_Version).decode
        self._encode = msgspec.json.Encoder().encode
        self._known = fields_by_kind()
        self._nested = frozenset(name for name, kind in columns().items() if kind == "JSON")

    def read(self, line: bytes) -> LakeRow | LineProblem:
        """Parse a line, which is not blank and has its line end, unless it is torn."""
        if len(line) > MAX_LINE_BYTES:
            return "too_long"
        text = line.strip()
        try:
            event = self._decode(text)
            if event.schema_version != SCHEMA_VERSION:
                return "unknown_version"
            return self._row(event, text)
        except (msgspec.ValidationError, OverflowError):
            return self._mismatch(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "unreadable" if line.endswith(b"\n") else "torn"

    def event_of(self, line: str | bytes) -> Event:
        """Return the event of a row of the lake; raises msgspec.DecodeError if it is none."""
        event: Event = self._decode(line)
        return event

    def digest_of(self, event: Event, others: str | bytes | None) -> int:
        """Return an event's digest: BLAKE2b, 128 bits, over its JSON and the fields that this version does not know."""
        digest = hashlib.blake2b(self._encode(event), digest_size=_DIGEST_BITS // 8)
        if others is not None:
            digest.update(msgspec.json.encode(msgspec.json.decode(others), order="sorted"))
        return int.from_bytes(digest.digest(), "big")

    def _mismatch(self, text: bytes) -> LineProblem:
        try:
            return "schema_mismatch" if self._version(text).schema_version == SCHEMA_VERSION else "unknown_version"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "schema_mismatch"

    def _row(self, event: Event, text: bytes) -> LakeRow:
        if event.at.utcoffset():
            event = msgspec.structs.replace(event, at=event.at.astimezone(UTC))
        if event.at < EPOCH:
            raise OverflowError("before 1970")
        if max(getattr(event, "input_tokens", 0) or 0, getattr(event, "output_tokens", 0) or 0) > _MAX_INT:
            raise OverflowError("more tokens than a column can hold")
        encoded = self._encode(event)
        if encoded == text:  # the usual case: this version wrote the line
            return LakeRow(event=event, line=encoded, digest=self.digest_of(event, None))
        return self._foreign_row(event, encoded, text)

    def _foreign_row(self, event: Event, encoded: bytes, text: bytes) -> LakeRow:
        """Build the row of a line by another writer, without loss."""
        fields, row = self._fields(text), self._fields(encoded)
        known = self._known[str(event.__struct_config__.tag)]
        row.update({name: fields[name] for name in row.keys() & fields.keys() & self._nested})
        # decoded, because raw values were not checked yet
        unknown = {name: msgspec.json.decode(value) for name, value in fields.items() if name not in known}
        others = msgspec.json.encode(unknown, order="sorted") if unknown else None
        if others is not None:
            row[OTHER_FIELDS] = msgspec.Raw(others)
        return LakeRow(event=event, line=self._encode(row), digest=self.digest_of(event, others))


def add_digests(one: int, other: int) -> int:
    """Add two digests: the sum does not depend on the order of events."""
    return (one + other) % (1 << _DIGEST_BITS)


def digest_text(digest: int) -> str:
    """Format a digest as 32 hex digits."""
    return f"{digest:032x}"


def line_pieces(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the lines of a file with their ends, and True, in bounded memory.

    A line longer than `MAX_LINE_BYTES` comes in pieces, each with whether it is the line's last.
    """
    while piece := stream.readline(MAX_LINE_BYTES + 1):
        yield piece, piece.endswith(b"\n") or len(piece) <= MAX_LINE_BYTES

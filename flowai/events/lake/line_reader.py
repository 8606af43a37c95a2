"""Tells of a line of the log what is wrong with it, and makes the row of those that are an event of this version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC
from typing import IO, TYPE_CHECKING, Literal

import msgspec

from flowai.events.lake.columns import OTHER_FIELDS, columns, fields_by_kind
from flowai.events.records import SCHEMA_VERSION, CallEvent, Event
from flowai.timestamps import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterator

LineProblem = Literal["torn", "unreadable", "unknown_version", "broken", "too_long"]
"""`torn`: the last line, without its end. `unreadable`: no JSON, or no UTF-8. `unknown_version`: of a newer flowai.
`broken`: not as the schema says. `too_long`: longer than any event should be."""

MAX_LINE_BYTES = 12 << 20
"""A longer line is no row: Parquet readers hold rows by the thousand."""

_DIGEST_BITS = 128
_MAX_INT = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class LakeRow:
    """An event as it goes into the lake."""

    event: Event
    """The event; its time in UTC."""
    line: bytes
    """Its JSON, with what this version does not know under `other_fields`."""
    digest: int
    """Of the event, 128 bits; see `digest_of`."""


class _Version(msgspec.Struct, frozen=True):
    schema_version: int = SCHEMA_VERSION


class LineReader:
    """Reads lines; keeps what reading many of them needs."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(Event).decode
        self._fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._version = msgspec.json.Decoder(_Version).decode
        self._encode = msgspec.json.Encoder().encode
        self._known = fields_by_kind()
        self._nested = frozenset(name for name, kind in columns().items() if kind == "JSON")

    def read(self, line: bytes) -> LakeRow | LineProblem:
        """Read a line.

        Args:
            line: not blank; without its end where it is torn.
        """
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
        """Give the event of a row of the lake.

        Raises:
            msgspec.DecodeError: it holds none.
        """
        event: Event = self._decode(line)
        return event

    def digest_of(self, event: Event, others: str | bytes | None) -> int:
        """Give the digest of an event: BLAKE2b, 128 bits, over its JSON and what this version does not know of it."""
        digest = hashlib.blake2b(self._encode(event), digest_size=_DIGEST_BITS // 8)
        if others is not None:
            digest.update(msgspec.json.encode(msgspec.json.decode(others), order="sorted"))
        return int.from_bytes(digest.digest(), "big")

    def _mismatch(self, text: bytes) -> LineProblem:
        try:
            return "broken" if self._version(text).schema_version == SCHEMA_VERSION else "unknown_version"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "broken"

    def _row(self, event: Event, text: bytes) -> LakeRow:
        if event.at.utcoffset():
            event = msgspec.structs.replace(event, at=event.at.astimezone(UTC))
        if event.at < EPOCH:
            raise OverflowError("before 1970")
        if isinstance(event, CallEvent) and max(event.input_tokens or 0, event.output_tokens or 0) > _MAX_INT:
            raise OverflowError("more tokens than a column holds")
        whole = self._encode(event)
        if whole == text:  # nearly always: it was written so, and holds nothing that we do not know
            return LakeRow(event=event, line=whole, digest=self.digest_of(event, None))
        return self._foreign_row(event, whole, text)

    def _foreign_row(self, event: Event, whole: bytes, text: bytes) -> LakeRow:
        """Make the row of a line that another writer wrote: nothing of it is lost."""
        found, row = self._fields(text), self._fields(whole)
        known = self._known[str(event.__struct_config__.tag)]
        row.update({name: found[name] for name in row.keys() & found.keys() & self._nested})
        # decoded, because raw pieces were not checked yet
        others = {name: msgspec.json.decode(value) for name, value in found.items() if name not in known}
        kept = msgspec.json.encode(others, order="sorted") if others else None
        if kept is not None:
            row[OTHER_FIELDS] = msgspec.Raw(kept)
        return LakeRow(event=event, line=self._encode(row), digest=self.digest_of(event, kept))


def add_digests(one: int, other: int) -> int:
    """Add two digests: the sum does not depend on the order of events."""
    return (one + other) % (1 << _DIGEST_BITS)


def digest_text(digest: int) -> str:
    """Spell a digest: 32 hex digits."""
    return f"{digest:032x}"


def pieces(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Give the lines of a file, in bounded memory.

    Yields:
        (a line with its end, True), or a piece of a line that is longer than `MAX_LINE_BYTES`, and whether it is the
        line's last one.
    """
    while piece := stream.readline(MAX_LINE_BYTES + 1):
        yield piece, piece.endswith(b"\n") or len(piece) <= MAX_LINE_BYTES

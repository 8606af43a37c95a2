"""Searches a stream of text for secrets, part by part: a log of any size needs the memory of one part."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, NamedTuple

from flowai.redaction import Redactor
from flowai.redaction.patterns import SECRET_PATTERNS
from flowai.secrets.plausibility import ALLOW_MARK, is_plausible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

PART_BYTES = 1024 * 1024
OVERLAP_CHARS = 16 * 1024
"""End of a part that is searched again with the next, so that no secret is cut."""
CONTEXT_CHARS = 512
"""Text before the overlap that patterns look back at."""
BINARY_SAMPLE_BYTES = 8192
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_IN_HASH = re.compile(r"(?:sha\d{1,3}[-:=]|\bh1:)[A-Za-z0-9+/=]{0,128}\Z")
"""Beginning of a hash, as in lock files; any shape may occur in it by chance."""
_PREFIXES = [(shape.name, hint) for shape in SECRET_PATTERNS if not shape.folded for hint in shape.hints]
"""Literals that keys begin with, by shape: the part of a key that is public."""


class FoundSecret(NamedTuple):
    """Position and mask of a secret; the secret itself is kept nowhere."""

    line: int
    """From 1."""
    column: int
    """In characters, from 1."""
    shape: str
    masked: str


class BinaryStreamError(Exception):
    """The stream is no text."""


class SecretSearch:
    """Search for all shapes of secrets; build it once, use it for many streams."""

    def __init__(self) -> None:
        self._redactor = Redactor()

    def stream(self, stream: IO[bytes]) -> Iterator[FoundSecret]:
        """Yield the secrets of a stream, in order.

        Raises:
            BinaryStreamError: it is no text.
            OSError: it cannot be read.
        """
        text, searched, reached = "", 0, 0  # `searched` and `reached`: up to where secrets were reported, and their end
        position = _Position()
        for part in _decoded(stream):
            text += part
            end = len(text) - OVERLAP_CHARS
            if end <= searched:
                continue
            for found, found_end in self._part(text, searched, end, reached):
                reached = found_end
                yield position.locate(text, found)
            dropped = max(end - CONTEXT_CHARS, 0)
            position.skip(text, dropped)
            text, searched, reached = text[dropped:], end - dropped, max(reached - dropped, 0)
        for found, _ in self._part(text, searched, len(text), reached):
            yield position.locate(text, found)

    def _part(self, text: str, begin: int, end: int, reached: int) -> Iterator[tuple[_Found, int]]:
        """Yield the secrets that begin between two offsets, and where each ends; of two at one place, the first."""
        for start, stop, shape in sorted(self._redactor.spans(text), key=lambda span: span[0]):
            if not begin <= start < end or start < reached:
                continue
            secret = text[start : min(stop, start + OVERLAP_CHARS)]
            if is_plausible(shape, secret) and _IN_HASH.search(text, max(start - CONTEXT_CHARS, 0), start) is None:
                reached = start + len(secret)
                if ALLOW_MARK not in _line_at(text, start):
                    yield _Found(start, shape, mask(shape, secret)), reached


class _Found(NamedTuple):
    start: int
    shape: str
    masked: str


class _Position:
    """Line and column of a text whose beginning was cut off."""

    def __init__(self) -> None:
        self._first = (1, 1)  # line and column of the first character
        self._at, self._line, self._line_start = 0, 1, 0  # of the last secret; the start is negative on the first line

    def locate(self, text: str, found: _Found) -> FoundSecret:
        """Return a found secret with its line and column; secrets of one text are located in order."""
        newline = text.rfind("\n", self._at, found.start)
        if newline >= 0:
            self._line += text.count("\n", self._at, newline + 1)
            self._line_start = newline + 1
        self._at = found.start
        return FoundSecret(self._line, found.start - self._line_start + 1, found.shape, found.masked)

    def skip(self, text: str, length: int) -> None:
        """Continue with `text[length:]`."""
        line, column = self._first
        newline = text.rfind("\n", 0, length)
        column = length - newline if newline >= 0 else column + length
        self._first = (line + text.count("\n", 0, length), column)
        self._at, self._line, self._line_start = 0, self._first[0], 1 - column


def _line_at(text: str, offset: int) -> str:
    end = text.find("\n", offset)
    return text[text.rfind("\n", 0, offset) + 1 : end if end >= 0 else len(text)]


def _decoded(stream: IO[bytes]) -> Iterator[str]:
    """Yield a stream's text in parts."""
    part = stream.read(PART_BYTES)
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if part.startswith(mark)), None)
    if encoding is None and b"\x00" in part[:BINARY_SAMPLE_BYTES]:
        raise BinaryStreamError
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")(errors="replace")
    while part:
        yield decoder.decode(part)
        part = stream.read(PART_BYTES)
    yield decoder.decode(b"", final=True)


def mask(shape: str, secret: str) -> str:
    """Return a secret's public prefix and its length; no character of a secret without such a prefix."""
    prefixes = (prefix for name, prefix in _PREFIXES if name == shape and secret.startswith(prefix))
    return f"{max(prefixes, key=len, default='')}... ({len(secret):,} characters)"

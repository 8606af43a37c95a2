r"""Converts a text to plain characters, as a reader sees it, and maps positions back to the original.

Converted are: invisible characters (soft hyphen, zero-width joiners, direction marks), full-width and other forms of
ASCII, digits of any script, unusual spaces and dashes, letters with separate accents, and escapes of JSON, URLs and
HTML (`\u0034`, `%40`, `&#64;`).
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from typing import NamedTuple

_INVISIBLE = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
_INVISIBLE += "\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e01ef"
_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_DASHES = "\u2010-\u2015\u2043\u2212\ufe58\ufe63\uff0d"
_DOTS = "\u2024\u3002\uff0e\uff61"
# superscripts, circled and parenthesised forms, small forms, full width, mathematical letters and digits
_FORMS = "\u00b2\u00b3\u00b9\u2070-\u2079\u2080-\u2089\u2460-\u249b\u24b6-\u24ea\ufe50-\ufe57\ufe59-\ufe62\ufe64-\ufe6b"
_FORMS += "\uff01-\uff0c\uff0f-\uff5e\U0001d400-\U0001d7ff\U0001f100-\U0001f10a"
_ESCAPES = (
    r"\\+u[0-9a-fA-F]{4}|\\+[nrt\"/]|%[2-7][0-9A-Fa-f]|&(?:#[0-9]{2,6}|#x[0-9a-fA-F]{2,5}|commat|nbsp|period|shy);"
)
_ODD = re.compile(
    rf"(?P<invisible>[{_INVISIBLE}]+)|(?P<space>[{_SPACES}])|(?P<dash>[{_DASHES}])|(?P<dot>[{_DOTS}])"
    rf"|(?P<form>[{_FORMS}])|(?P<digit>[^\D0-9])|(?P<accent>[A-Za-z][\u0300-\u036f]{{1,4}})"
    rf"|(?P<escape>{_ESCAPES})"
)
_MAY_BE_ODD = re.compile(
    rf"[{_INVISIBLE}{_SPACES}{_DASHES}{_DOTS}{_FORMS}\u0300-\u036f\\%&]|[^\D0-9]"  # one class: ten times faster
)
_ODD_ASCII = re.compile(_ESCAPES)  # most texts are ASCII; only escapes can be unusual there
_MAY_ESCAPE = re.compile(r"[\\%&]")
_CONTROL = {"n": "\n", "r": "\n", "t": "\t", '"': '"', "/": "/"}


class _Segment(NamedTuple):
    """A part of the plain text: copied from the original, or a replacement."""

    start: int
    source: int
    source_end: int
    copied: bool
    """Whether it was copied, so that positions in it correspond one to one."""


class NormalisedText:
    """A plain text with its segments, which map it to the original; no segments if it is the original."""

    __slots__ = ("_segments", "_starts", "text")

    def __init__(self, text: str, segments: list[_Segment]) -> None:
        self.text = text
        self._segments = segments
        self._starts = [segment.start for segment in segments]

    def source(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original for a span of the plain text."""
        if not self._segments:
            return start, end
        first, last = self._segment(start), self._segment(end - 1)
        return (
            first.source + (start - first.start) if first.copied else first.source,
            last.source + (end - last.start) if last.copied else last.source_end,
        )

    def _segment(self, position: int) -> _Segment:
        return self._segments[bisect_right(self._starts, position) - 1]


def normalise(text: str) -> NormalisedText:
    """Convert a text to plain characters in linear time; a text that is plain already is not copied."""
    is_ascii = text.isascii()
    if not (_MAY_ESCAPE if is_ascii else _MAY_BE_ODD).search(text):
        return NormalisedText(text, [])
    odd = _ODD_ASCII if is_ascii else _ODD
    if not odd.search(text):
        return NormalisedText(text, [])
    plain: list[str] = []
    segments: list[_Segment] = []
    done = length = 0
    for match in odd.finditer(text):
        start, end = match.span()
        if start > done:
            segments.append(_Segment(length, done, start, copied=True))
            plain.append(text[done:start])
            length += start - done
        plain_chars = _canonical_char(match)
        if plain_chars:
            segments.append(_Segment(length, start, end, copied=False))
            plain.append(plain_chars)
            length += len(plain_chars)
        done = end
    if done < len(text):
        segments.append(_Segment(length, done, len(text), copied=True))
        plain.append(text[done:])
    return NormalisedText("".join(plain), segments)


def _canonical_char(match: re.Match[str]) -> str:
    """Return the plain characters of an unusual match: one, a few or none."""
    kind, matched = match.lastgroup, match.group()
    if kind is None or kind == "escape":
        return _unescape(matched)
    if kind == "digit":
        return str(unicodedata.digit(matched))
    if kind in {"form", "accent"}:
        return unicodedata.normalize("NFKC", matched)
    return {"invisible": "", "space": " ", "dash": "-", "dot": "."}[kind]


def _unescape(matched: str) -> str:
    if matched.startswith("%"):
        return chr(int(matched[1:], 16))
    if matched.startswith("&"):
        return html.unescape(matched).replace("\u00ad", "").replace("\u00a0", " ")
    letter = matched.lstrip("\\")
    if not letter.startswith("u"):
        return _CONTROL[letter]
    character = chr(int(letter[1:], 16))
    inner = _ODD.fullmatch(character)
    return character if inner is None else _canonical_char(inner)

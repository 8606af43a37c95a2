"""Reads the lines of any training file, in bounded memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.errors import DatasetError, Place
from flowai.finetune.check.records import ProblemMatch
from flowai.storage.strict_json import NotStrictError, parse_json, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE_BYTES = 64 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
# strings are skipped as a whole; of the rest, only what opens, closes or separates counts
_ARRAY_TOKEN = re.compile(rb'"(?:\\.|[^"\\])*+"|[\[\]{},]', re.DOTALL)
_MAGIC = {
    b"\x1f\x8b": "gzip; unpack it first",
    b"PAR1": "Parquet",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"(\xb5/\xfd": "Zstandard; unpack it first",
    b"BZh": "bzip2; unpack it first",
    b"\xfd7zXZ": "xz; unpack it first",
    b"ARROW1": "Arrow",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a training file."""

    number: int
    """From 1."""
    value: Any = None
    """Parsed JSON; None for an unreadable line."""
    problems: tuple[ProblemMatch, ...] = ()
    """Problems of the line; with warnings alone, `value` is set."""
    is_row: bool = True
    """Whether the line is not blank."""


def check_head(path: Path, name: str) -> tuple[int, ProblemMatch | None]:
    """Return a file's size in bytes, and the problem, if any, that prevents reading it line by line."""
    if not path.exists():
        raise DatasetError("no such file", place=Place(file=name))
    if not path.is_file():  # a pipe cannot be read twice, and may never end
        problem = "is a directory" if path.is_dir() else "is not an ordinary file"
        raise DatasetError(f"{problem}; expected a JSONL file", place=Place(file=name))
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
        size = path.stat().st_size
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}", place=Place(file=name)) from None
    return size, _head_problem(head)


def _head_problem(head: bytes) -> ProblemMatch | None:
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return ProblemMatch("file/binary", problem=kind)
    if head.startswith(_WIDE_MARKS):
        return ProblemMatch("file/encoding", problem="a UTF-16 or UTF-32 byte-order mark")
    if head.count(0) > len(head) // 8:
        return ProblemMatch(
            "file/encoding", problem="a zero byte after nearly every character: UTF-16 without byte-order mark"
        )
    if b"\0" in head:
        return ProblemMatch("file/binary", problem="zero bytes")
    if head.removeprefix(_BOM).lstrip()[:1] == b"[":
        return ProblemMatch("file/array", problem="begins with `[`")
    return None if head.removeprefix(_BOM).strip() else ProblemMatch("file/empty")


def iter_lines(path: Path, name: str) -> Iterator[Line]:
    """Yield a file's lines in bounded memory; raises DatasetError if the disk fails."""
    try:
        with path.open("rb") as stream:
            number = 0
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
                    while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                        pass
                    yield Line(number, problems=(ProblemMatch("line/too_long"),))
                else:
                    yield read_line(raw, number)
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}", place=Place(file=name)) from None


def iter_array(path: Path, name: str) -> Iterator[Line]:
    """Yield the elements of a file that is one JSON array, each with the line where it begins.

    The whole file is read: consumers that take arrays do so too. Raises DatasetError if the disk fails.
    """
    try:
        data = path.read_bytes().removeprefix(_BOM)
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}", place=Place(file=name)) from None
    depth = count = 0
    start = end = data.index(b"[") + 1
    for token in _ARRAY_TOKEN.finditer(data):
        sign = token.group()
        depth += (sign in b"[{") - (sign in b"]}") if len(sign) == 1 else 0
        if depth == 0 or (depth == 1 and sign == b","):
            element, end = data[start : token.start()], token.end()
            if element.strip() or sign == b"," or count:
                yield _element(element, data.count(b"\n", 0, start + len(element) - len(element.lstrip())) + 1)
            count, start = count + 1, end
        if depth == 0:
            break
    number = data.count(b"\n", 0, end) + 1
    if depth:
        yield Line(number, problems=(ProblemMatch("json/syntax", problem="the array is never closed"),))
    elif data[end:].strip():
        yield Line(number, problems=(ProblemMatch("json/trailing"),))


def _element(raw: bytes, number: int) -> Line:
    parsed = _parse(raw.strip())
    return Line(number, problems=(parsed,)) if isinstance(parsed, ProblemMatch) else Line(number, value=parsed)


def read_line(raw: bytes, number: int) -> Line:
    """Parse a line; errors are in its problems."""
    marks: list[ProblemMatch] = []
    if number == 1 and raw.startswith(_BOM):
        raw = raw[len(_BOM) :]
        marks.append(ProblemMatch("line/bom"))
    if raw.endswith(b"\r\n"):
        marks.append(ProblemMatch("line/crlf"))
    if not raw.strip():
        return Line(number, problems=(*marks, ProblemMatch("line/blank")), is_row=False)
    parsed = _parse(raw)
    if isinstance(parsed, ProblemMatch):
        return Line(number, problems=(*marks, parsed))
    return Line(number, value=parsed, problems=tuple(marks))


def _parse(raw: bytes) -> Any | ProblemMatch:  # noqa: ANN401 - JSON is anything
    try:
        return parse_json(raw.rstrip(b"\r\n").decode())
    except UnicodeDecodeError as error:
        return ProblemMatch("line/not_utf8", problem=f"byte 0x{raw[error.start]:02x} at {error.start + 1}")
    except NotStrictError as error:
        return ProblemMatch(error.rule, problem=error.what)


def iter_texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - JSON is anything
    """Yield every string of a value with its path, keys of objects included; at any depth."""
    stack = [(key, value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, str):
            yield path, item
        elif isinstance(item, list):
            stack += [(f"{path}[{index}]", inner) for index, inner in reversed(list(enumerate(item)))]
        elif isinstance(item, dict):
            yield from ((path, name) for name in item)
            stack += [
                (f"{path}.{printable(name)}" if path else printable(name), inner)
                for name, inner in reversed(item.items())
            ]

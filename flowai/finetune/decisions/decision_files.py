"""Reads and writes decisions as CSV for spreadsheets and JSONL for programs, without loss.

Spreadsheets treat a cell that begins with `=`, `+`, `-` or `@` as a formula. Such a cell gets a leading `'`, which
marks text in spreadsheets; it is removed on import.

Source: OWASP, CSV Injection; RFC 4180.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import Place, ProjectError, UsageError
from flowai.finetune.decisions.decisions import ReviewDecision
from flowai.storage.jsonl import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ENDINGS = (".csv", ".jsonl")
COLUMNS = ("at", "reviewer", "pair", "action", "text", "note")
_HINT = f"columns: {', '.join(COLUMNS)}; separated by commas, in UTF-8, as `--export` writes them"
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_ESCAPED = re.compile("'+[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_MAX_CELL = 1 << 27
"""Characters; the standard library's default is 131,072."""


def check_ending(path: Path, option: str) -> str:
    """Return the file extension of a path; raises UsageError for an unsupported one."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"{option}: found ending `{path.suffix}`, expected `.csv` or `.jsonl`")
    return ending


def encode_decisions(decisions: Iterable[ReviewDecision], ending: str) -> bytes:
    """Encode decisions as CSV or JSONL."""
    if ending == ".jsonl":
        return b"".join(msgspec.json.encode(decision) + b"\n" for decision in decisions)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for decision in decisions:
        row = msgspec.to_builtins(decision)
        writer.writerow([_escape(row[name] or "") for name in COLUMNS])
    # without the byte-order mark, spreadsheets assume an older encoding
    return stream.getvalue().encode("utf-8-sig")


def read_decisions(path: Path, *, name: str, ending: str) -> tuple[ReviewDecision, ...]:
    """Read a file of decisions; raises ProjectError if any line is not a decision."""
    if not path.is_file():
        raise ProjectError("no such file", place=Place(file=name))
    if ending == ".csv":
        return _from_csv(path, name)
    lines = read_lines(path, ReviewDecision, name=name)
    if lines.damaged:
        raise ProjectError("not valid JSON", place=Place(file=name, line=lines.damaged[0]))
    return lines.records


def _from_csv(path: Path, name: str) -> tuple[ReviewDecision, ...]:
    before = csv.field_size_limit(_MAX_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise ProjectError(f"no column `{missing[0]}`", place=Place(file=name, line=1), hint=_HINT)
            return tuple(_decision(row, Place(file=name, line=reader.line_num)) for row in reader)
    except (csv.Error, UnicodeDecodeError) as error:
        problem = str(error) if isinstance(error, csv.Error) else "not UTF-8"
        raise ProjectError(f"not valid CSV: {problem}", place=Place(file=name), hint=_HINT) from None
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", place=Place(file=name)) from error
    finally:
        csv.field_size_limit(before)


def _decision(row: dict[str, str | None], place: Place) -> ReviewDecision:
    cells: dict[str, object] = {name: _unescape(row[name] or "") for name in COLUMNS}
    if cells["action"] != "edit" and not cells["text"]:
        del cells["text"]
    try:
        return msgspec.convert(cells, ReviewDecision)
    except msgspec.ValidationError as error:
        problem = str(error)
        raise ProjectError(problem[:1].lower() + problem[1:], place=place, hint=_HINT) from None


def _escape(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _unescape(cell: str) -> str:
    return cell[1:] if _ESCAPED.match(cell) else cell

"""Decisions as files that people pass on: CSV for spreadsheets, JSONL for programs; both come back as they were.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and an edited answer may begin with
anything. Such a cell gets a `'` before it, which spreadsheets take as "a text follows"; it is taken off again.

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
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_ESCAPED = re.compile("'+[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_MAX_CELL = 1 << 27
"""Characters; the standard library stops at 131,072 unless told."""


def check_ending(path: Path, option: str) -> str:
    """Give a file's ending.

    Raises:
        UsageError: it is none that we write.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"{option}: found ending `{path.suffix}`, expected `.csv` or `.jsonl`")
    return ending


def written(decisions: Iterable[ReviewDecision], ending: str) -> bytes:
    """Give decisions as the file of an ending."""
    if ending == ".jsonl":
        return b"".join(msgspec.json.encode(one) + b"\n" for one in decisions)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for one in decisions:
        row = msgspec.to_builtins(one)
        writer.writerow([_escaped(row[name] or "") for name in COLUMNS])
    # spreadsheets take a file without the mark for one of an older encoding
    return stream.getvalue().encode("utf-8-sig")


def read_decisions(path: Path, *, name: str, ending: str) -> tuple[ReviewDecision, ...]:
    """Read a file that somebody passed on.

    Raises:
        ProjectError: it is not there, or a line is no decision; the line is named, and nothing of it is given.
    """
    if not path.is_file():
        raise ProjectError("no such file", place=Place(file=name))
    if ending == ".csv":
        return _from_csv(path, name)
    found = read_lines(path, ReviewDecision, name=name)
    if found.damaged:
        raise ProjectError("not valid JSON", place=Place(file=name, line=found.damaged[0]))
    return found.records


def _from_csv(path: Path, name: str) -> tuple[ReviewDecision, ...]:
    before = csv.field_size_limit(_MAX_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise ProjectError(f"no column `{missing[0]}`", place=Place(file=name, line=1), hint=_hint())
            return tuple(_decision(row, Place(file=name, line=reader.line_num)) for row in reader)
    except (csv.Error, UnicodeDecodeError) as error:
        problem = str(error) if isinstance(error, csv.Error) else "not UTF-8"
        raise ProjectError(f"not valid CSV: {problem}", place=Place(file=name), hint=_hint()) from None
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", place=Place(file=name)) from error
    finally:
        csv.field_size_limit(before)


def _decision(row: dict[str, str | None], place: Place) -> ReviewDecision:
    cells: dict[str, object] = {name: _plain(row[name] or "") for name in COLUMNS}
    if cells["action"] != "edit" and not cells["text"]:
        del cells["text"]
    try:
        return msgspec.convert(cells, ReviewDecision)
    except msgspec.ValidationError as error:
        what = str(error)
        raise ProjectError(what[:1].lower() + what[1:], place=place, hint=_hint()) from None


def _hint() -> str:
    return f"columns: {', '.join(COLUMNS)}; parted by commas, in UTF-8, as `--export` writes them"


def _escaped(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _plain(cell: str) -> str:
    return cell[1:] if _ESCAPED.match(cell) else cell

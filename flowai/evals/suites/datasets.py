"""Reads tables of cases: JSONL, CSV, JSON and YAML, each row with its line."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from flowai.errors import DatasetError, Place
from flowai.evals.suites.cases import TEST_KEYS
from flowai.evals.suites.table_columns import read_columns, test_of
from flowai.evals.suites.yaml_reader import SuiteFile, YamlNode, shown
from flowai.storage.files import check_encodable, read_text, read_yaml
from flowai.storage.jsonl import iterate_jsonl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.evals.suites.table_columns import Columns
    from flowai.project import Project

ENDINGS = (".jsonl", ".csv", ".json", ".yaml", ".yml")
_OTHER_ENDINGS = {
    ".parquet": "Parquet comes with the `events` extra later; until then export it as JSONL",
    ".xlsx": "export the sheet as CSV in UTF-8",
    ".xls": "export the sheet as CSV in UTF-8",
    ".tsv": "export it as CSV with commas",
    ".py": "flowai runs no code from suites; write its rows to a JSONL file",
    ".js": "flowai runs no code from suites; write its rows to a JSONL file",
    ".ts": "flowai runs no code from suites; write its rows to a JSONL file",
}

DatasetRow = tuple[dict[str, Any], YamlNode]


def read_tests(path: Path, project: Project) -> list[DatasetRow]:
    """Read a table of cases.

    Args:
        path: the file, by its ending `.jsonl`, `.csv`, `.json` (a list) or `.yaml` (a list).
        project: where it lies; a path outside was refused before.

    Returns:
        (test, spot) in the file's order; at least one. A row without `vars` and `assert` is a row of variables.

    Raises:
        DatasetError: missing, empty, unreadable, not UTF-8, or a wrong row, with its line.
    """
    name = project.show(path)
    reader = {".jsonl": _read_jsonl, ".csv": _read_csv, ".json": _read_json}.get(path.suffix.lower(), _read_yaml)
    if path.suffix.lower() not in ENDINGS:
        raise DatasetError(
            f"tables that end in `{path.suffix}` cannot be read",
            place=Place(file=name),
            hint=_OTHER_ENDINGS.get(path.suffix.lower(), f"these can: {', '.join(ENDINGS)}"),
        )
    if not path.is_file():
        found = "is a directory" if path.is_dir() else "no such file"
        raise DatasetError(found, place=Place(file=name), hint="the path is relative to the suite that names it")
    is_table = reader is not _read_yaml
    try:
        rows = list(reader(SuiteFile(project=project, path=path, name=name, kind=DatasetError, is_table=is_table)))
    except (RecursionError, ValueError) as error:  # beyond what Python's JSON reader takes
        found = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DatasetError(found, place=Place(file=name)) from None
    if not rows:
        raise DatasetError(
            "no rows", place=Place(file=name), hint="a table needs at least one case; is it the right file?"
        )
    return rows


def _read_jsonl(origin: SuiteFile) -> Iterator[DatasetRow]:
    columns: dict[tuple[str, ...], Columns] = {}
    for line, value in iterate_jsonl(origin.path, name=origin.name, kind=origin.kind):
        spot = YamlNode(origin=origin, line=line)
        yield _test(value, spot, columns), spot


def _read_json(origin: SuiteFile) -> Iterator[DatasetRow]:
    """Read a JSON list element by element, so that each has its line."""
    text = read_text(origin.path, name=origin.name, kind=origin.kind)
    decoder, columns = json.JSONDecoder(), dict[tuple[str, ...], "Columns"]()
    position, line = _past_space(text, 0), 1
    line += text.count("\n", 0, position)
    if text[position : position + 1] != "[":
        found = "nothing" if position == len(text) else f"`{text[position : position + 20].splitlines()[0]}`"
        raise YamlNode(origin=origin, line=line).error(f"found {found}; expected a list of cases")
    separator = "["
    while True:
        start = _past_space(text, position + 1)
        line += text.count("\n", position, start)
        if separator == "[" and text[start : start + 1] == "]":
            return
        spot = YamlNode(origin=origin, line=line)
        try:
            value, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            spot = YamlNode(origin=origin, line=error.lineno)
            raise spot.error(f"not valid JSON: {error.msg} at column {error.colno}") from None
        check_encodable(value, place=Place(file=origin.name, line=line), kind=origin.kind)
        yield _test(value, spot, columns), spot
        position = _past_space(text, end)
        line += text.count("\n", start, position)
        separator = text[position : position + 1]
        if separator == "]":
            break
        if separator != ",":
            raise YamlNode(origin=origin, line=line).error("not valid JSON: expected `,` or `]` after a case")
    if text[position + 1 :].strip():
        raise YamlNode(origin=origin, line=line).error("not valid JSON: something follows the list")


def _past_space(text: str, position: int) -> int:
    while text[position : position + 1] in {" ", "\t", "\r", "\n"}:
        position += 1
    return position


def _read_yaml(origin: SuiteFile) -> Iterator[DatasetRow]:
    document = read_yaml(origin.path, name=origin.name, kind=origin.kind)
    origin = SuiteFile(project=origin.project, path=origin.path, name=origin.name, kind=origin.kind, document=document)
    if document.value is None:
        return
    if not isinstance(document.value, list):
        raise YamlNode(origin=origin, line=1).error(f"found {shown(document.value)}; expected a list of cases")
    for index, value in enumerate(document.value):
        spot = YamlNode(origin=origin, line=1).at(index)
        yield _test(value, spot, {}), spot


def _read_csv(origin: SuiteFile) -> Iterator[DatasetRow]:
    """Read CSV as RFC 4180 has it, but strictly: a stray quote is an error rather than a guess."""
    text = read_text(origin.path, name=origin.name, kind=origin.kind)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    columns: Columns | None = None
    while True:
        spot = YamlNode(origin=origin, line=reader.line_num + 1)
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _csv_error(str(error), spot) from None
        if cells is None:
            return
        if not cells:
            continue
        if header is None or columns is None:
            header = _header(cells, spot)
            columns = read_columns(header, spot)
            continue
        if len(cells) != len(header):
            raise spot.error(
                f"found {len(cells)} columns; expected {len(header)}, as in the header",
                hint='a cell with a comma or a quote stands in double quotes, a quote in it is doubled: "a ""b"""',
            )
        yield test_of(dict(zip(header, cells, strict=True)), columns, spot), spot


def _csv_error(problem: str, spot: YamlNode) -> Exception:
    if "unexpected end" in problem:
        return spot.error("a double quote in this row is never closed", hint='a quote inside a cell is doubled: ""')
    if "field larger" in problem:
        return spot.error(
            f"a cell is longer than {csv.field_size_limit():,} characters",
            hint="a quote may never be closed; if it is meant, use JSONL",
        )
    return spot.error(f"not valid CSV: {problem}", hint='a quote inside a cell is doubled: ""')


def _header(cells: list[str], spot: YamlNode) -> list[str]:
    names = [cell.strip() for cell in cells]
    for number, name in enumerate(names, start=1):
        if not name:
            raise spot.error(f"column {number} has no name", hint="the first row names the columns")
        if names.index(name) != number - 1:
            raise spot.error(f"two columns are called `{name}`")
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise spot.error("the columns are not parted by commas", hint="export the table as CSV with commas")
    return names


def _test(value: object, spot: YamlNode, columns: dict[tuple[str, ...], Columns]) -> dict[str, Any]:
    """Take a row for the test it is, or turn a flat row of variables into one."""
    if not isinstance(value, dict):
        raise spot.error(f"a row is {shown(value)}; expected an object")
    if "vars" in value or "assert" in value or value.keys() <= TEST_KEYS:
        return value
    shape = tuple(value)
    if not all(isinstance(name, str) for name in shape):
        raise spot.error("a key is no text", hint="put it in quotes")
    if shape not in columns:
        columns[shape] = read_columns(shape, spot)
    return test_of(value, columns[shape], spot)

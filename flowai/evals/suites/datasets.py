"""Tables of cases: JSONL, CSV, JSON and YAML, each row with its line number."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from flowai.errors import DatasetError, Place
from flowai.evals.suites.cases import TEST_KEYS
from flowai.evals.suites.table_columns import build_test, read_columns
from flowai.evals.suites.yaml_reader import LoadContext, SuiteFile, YamlNode, describe, expect_json_value
from flowai.storage.files import check_encodable, read_text, read_yaml
from flowai.storage.jsonl import iterate_jsonl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.evals.suites.table_columns import Columns
    from flowai.project import Project

SUFFIXES = (".jsonl", ".csv", ".json", ".yaml", ".yml")
_UNSUPPORTED_SUFFIXES = {
    ".parquet": "export it as JSONL",
    **dict.fromkeys((".xlsx", ".xls"), "export the sheet as CSV in UTF-8"),
    ".tsv": "export it as CSV with commas",
}

DatasetRow = tuple[dict[str, Any], YamlNode]


def read_tests(path: Path, project: Project) -> list[DatasetRow]:
    """Return the rows of a table of cases; as `iterate_tests`."""
    return list(iterate_tests(path, project))


def iterate_tests(path: Path, project: Project, context: LoadContext | None = None) -> Iterator[DatasetRow]:
    """Yield the rows of a table of cases; its suffix is the format: `.jsonl`, `.csv`, `.json` or `.yaml` (a list).

    There is at least one row, in the file's order; a row without `vars` and `assert` is a row of variables.
    """
    name = project.show(path)
    reader = {".jsonl": _read_jsonl, ".csv": _read_csv, ".json": _read_json}.get(path.suffix.lower(), _read_yaml)
    if path.suffix.lower() not in SUFFIXES:
        raise DatasetError(
            f"tables with the suffix `{path.suffix}` are not supported",
            place=Place(file=name),
            hint=_UNSUPPORTED_SUFFIXES.get(path.suffix.lower(), f"supported: {', '.join(SUFFIXES)}"),
        )
    if not path.is_file():
        found = "is a directory" if path.is_dir() else "no such file"
        raise DatasetError(found, place=Place(file=name), hint="the path is relative to the suite that names it")
    file = SuiteFile(
        project=project,
        path=path,
        name=name,
        kind=DatasetError,
        is_table=reader is not _read_yaml,
        context=context or LoadContext(),
    )
    rows = reader(file)
    is_empty = True
    while (row := _next_row(rows, name)) is not None:
        is_empty = False
        yield row
    if is_empty:
        raise DatasetError("no rows", place=Place(file=name), hint="a table needs at least one case")


def _next_row(rows: Iterator[DatasetRow], name: str) -> DatasetRow | None:
    try:
        return next(rows, None)
    except (RecursionError, ValueError) as error:  # beyond the limits of Python's JSON parser
        found = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DatasetError(found, place=Place(file=name)) from None


def _read_jsonl(file: SuiteFile) -> Iterator[DatasetRow]:
    columns: dict[tuple[str, ...], Columns] = {}
    for line, value in iterate_jsonl(file.path, name=file.name, kind=file.kind):
        node = YamlNode(file=file, line=line)
        yield _test(value, node, columns), node


def _read_json(file: SuiteFile) -> Iterator[DatasetRow]:
    """Read a JSON list element by element, so that each has its line number."""
    text = read_text(file.path, name=file.name, kind=file.kind)
    decoder, columns = json.JSONDecoder(), dict[tuple[str, ...], "Columns"]()
    position, line = _skip_space(text, 0), 1
    line += text.count("\n", 0, position)
    if text[position : position + 1] != "[":
        found = "nothing" if position == len(text) else f"`{text[position : position + 20].splitlines()[0]}`"
        raise YamlNode(file=file, line=line).error(f"found {found}; expected a list of cases")
    separator = "["
    while True:
        start = _skip_space(text, position + 1)
        line += text.count("\n", position, start)
        if separator == "[" and text[start : start + 1] == "]":
            return
        node = YamlNode(file=file, line=line)
        try:
            value, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            node = YamlNode(file=file, line=error.lineno)
            raise node.error(f"not valid JSON: {error.msg} at column {error.colno}") from None
        check_encodable(value, place=Place(file=file.name, line=line), kind=file.kind)
        yield _test(value, node, columns), node
        position = _skip_space(text, end)
        line += text.count("\n", start, position)
        separator = text[position : position + 1]
        if separator == "]":
            break
        if separator != ",":
            raise YamlNode(file=file, line=line).error("not valid JSON: expected `,` or `]` after a case")
    if text[position + 1 :].strip():
        raise YamlNode(file=file, line=line).error("not valid JSON: text after the list")


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1] in {" ", "\t", "\r", "\n"}:
        position += 1
    return position


def _read_yaml(file: SuiteFile) -> Iterator[DatasetRow]:
    document = read_yaml(file.path, name=file.name, kind=file.kind, is_core=True)
    file = file.beside(file.path, document=document)
    if document.value is None:
        return
    whole = YamlNode(file=file, line=1)
    expect_json_value(document.value, whole)
    if isinstance(document.value, dict) and _is_test(document.value) and file.context.has_own_prompts:
        yield document.value, whole
        return
    if not isinstance(document.value, list):
        raise whole.error(f"found {describe(document.value)}; expected a list of cases")
    for index, value in enumerate(document.value):
        node = whole.at(index)
        yield _test(value, node, {}), node


def _read_csv(file: SuiteFile) -> Iterator[DatasetRow]:
    """Read CSV by RFC 4180, strictly: a stray quote is an error."""
    text = read_text(file.path, name=file.name, kind=file.kind)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    columns: Columns | None = None
    while True:
        node = YamlNode(file=file, line=reader.line_num + 1)
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _csv_error(str(error), node) from None
        if cells is None:
            return
        if not cells:
            continue
        if header is None or columns is None:
            header = _header(cells, node)
            columns = read_columns(header, node)
            continue
        if len(cells) != len(header):
            raise node.error(
                f"found {len(cells)} columns; expected {len(header)}, as in the header",
                hint='put a cell with a comma or a quote in double quotes and double its quotes: "a ""b"""',
            )
        yield build_test(dict(zip(header, cells, strict=True)), columns, node), node


def _csv_error(problem: str, node: YamlNode) -> Exception:
    if "unexpected end" in problem:
        return node.error("a double quote in this row is never closed", hint='double a quote inside a cell: ""')
    if "field larger" in problem:
        return node.error(
            f"a cell is longer than {csv.field_size_limit():,} characters",
            hint="check for a quote that is never closed; for longer cells use JSONL",
        )
    return node.error(f"not valid CSV: {problem}", hint='double a quote inside a cell: ""')


def _header(cells: list[str], node: YamlNode) -> list[str]:
    names = [cell.strip() for cell in cells]
    for number, name in enumerate(names, start=1):
        if not name:
            raise node.error(f"column {number} has no name", hint="the first row names the columns")
        if names.index(name) != number - 1:
            raise node.error(f"two columns have the name `{name}`")
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise node.error("the columns are not separated by commas", hint="export the table as CSV with commas")
    return names


def _is_test(value: dict[str, Any]) -> bool:
    return "vars" in value or "assert" in value or value.keys() <= TEST_KEYS


def _test(value: object, node: YamlNode, columns: dict[tuple[str, ...], Columns]) -> dict[str, Any]:
    """Return a row that is a test unchanged; convert a flat row of variables into a test."""
    if not isinstance(value, dict):
        raise node.error(f"a row is {describe(value)}; expected an object")
    if _is_test(value):
        return value
    names = tuple(value)
    if not all(isinstance(name, str) for name in names):
        raise node.error("a key is not a text", hint="put it in quotes")
    if names not in columns:
        columns[names] = read_columns(names, node)
    return build_test(value, columns[names], node)

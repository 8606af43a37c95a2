"""Reads the files of an export within limits; every problem is a DatasetError with file and line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.errors import DatasetError, Place
from flowai.storage.files import check_encodable, parse_yaml, read_text
from flowai.storage.strict_json import NotStrictError, parse_json

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 256 << 20
MAX_TEXT_BYTES = 4 << 20
"""Limit of one text of a dataset; a longer one is a document or a mistake, not a case."""
MAX_ROWS = 200_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFile:
    """A parsed file of an export."""

    path: Path
    name: str
    """For messages."""
    value: Any
    """The document; for JSON Lines the list of its rows."""
    is_jsonl: bool = False

    def error(self, what: str, key: str | None = None, *, hint: str | None = None) -> DatasetError:
        """Return an error about a part of this file."""
        line = None
        if self.is_jsonl and key and key.partition(".")[0].isdigit():
            line = int(key.partition(".")[0]) + 1
        return DatasetError(what, place=Place(file=self.name, line=line, key=key), hint=hint)


def read_export(path: Path) -> ExportFile:
    """Read a JSON, JSON Lines or YAML file, recognised by its content."""
    name = str(path)
    _check_size(path)
    text = read_text(path, name=name, kind=DatasetError)
    if not text.strip():
        raise DatasetError("the file is empty", place=Place(file=name))
    if text.lstrip()[:1] not in {"{", "["}:
        value = parse_yaml(text, name=name, kind=DatasetError).value
        check_value(value, name)
        return ExportFile(path=path, name=name, value=value)
    lines = text.strip().splitlines()
    first = lines[0].strip()
    if len(lines) == 1 or not _is_json(first):
        return ExportFile(path=path, name=name, value=_parsed(text, name, None))
    return ExportFile(path=path, name=name, value=_rows(text, name), is_jsonl=True)


def check_value(value: Any, name: str, line: int | None = None) -> None:  # noqa: ANN401 - any JSON value
    """Raise on a value that no dataset can hold: a text beyond the limit, NaN, a date, half a surrogate pair."""
    stack: list[tuple[Any, tuple[str, ...]]] = [(value, ())]
    while stack:
        item, keys = stack.pop()
        place = Place(file=name, line=line, key=".".join(keys) or None)
        if isinstance(item, dict):
            stack += [(part, (*keys, str(key))) for key, part in item.items()]
        elif isinstance(item, list):
            stack += [(part, (*keys, str(index))) for index, part in enumerate(item)]
        elif isinstance(item, str):
            if len(item) > MAX_TEXT_BYTES or len(item.encode(errors="replace")) > MAX_TEXT_BYTES:
                size = len(item.encode(errors="replace"))
                raise DatasetError(
                    f"found a text of {size:,} bytes, expected at most {MAX_TEXT_BYTES:,}",
                    place=place,
                    hint="remove the value, or shorten it",
                )
            check_encodable(item, place=place, kind=DatasetError)
        elif isinstance(item, float) and not math.isfinite(item):
            raise DatasetError(f"{item} is not a JSON number", place=place, hint="put it in quotes")
        elif item is not None and not isinstance(item, bool | int | float):
            raise DatasetError(f"found a {type(item).__name__}, expected text", place=place, hint="put it in quotes")


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        return  # reading it names the problem
    if size > MAX_FILE_BYTES:
        raise DatasetError(
            f"found a file of {size:,} bytes, expected at most {MAX_FILE_BYTES:,}",
            place=Place(file=str(path)),
            hint="export it in parts",
        )


def _is_json(line: str) -> bool:
    try:
        parse_json(line, dialect="lossless")
    except NotStrictError:
        return False
    return True


def _rows(text: str, name: str) -> list[Any]:
    rows: list[Any] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        if len(rows) == MAX_ROWS:
            raise DatasetError(f"found more than {MAX_ROWS:,} rows", place=Place(file=name), hint="import it in parts")
        rows.append(_parsed(line, name, number))
    return rows


def _parsed(text: str, name: str, line: int | None) -> Any:  # noqa: ANN401 - any JSON value
    try:
        value = parse_json(text)
    except NotStrictError as error:
        problem = str(error) or error.rule
        raise DatasetError(f"not valid JSON: {problem}", place=Place(file=name, line=line)) from None
    check_value(value, name, line)
    return value

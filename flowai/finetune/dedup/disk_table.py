"""Table on disk, written by row and read by column, so that memory only contains the requested columns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from flowai.storage.files import writing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ROWS_AT_ONCE_COUNT = 4096
_SPAN = [("name_start", "<i8"), ("name_size", "<u4")]


class DiskTable:
    """Rows of one type, each with a name of any length; for one thread.

    A second file beside `path` contains the names; `columns` are as for numpy's structured types.
    """

    def __init__(self, path: Path, columns: list[tuple[Any, ...]]) -> None:
        self._path = path
        self._type = np.dtype([*columns, *_SPAN])
        self._block = np.zeros(_ROWS_AT_ONCE_COUNT, dtype=self._type)
        self._filled_count = self._written_count = self._names_size = 0
        with writing(path):
            self._rows = path.open("wb")
            self._names = path.with_suffix(".names").open("w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self._names.close()

    def __len__(self) -> int:
        """Count the rows."""
        return self._written_count + self._filled_count

    def add(self, name: str, values: dict[str, Any]) -> None:
        """Append a row with one value per column."""
        if self._filled_count == len(self._block):
            self._flush()
        row = self._block[self._filled_count]
        for column, value in values.items():
            row[column] = value
        data = name.encode("utf-8", "surrogatepass")
        row["name_start"], row["name_size"] = self._names_size, len(data)
        with writing(self._path):
            self._names.write(data)
        self._names_size += len(data)
        self._filled_count += 1

    def column(self, name: str, part: int | None = None) -> NDArray[Any]:
        """Return one column of all rows; of a column of several numbers, one of them if `part` names it."""
        self._flush()
        kind, shape = self._type[name].base, self._type[name].shape if part is None else ()
        values = np.empty((self._written_count, *shape), dtype=kind)
        for start in range(0, self._written_count, _ROWS_AT_ONCE_COUNT):
            count = min(_ROWS_AT_ONCE_COUNT, self._written_count - start)
            offset = start * self._type.itemsize
            block = np.fromfile(self._path, self._type, count, offset=offset)[name]
            values[start : start + count] = block if part is None else block[:, part]
        return values

    def names(self) -> Names:
        """Return the names by row; no row may be added afterwards."""
        self._names.flush()
        return Names(self._names.fileno(), self.column("name_start"), self.column("name_size"))

    def _flush(self) -> None:
        if self._filled_count:
            with writing(self._path):
                self._rows.write(self._block[: self._filled_count].tobytes())
                self._rows.flush()
            self._written_count += self._filled_count
            self._filled_count = 0


class Names:
    """Names of a table's rows, read from disk one at a time."""

    def __init__(self, descriptor: int, starts: NDArray[np.int64], sizes: NDArray[np.uint32]) -> None:
        self._descriptor = descriptor
        self._starts = starts
        self._sizes = sizes

    def __getitem__(self, row: int) -> str:
        """Return the name of a row."""
        data = os.pread(self._descriptor, int(self._sizes[row]), int(self._starts[row]))
        return data.decode("utf-8", "surrogatepass")

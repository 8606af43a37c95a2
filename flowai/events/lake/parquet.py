"""The lake's door to DuckDB: lines into a Parquet file, and a Parquet file's rows as lines again, in bounded memory."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flowai.errors import InfrastructureError, Place
from flowai.events.lake.columns import OTHER_FIELDS, columns
from flowai.events.lake.line_reader import MAX_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duckdb import DuckDBPyConnection

MEMORY_LIMIT = "512MB"
"""What DuckDB may hold: its JSON reader takes up to 4 times the longest line, its Parquet writer a group of rows."""

GROUP_BYTES = 16 << 20
"""A group of rows holds about so much JSON: whoever reads a group, holds it."""
MAX_GROUP_ROWS = 122_880

_MAX_BYTES = MAX_LINE_BYTES + (1 << 20)
"""A row's line may be a little longer than the line it was made of."""
_FETCH_ROWS = 512


def rows_per_group(row_bytes: int) -> int:
    """Give how many rows go into a group.

    Args:
        row_bytes: of a row's JSON, > 0.
    """
    return max(1, min(MAX_GROUP_ROWS, GROUP_BYTES // max(row_bytes, 1)))


class ParquetCodec:
    """Reads and writes Parquet files of events. Made by `open_rows`."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._connection = connection

    def write(self, lines: Path, target: Path, *, group_rows: int) -> None:
        """Write a Parquet file; the same lines give the same bytes.

        Args:
            lines: events, one JSON object a line, none longer than the longest; what is nested is JSON.
            target: the file; its directory is there.
            group_rows: rows in a group, see `rows_per_group`.

        Raises:
            InfrastructureError: the disk is full, or a line is none.
        """
        types = ", ".join(f"'{name}': '{kind}'" for name, kind in columns().items())
        names = ", ".join(f'"{name}"' for name in columns())
        source = (
            f"read_json({_literal(lines)}, format = 'newline_delimited', hive_partitioning = false, "
            f"maximum_object_size = {_MAX_BYTES}, columns = {{{types}}})"
        )
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {group_rows}"
        self._ask(f"COPY (SELECT {names} FROM {source}) TO {_literal(target)} ({options})", target)  # noqa: S608 - quoted above

    def read(self, path: Path) -> Iterator[tuple[str, str | None]]:
        """Read a file, in its order.

        Yields:
            (an event's line, what this version does not know of it, both JSON).

        Raises:
            InfrastructureError: it is no Parquet, or damaged.
        """
        source = f"read_parquet({_literal(path)}, hive_partitioning = false, file_row_number = true)"
        there = {row[0]: row[1] for row in self._ask(f"DESCRIBE SELECT * FROM {source}", path)}  # noqa: S608 - as above
        fields = ", ".join(
            _field(name, kind, there[name])
            for name, kind in columns().items()
            if name in there and name != OTHER_FIELDS
        )
        others = f'"{OTHER_FIELDS}"::VARCHAR' if OTHER_FIELDS in there else "NULL"
        query = f"SELECT json_object({fields})::VARCHAR, {others} FROM {source}"  # noqa: S608 - names of ours
        begin = 0
        # a group after the other: an answer is made as a whole, and a group is bounded
        for count in self._groups(path):
            self._execute(f"{query} WHERE file_row_number BETWEEN {begin} AND {begin + count - 1}", path)
            while rows := self._fetch(path):
                yield from rows
            begin += count

    def count(self, path: Path) -> int:
        """Count the rows, by the file's footer.

        Raises:
            InfrastructureError: as `read`.
        """
        return sum(self._groups(path))

    def _groups(self, path: Path) -> list[int]:
        query = (
            f"SELECT row_group_id, any_value(row_group_num_rows) FROM parquet_metadata({_literal(path)}) "  # noqa: S608 - quoted
            "GROUP BY 1 ORDER BY 1"
        )
        return [int(count) for _, count in self._ask(query, path)]

    def _ask(self, query: str, path: Path) -> list[tuple[Any, ...]]:
        self._execute(query, path)
        return self._fetch(path, whole=True)

    def _execute(self, query: str, path: Path) -> None:
        import duckdb

        try:
            self._connection.execute(query)
        except duckdb.Error as error:
            raise _wrap_duckdb_error(path, error) from error

    def _fetch(self, path: Path, *, whole: bool = False) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return self._connection.fetchall() if whole else self._connection.fetchmany(_FETCH_ROWS)
        except duckdb.Error as error:
            raise _wrap_duckdb_error(path, error) from error


@contextmanager
def open_rows() -> Iterator[ParquetCodec]:
    """Open DuckDB for Parquet files; what it spills is gone afterwards."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="flowai-") as spill:
        connection = duckdb.connect(
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": spill,
                "threads": 1,  # the order of lines is kept, and so are the bytes
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")
            yield ParquetCodec(connection)
        finally:
            connection.close()


def _wrap_duckdb_error(path: Path, error: Exception) -> InfrastructureError:
    return InfrastructureError(f"DuckDB cannot go on: {str(error).splitlines()[0]}", place=Place(file=str(path)))


def _field(name: str, wanted: str, kind: str) -> str:
    """Give a column as a field of a JSON object; times as the log spells them."""
    if name == "at":
        return "'at', strftime(\"at\"::TIMESTAMPTZ, '%Y-%m-%dT%H:%M:%S.%fZ')"
    if wanted == "JSON" and kind != "JSON":  # another writer's: nested, or text
        return f"""'{name}', {f'TRY_CAST("{name}" AS JSON)' if kind == "VARCHAR" else f'to_json("{name}")'}"""
    return f"'{name}', \"{name}\""


def _literal(path: Path) -> str:
    return f"'{str(path).replace(chr(39), chr(39) * 2)}'"

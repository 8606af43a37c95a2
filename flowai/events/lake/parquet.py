"""Writes lines to Parquet and reads rows as lines, by DuckDB and in bounded memory."""

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
"""DuckDB's limit: its JSON reader needs up to 4 times the longest line, its Parquet writer a row group."""

GROUP_BYTES = 16 << 20
"""JSON in a row group, about: a reader holds a whole group in memory."""
MAX_GROUP_ROWS = 122_880

_MAX_BYTES = MAX_LINE_BYTES + (1 << 20)
"""A row's line may be a little longer than the original line."""
_FETCH_ROWS = 512


def rows_per_group(row_bytes: int) -> int:
    """Return the number of rows in a group, for rows of `row_bytes` bytes of JSON."""
    return max(1, min(MAX_GROUP_ROWS, GROUP_BYTES // max(row_bytes, 1)))


class ParquetCodec:
    """Reads and writes Parquet files of events; created by `open_parquet`."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._connection = connection

    def write(self, lines: Path, target: Path, *, group_rows: int) -> None:
        """Write a JSONL file of rows, whose nested values are JSON, as Parquet; equal lines give equal bytes.

        Raises InfrastructureError if the disk is full, or a line is not a row.
        """
        types = ", ".join(f"'{name}': '{kind}'" for name, kind in columns().items())
        names = ", ".join(f'"{name}"' for name in columns())
        source = (
            f"read_json({_literal(lines)}, format = 'newline_delimited', hive_partitioning = false, "
            f"maximum_object_size = {_MAX_BYTES}, columns = {{{types}}})"
        )
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {group_rows}"
        self._query(f"COPY (SELECT {names} FROM {source}) TO {_literal(target)} ({options})", target)  # noqa: S608 - quoted above

    def read(self, path: Path) -> Iterator[tuple[str, str | None]]:
        """Yield each event's line and the fields that this version does not know, both JSON.

        Raises InfrastructureError if the file is damaged, or not Parquet.
        """
        source = f"read_parquet({_literal(path)}, hive_partitioning = false, file_row_number = true)"
        types = {row[0]: row[1] for row in self._query(f"DESCRIBE SELECT * FROM {source}", path)}  # noqa: S608 - as above
        fields = ", ".join(
            _field(name, kind, types[name])
            for name, kind in columns().items()
            if name in types and name != OTHER_FIELDS
        )
        others = f'"{OTHER_FIELDS}"::VARCHAR' if OTHER_FIELDS in types else "NULL"
        query = f"SELECT json_object({fields})::VARCHAR, {others} FROM {source}"  # noqa: S608 - names of ours
        start = 0
        # group by group: DuckDB materialises a result, and a group is bounded
        for count in self._groups(path):
            self._execute(f"{query} WHERE file_row_number BETWEEN {start} AND {start + count - 1}", path)
            while rows := self._fetch(path):
                yield from rows
            start += count

    def _groups(self, path: Path) -> list[int]:
        query = (
            f"SELECT row_group_id, any_value(row_group_num_rows) FROM parquet_metadata({_literal(path)}) "  # noqa: S608 - quoted
            "GROUP BY 1 ORDER BY 1"
        )
        return [int(count) for _, count in self._query(query, path)]

    def _query(self, query: str, path: Path) -> list[tuple[Any, ...]]:
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
def open_parquet() -> Iterator[ParquetCodec]:
    """Open DuckDB for Parquet files, with a temporary directory for what exceeds its memory."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="flowai-") as spill:
        connection = duckdb.connect(
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": spill,
                "threads": 1,  # keeps the order of lines, and so the bytes
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
    return InfrastructureError(f"DuckDB failed: {str(error).splitlines()[0]}", place=Place(file=str(path)))


def _field(name: str, expected: str, kind: str) -> str:
    """Return a column as a field of a JSON object; times in the log's format."""
    if name == "at":
        return "'at', strftime(\"at\"::TIMESTAMPTZ, '%Y-%m-%dT%H:%M:%S.%fZ')"
    if expected == "JSON" and kind != "JSON":  # another writer's: nested, or text
        return f"""'{name}', {f'TRY_CAST("{name}" AS JSON)' if kind == "VARCHAR" else f'to_json("{name}")'}"""
    return f"'{name}', \"{name}\""


def _literal(path: Path) -> str:
    return f"'{str(path).replace(chr(39), chr(39) * 2)}'"

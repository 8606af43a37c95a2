"""Opens an event log, JSONL and Parquet alike, as one DuckDB table of lines."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flowai.errors import InfrastructureError
from flowai.events.lake.catalog import LogFiles, files_of_days, hold_read_lock
from flowai.events.lake.columns import columns
from flowai.events.records import SCHEMA_VERSION
from flowai.timestamps import from_us

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from duckdb import DuckDBPyConnection


MEMORY_LIMIT = "80MB"
"""Limit of DuckDB's memory; the rest spills to a temporary directory. The process itself needs about 90 MB."""

JSON_MEMORY_LIMIT = "256MB"
"""The same where there is JSONL: its reader needs 32 MB per thread."""

_ROWS_AT_ONCE = 2_000

_ROW_BITS = 40
"""Bits of a line's number that are its row in its file; the others are the file."""

CLOCK_SKEW_S = 300
"""Another machine's clock may be ahead of ours by this much before its events count as from the future."""


_TYPE_NAMES = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}
_REQUIRED_COLUMNS = ("kind", "schema_version", "call_id", "origin", "latency_ms", "name", "passed")


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeRange:
    """A half-open time range."""

    since_us: int
    """Microseconds since 1970 (UTC)."""
    until_us: int
    """Microseconds since 1970, excluded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DerivedColumn:
    """Column computed from columns of a line that need not be kept; of JSONL it is computed while the file is read."""

    name: str
    expression: str
    """SQL over the sources; never NULL for a flag."""
    sources: tuple[str, ...]
    sql_type: str
    is_flag: bool = False
    """Whether it is a condition on long columns that holds for few lines: `Log.flag_sql` is its value. Parquet is read
    once for it, not in every query."""


class Log:
    """An open event log. Its table `lines` has the requested columns, `at` and `at_us`."""

    def __init__(self, connection: DuckDBPyConnection, *, has_parquet: bool) -> None:
        self._connection = connection
        self.has_parquet = has_parquet
        """Some lines are in Parquet, where a condition on a single column is checked before others are decoded."""

    def flag_sql(self, name: str) -> str:
        """Return SQL over `lines` for a flag."""
        return f"coalesce({name}, line IN (SELECT line FROM flagged_{name}))" if self.has_parquet else name  # noqa: S608 - names of ours

    def fetch(self, query: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a query and return its rows; an unreadable log or a full disk to spill to is an InfrastructureError."""
        with _reading():
            return self._connection.execute(query, parameters).fetchall()

    def stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Run a query and yield its rows, a few at a time; no other query may run meanwhile. Errors as of `fetch`."""
        with _reading():
            result = self._connection.execute(query)
            while rows := result.fetchmany(_ROWS_AT_ONCE):
                yield from rows

    def fetch_arrays(self, query: str) -> dict[str, Any]:
        """Run a query without NULLs in its result and return a numpy array per column; errors as of `fetch`."""
        with _reading():
            return self._connection.execute(query).fetchnumpy()


@contextmanager
def _reading() -> Iterator[None]:
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InvalidInputException) as error:
        raise InfrastructureError(f"the event log cannot be read: {str(error).splitlines()[0]}") from error


@contextmanager
def open_log(
    directories: Path | Sequence[Path], columns: Sequence[str | DerivedColumn], time_range: TimeRange
) -> Iterator[Log]:
    """Open an event log over one directory, or several that form one log; missing ones hold no lines.

    JSONL is read once, into a table; Parquet is not copied. A line that is not JSON becomes a row without a `kind`; a
    value of the wrong type becomes NULL, so that `PROBLEMS` counts it. `columns` are those besides `at`, `at_us` and
    the required ones. Lines outside the time range are excluded; files of days outside are not opened.
    """
    import duckdb

    places = _places(directories)
    with hold_read_lock(places), tempfile.TemporaryDirectory(prefix="flowai-") as spill:
        files = _files(places, time_range)
        # a database on disk packs its tables and need not hold them in memory; packing is slower than reading, so that
        # tables that are read only a few times are temporary ones, which spill
        connection = duckdb.connect(
            f"{spill}/counts.duckdb",
            config={
                "memory_limit": JSON_MEMORY_LIMIT if files.lines else MEMORY_LIMIT,
                "temp_directory": spill,
                "threads": 2,
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")  # the bar would be drawn on stdout, into the JSON
            log = Log(connection, has_parquet=bool(files.parquet))
            _make_lines(log, files, columns, time_range)
            yield log
        finally:
            connection.close()


def _make_lines(log: Log, files: LogFiles, requested: Sequence[str | DerivedColumn], time_range: TimeRange) -> None:
    derived = [column for column in requested if isinstance(column, DerivedColumn)]
    kept = dict.fromkeys((*_REQUIRED_COLUMNS, *(column for column in requested if isinstance(column, str)), "at"))
    read = tuple(dict.fromkeys((*kept, *(source for column in derived for source in column.sources))))
    first, last = moment(max(time_range.since_us, 0)), moment(time_range.until_us - 1)
    inside = f'"at" IS NULL OR "at" BETWEEN {first} AND {last}'
    types = columns()
    names = ", ".join(f'"{name}"' for name in kept)
    values = ", ".join([names, *(f"{column.expression} AS {column.name}" for column in derived)])
    empty = [f'NULL::{types[name]} AS "{name}"' for name in kept]
    empty += [f"NULL::{column.sql_type} AS {column.name}" for column in derived]
    log.fetch(f"CREATE TEMP TABLE json_lines AS SELECT {', '.join(empty)} LIMIT 0")
    if files.lines:
        typed = ", ".join(f"'{name}': '{types[name]}'" for name in read)
        source = (
            f"read_json({_literals(files.lines)}, format = 'newline_delimited', ignore_errors = true, "
            f"hive_partitioning = false, columns = {{{typed}}})"
        )
        log.fetch(f"INSERT INTO json_lines SELECT {values} FROM {source} WHERE kind IS NULL OR {inside}")  # noqa: S608 - quoted above
    parts = ["SELECT *, NULL::BIGINT AS line FROM json_lines"]
    if files.parquet:
        source = f"read_parquet({_literals(files.parquet)}, union_by_name = true, hive_partitioning = false)"
        described = log.fetch(f"DESCRIBE SELECT * FROM {source}")  # noqa: S608 - quoted above
        types_in_file = {row[0]: _TYPE_NAMES.get(row[1], row[1]) for row in described}
        cast = ", ".join(_cast(name, types_in_file) for name in read)
        line = f"(file_index::BIGINT << {_ROW_BITS}) + file_row_number AS line"
        # a condition on the column itself, where its type is right: row groups of other days are not even read
        lines = f"(SELECT {cast}, {line} FROM {source}) WHERE ({inside})"  # noqa: S608 - as above
        for column in derived:
            if column.is_flag:
                log.fetch(
                    f"CREATE TEMP TABLE flagged_{column.name} AS SELECT line FROM {lines} AND {column.expression}"  # noqa: S608 - as above
                )
        unknown = {column.name: "NULL::BOOLEAN" for column in derived if column.is_flag}
        values = ", ".join(
            [names, *(f"{unknown.get(column.name, column.expression)} AS {column.name}" for column in derived)]
        )
        parts.append(f"SELECT {values}, line FROM {lines}")  # noqa: S608 - as above
    log.fetch(f'CREATE TEMP VIEW lines AS SELECT *, epoch_us("at") AS at_us FROM ({" UNION ALL ".join(parts)})')  # noqa: S608 - as above


def moment(moment_us: int) -> str:
    """Return SQL for a time, to be compared with `at`."""
    return f"make_timestamptz({moment_us})"


def literal(text: str) -> str:
    """Return SQL for any text, quoted."""
    return f"'{text.replace(chr(39), chr(39) * 2)}'"


def _cast(name: str, types_in_file: Mapping[str, str]) -> str:
    kind = columns()[name]
    if types_in_file.get(name) == kind:
        return f'"{name}"'
    return f'TRY_CAST("{name}" AS {kind}) AS "{name}"' if name in types_in_file else f'NULL::{kind} AS "{name}"'


def files_of(
    directories: Path | Sequence[Path], ending: Literal["jsonl", "parquet"], time_range: TimeRange
) -> list[str]:
    """Return the files of days that may hold lines of a time range: a call is written at its end, up to a day later."""
    files = _files(_places(directories), time_range)
    return [str(path) for path in (files.lines if ending == "jsonl" else files.parquet)]


def days_around(time_range: TimeRange) -> tuple[date, date]:
    """Return the first and the last day whose files may hold lines of a time range."""
    first = from_us(max(time_range.since_us, 0)).date() - timedelta(days=1)
    return first, from_us(time_range.until_us).date() + timedelta(days=1)


def _files(places: Sequence[Path], time_range: TimeRange) -> LogFiles:
    first, last = days_around(time_range)
    return files_of_days(places, lambda day: day is None or first <= day <= last)


def _places(directories: Path | Sequence[Path]) -> Sequence[Path]:
    return (directories,) if isinstance(directories, Path) else directories


def _literals(files: Sequence[Path]) -> str:
    return f"[{', '.join(literal(str(path)) for path in files)}]"


IS_CALL = f"""kind = 'call' AND schema_version = {SCHEMA_VERSION} AND call_id IS NOT NULL AND at_us IS NOT NULL
    AND origin IS NOT NULL AND latency_ms >= 0"""
"""SQL condition: the line is a call that can be counted."""

IS_FEEDBACK = f"kind = 'feedback' AND schema_version = {SCHEMA_VERSION} AND call_id IS NOT NULL AND at_us IS NOT NULL"
"""SQL condition: the line is feedback that can be counted."""

IS_SCORE = f"""kind = 'score' AND schema_version = {SCHEMA_VERSION} AND call_id IS NOT NULL AND at_us IS NOT NULL
    AND name IS NOT NULL AND passed IS NOT NULL"""
"""SQL condition: the line is a judge's score that can be counted."""

PROBLEM = f"""CASE
    WHEN kind IS NULL THEN 'unreadable'
    WHEN schema_version IS DISTINCT FROM {SCHEMA_VERSION} AND kind IN ('call', 'feedback', 'score')
        THEN 'unknown_version'
    WHEN kind = 'call' AND NOT coalesce({IS_CALL}, false) THEN 'broken'
    WHEN kind = 'feedback' AND NOT coalesce({IS_FEEDBACK}, false) THEN 'broken'
    WHEN kind = 'score' AND NOT coalesce({IS_SCORE}, false) THEN 'broken'
    WHEN at_us > $future_us THEN 'future' END"""
"""SQL expression: the problem of a line, or NULL. Parameter: `future_us`."""

IS_OTHER = "kind NOT IN ('call', 'feedback', 'score')"
"""SQL condition: the line is of a kind that is not counted."""

PROBLEMS = f"SELECT {PROBLEM} AS problem, count(*) FROM lines GROUP BY 1 HAVING problem IS NOT NULL ORDER BY 1"  # noqa: S608 - no outside values
"""Counts unusable lines by problem. Parameter: `future_us`."""

ANSWERED = "cache = 'miss' AND error_class IS NULL"

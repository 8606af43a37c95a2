"""The door to DuckDB: opens an event log, JSONL and Parquet alike, as one table of lines."""

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


MEMORY_LIMIT = "104MB"
"""What DuckDB may hold; the rest spills to a directory that is gone afterwards. The process itself takes about 90
MB."""

JSON_MEMORY_LIMIT = "256MB"
"""The same where there is JSONL: its reader takes 32 MB for each thread, whatever the lines are like."""

CLOCK_SKEW_S = 300
"""How far ahead of ours another machine's clock may be before its events count as being from the future."""


_TYPE_NAMES = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}
_REQUIRED_COLUMNS = ("kind", "schema_version", "call_id", "origin", "latency_ms", "name", "passed")


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeRange:
    """A stretch of time, half open."""

    since_us: int
    """Its begin, microseconds since 1970 (UTC)."""
    until_us: int
    """Its end; what happens at it lies outside."""


class Log:
    """An open event log. Its table `lines` has the columns that were asked for, `at` and `at_us`.

    Args:
        connection: where `lines` lives.
    """

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._connection = connection

    def fetch(self, query: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Ask, and give the rows.

        Raises:
            InfrastructureError: the log cannot be read, or there is no room to spill to.
        """
        import duckdb

        try:
            return self._connection.execute(query, parameters).fetchall() if parameters else self._plain(query)
        except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InvalidInputException) as error:
            raise InfrastructureError(f"the event log cannot be read: {str(error).splitlines()[0]}") from error

    def _plain(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()


@contextmanager
def open_log(directories: Path | Sequence[Path], columns: Sequence[str], stretch: TimeRange) -> Iterator[Log]:
    """Open a log.

    JSONL is read once, into a table; Parquet stays where it is. A line that is no JSON gives a row without a `kind`;
    a value of the wrong type is missing, so that `PROBLEMS` finds it.

    Args:
        directories: the log, or several that hold one log together; those that do not exist hold no lines.
        columns: columns wanted besides `kind`, `schema_version`, `call_id`, `origin`, `latency_ms`, `name`, `passed`,
            `at` and `at_us`.
        stretch: lines outside are left out; whole days are not even opened.

    Yields:
        The log; it is closed at the end.

    Raises:
        InfrastructureError: a file cannot be read.
    """
    import duckdb

    wanted = tuple(dict.fromkeys((*_REQUIRED_COLUMNS, *columns)))
    places = _places(directories)
    with hold_read_lock(places), tempfile.TemporaryDirectory(prefix="flowai-") as spill:
        files = _files(places, stretch)
        # a database on disk: its tables are packed, and need not be held; packing takes longer than reading, so that
        # what is looked at a few times only lies in temporary tables, which spill
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
            connection.execute("SET enable_progress_bar = false")  # it would be drawn on stdout, into the JSON
            log = Log(connection)
            _make_lines(log, files, wanted, stretch)
            yield log
        finally:
            connection.close()


def _make_lines(log: Log, files: LogFiles, wanted: tuple[str, ...], stretch: TimeRange) -> None:
    first, last = moment(max(stretch.since_us, 0)), moment(stretch.until_us - 1)
    inside = f'"at" IS NULL OR "at" BETWEEN {first} AND {last}'
    types = columns()
    empty = ", ".join(f'NULL::{types[name]} AS "{name}"' for name in (*wanted, "at"))
    names = ", ".join(f'"{name}"' for name in (*wanted, "at"))
    log.fetch(f"CREATE TEMP TABLE json_lines AS SELECT {empty} LIMIT 0")
    if files.lines:
        typed = ", ".join(f"'{name}': '{types[name]}'" for name in (*wanted, "at"))
        source = (
            f"read_json({_literals(files.lines)}, format = 'newline_delimited', ignore_errors = true, "
            f"hive_partitioning = false, columns = {{{typed}}})"
        )
        log.fetch(f"INSERT INTO json_lines SELECT {names} FROM {source} WHERE kind IS NULL OR {inside}")  # noqa: S608 - quoted above
    parts = [f"SELECT {names} FROM json_lines"]  # noqa: S608 - names of ours
    if files.parquet:
        source = f"read_parquet({_literals(files.parquet)}, union_by_name = true, hive_partitioning = false)"
        there = {row[0]: _TYPE_NAMES.get(row[1], row[1]) for row in log.fetch(f"DESCRIBE SELECT * FROM {source}")}  # noqa: S608 - quoted above
        cast = ", ".join(_cast(name, there) for name in (*wanted, "at"))
        # said of the column itself, where it has its type: row groups of other days are not even read
        parts.append(f"SELECT * FROM (SELECT {cast} FROM {source}) WHERE {inside}")  # noqa: S608 - as above
    log.fetch(f'CREATE TEMP VIEW lines AS SELECT *, epoch_us("at") AS at_us FROM ({" UNION ALL ".join(parts)})')  # noqa: S608 - as above


def moment(moment_us: int) -> str:
    """Give a moment as SQL, to be held against `at`."""
    return f"make_timestamptz({moment_us})"


def literal(text: str) -> str:
    """Give any text as SQL."""
    return f"'{text.replace(chr(39), chr(39) * 2)}'"


def _cast(name: str, there: Mapping[str, str]) -> str:
    kind = columns()[name]
    if there.get(name) == kind:
        return f'"{name}"'
    return f'TRY_CAST("{name}" AS {kind}) AS "{name}"' if name in there else f'NULL::{kind} AS "{name}"'


def files_of(directories: Path | Sequence[Path], ending: Literal["jsonl", "parquet"], stretch: TimeRange) -> list[str]:
    """Give the files of days that may hold lines of the stretch: a call is written when it ends, maybe a day later."""
    files = _files(_places(directories), stretch)
    return [str(path) for path in (files.lines if ending == "jsonl" else files.parquet)]


def days_around(stretch: TimeRange) -> tuple[date, date]:
    """Give the first and the last day whose files may hold lines of a stretch."""
    first = from_us(max(stretch.since_us, 0)).date() - timedelta(days=1)
    return first, from_us(stretch.until_us).date() + timedelta(days=1)


def _files(places: Sequence[Path], stretch: TimeRange) -> LogFiles:
    first, last = days_around(stretch)
    return files_of_days(places, lambda day: day is None or first <= day <= last)


def _places(directories: Path | Sequence[Path]) -> Sequence[Path]:
    return (directories,) if isinstance(directories, Path) else directories


def _literals(files: Sequence[Path]) -> str:
    return f"[{', '.join(literal(str(path)) for path in files)}]"


IS_CALL = f"""kind = 'call' AND schema_version = {SCHEMA_VERSION} AND call_id IS NOT NULL AND at_us IS NOT NULL
    AND origin IS NOT NULL AND latency_ms >= 0"""
"""The condition that a line is a call that can be counted."""

IS_FEEDBACK = f"kind = 'feedback' AND schema_version = {SCHEMA_VERSION} AND call_id IS NOT NULL AND at_us IS NOT NULL"
"""The condition that a line is feedback that can be counted."""

IS_SCORE = f"""kind = 'score' AND schema_version = {SCHEMA_VERSION} AND call_id IS NOT NULL AND at_us IS NOT NULL
    AND name IS NOT NULL AND passed IS NOT NULL"""
"""The condition that a line is a judge's score that can be counted."""

PROBLEM = f"""CASE
    WHEN kind IS NULL THEN 'unreadable'
    WHEN schema_version IS DISTINCT FROM {SCHEMA_VERSION} AND kind IN ('call', 'feedback', 'score')
        THEN 'unknown_version'
    WHEN kind = 'call' AND NOT coalesce({IS_CALL}, false) THEN 'broken'
    WHEN kind = 'feedback' AND NOT coalesce({IS_FEEDBACK}, false) THEN 'broken'
    WHEN kind = 'score' AND NOT coalesce({IS_SCORE}, false) THEN 'broken'
    WHEN at_us > $future_us THEN 'future' END"""
"""What is wrong with a line; NULL where nothing is. Parameter: `future_us`."""

IS_OTHER = "kind NOT IN ('call', 'feedback', 'score')"
"""The condition that a line is of a kind that is not counted."""

PROBLEMS = f"SELECT {PROBLEM} AS problem, count(*) FROM lines GROUP BY 1 HAVING problem IS NOT NULL ORDER BY 1"  # noqa: S608 - no value from outside stands in it
"""Counts the lines that cannot be used, by what is wrong with them. Parameter: `future_us`."""

ANSWERED = "cache = 'miss' AND error_class IS NULL"

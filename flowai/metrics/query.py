"""The door to DuckDB: opens an event log, JSONL and Parquet alike, as one table of lines.

In: a directory, the columns that are wanted, a stretch of time. Out: a connection that holds `lines`. Must never know
what is asked of them.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowai.errors import InfrastructureError
from flowai.events.model import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from duckdb import DuckDBPyConnection

MEMORY_LIMIT = "68MB"
"""What DuckDB may hold; the rest spills to a directory that is gone afterwards. The process itself takes about 60
MB."""

JSON_MEMORY_LIMIT = "384MB"
"""The same where there is JSONL: its reader takes 32 MB for each thread, whatever the lines are like."""

CLOCK_SKEW_S = 300
"""How far ahead of ours another machine's clock may be before its events count as being from the future."""

_DAY = re.compile(r"dt=(\d{4}-\d{2}-\d{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# the columns of a line that queries may ask for, and their types; everything else in a line is passed over
_COLUMN_TYPES = {
    "kind": "VARCHAR",
    "schema_version": "BIGINT",
    "call_id": "VARCHAR",
    "at": "TIMESTAMPTZ",
    "origin": "VARCHAR",
    "user_hash": "VARCHAR",
    "session": "VARCHAR",
    "feature": "VARCHAR",
    "release": "VARCHAR",
    "variant": "VARCHAR",
    "experiment": "VARCHAR",
    "arm": "VARCHAR",
    "is_sticky": "BOOLEAN",
    "prompt_id": "VARCHAR",
    "prompt_hash": "VARCHAR",
    "requested_model": "VARCHAR",
    "degraded": "BOOLEAN",
    "cache": "VARCHAR",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "cost_usd": "DOUBLE",
    "ttft_ms": "DOUBLE",
    "latency_ms": "DOUBLE",
    "json_valid": "BOOLEAN",
    "error_class": "VARCHAR",
    "verdict": "VARCHAR",
}
_TYPE_NAMES = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}
_ALWAYS = ("kind", "schema_version", "call_id", "origin", "latency_ms")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A stretch of time, half open.

    Args:
        since_us: its begin, microseconds since 1970 (UTC).
        until_us: its end; what happens at it lies outside.
    """

    since_us: int
    until_us: int


def to_us(moment: datetime) -> int:
    """Give a moment as microseconds since 1970 (UTC)."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_us(moment_us: int) -> datetime:
    """Give a moment back, UTC."""
    return _EPOCH + timedelta(microseconds=moment_us)


class Log:
    """An open event log. Its table `lines` has the columns that were asked for, and `at_us`.

    Args:
        connection: where `lines` lives.
    """

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, query: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
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
def open_log(directory: Path, columns: Sequence[str], stretch: Stretch) -> Iterator[Log]:
    """Open a log.

    JSONL is read once, into a table; Parquet stays where it is. A line that is no JSON gives a row without a `kind`;
    a value of the wrong type is missing, so that `PROBLEMS` finds it.

    Args:
        directory: the log; one that does not exist holds no lines.
        columns: columns wanted besides `kind`, `schema_version`, `call_id`, `origin`, `latency_ms` and `at_us`.
        stretch: lines outside are left out; whole days are not even opened.

    Yields:
        The log; it is closed at the end.

    Raises:
        InfrastructureError: a file cannot be read.
    """
    import duckdb

    wanted = tuple(dict.fromkeys((*_ALWAYS, *columns)))
    has_json = bool(_files(directory, "jsonl", stretch))
    with tempfile.TemporaryDirectory(prefix="flowai-") as spill:
        # a database on disk: its tables are packed, and need not be held
        connection = duckdb.connect(
            f"{spill}/counts.duckdb",
            config={
                "memory_limit": JSON_MEMORY_LIMIT if has_json else MEMORY_LIMIT,
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
            _make_lines(log, directory, wanted, stretch)
            yield log
        finally:
            connection.close()


def _make_lines(log: Log, directory: Path, wanted: tuple[str, ...], stretch: Stretch) -> None:
    inside = f"(kind IS NULL OR at_us IS NULL OR at_us BETWEEN {stretch.since_us} AND {stretch.until_us - 1})"
    empty = ", ".join(f"NULL::{_COLUMN_TYPES[name]} AS {name}" for name in wanted)
    log.rows(f"CREATE TABLE json_lines AS SELECT {empty}, NULL::BIGINT AS at_us LIMIT 0")
    names = ", ".join((*wanted, "at_us"))
    moments = f"make_timestamptz({max(stretch.since_us, 0)}) AND make_timestamptz({stretch.until_us - 1})"
    if files := _files(directory, "jsonl", stretch):
        types = ", ".join(f"'{name}': '{_COLUMN_TYPES[name]}'" for name in (*wanted, "at"))
        source = (
            f"read_json({_literal(files)}, format = 'newline_delimited', ignore_errors = true, "
            f"hive_partitioning = false, columns = {{{types}}})"
        )
        given = f'SELECT {", ".join(wanted)}, epoch_us("at") AS at_us FROM {source}'  # noqa: S608 - quoted below
        log.rows(f"INSERT INTO json_lines SELECT {names} FROM ({given}) WHERE {inside}")  # noqa: S608 - names of ours
    parts = [f"SELECT {names} FROM json_lines"]  # noqa: S608 - names of ours
    if files := _files(directory, "parquet", stretch):
        source = f"read_parquet({_literal(files)}, union_by_name = true, hive_partitioning = false)"
        there = {row[0]: _TYPE_NAMES.get(row[1], row[1]) for row in log.rows(f"DESCRIBE SELECT * FROM {source}")}  # noqa: S608 - quoted above
        cast = ", ".join(_cast(name, there) for name in wanted)
        at_us = 'epoch_us(TRY_CAST("at" AS TIMESTAMPTZ)) AS at_us' if "at" in there else "NULL::BIGINT AS at_us"
        # said of the column itself, so that row groups of other days are not read
        early = f'WHERE "at" IS NULL OR "at" BETWEEN {moments}' if there.get("at") == _COLUMN_TYPES["at"] else ""
        parts.append(f"SELECT {names} FROM (SELECT {cast}, {at_us} FROM {source} {early}) WHERE {inside}")  # noqa: S608 - as above
    log.rows(f"CREATE TEMP VIEW lines AS {' UNION ALL '.join(parts)}")


def _cast(name: str, there: Mapping[str, str]) -> str:
    kind = _COLUMN_TYPES[name]
    if there.get(name) == kind:
        return name
    return f"TRY_CAST({name} AS {kind}) AS {name}" if name in there else f"NULL::{kind} AS {name}"


def _files(directory: Path, ending: str, stretch: Stretch) -> list[str]:
    """Give the files of days that may hold lines of the stretch: a call is written when it ends, maybe a day later."""
    first = from_us(max(stretch.since_us, 0)).date() - timedelta(days=1)
    last = from_us(stretch.until_us).date() + timedelta(days=1)
    return [
        str(path)
        for path in sorted(directory.glob(f"dt=*/*.{ending}"))
        if (day := _day(path.parent.name)) is None or first <= day <= last
    ]


def _day(name: str) -> date | None:
    found = _DAY.fullmatch(name)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def _literal(files: list[str]) -> str:
    quoted = (f"'{name.replace(chr(39), chr(39) * 2)}'" for name in files)
    return f"[{', '.join(quoted)}]"


IS_CALL = f"""kind = 'call' AND schema_version = {SCHEMA_VERSION} AND call_id IS NOT NULL AND at_us IS NOT NULL
    AND origin IS NOT NULL AND latency_ms >= 0"""
"""The condition that a line is a call that can be counted."""

IS_FEEDBACK = f"kind = 'feedback' AND schema_version = {SCHEMA_VERSION} AND call_id IS NOT NULL AND at_us IS NOT NULL"
"""The condition that a line is feedback that can be counted."""

PROBLEMS = f"""
SELECT CASE
    WHEN kind IS NULL THEN 'unreadable'
    WHEN schema_version IS DISTINCT FROM {SCHEMA_VERSION} AND kind IN ('call', 'feedback', 'score')
        THEN 'unknown_version'
    WHEN kind = 'call' AND NOT coalesce({IS_CALL}, false) THEN 'broken'
    WHEN kind = 'feedback' AND NOT coalesce({IS_FEEDBACK}, false) THEN 'broken'
    WHEN at_us > $future_us THEN 'future' END AS problem, count(*)
FROM lines GROUP BY 1 HAVING problem IS NOT NULL ORDER BY 1
"""  # noqa: S608 - no value from outside stands in it
"""Counts the lines that cannot be used, by what is wrong with them. Parameter: `future_us`."""

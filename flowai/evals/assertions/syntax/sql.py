"""Checks of answers that are or contain SQL.

Source of the meaning: promptfoo, "Deterministic metrics", sections `is-sql` and `contains-sql`: one or more statements
of a dialect, and lists of the tables and columns they may use (`select::null::orders`, regular expressions).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.errors import expected_one_of
from flowai.evals.assertions.records import CheckResult, quoted, suite_error
from flowai.evals.assertions.safe_regex import TIMEOUT_S, compile_pattern
from flowai.evals.assertions.syntax.sql_parser import NotSqlError, SqlParser, SqlTooLongError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.suites.records import Assertion

DEFAULT_DATABASE = "MySQL"
DATABASES = {
    "Athena": "athena", "BigQuery": "bigquery", "DB2": "", "FlinkSQL": "", "Hive": "hive", "MariaDB": "mysql",
    "MySQL": "mysql", "Noql": "postgres", "PostgreSQL": "postgres", "Redshift": "redshift", "Snowflake": "snowflake",
    "Sqlite": "sqlite", "TransactSQL": "tsql", "Trino": "trino",
}  # fmt: skip
"""Values of `databaseType`, with sqlglot's name of the dialect; the empty text is its own dialect."""

MAX_BLOCKS = 20
"""Code blocks of one answer that are parsed."""

_KEYS = frozenset({"databaseType", "allowedTables", "allowedColumns"})
_FENCE = re.compile(r"[ \t]{0,3}(`{3,}|~{3,})[ \t]*(.*)")
_AUTHORITY_PARTS = 3


@dataclass(frozen=True, slots=True)
class _AllowedNames:
    """A list of what SQL may use, as patterns; empty allows everything."""

    kind: str
    names: tuple[str, ...]
    patterns: tuple[Callable[[str], bool], ...]

    def problem(self, used: Iterable[str]) -> str | None:
        forbidden = [name for name in used if self.patterns and not any(allows(name) for allows in self.patterns)]
        return f"uses {self.kind} {', '.join(map(quoted, forbidden[:3]))}" if forbidden else None


def valid_sql(assertion: Assertion) -> CheckFunction:
    """Pass if the answer is SQL of the dialect that uses only what is allowed."""
    problem_of = _build_problem(assertion)

    def check(answer: Answer) -> CheckResult:
        return _result(problem_of, [answer.text], passing=": the answer is SQL")

    return check


def contains_sql(assertion: Assertion) -> CheckFunction:
    """Pass if a code block of the answer is SQL; an answer without code blocks must be SQL as a whole."""
    problem_of = _build_problem(assertion)

    def check(answer: Answer) -> CheckResult:
        blocks = list(_sql_blocks(answer.text))
        candidates = [candidate for candidate in (blocks or [answer.text]) if candidate.strip()][:MAX_BLOCKS]
        return _result(problem_of, candidates, passing=": found SQL")

    return check


def _sql_blocks(text: str) -> Iterator[str]:
    """Yield the closed code blocks that are SQL by their language, or have none."""
    fence, is_sql = "", False
    lines: list[str] = []
    for line in re.split(r"\r\n?|\n", text):
        match = _FENCE.fullmatch(line)
        if not fence:
            if match:
                fence, is_sql, lines = match[1], match[2].strip().lower() in {"", "sql"}, []
        elif match and not match[2].strip() and match[1].startswith(fence):
            if is_sql:
                yield "\n".join(lines).strip()
            fence = ""
        else:
            lines.append(line)


def _result(problem_of: Callable[[str], str | None], candidates: list[str], *, passing: str) -> CheckResult:
    problem: str | None = "no SQL in the answer"
    for candidate in candidates:
        try:
            problem = problem_of(candidate)
        except SqlTooLongError as error:
            return CheckResult(None, f": {error}")
        except TimeoutError:
            return CheckResult(None, f": a pattern timed out after {TIMEOUT_S:g} s")
        if problem is None:
            return CheckResult(passed=True, detail=passing)
    return CheckResult(passed=False, detail=f": {problem}")


def _build_problem(assertion: Assertion) -> Callable[[str], str | None]:
    """Return a function that describes what is wrong with a text, or returns None."""
    settings = _settings(assertion)
    database = _database(assertion, settings.get("databaseType") or DEFAULT_DATABASE)
    parser = SqlParser(assertion, database=database, dialect=DATABASES[database])
    tables = _allowed(assertion, settings, "allowedTables", "table")
    columns = _allowed(assertion, settings, "allowedColumns", "column")

    def problem_of(text: str) -> str | None:
        try:
            statements = parser.parse(text)
        except NotSqlError as error:
            return f"not SQL of {database}: {error}"
        used = parser.names_in(statements) if tables.patterns or columns.patterns else ((), ())
        return tables.problem(used[0]) or columns.problem(used[1])

    return problem_of


def _settings(assertion: Assertion) -> dict[str, Any]:
    value = assertion.value
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise suite_error(assertion, f"found {quoted(value)}; expected a mapping", hint="such as {databaseType: MySQL}")
    unknown = next((key for key in value if key not in _KEYS), None)
    if unknown is not None:
        raise suite_error(
            assertion, f"has an unknown key {quoted(unknown)}", hint=expected_one_of(_KEYS, found=unknown)
        )
    return value


def _database(assertion: Assertion, name: object) -> str:
    by_folded = {database.lower(): database for database in DATABASES}
    database = by_folded.get(str(name).lower())
    if database is None:
        hint = expected_one_of(DATABASES, found=str(name))
        raise suite_error(assertion, f"found the database {quoted(name)}; expected a known one", hint=hint)
    return database


def _allowed(assertion: Assertion, settings: dict[str, Any], key: str, kind: str) -> _AllowedNames:
    names = settings.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise suite_error(assertion, f"found `{key}` {quoted(names)}; expected a list such as [select::null::orders]")
    patterns = []
    for name in (*names, *(_any_table(name) for name in names if kind == "column")):
        try:
            patterns.append(compile_pattern(f"(?i)^{name}$"))
        except ValueError as error:
            raise suite_error(assertion, f"has a wrong pattern {quoted(name)} in `{key}`: {error}") from None
    return _AllowedNames(kind, tuple(names), tuple(patterns))


def _any_table(name: str) -> str:
    """Return the pattern of a column whose table the SQL does not name."""
    parts = name.split("::")
    return f"{parts[0]}::null::{parts[2]}" if len(parts) == _AUTHORITY_PARTS else name

"""Parses SQL with sqlglot, more strictly than sqlglot does: it reads many mistakes as something else.

The only module that imports sqlglot.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.javascript_text import trim
from flowai.evals.assertions.syntax.libraries import import_library

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.suites.records import Assertion

MAX_SQL_CHARS = 50_000
"""Longest text that is parsed: the parser is Python, and cannot be interrupted."""

_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NAME = re.compile(r"[\w$@#.]+")
_REPLACE = re.compile(r"\s*replace(?=\s+(?:into\s)?)", re.IGNORECASE)
_MODIFIERS = frozenset({"ALL", "DISTINCT"})
_MYSQL_MODIFIERS = _MODIFIERS | frozenset({
    "DISTINCTROW", "HIGH_PRIORITY", "STRAIGHT_JOIN", "SQL_BIG_RESULT", "SQL_BUFFER_RESULT", "SQL_CACHE",
    "SQL_CALC_FOUND_ROWS", "SQL_NO_CACHE", "SQL_SMALL_RESULT",
})  # fmt: skip
_CLAUSES = frozenset(
    {"FROM", "GROUP", "HAVING", "INTO", "LIMIT", "ON", "ORDER", "SELECT", "SET", "UNION", "VALUES", "WHERE"}
)
_COMMANDS = frozenset({"BEGIN", "CALL", "EXEC", "EXECUTE", "EXPLAIN", "SHOW"})
_CHANGES = frozenset({"alter", "create", "delete", "drop", "insert", "truncate", "update"})
_MYSQL_FAMILY = frozenset({"MySQL", "MariaDB"})
_WITH_ILIKE = frozenset({"PostgreSQL", "Snowflake", "Redshift", "Noql"})
_WITH_DELETE_WITHOUT_FROM = frozenset({"TransactSQL", "BigQuery"})


class NotSqlError(ValueError):
    """Raised if a text is not SQL of the dialect; the message is one short line."""


class SqlTooLongError(ValueError):
    """Raised if a text is too long, or nested too deeply, to be parsed in bounded time."""


class SqlParser:
    """Parser of one dialect."""

    def __init__(self, assertion: Assertion, *, database: str, dialect: str) -> None:
        self._sqlglot = import_library("sqlglot", assertion)
        self._exp: Any = self._sqlglot.exp
        self._database = database
        self._dialect = dialect or None
        logging.getLogger("sqlglot").disabled = True  # it warns of every statement that it only copies

    def parse(self, text: str) -> list[Any]:
        """Return the statements of a text; there is at least one."""
        if len(text) > MAX_SQL_CHARS:
            raise SqlTooLongError(f"the SQL is longer than {MAX_SQL_CHARS:,} characters")
        if not trim(text):
            raise NotSqlError("the answer is empty")
        source = text
        if self._database in _MYSQL_FAMILY or self._database == "Sqlite":
            source = _REPLACE.sub("INSERT", text, count=1)
        try:
            tokens = list(self._sqlglot.tokenize(source, read=self._dialect))
            parsed = self._sqlglot.parse(source, read=self._dialect)
        except RecursionError:
            raise SqlTooLongError("the SQL is nested too deeply") from None
        except self._sqlglot.errors.SqlglotError as error:
            raise NotSqlError(_first_line(str(error))) from None
        statements = [statement for statement in parsed if statement is not None]
        self._check_tokens(tokens)
        for statement in statements:
            self._check_statement(statement)
            self._check_parts(statement)
        if not statements:
            raise NotSqlError("there is no statement")
        return statements

    def names_in(self, statements: Iterable[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the tables and the columns that statements use, as `action::parent::name`."""
        tables: dict[str, None] = {}
        columns: dict[str, None] = {}
        for statement in statements:
            verb, target = self._target(statement)
            hidden = target if verb not in _CHANGES else None
            for table in statement.find_all(self._exp.Table):
                action = verb if table is target else "select"
                if table is not hidden:
                    tables[f"{action}::{table.db or 'null'}::{table.name}"] = None
            columns |= dict.fromkeys(self._columns(statement, verb, target))
        return tuple(tables), tuple(columns)

    def _target(self, statement: Any) -> tuple[str, Any]:  # noqa: ANN401 - sqlglot's expressions
        """Return the action of a statement, and the table that it changes."""
        verb = statement.key.removesuffix("table")
        if isinstance(statement, self._exp.Query):
            return "select", None
        if verb == "create" and statement.kind != "TABLE":
            verb = "define"
        if verb in _CHANGES and not (verb == "drop" and statement.kind != "TABLE"):
            return verb, next(statement.find_all(self._exp.Table, bfs=True), None)
        return f"{verb} ", next(statement.find_all(self._exp.Table, bfs=True), None)

    def _columns(self, statement: Any, verb: str, target: Any) -> Iterable[str]:  # noqa: ANN401 - sqlglot's expressions
        exp = self._exp
        table = target.name if target is not None else "null"
        if verb == "insert":
            names = [part.name for part in statement.this.expressions] if isinstance(statement.this, exp.Schema) else []
            yield from (f"insert::{table}::{name}" for name in names or ["(.*)"])
        if verb == "delete":
            yield f"delete::{table}::(.*)"
        changed = (
            {id(part.this) for part in statement.expressions if isinstance(part, exp.EQ)} if verb == "update" else ()
        )
        for definition in statement.find_all(exp.ColumnDef):
            yield from (f"{action}::null::{definition.name}" for action in ("create", "select"))
        tables = {table.alias: table.name for table in statement.find_all(exp.Table) if table.alias}
        for column in statement.find_all(exp.Column):
            name = "(.*)" if isinstance(column.this, exp.Star) else column.name
            action = "update" if id(column) in changed else "select"
            yield f"{action}::{tables.get(column.table, column.table) or 'null'}::{name}"
        if any(isinstance(star.parent, exp.Select) for star in statement.find_all(exp.Star)):
            yield "select::null::(.*)"

    def _check_tokens(self, tokens: Sequence[Any]) -> None:
        words = [token.text.upper() for token in tokens]
        kinds = [token.token_type.name for token in tokens]
        for index, (word, kind) in enumerate(zip(words, kinds, strict=True)):
            following = words[index + 1] if index + 1 < len(words) else ""
            if kind == "COMMA" and following in _CLAUSES and self._database != "BigQuery":
                raise NotSqlError(f"a comma before {following}")
            if kind == "FROM" and index == 0 and self._database != "TransactSQL":
                raise NotSqlError("FROM without SELECT")
            if kind == "SELECT" and self._lacks_comma(words, kinds, index + 1):
                raise NotSqlError(f"a comma is missing after {words[index + 1]}")
            if kind == "VAR" and not _NAME.fullmatch(tokens[index].text):
                raise NotSqlError("a name with characters that need quotes")
            if word == "GENERATE_SERIES" and following == "(" and self._database == "MySQL":
                raise NotSqlError("generate_series is no function of MySQL")
            if word == "ILIKE" and kind != "STRING" and self._database not in _WITH_ILIKE:
                raise NotSqlError("no operator ILIKE")

    def _lacks_comma(self, words: Sequence[str], kinds: Sequence[str], start: int) -> bool:
        modifiers = _MYSQL_MODIFIERS if self._database in _MYSQL_FAMILY else _MODIFIERS
        while start < len(words) and words[start] in modifiers:
            start += 1
        names = range(start, start + 2)
        if start + 2 >= len(words) or words[start + 2] != "FROM":
            return False
        return all(_WORD.fullmatch(words[index]) and kinds[index] not in {"STRING", "IDENTIFIER"} for index in names)

    def _check_statement(self, statement: Any) -> None:  # noqa: ANN401 - sqlglot's expressions
        exp = self._exp
        key = statement.key
        if isinstance(statement, exp.Command):
            if str(statement.this).upper() not in _COMMANDS:
                raise NotSqlError("an unknown statement")
        elif key == "describe" and self._database in {"PostgreSQL", "Snowflake"}:
            raise NotSqlError("no statement DESCRIBE")
        elif key == "values" and self._database in {*_MYSQL_FAMILY, "PostgreSQL", "Sqlite", "Snowflake", "BigQuery"}:
            raise NotSqlError("VALUES is no statement of its own")
        elif not isinstance(statement, exp.Query) and key not in _STATEMENTS:
            raise NotSqlError("no statement")
        if key == "insert" and not statement.args.get("expression") and not statement.args.get("default"):
            raise NotSqlError("INSERT without values")
        if key == "update" and not statement.expressions:
            raise NotSqlError("UPDATE without SET")
        if key == "delete" and not self._has_from(statement):
            raise NotSqlError("DELETE without FROM")

    def _has_from(self, statement: Any) -> bool:  # noqa: ANN401 - sqlglot's expressions
        return self._database in _WITH_DELETE_WITHOUT_FROM or "FROM" in statement.sql(dialect=self._dialect).upper()

    def _check_parts(self, statement: Any) -> None:  # noqa: ANN401 - sqlglot's expressions
        exp = self._exp
        for part in statement.walk():
            if isinstance(part, exp.Select) and not part.expressions and not part.args.get("kind"):
                raise NotSqlError("SELECT without columns")
            if isinstance(part, exp.Alias) and isinstance(part.this, exp.Star):
                raise NotSqlError("a name after *")
            if isinstance(part, exp.In) and not any(
                part.args.get(name) for name in ("expressions", "query", "unnest", "field")
            ):
                raise NotSqlError("IN with an empty list")
            if isinstance(part, exp.Array) and self._database in {*_MYSQL_FAMILY, "Snowflake"}:
                raise NotSqlError("square brackets")
            alias = part.args.get("alias")
            if isinstance(alias, exp.Expression) and not alias.args.get("quoted") and alias.name.upper() in _CLAUSES:
                raise NotSqlError(f"an incomplete {alias.name.upper()}")


_STATEMENTS = frozenset({
    "alter", "commit", "copy", "create", "delete", "describe", "drop", "grant", "insert", "merge", "pragma", "revoke",
    "rollback", "set", "show", "transaction", "truncatetable", "update", "use",
})  # fmt: skip


def _first_line(message: str) -> str:
    line = message.partition("\n")[0]
    return re.sub(r"\x1b\[[0-9;]*m", "", line)[:120]

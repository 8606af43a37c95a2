"""Tables of the state file, created or migrated when the file is opened."""

from __future__ import annotations

import sqlite3

from flowai.state.sqlite_budget import BUDGET_SCHEMA, return_all
from flowai.storage.sqlite_files import transaction

_FORMAT = 3
_OLDER_FORMATS = (1, 2)
"""Their breakers and processes have times of the wall clock; they are dropped, budgets and overlays are kept."""

_MIGRATION = """
DROP TABLE breaker;
DROP TABLE process;
DROP TABLE store;
ALTER TABLE overlay RENAME TO old_overlay;
"""

_DRILL_TABLE = "CREATE TABLE IF NOT EXISTS drill (environment TEXT PRIMARY KEY, drill TEXT NOT NULL) WITHOUT ROWID"
"""Files of the same format may lack it: it is newer."""
_SCHEMA = f"""{BUDGET_SCHEMA}
CREATE TABLE IF NOT EXISTS store (boot TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS breaker (provider TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS overlay (
    environment TEXT PRIMARY KEY, epoch INTEGER NOT NULL, record BLOB, clear_count INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS process (
    environment TEXT, process TEXT, seen_at_s REAL NOT NULL, until_s REAL NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (environment, process)
) WITHOUT ROWID;
{_DRILL_TABLE};
"""
"""An overlay that was cleared has no record."""


def prepare(connection: sqlite3.Connection, *, boot: str) -> None:
    """Prepare the file; after a reboot, drop what has times of the boot before.

    Raises sqlite3.Error for a file of another format, or one that cannot be used.
    """
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise sqlite3.OperationalError(f"expected a write-ahead log, found journal mode `{mode}`")
    connection.execute("PRAGMA synchronous = NORMAL")
    if _version(connection) in (0, *_OLDER_FORMATS):
        with transaction(connection):
            _create_tables(connection)
    version = _version(connection)
    if version != _FORMAT:
        raise sqlite3.DatabaseError(f"its format is {version}; expected {_FORMAT}")
    connection.execute(_DRILL_TABLE)
    if connection.execute("SELECT boot FROM store").fetchone()[0] != boot:
        with transaction(connection):
            _forget_boot(connection, boot)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create_tables(connection: sqlite3.Connection) -> None:
    is_older = _version(connection) in _OLDER_FORMATS
    for statement in (_MIGRATION if is_older else "").split(";"):
        connection.execute(statement)
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    if is_older:
        connection.execute("INSERT INTO overlay (environment, epoch, record) SELECT * FROM old_overlay")
        connection.execute("DROP TABLE old_overlay")
    connection.execute("INSERT INTO store SELECT '' WHERE NOT EXISTS (SELECT 1 FROM store)")
    connection.execute(f"PRAGMA user_version = {_FORMAT}")


def _forget_boot(connection: sqlite3.Connection, boot: str) -> None:
    """Drop breakers, processes and reservations of an earlier boot, unless another process already has."""
    if connection.execute("SELECT boot FROM store").fetchone()[0] != boot:
        connection.execute("DELETE FROM breaker")
        connection.execute("DELETE FROM process")
        return_all(connection)
        connection.execute("UPDATE store SET boot = ?", (boot,))

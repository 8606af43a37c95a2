"""Opens SQLite files that a stranger may have planted: no foreign owner, no tracked file, no code in the schema.

Source: sqlite.org/security.html ("Untrusted SQLite Database Files"), sqlite.org/fileformat.html ("The Rollback
    Journal") and SQLite's pager.c: a rollback journal that names a super-journal can make the next opening delete that
    file.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, Place
from flowai.storage.own_files import PRIVATE_FILE_MODE, check_own_file, make_private_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Names of the files of one database, after its own."""
_PLAIN_STATEMENTS = ("CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX ")
"""First words of harmless statements, as SQLite stores them."""
_SUPER_JOURNAL_END = bytes.fromhex("d9d505f920a163d7")


def connect_own_database(
    path: Path, *, timeout_s: float, hint: str, is_shared: bool = False, schema: frozenset[str] | None = None
) -> sqlite3.Connection:
    """Open a database that flowai owns; a missing one is created for the owner only, with its directories.

    `hint` is the remedy of an InfrastructureError for a file that `check_own_file` refuses or that contains triggers,
    views or virtual tables or, with `schema`, any other statement; another user may own the file if `is_shared`.
    Threads may share the connection. Raises sqlite3.Error and OSError too.
    """
    _check_files(path, hint, is_shared=is_shared)
    make_private_directory(path.parent)
    with suppress(FileExistsError):  # never opened otherwise: closing it would drop SQLite's own locks
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE_MODE))
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        _check_schema(connection, path, hint, schema)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Write in one transaction: commit it, or roll it back after an error."""
    connection.execute("BEGIN IMMEDIATE")
    with committing(connection):
        yield connection


@contextmanager
def committing(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit the transaction that has begun, or roll it back after an error."""
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls some back by itself, for example on a full disk
            connection.execute("ROLLBACK")
        raise


def delete_database(path: Path) -> None:
    """Delete the files of a database; links are deleted, not followed."""
    for suffix in SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _check_files(path: Path, hint: str, *, is_shared: bool) -> None:
    for suffix in SUFFIXES:
        file = path.with_name(path.name + suffix)
        check_own_file(file, hint, is_shared=is_shared)
        if suffix == "-journal" and file.exists() and _names_super_journal(file):
            problem = "names another file to delete, which flowai never writes"
            raise InfrastructureError(problem, place=Place(file=str(file)), hint=hint)


def _names_super_journal(file: Path) -> bool:
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - len(_SUPER_JOURNAL_END)))
        return stream.read() == _SUPER_JOURNAL_END


def _check_schema(connection: sqlite3.Connection, path: Path, hint: str, allowed: frozenset[str] | None) -> None:
    """Refuse all statements but those of `allowed`; if it is None, all but tables and indexes."""
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema"):
        is_implied = sql is None and kind == "index"  # by UNIQUE or PRIMARY KEY
        is_allowed = str(sql).startswith(_PLAIN_STATEMENTS) if allowed is None else sql in allowed
        if not is_implied and not is_allowed:
            problem = f"contains the {kind} `{str(name)[:60]!a}`, which flowai does not write"
            raise InfrastructureError(problem, place=Place(file=str(path)), hint=hint)

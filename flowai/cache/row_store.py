"""Opens diskcache on a file that a stranger may have planted; the only module that imports diskcache.

The library reads and deletes files that rows name, unpickles values, and takes attributes and pragmas from the table
Settings. Here values are bytes in their rows; schema and settings are flowai's own before the library opens a file.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import diskcache

from flowai.errors import InfrastructureError, Place
from flowai.storage.sqlite_files import connect_own_database, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = diskcache.DEFAULT_SETTINGS | {
    "cull_limit": 0,  # `delete_oldest` evicts, not every write
    "sqlite_cell_size_check": 1,
    "sqlite_mmap_size": 0,
    "sqlite_trusted_schema": 0,
}
_CACHE_TABLE = (
    "CREATE TABLE Cache ( rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL,"
    " access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0,"
    " filename TEXT, value BLOB)"
)
_TRIGGER = "CREATE TRIGGER Settings_{} ON Cache FOR EACH ROW BEGIN UPDATE Settings SET value = value {}; END"
SCHEMA = frozenset(
    {
        "CREATE TABLE Settings ( key TEXT NOT NULL UNIQUE, value)",
        _CACHE_TABLE,
        "CREATE UNIQUE INDEX Cache_key_raw ON Cache(key, raw)",
        "CREATE INDEX Cache_expire_time ON Cache (expire_time)",
        "CREATE INDEX Cache_store_time ON Cache (store_time)",
        _TRIGGER.format("count_insert AFTER INSERT", '+ 1 WHERE key = "count"'),
        _TRIGGER.format("count_delete AFTER DELETE", '- 1 WHERE key = "count"'),
        _TRIGGER.format("size_insert AFTER INSERT", '+ NEW.size WHERE key = "size"'),
        _TRIGGER.format("size_update AFTER UPDATE", '+ NEW.size - OLD.size WHERE key = "size"'),
        _TRIGGER.format("size_delete AFTER DELETE", '- OLD.size WHERE key = "size"'),
    }
)
"""Statements that diskcache writes, as SQLite stores them."""
_METADATA = "('count', 'hits', 'misses', 'size')"  # counted by diskcache, used by nothing here


class RowDisk(diskcache.Disk):  # type: ignore[misc] # diskcache ships no types
    """Stores text keys and byte values in their rows; other rows count as missing, and no file is touched."""

    def put(self, key: object) -> tuple[str, bool]:
        """See diskcache."""
        if not isinstance(key, str):
            raise TypeError("keys of the exact cache are text")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """See diskcache; a key of another kind is empty."""
        return key if raw == 1 and isinstance(key, str) else ""

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, bytes]:  # noqa: ARG002, FBT001 - diskcache's signature
        """See diskcache."""
        if not isinstance(value, bytes):
            raise TypeError("the exact cache stores bytes")
        return 0, diskcache.core.MODE_RAW, None, value

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes | None:  # noqa: ARG002, FBT001 - as above
        """See diskcache; None for a value that is pickled or in a file."""
        is_in_row = mode == diskcache.core.MODE_RAW and filename is None
        return value if is_in_row and isinstance(value, bytes) else None

    def filename(self, key: object = None, value: object = None) -> tuple[str, str]:  # noqa: ARG002 - as above
        """Raise TypeError."""
        raise TypeError("the exact cache has no files")

    def remove(self, file_path: object) -> None:
        """Return; only a row of an older or a planted cache names a file."""


class RowStore(diskcache.Cache):  # type: ignore[misc] # as above
    """diskcache on one checked file; each thread has its own connection, which is checked too.

    Raises sqlite3.Error and OSError; InfrastructureError, with `hint`, for a file that diskcache did not write.

    Args:
        file: the database.
        size_limit_bytes: size above which `delete_oldest` evicts.
        open_limit_s: how long opening waits for each lock.
        busy_limit_s: how long a statement waits for a lock.
        hint: remedy for a refused file.
    """

    def __init__(
        self, file: Path, *, size_limit_bytes: int, open_limit_s: float, busy_limit_s: float, hint: str
    ) -> None:
        self._file = file
        self._open_limit_s = open_limit_s
        self._hint = hint
        self._settings = SETTINGS | {"size_limit": size_limit_bytes}
        self._is_opening = True
        with closing(self._check(open_limit_s)):  # open meanwhile: the last connection to close copies the log
            # not the file's directory: diskcache would expand variables in it
            super().__init__(os.sep, timeout=busy_limit_s, disk=RowDisk, **self._settings)
        self._is_opening = False

    def set_busy_limit(self, limit_s: float) -> None:
        """Limit how long this thread waits for a lock."""
        self._sql(f"PRAGMA busy_timeout = {round(limit_s * 1000)}")

    def volume(self) -> int:
        """Return the bytes in use; diskcache's own number adds sizes that a row states."""
        (pages,), (free_pages,), (page_bytes,) = (
            self._sql(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free_pages) * page_bytes)

    def delete_oldest(self, *, newest: str) -> None:
        """Delete expired rows and, above the limit, the oldest; those with the prefix `newest` last."""
        if self.volume() > self._settings["size_limit"]:
            bounds = (newest, newest + "\U0010ffff")
            self._sql("UPDATE Cache SET store_time = ? WHERE key BETWEEN ? AND ?", (time.time(), *bounds))
        self.cull()

    @property
    def _con(self) -> Any:  # noqa: ANN401 - as diskcache
        if getattr(self._local, "con", None) is not None:
            return super()._con
        self._directory = str(self._file.parent)
        limit_s = self._timeout or self._open_limit_s  # 0 while diskcache opens
        with nullcontext() if self._is_opening else closing(self._check(limit_s)):
            super()._con.execute(f"PRAGMA busy_timeout = {round(limit_s * 1000)}")
        return super()._con

    @property
    def _sql_retry(self) -> Any:  # noqa: ANN401 - as diskcache
        return self._sql  # which waits as long as its connection, not 60 s

    @contextmanager
    def _transact(self, retry: bool = False, filename: None = None) -> Iterator[Any]:  # noqa: FBT001, FBT002 - as diskcache
        try:
            with super()._transact(retry, filename) as work:
                yield work
        except diskcache.Timeout as timeout:  # says nothing; its context does
            raise sqlite3.OperationalError(str(timeout.__context__)) from None

    def _check(self, limit_s: float) -> sqlite3.Connection:
        """Open the file after all checks, with flowai's settings in it."""
        connection = connect_own_database(self._file, timeout_s=limit_s, hint=self._hint, schema=SCHEMA)
        try:
            self._check_rows(connection)
            connection.execute("PRAGMA auto_vacuum = FULL")  # of a new file; must precede the log
            connection.execute("PRAGMA journal_mode = WAL")  # readers wait for no writer; diskcache tries for 60 s
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_rows(self, connection: sqlite3.Connection) -> None:
        """Replace settings that are not flowai's; refuse rows that the library never deletes."""
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if "Cache" in tables and connection.execute("SELECT 1 FROM Cache WHERE rowid < 1 LIMIT 1").fetchone():
            problem = "contains rows that flowai does not write"
            raise InfrastructureError(problem, place=Place(file=str(self._file)), hint=self._hint)
        if "Settings" not in tables:
            return
        where = f"FROM Settings WHERE key NOT IN {_METADATA}"
        if dict(connection.execute(f"SELECT key, value {where}")) != self._settings:
            with transaction(connection):
                connection.execute(f"DELETE {where}")
                connection.executemany("INSERT INTO Settings VALUES (?, ?)", self._settings.items())

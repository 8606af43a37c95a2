"""Store of requests of one machine: an SQLite file beside the state's, readable by its owner only.

Operations run inline: each takes microseconds. After a power cut the newest answers may be missing, never the file.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.state.requests.rates import TenantUsage, add_usage, admit, drained
from flowai.state.requests.store import MAX_STORED_ANSWERS, MAX_STORED_BYTES, Claim
from flowai.storage.files import writing
from flowai.storage.sqlite_files import connect_own_database, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowai.state.requests.rates import RateDecision, RateRule

FILE_NAME = "requests.sqlite3"
_FORMAT = 1
_BUSY_LIMIT_S = 0.25
_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (tenant TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS request (
    key TEXT PRIMARY KEY, body TEXT NOT NULL, owner TEXT NOT NULL, until_s REAL NOT NULL, answer BLOB,
    size_bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS request_by_end ON request (until_s, size_bytes);
"""
_RESET_HINT = "delete it: this resets the minute's limits and idempotency keys"
_INSERT = "INSERT OR REPLACE INTO request VALUES (?, ?, ?, ?, ?, ?)"

_usage_decoder = msgspec.msgpack.Decoder(TenantUsage)


class SqliteRequestStore:
    """`RequestStore` of the processes of one machine; opens its file at the first use, in that thread.

    Args:
        directory: on a local disk; created when missing.
        clock_s: the same for all processes.
        max_bytes: limit of all stored answers together.
    """

    def __init__(self, directory: Path, clock_s: Callable[[], float], *, max_bytes: int = MAX_STORED_BYTES) -> None:
        self._path = directory / FILE_NAME
        self._clock_s = clock_s
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the file's only write lock; convert errors."""
        try:
            with transaction(self._connection or self._open()) as connection:
                yield connection
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            self._close()
            raise InfrastructureError(
                f"the store of requests cannot be used: {error}",
                place=Place(file=str(self._path)),
                hint=f"free some space, or {_RESET_HINT}",
            ) from error

    def _open(self) -> sqlite3.Connection:
        with writing(self._path):
            connection = connect_own_database(self._path, timeout_s=_BUSY_LIMIT_S, hint=_RESET_HINT, is_shared=True)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_FORMAT}")
            _check_format(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def admit(self, tenant: str, rule: RateRule, *, tokens: int) -> RateDecision:
        """Count a request of a tenant if its limits allow it."""
        with self._writing() as connection:
            usage, decision = admit(self._read_usage(connection, tenant, rule), rule, tokens=tokens)
            _write_usage(connection, tenant, usage)
        return decision

    async def add_usage(self, tenant: str, rule: RateRule, *, tokens: int, cost_usd: float) -> None:
        """Count what an answer used."""
        with self._writing() as connection:
            usage = self._read_usage(connection, tenant, rule)
            _write_usage(connection, tenant, add_usage(usage, tokens=tokens, cost_usd=cost_usd))

    def _read_usage(self, connection: sqlite3.Connection, tenant: str, rule: RateRule) -> TenantUsage:
        row = connection.execute("SELECT record FROM usage WHERE tenant = ?", (tenant,)).fetchone()
        usage = TenantUsage() if row is None else _usage_decoder.decode(row[0])
        return drained(usage, rule, now_s=self._clock_s())

    async def claim(self, key: str, *, body: str, owner: str, lease_s: float) -> Claim:
        """Claim an idempotency key, or return its state."""
        now_s = self._clock_s()
        with self._writing() as connection:
            row = connection.execute(
                "SELECT body, owner, answer FROM request WHERE key = ? AND until_s > ?", (key, now_s)
            ).fetchone()
            if row is not None and row[1] != owner:
                if row[0] != body:
                    return Claim(status="mismatch")
                return Claim(status="running") if row[2] is None else Claim(status="answered", answer=row[2])
            connection.execute(_INSERT, (key, body, owner, now_s + lease_s, None, 0))
        return Claim(status="claimed")

    async def store_answer(self, key: str, *, body: str, owner: str, answer: bytes, lifetime_s: float) -> None:
        """Store the answer of a claimed key."""
        now_s = self._clock_s()
        with self._writing() as connection:
            row = connection.execute("SELECT owner FROM request WHERE key = ? AND until_s > ?", (key, now_s)).fetchone()
            if row is not None and row[0] != owner:
                return
            connection.execute(_INSERT, (key, body, owner, now_s + lifetime_s, answer, len(answer)))
            self._evict(connection, now_s)

    def _evict(self, connection: sqlite3.Connection, now_s: float) -> None:
        """Delete expired answers, and the oldest ones above the limits."""
        connection.execute("DELETE FROM request WHERE until_s <= ?", (now_s,))
        count, stored_bytes = connection.execute(
            "SELECT count(*), coalesce(sum(size_bytes), 0) FROM request"
        ).fetchone()
        while count > MAX_STORED_ANSWERS or stored_bytes > self._max_bytes:
            key, size_bytes = connection.execute(
                "SELECT key, size_bytes FROM request WHERE answer IS NOT NULL ORDER BY until_s LIMIT 1"
            ).fetchone()
            connection.execute("DELETE FROM request WHERE key = ?", (key,))
            count, stored_bytes = count - 1, stored_bytes - size_bytes

    async def release(self, key: str, *, owner: str) -> None:
        """Return a claim without an answer."""
        with self._writing() as connection:
            connection.execute("DELETE FROM request WHERE key = ? AND owner = ? AND answer IS NULL", (key, owner))

    async def aclose(self) -> None:
        """Close the file; the next use opens it again."""
        self._close()


def _check_format(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != _FORMAT:
        raise sqlite3.DatabaseError(f"its format is {version}; expected {_FORMAT}")


def _write_usage(connection: sqlite3.Connection, tenant: str, usage: TenantUsage) -> None:
    connection.execute("INSERT OR REPLACE INTO usage VALUES (?, ?)", (tenant, msgspec.msgpack.encode(usage)))

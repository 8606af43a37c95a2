"""State store of one machine: an SQLite file that several processes read and write.

Operations run inline: each takes microseconds, less than a thread switch. A process killed during a write changes
nothing (write-ahead log). A power cut loses at most the writes since the last checkpoint, never the file
(synchronous=NORMAL).
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.state import circuit
from flowai.state.memory_store import random_id
from flowai.state.money import limit_nano_usd, nano_usd, oldest_kept_day, settlement_delta, usd, utc_day
from flowai.state.store import BreakerDecision, BreakerView, Heartbeat, Overlay, Reservation, SharedState
from flowai.storage.files import writing
from flowai.storage.sqlite_files import connect_own_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from flowai.state.store import BreakerRule

FILE_NAME = "state.sqlite3"
_FORMAT = 2
_FORMAT_WITHOUT_MODELS = 1
"""Its breakers have no back-offs by model; they are dropped, budgets and overlays are kept."""
_BUSY_LIMIT_S = 0.25
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_BUSY_POLL_S = (
    0.0002  # a write takes 30 us; SQLite's own waiting, in steps of milliseconds, would starve some processes
)
_RESET_HINT = "stop flowai's processes and delete it: this resets breakers, today's budgets and a rollback's overlay"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS store (held_by TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS breaker (provider TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (
    day TEXT, account TEXT, amount_nano INTEGER NOT NULL, PRIMARY KEY (day, account)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS overlay (
    environment TEXT PRIMARY KEY, epoch INTEGER NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS process (
    environment TEXT, process TEXT, until_s REAL NOT NULL, record BLOB NOT NULL, PRIMARY KEY (environment, process)
) WITHOUT ROWID;
"""

_SELECT_WINDOW = "SELECT record FROM breaker WHERE provider = ?"

_window_decoder = msgspec.msgpack.Decoder(circuit.CircuitWindow)
_overlay_decoder = msgspec.json.Decoder(Overlay)
_heartbeat_decoder = msgspec.json.Decoder(Heartbeat)


class SqliteStateStore:
    """`StateStore` of the processes of one machine; opens its file at the first use, in that thread.

    `directory` is on a local disk and created when missing; `clock_s` is the same for all processes.
    """

    def __init__(self, directory: Path, clock_s: Callable[[], float], *, new_id: Callable[[], str] = random_id) -> None:
        self._path = directory / FILE_NAME
        self._clock_s = clock_s
        self._new_id = new_id
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._held_by = ""
        self._version = -1  # SQLite's count of other connections' changes; the copies below are of this version
        self._windows: dict[str, circuit.CircuitWindow] = {}
        self._overlays: dict[str, Overlay] = {}

    @contextmanager
    def _guard_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise InfrastructureError(
                f"the shared state cannot be used: {error}", place=Place(file=str(self._path)), hint=_hint(error)
            ) from error

    def _open(self) -> sqlite3.Connection:
        """Return the connection; a file that was removed or replaced is opened again."""
        if self._connection is not None:
            try:
                if self._path.stat().st_ino == self._inode:
                    return self._connection
            except OSError:
                pass  # removed: opening it explains more
            self._close()
        with writing(self._path):
            connection: sqlite3.Connection = _retry_while_busy(
                lambda: connect_own_database(self._path, timeout_s=0, hint=_RESET_HINT, is_shared=True)
            )
        try:
            _retry_while_busy(lambda: self._prepare(connection))
            with writing(self._path):
                self._inode = self._path.stat().st_ino
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"expected a write-ahead log, found journal mode `{mode}`")
        connection.execute("PRAGMA synchronous = NORMAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] in (0, _FORMAT_WITHOUT_MODELS):
            connection.execute("BEGIN IMMEDIATE")
            with _committing(connection):
                if connection.execute("PRAGMA user_version").fetchone()[0] == _FORMAT_WITHOUT_MODELS:
                    connection.execute("DELETE FROM breaker")
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO store SELECT ? WHERE NOT EXISTS (SELECT 1 FROM store)", (self._new_id(),)
                )
                connection.execute(f"PRAGMA user_version = {_FORMAT}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != _FORMAT:
            raise sqlite3.DatabaseError(f"its format is {version}; expected {_FORMAT}")
        (self._held_by,) = connection.execute("SELECT held_by FROM store").fetchone()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._version = -1

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Run one statement, atomic by itself."""
        connection = self._open()
        cursor: sqlite3.Cursor = _retry_while_busy(lambda: connection.execute(statement, values))
        return cursor

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the file's only write lock."""
        connection = self._open()
        _retry_while_busy(lambda: connection.execute("BEGIN IMMEDIATE"))
        with _committing(connection):
            yield connection

    async def shared(self, environment: str) -> SharedState:
        """Read what every call reads; an unchanged file is not read again."""
        now_s = self._clock_s()
        with self._guard_errors():
            version = self._run("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                self._read_all(version)
        views: dict[str, BreakerView] = {}
        for provider, window in self._windows.items():
            if (view := circuit.view(window, now_s=now_s)) is not None:
                views[provider] = view
        return SharedState(breakers=views, overlay=self._overlays.get(environment), read_at_s=now_s)

    def _read_all(self, version: int) -> None:
        windows = self._run("SELECT provider, record FROM breaker").fetchall()
        overlays = self._run("SELECT environment, record FROM overlay").fetchall()
        self._windows = {provider: _window_decoder.decode(record) for provider, record in windows}
        self._overlays = {environment: _overlay_decoder.decode(record) for environment, record in overlays}
        self._version = version

    def _update_window(
        self, provider: str, change: Callable[[circuit.CircuitWindow], circuit.CircuitWindow]
    ) -> circuit.CircuitWindow:
        """Change a provider's window under the write lock."""
        with self._guard_errors(), self._writing() as connection:
            before = _read_window(connection.execute(_SELECT_WINDOW, (provider,)))
            after = change(before)
            if after is not before:
                self._version = -1  # SQLite counts other connections' changes only
                connection.execute(
                    "INSERT OR REPLACE INTO breaker VALUES (?, ?)", (provider, msgspec.msgpack.encode(after))
                )
        return after

    async def admit(self, provider: str, model: str, rule: BreakerRule) -> BreakerDecision:
        """Return whether an attempt may start; writes only if a probe's lease is taken."""
        with self._guard_errors():
            window = _read_window(self._run(_SELECT_WINDOW, provider))
        _, decision = circuit.admit(window, rule, model=model, now_s=self._clock_s(), lease="")
        if decision.probe is None:
            return decision
        lease = self._new_id()
        decisions: list[BreakerDecision] = []

        def take_lease(window: circuit.CircuitWindow) -> circuit.CircuitWindow:
            after, decision = circuit.admit(window, rule, model=model, now_s=self._clock_s(), lease=lease)
            decisions.append(decision)
            return after

        self._update_window(provider, take_lease)
        return decisions[-1]

    async def record_failure(self, provider: str, rule: BreakerRule, *, probe: str | None = None) -> BreakerView:
        """Count a failure."""
        window = self._update_window(
            provider, lambda window: circuit.record_failure(window, rule, now_s=self._clock_s(), probe=probe)
        )
        return circuit.view(window, now_s=self._clock_s()) or BreakerView()

    async def record_success(self, provider: str, *, probe: str) -> None:
        """Close the breaker after a successful probe."""
        self._update_window(provider, lambda window: circuit.record_success(window, probe=probe))

    async def release_probe(self, provider: str, *, probe: str) -> None:
        """Return a lease without a result."""
        self._update_window(provider, lambda window: circuit.release_probe(window, probe=probe))

    async def back_off(self, provider: str, model: str, *, for_s: float) -> None:
        """Start a back-off of a provider's model."""
        self._update_window(
            provider, lambda window: circuit.back_off(window, model=model, now_s=self._clock_s(), for_s=for_s)
        )

    async def reset_breaker(self, provider: str) -> bool:
        """Close a provider's breaker and end the back-offs of its models."""
        before: list[circuit.CircuitWindow] = []

        def empty(window: circuit.CircuitWindow) -> circuit.CircuitWindow:
            before.append(window)
            return circuit.EMPTY_WINDOW

        self._update_window(provider, empty)
        return circuit.view(before[-1], now_s=self._clock_s()) is not None

    async def reserve(self, account: str, amount_usd: float, *, limit_usd: float) -> Reservation | None:
        """Reserve money for today, in one statement."""
        amount, limit = nano_usd(amount_usd), limit_nano_usd(limit_usd)
        if amount > limit:
            return None
        today = utc_day(self._clock_s())
        with self._guard_errors():
            done = self._run(
                "INSERT INTO spent VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
                "SET amount_nano = amount_nano + excluded.amount_nano WHERE amount_nano + excluded.amount_nano <= ?",
                today,
                account,
                amount,
                limit,
            )
        if done.rowcount == 0:
            return None
        return Reservation(account=account, day=today, amount_usd=amount_usd, held_by=self._held_by)

    async def settle(self, reservation: Reservation, *, actual_usd: float) -> None:
        """Replace what was set aside by what was paid, in one statement."""
        with self._guard_errors():
            self._open()
            if reservation.day < oldest_kept_day(self._clock_s()):
                return
            change = settlement_delta(reservation, actual_usd=actual_usd, held_by=self._held_by)
            self._run(
                "INSERT INTO spent VALUES (?, ?, max(0, ?)) ON CONFLICT DO UPDATE "
                "SET amount_nano = max(0, amount_nano + ?)",
                reservation.day,
                reservation.account,
                change,
                change,
            )

    async def spent_usd(self, account: str) -> float:
        """Return what is spent and reserved today."""
        today = utc_day(self._clock_s())
        with self._guard_errors():
            row = self._run("SELECT amount_nano FROM spent WHERE day = ? AND account = ?", today, account).fetchone()
        return 0.0 if row is None else usd(row[0])

    async def write_overlay(self, environment: str, overlay: Overlay) -> None:
        """Write an overlay."""
        self._version = -1
        with self._guard_errors():
            self._run(
                "INSERT INTO overlay VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
                "SET epoch = excluded.epoch, record = excluded.record WHERE excluded.epoch >= epoch",
                environment,
                overlay.epoch,
                msgspec.json.encode(overlay),
            )

    async def clear_overlay(self, environment: str) -> None:
        """Remove the overlay."""
        self._version = -1
        with self._guard_errors():
            self._run("DELETE FROM overlay WHERE environment = ?", environment)

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Announce that this process is alive; deletes dead processes and old days."""
        now_s = self._clock_s()
        values = (heartbeat.environment, heartbeat.process, now_s + lifetime_s, msgspec.json.encode(heartbeat))
        with self._guard_errors(), self._writing() as connection:
            connection.execute("DELETE FROM process WHERE until_s <= ?", (now_s,))
            connection.execute("DELETE FROM spent WHERE day < ?", (oldest_kept_day(now_s),))
            connection.execute("INSERT OR REPLACE INTO process VALUES (?, ?, ?, ?)", values)

    async def heartbeats(self, environment: str) -> Sequence[Heartbeat]:
        """List the live processes of an environment."""
        with self._guard_errors():
            rows = self._run(
                "SELECT record FROM process WHERE environment = ? AND until_s > ? ORDER BY process",
                environment,
                self._clock_s(),
            ).fetchall()
            return [_heartbeat_decoder.decode(record) for (record,) in rows]

    async def deregister(self, environment: str, process: str) -> None:
        """Remove a process that exits."""
        with self._guard_errors():
            self._run("DELETE FROM process WHERE environment = ? AND process = ?", environment, process)

    async def aclose(self) -> None:
        """Close the file; the next use opens it again."""
        with self._guard_errors():
            self._close()


def _read_window(cursor: sqlite3.Cursor) -> circuit.CircuitWindow:
    row = cursor.fetchone()
    return circuit.EMPTY_WINDOW if row is None else _window_decoder.decode(row[0])


def _retry_while_busy(operation: Callable[[], Any]) -> Any:  # noqa: ANN401 - the operation's result
    """Retry while another process writes, up to a short timeout."""
    deadline_s = time.monotonic() + _BUSY_LIMIT_S
    while True:
        try:
            return operation()
        except sqlite3.OperationalError as error:
            if _sqlite_code(error) not in _BUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(_BUSY_POLL_S)


@contextmanager
def _committing(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit, or roll back on an error."""
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls some back by itself, for example on a full disk
            connection.execute("ROLLBACK")
        raise


def _sqlite_code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 for other errors."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _hint(error: Exception) -> str:
    code = _sqlite_code(error)
    if code in _BUSY:
        return "another process holds the lock; check for one that hangs"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(error, msgspec.MsgspecError):
        return _RESET_HINT
    return "free some space or choose another place with `state:`"

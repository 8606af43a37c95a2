"""State store of one machine: an SQLite file that several processes read and write.

Operations run inline: each takes microseconds, less than a thread switch. A process killed during a write changes
nothing (write-ahead log). A power cut loses at most the writes since the last checkpoint, never the file
(synchronous=NORMAL).
"""

from __future__ import annotations

import math
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.state import circuit, sqlite_budget
from flowai.state.machine import boot_id
from flowai.state.memory_store import random_id
from flowai.state.money import limit_nano_usd, nano_usd, oldest_kept_day, oldest_settled_day, utc_day
from flowai.state.sqlite_schema import prepare
from flowai.state.store import (
    MAX_LEASE_S,
    NO_CALLS,
    SILENT_KEPT_S,
    Balance,
    BreakerDecision,
    BreakerView,
    Heartbeat,
    KnownProcess,
    Overlay,
    Reservation,
    SharedState,
    StateRefusedError,
)
from flowai.storage.files import writing
from flowai.storage.sqlite_files import committing, connect_own_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from flowai.state.store import AnsweredCalls, BreakerRule

FILE_NAME = "state.sqlite3"
_BUSY_LIMIT_S = 0.25
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_REFUSALS = (*_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
"""Codes with which a file that can still be read refuses a write."""
_BUSY_POLL_S = (
    0.0002  # a write takes 30 us; SQLite's own waiting, in steps of milliseconds, would starve some processes
)
_RESET_HINT = "stop flowai's processes and delete it: this resets breakers and budgets, not a rollback"

_SELECT_WINDOW = "SELECT record FROM breaker WHERE provider = ?"

_window_decoder = msgspec.msgpack.Decoder(circuit.CircuitWindow)
_overlay_decoder = msgspec.json.Decoder(Overlay)
_heartbeat_decoder = msgspec.json.Decoder(Heartbeat)


class SqliteStateStore:
    """`StateStore` of the processes of one machine; opens its file at the first use, in that thread.

    `directory` is on a local disk and created when missing. Intervals are measured by `clock_s`, which is the same for
    all processes, days by `wall_s`; None for the same clock.
    """

    def __init__(
        self,
        directory: Path,
        clock_s: Callable[[], float],
        *,
        wall_s: Callable[[], float] | None = None,
        new_id: Callable[[], str] = random_id,
    ) -> None:
        self._path = directory / FILE_NAME
        self._clock_s = clock_s
        self._wall_s = wall_s or clock_s
        self._new_id = new_id
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._version = -1  # SQLite's count of other connections' changes; the copies below are of this version
        self._windows: dict[str, circuit.CircuitWindow] = {}
        self._overlays: dict[str, tuple[Overlay | None, int]] = {}  # by environment, with the count of clears
        self._drills: dict[str, str] = {}

    @contextmanager
    def _guard_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            kind = StateRefusedError if _sqlite_code(error) in _REFUSALS else InfrastructureError
            raise kind(
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
            _retry_while_busy(lambda: prepare(connection, boot=boot_id()))
            with writing(self._path):
                self._inode = self._path.stat().st_ino
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

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
        with committing(connection):
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
        overlay, clear_count = self._overlays.get(environment, (None, 0))
        return SharedState(
            breakers=views,
            overlay=overlay,
            overlay_clear_count=clear_count,
            drill=self._drills.get(environment, ""),
            read_at_s=now_s,
        )

    def _read_all(self, version: int) -> None:
        windows = self._run("SELECT provider, record FROM breaker").fetchall()
        overlays = self._run("SELECT environment, record, clear_count FROM overlay").fetchall()
        self._windows = {provider: _window_decoder.decode(record) for provider, record in windows}
        self._overlays = {
            environment: (None if record is None else _overlay_decoder.decode(record), clear_count)
            for environment, record, clear_count in overlays
        }
        self._drills = dict(self._run("SELECT environment, drill FROM drill").fetchall())
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

    async def record_failure(
        self, provider: str, rule: BreakerRule, *, probe: str | None = None, answered: AnsweredCalls = NO_CALLS
    ) -> BreakerView:
        """Count a failure, and the answered calls."""
        window = self._update_window(
            provider,
            lambda window: circuit.record_failure(window, rule, now_s=self._clock_s(), probe=probe, answered=answered),
        )
        return circuit.view(window, now_s=self._clock_s()) or BreakerView()

    async def record_calls(self, provider: str, rule: BreakerRule, answered: AnsweredCalls) -> BreakerView:
        """Count answered calls."""
        window = self._update_window(
            provider, lambda window: circuit.record_calls(window, rule, now_s=self._clock_s(), answered=answered)
        )
        return circuit.view(window, now_s=self._clock_s()) or BreakerView()

    async def admit_retry(self, provider: str, rule: BreakerRule, answered: AnsweredCalls) -> bool:
        """Count a repeated call; return whether it may start."""
        decisions: list[bool] = []

        def count(window: circuit.CircuitWindow) -> circuit.CircuitWindow:
            after, is_admitted = circuit.admit_retry(window, rule, now_s=self._clock_s(), answered=answered)
            decisions.append(is_admitted)
            return after

        self._update_window(provider, count)
        return decisions[-1]

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

    async def reserve(
        self, account: str, amount_usd: float, *, limit_usd: float, lease_s: float = MAX_LEASE_S
    ) -> Reservation | None:
        """Reserve money for today."""
        limit_nano = limit_nano_usd(limit_usd)
        if nano_usd(amount_usd) > limit_nano:
            return None
        day = utc_day(self._wall_s())
        reservation = Reservation(account=account, day=day, amount_usd=amount_usd, id=self._new_id())
        with self._guard_errors(), self._writing() as connection:
            is_reserved = sqlite_budget.reserve(
                connection, reservation, limit_nano=limit_nano, now_s=self._clock_s(), lease_s=lease_s
            )
        return reservation if is_reserved else None

    async def settle(self, reservation: Reservation, *, actual_usd: float) -> None:
        """Replace a reservation by the real cost."""
        oldest_day = oldest_settled_day(self._wall_s())
        with self._guard_errors(), self._writing() as connection:
            sqlite_budget.settle(connection, reservation, actual_nano=nano_usd(actual_usd), oldest_day=oldest_day)

    async def balance(self, account: str) -> Balance:
        """Return what is spent and what is reserved today."""
        with self._guard_errors(), self._writing() as connection:
            return sqlite_budget.read_balance(connection, account, now_s=self._clock_s(), wall_s=self._wall_s())

    async def write_overlay(self, environment: str, overlay: Overlay, *, clear_count: int = 0) -> None:
        """Write an overlay."""
        self._version = -1
        with self._guard_errors():
            self._run(
                "INSERT INTO overlay VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch, "
                "record = excluded.record, clear_count = max(clear_count, excluded.clear_count) "
                "WHERE excluded.epoch >= epoch OR record IS NULL",
                environment,
                overlay.epoch,
                msgspec.json.encode(overlay),
                clear_count,
            )

    async def write_drill(self, environment: str, drill: str) -> None:
        """Write the id of a drill."""
        self._version = -1
        with self._guard_errors():
            self._run("INSERT OR REPLACE INTO drill VALUES (?, ?)", environment, drill)

    async def clear_overlay(self, environment: str) -> None:
        """Remove the overlay on purpose."""
        self._version = -1
        with self._guard_errors():
            self._run(
                "INSERT INTO overlay VALUES (?, 0, NULL, 1) ON CONFLICT DO UPDATE "
                "SET epoch = 0, record = NULL, clear_count = clear_count + 1",
                environment,
            )

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Announce that this process is alive; deletes processes that were silent for long, and old days."""
        now_s = self._clock_s()
        values = (heartbeat.environment, heartbeat.process, now_s, now_s + lifetime_s, msgspec.json.encode(heartbeat))
        with self._guard_errors(), self._writing() as connection:
            connection.execute("DELETE FROM process WHERE seen_at_s <= ?", (now_s - SILENT_KEPT_S,))
            connection.execute("DELETE FROM spent WHERE day < ?", (oldest_kept_day(self._wall_s()),))
            connection.execute("INSERT OR REPLACE INTO process VALUES (?, ?, ?, ?, ?)", values)

    async def processes(self, environment: str) -> Sequence[KnownProcess]:
        """List the processes of an environment that have not deregistered."""
        with self._guard_errors():
            rows = self._run(
                "SELECT seen_at_s, until_s, record FROM process WHERE environment = ? ORDER BY process", environment
            ).fetchall()
            now_s = self._clock_s()
            return [
                KnownProcess(
                    heartbeat=_heartbeat_decoder.decode(record),
                    silent_s=max(0.0, now_s - seen_at_s),
                    is_live=until_s > now_s,
                )
                for seen_at_s, until_s, record in rows
                if seen_at_s > now_s - SILENT_KEPT_S
            ]

    async def processes_known_for_s(self, _: str) -> float:
        """Return infinity: this store does not lose processes unnoticed."""
        return math.inf

    async def heartbeats(self, environment: str) -> Sequence[Heartbeat]:
        """List the live processes of an environment."""
        return [process.heartbeat for process in await self.processes(environment) if process.is_live]

    async def deregister(self, environment: str, process: str) -> None:
        """Remove a process that exits."""
        with self._guard_errors():
            self._run("DELETE FROM process WHERE environment = ? AND process = ?", environment, process)

    async def warnings(self) -> Sequence[str]:
        """Return nothing: the file has no settings."""
        return ()

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

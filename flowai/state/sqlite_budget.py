"""Budgets in the SQLite file of `SqliteStateStore`; every function runs in a write transaction of the caller's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.state.money import balance_of, nano_usd, utc_day

if TYPE_CHECKING:
    import sqlite3

    from flowai.state.store import Balance, Reservation

BUDGET_SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (
    day TEXT, account TEXT, amount_nano INTEGER NOT NULL, PRIMARY KEY (day, account)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservation (
    id TEXT PRIMARY KEY, day TEXT NOT NULL, account TEXT NOT NULL, amount_nano INTEGER NOT NULL, until_s REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reservation_end ON reservation (until_s);
"""
"""`spent` has what is spent and reserved; `reservation` what is reserved, and until when."""


def reserve(
    connection: sqlite3.Connection, reservation: Reservation, *, limit_nano: int, now_s: float, lease_s: float
) -> bool:
    """Write a reservation; return False above the limit."""
    amount_nano = nano_usd(reservation.amount_usd)
    _return_expired(connection, now_s)
    done = connection.execute(
        "INSERT INTO spent VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
        "SET amount_nano = amount_nano + excluded.amount_nano WHERE amount_nano + excluded.amount_nano <= ?",
        (reservation.day, reservation.account, amount_nano, limit_nano),
    )
    if done.rowcount == 0:
        return False
    connection.execute(
        "INSERT INTO reservation VALUES (?, ?, ?, ?, ?)",
        (reservation.id, reservation.day, reservation.account, amount_nano, now_s + lease_s),
    )
    return True


def settle(connection: sqlite3.Connection, reservation: Reservation, *, actual_nano: int, oldest_day: str) -> None:
    """Replace a reservation by the real cost, unless it is of a day before `oldest_day`."""
    held = connection.execute("SELECT amount_nano FROM reservation WHERE id = ?", (reservation.id,)).fetchall()
    connection.execute("DELETE FROM reservation WHERE id = ?", (reservation.id,))
    if reservation.day < oldest_day:
        return
    change = actual_nano - sum(amount for (amount,) in held)
    connection.execute(
        "INSERT INTO spent VALUES (?, ?, max(0, ?)) ON CONFLICT DO UPDATE SET amount_nano = max(0, amount_nano + ?)",
        (reservation.day, reservation.account, change, change),
    )


def read_balance(connection: sqlite3.Connection, account: str, *, now_s: float, wall_s: float) -> Balance:
    """Return what is spent and what is reserved today: leases end by `now_s`, the day is that of `wall_s`."""
    _return_expired(connection, now_s)
    total, reserved = connection.execute(
        "SELECT coalesce((SELECT amount_nano FROM spent WHERE day = ?1 AND account = ?2), 0), "
        "coalesce((SELECT sum(amount_nano) FROM reservation WHERE day = ?1 AND account = ?2), 0)",
        (utc_day(wall_s), account),
    ).fetchone()
    return balance_of(total, reserved, wall_s)


def return_all(connection: sqlite3.Connection) -> None:
    """Return every reservation: the processes that made them are gone."""
    _return_expired(connection, math.inf)


def _return_expired(connection: sqlite3.Connection, now_s: float) -> None:
    expired = connection.execute(
        "SELECT amount_nano, day, account FROM reservation WHERE until_s <= ?", (now_s,)
    ).fetchall()
    if expired:
        connection.execute("DELETE FROM reservation WHERE until_s <= ?", (now_s,))
        connection.executemany(
            "UPDATE spent SET amount_nano = max(0, amount_nano - ?) WHERE day = ? AND account = ?", expired
        )

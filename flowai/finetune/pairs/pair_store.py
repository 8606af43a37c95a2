"""Temporary database for the pairs of one export, so that memory does not grow with the log."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError
from flowai.finetune.pairs.pairing import STEP, FeedbackItem
from flowai.finetune.records import Pair, Quarantined

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.finetune.records import Split

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -32000;
CREATE TABLE feedback (call_id TEXT NOT NULL, at_us INTEGER NOT NULL, verdict TEXT NOT NULL, text TEXT);
CREATE TABLE seen (call_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE pairs (id TEXT PRIMARY KEY, at TEXT, session TEXT, body BLOB NOT NULL, kind TEXT NOT NULL);
CREATE TABLE cleaned (position INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, split TEXT NOT NULL, body BLOB NOT NULL);
"""
_IN_ORDER = """
SELECT body FROM pairs
JOIN (SELECT session, min(at) AS begun FROM pairs WHERE kind = 'pair' GROUP BY session) USING (session)
WHERE kind = 'pair' ORDER BY begun, session, at, id
"""


class PairStore:
    """Feedback, pairs and cleaned pairs of one export; for one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._decoder = msgspec.json.Decoder(Pair)
        connection.executescript(_TABLES)
        connection.execute("BEGIN")  # never committed: saves a write per row

    def add_feedback(self, call_id: str, feedback: FeedbackItem) -> None:
        """Store a user's feedback on a call."""
        row = (call_id, feedback.at_us, feedback.verdict, feedback.text)
        self._connection.execute("INSERT INTO feedback VALUES (?, ?, ?, ?)", row)

    def index_feedback(self) -> None:
        """Build the index of the feedback; none may be added afterwards."""
        self._connection.execute("CREATE INDEX feedback_by_call ON feedback (call_id)")

    def feedback_of(self, call_id: str) -> list[FeedbackItem]:
        """Return the feedback on a call, in no order; repeated lines of the log are repeated."""
        rows = self._connection.execute("SELECT at_us, verdict, text FROM feedback WHERE call_id = ?", (call_id,))
        return [FeedbackItem(at_us=at_us, verdict=verdict, text=text) for at_us, verdict, text in rows]

    def mark_seen(self, call_id: str) -> None:
        """Record that the log contains a call."""
        self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (call_id,))

    def feedback_without_call(self) -> Iterator[str]:
        """Yield the ids of calls that have feedback and are not in the log, in order."""
        query = "SELECT DISTINCT call_id FROM feedback WHERE call_id NOT IN (SELECT call_id FROM seen) ORDER BY call_id"
        return (call_id for (call_id,) in self._connection.execute(query))

    def add(self, result: Pair | Quarantined) -> None:
        """Store the pair of a call; two different pairs of one call are rejected as `conflicting`."""
        body = msgspec.json.encode(result)
        at, session, kind = None, None, "rejected"
        if isinstance(result, Pair):
            at, session, kind = result.at, result.session or result.id, "pair"
        try:
            self._connection.execute("INSERT INTO pairs VALUES (?, ?, ?, ?, ?)", (result.id, at, session, body, kind))
        except sqlite3.IntegrityError:
            ((before,),) = self._connection.execute("SELECT body FROM pairs WHERE id = ?", (result.id,))
            if before != body:
                self._connection.execute("UPDATE pairs SET kind = 'conflicting' WHERE id = ?", (result.id,))

    def rejected(self) -> Iterator[Quarantined]:
        """Yield calls without a complete pair, by id."""
        decode = msgspec.json.Decoder(Quarantined).decode
        query = "SELECT id, body, kind FROM pairs WHERE kind <> 'pair' ORDER BY id"
        for name, body, kind in self._connection.execute(query):
            if kind == "rejected":
                yield decode(body)
            else:
                detail = "the log has two different versions of this call"
                yield Quarantined(id=name, step=STEP, reason="conflicting", detail=detail)

    @property
    def pair_count(self) -> int:
        """Number of complete pairs."""
        ((count,),) = self._connection.execute("SELECT count(*) FROM pairs WHERE kind = 'pair'")
        return int(count)

    def pairs(self) -> Iterator[Pair]:
        """Yield the pairs: sessions by the time of their first call, each in order of time."""
        return (self._decoder.decode(body) for (body,) in self._connection.execute(_IN_ORDER))

    def add_cleaned(self, pair: Pair, split: Split) -> None:
        """Store a pair that passed the cleaning."""
        row = (pair.id, split, msgspec.json.encode(pair))
        self._connection.execute("INSERT INTO cleaned (id, split, body) VALUES (?, ?, ?)", row)

    @property
    def cleaned_count(self) -> int:
        """Number of cleaned pairs."""
        ((count,),) = self._connection.execute("SELECT count(*) FROM cleaned")
        return int(count)

    def cleaned(self) -> Iterator[tuple[Pair, Split]]:
        """Yield the cleaned pairs in the order they were added; pairs may be dropped meanwhile."""
        last = -1
        query = "SELECT position, split, body FROM cleaned WHERE position > ? ORDER BY position LIMIT 100"
        while rows := self._connection.execute(query, (last,)).fetchall():
            last = rows[-1][0]
            yield from ((self._decoder.decode(body), split) for _, split, body in rows)

    def drop(self, pair_id: str) -> None:
        """Delete a cleaned pair."""
        self._connection.execute("DELETE FROM cleaned WHERE id = ?", (pair_id,))


@contextmanager
def open_pair_store(directory: Path) -> Iterator[PairStore]:
    """Open a store in a temporary directory; raises InfrastructureError if the disk is full or fails."""
    connection = sqlite3.connect(directory / "pairs.sqlite", isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        yield PairStore(connection)
    except sqlite3.OperationalError as error:
        hint = "an export needs about twice the size of its pairs; free some space"
        raise InfrastructureError(f"the temporary database in `{directory.name}` failed: {error}", hint=hint) from error
    finally:
        connection.close()

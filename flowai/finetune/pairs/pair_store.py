"""Holds the pairs of one export on disk while they are worked on, so that memory does not grow with the log."""

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
CREATE TABLE words (call_id TEXT NOT NULL, at_us INTEGER NOT NULL, verdict TEXT NOT NULL, text TEXT);
CREATE TABLE seen (call_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE pairs (id TEXT PRIMARY KEY, at TEXT, asker TEXT, body BLOB NOT NULL, kind TEXT NOT NULL);
CREATE TABLE cleaned (place INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, split TEXT NOT NULL, body BLOB NOT NULL);
"""
_IN_ORDER = """
SELECT body FROM pairs JOIN (SELECT asker, min(at) AS begun FROM pairs WHERE kind = 'pair' GROUP BY asker) USING (asker)
WHERE kind = 'pair' ORDER BY begun, asker, at, id
"""


class PairStore:
    """The workbench of an export: a database that nobody needs afterwards. One thread uses it.

    Args:
        connection: an empty database.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._decoder = msgspec.json.Decoder(Pair)
        connection.executescript(_TABLES)
        connection.execute("BEGIN")  # never committed: one write less for each row

    def add_feedback(self, call_id: str, word: FeedbackItem) -> None:
        """Keep what a user said of a call."""
        row = (call_id, word.at_us, word.verdict, word.text)
        self._connection.execute("INSERT INTO words VALUES (?, ?, ?, ?)", row)

    def close_words(self) -> None:
        """Make what was said ready to be looked up; nothing is added afterwards."""
        self._connection.execute("CREATE INDEX words_by_call ON words (call_id)")

    def feedback_of(self, call_id: str) -> list[FeedbackItem]:
        """Give what was said of a call, in no order; a word that stood in the log twice is there twice."""
        rows = self._connection.execute("SELECT at_us, verdict, text FROM words WHERE call_id = ?", (call_id,))
        return [FeedbackItem(at_us=at_us, verdict=verdict, text=text) for at_us, verdict, text in rows]

    def mark_seen(self, call_id: str) -> None:
        """Note that a call stands in the log."""
        self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (call_id,))

    def words_without_call(self) -> Iterator[str]:
        """Give the ids of calls that somebody judged and the log does not hold, in order."""
        query = "SELECT DISTINCT call_id FROM words WHERE call_id NOT IN (SELECT call_id FROM seen) ORDER BY call_id"
        return (call_id for (call_id,) in self._connection.execute(query))

    def add(self, made: Pair | Quarantined) -> None:
        """Keep what a call gave; one that the log tells in two ways is kept out."""
        body = msgspec.json.encode(made)
        at, asker, kind = None, None, "kept_out"
        if isinstance(made, Pair):
            at, asker, kind = made.at, made.session or made.id, "pair"
        try:
            self._connection.execute("INSERT INTO pairs VALUES (?, ?, ?, ?, ?)", (made.id, at, asker, body, kind))
        except sqlite3.IntegrityError:
            ((before,),) = self._connection.execute("SELECT body FROM pairs WHERE id = ?", (made.id,))
            if before != body:
                self._connection.execute("UPDATE pairs SET kind = 'conflicting' WHERE id = ?", (made.id,))

    def rejected(self) -> Iterator[Quarantined]:
        """Give what gave no pair, by id."""
        decode = msgspec.json.Decoder(Quarantined).decode
        query = "SELECT id, body, kind FROM pairs WHERE kind <> 'pair' ORDER BY id"
        for name, body, kind in self._connection.execute(query):
            detail = "the log tells of this call in two ways"
            yield (
                decode(body)
                if kind == "kept_out"
                else Quarantined(id=name, step=STEP, reason="conflicting", detail=detail)
            )

    @property
    def pair_count(self) -> int:
        """How many pairs there are."""
        ((count,),) = self._connection.execute("SELECT count(*) FROM pairs WHERE kind = 'pair'")
        return int(count)

    def pairs(self) -> Iterator[Pair]:
        """Give the pairs: sessions one after the other by their first call, each in order of time."""
        return (self._decoder.decode(body) for (body,) in self._connection.execute(_IN_ORDER))

    def accept(self, pair: Pair, split: Split) -> None:
        """Keep a pair that came through the cleaning, in the order they come."""
        row = (pair.id, split, msgspec.json.encode(pair))
        self._connection.execute("INSERT INTO cleaned (id, split, body) VALUES (?, ?, ?)", row)

    def kept(self) -> Iterator[tuple[Pair, Split]]:
        """Give the pairs that were kept, in their order; one may be dropped while they are given."""
        last = -1
        query = "SELECT place, split, body FROM cleaned WHERE place > ? ORDER BY place LIMIT 100"
        while rows := self._connection.execute(query, (last,)).fetchall():
            last = rows[-1][0]
            yield from ((self._decoder.decode(body), split) for _, split, body in rows)

    def kept_pair(self, pair_id: str) -> Pair:
        """Give one of the pairs that were kept."""
        ((body,),) = self._connection.execute("SELECT body FROM cleaned WHERE id = ?", (pair_id,))
        return self._decoder.decode(body)

    def drop(self, pair_id: str) -> None:
        """Do not keep a pair any more."""
        self._connection.execute("DELETE FROM cleaned WHERE id = ?", (pair_id,))


@contextmanager
def open_bench(directory: Path) -> Iterator[PairStore]:
    """Open a workbench in a directory that is thrown away as a whole.

    Raises:
        InfrastructureError: there is no room for it.
    """
    connection = sqlite3.connect(directory / "pairs.sqlite", isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        yield PairStore(connection)
    except sqlite3.OperationalError as error:
        hint = "an export needs about twice the room of its pairs; free some space"
        raise InfrastructureError(f"the workbench in `{directory.name}` failed: {error}", hint=hint) from error
    finally:
        connection.close()

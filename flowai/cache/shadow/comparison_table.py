"""Comparisons in the semantic cache's SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.cache.shadow.comparison import MAX_AGE_S, MAX_COMPARISONS, AnswerComparison, ComparedTexts

if TYPE_CHECKING:
    import sqlite3

TABLE = """
CREATE TABLE IF NOT EXISTS comparison (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    call_id TEXT NOT NULL UNIQUE, scope TEXT NOT NULL, at_s REAL NOT NULL, data BLOB NOT NULL,
    texts BLOB, texts_expire_at_s REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS comparison_scope ON comparison (scope, at_s);
"""

_decoder = msgspec.json.Decoder(AnswerComparison)
_texts_decoder = msgspec.json.Decoder(ComparedTexts)


def insert_comparison(
    connection: sqlite3.Connection, comparison: AnswerComparison, *, ttl_s: float, now_s: float
) -> None:
    """Store a comparison in place of one of the same call, and drop what is too old or too much."""
    texts = comparison.texts
    connection.execute(
        "INSERT OR REPLACE INTO comparison (call_id, scope, at_s, data, texts, texts_expire_at_s)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            comparison.call_id,
            comparison.scope,
            comparison.at_s,
            msgspec.json.encode(msgspec.structs.replace(comparison, texts=None)),
            None if texts is None else msgspec.json.encode(texts).decode("utf-8", "replace"),
            now_s + ttl_s,
        ),
    )
    connection.execute(
        "DELETE FROM comparison WHERE scope = ? AND (at_s < ? OR at_s < (SELECT at_s FROM comparison WHERE scope = ?"
        " ORDER BY at_s DESC LIMIT 1 OFFSET ?))",
        (comparison.scope, now_s - MAX_AGE_S, comparison.scope, MAX_COMPARISONS - 1),
    )
    connection.execute(
        "UPDATE comparison SET texts = NULL WHERE texts IS NOT NULL AND texts_expire_at_s <= ?", (now_s,)
    )


def select_comparisons(
    connection: sqlite3.Connection, scope: str | None, *, now_s: float, with_texts: bool = False
) -> list[AnswerComparison]:
    """Return the comparisons of a scope, or of all, oldest first."""
    texts_column = "CASE WHEN texts_expire_at_s > ? THEN texts END" if with_texts else "NULL AND ?"
    rows = connection.execute(
        f"SELECT data, {texts_column} FROM comparison WHERE (? IS NULL OR scope = ?) ORDER BY at_s",  # noqa: S608 - ours
        (now_s, scope, scope),
    )
    found = []
    for data, texts in rows:
        try:
            comparison = _decoder.decode(data)
            if with_texts and texts:
                comparison = msgspec.structs.replace(comparison, texts=_texts_decoder.decode(texts))
        except msgspec.DecodeError:  # written by another version
            continue
        found.append(comparison)
    return found

"""Makes calls of what a log tells: each line once, and what its user said last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.event_query import IS_FEEDBACK
from flowai.analytics.records import NANO_USD

if TYPE_CHECKING:
    from flowai.analytics.event_query import Log
    from flowai.analytics.records import ProblemKind


FEEDBACK_PRECEDENCE = ("edited", "rejected", "thumbs_down", "accepted", "thumbs_up", "saved")
"""What users say of an answer, the weaker words first; an edited answer was not accepted as it was."""

FIRST_POSITIVE = 4
PART_ROWS = 300_000
"""So many calls are joined or collapsed at once: about 30 MB."""


def deduplicate_calls(log: Log) -> dict[ProblemKind, int]:
    """Narrow the view `taken` to each line once, and count what was there again; only such lines are touched."""
    log.fetch("CREATE TEMP TABLE again AS SELECT hash(call_id) AS call FROM all_taken GROUP BY ALL HAVING count(*) > 1")
    log.fetch("CREATE TEMP TABLE repeated AS SELECT * FROM all_taken SEMI JOIN again ON hash(call_id) = again.call")
    ((lines,),) = log.fetch("SELECT count(*) FROM repeated")
    log.fetch("CREATE TEMP TABLE different AS SELECT * FROM repeated LIMIT 0")
    parts = max(1, -(-lines // PART_ROWS))
    for part in range(parts):
        log.fetch(f"INSERT INTO different SELECT DISTINCT * FROM repeated WHERE hash(call_id) % {parts} = {part}")  # noqa: S608 - numbers of ours
    log.fetch("""
        CREATE OR REPLACE TEMP VIEW taken AS
        SELECT * FROM all_taken ANTI JOIN again ON hash(call_id) = again.call UNION ALL SELECT * FROM different
    """)
    ((kept, calls),) = log.fetch("SELECT count(*), count(DISTINCT call_id) FROM different")
    return _repeated_lines(lines, kept, calls)


def deduplicate_lines(log: Log) -> dict[ProblemKind, int]:
    """Leave each line of `told` once, and count what was there again; only such lines are touched."""
    log.fetch("CREATE TABLE again AS SELECT call FROM told GROUP BY call HAVING count(*) > 1")
    ((lines,),) = log.fetch("SELECT count(*) FROM told SEMI JOIN again USING (call)")
    if not lines:
        return {}
    log.fetch("CREATE TABLE different AS SELECT DISTINCT * FROM told SEMI JOIN again USING (call)")
    log.fetch("DELETE FROM told WHERE call IN (SELECT call FROM again)")
    log.fetch("INSERT INTO told SELECT * FROM different")
    ((kept, calls),) = log.fetch("SELECT count(*), count(DISTINCT call) FROM different")
    return _repeated_lines(lines, kept, calls)


def _repeated_lines(lines: int, kept: int, calls: int) -> dict[ProblemKind, int]:
    counts: dict[ProblemKind, int] = {"duplicated": lines - kept, "conflicting": kept - calls}
    return {kind: count for kind, count in counts.items() if count}


def join_feedback(log: Log, is_in_time: str) -> None:
    """Make `calls` from `told`: with what its user said last of each call; at one moment the stronger word.

    Joined in parts, so that memory does not grow with the log.

    Args:
        log: holds `told`.
        is_in_time: the condition on `said_us` and `at_us` under which a word counts.
    """
    log.fetch(f"""
        CREATE TABLE words AS
        SELECT hash(call_id) AS call, at_us AS said_us, list_position({list(FEEDBACK_PRECEDENCE)}, verdict) AS word
        FROM lines
        WHERE {IS_FEEDBACK} AND word IS NOT NULL
    """)  # noqa: S608 - words of ours
    log.fetch("CREATE TABLE calls AS SELECT *, NULL::BOOLEAN AS accepted, NULL::BOOLEAN AS saved FROM told LIMIT 0")
    for part in parts_of(log, "call"):
        # one number holds when something was said and what
        log.fetch(f"""
            INSERT INTO calls
            WITH portion AS (SELECT * FROM told WHERE {part}), last AS (
                SELECT call, max(said_us * 8 + word) % 8 >= {FIRST_POSITIVE} AS accepted,
                    bool_or(word = {len(FEEDBACK_PRECEDENCE)}) AS saved
                FROM (SELECT * FROM words WHERE {part}) JOIN portion USING (call) WHERE {is_in_time} GROUP BY call
            ) SELECT portion.*, accepted, saved FROM portion LEFT JOIN last USING (call)
        """)  # noqa: S608 - numbers and conditions of ours


def parts_of(log: Log, column: str) -> list[str]:
    """Give conditions that divide `told` into parts of a size that fits into memory."""
    ((count,),) = log.fetch("SELECT count(*) FROM told")
    parts = max(1, -(-count // PART_ROWS))
    if parts == 1:
        return ["TRUE"]
    return [f"{column} % {parts} = {part}" for part in range(parts)]


_LEAST_MS, _MOST_MS = 0.001, 1e9
_MAX_USD = 1_000_000
"""A call cannot have cost more: such a price is as good as none, and its square would not fit."""

_COST = (
    f"CASE WHEN cache = 'miss' AND cost_usd BETWEEN 0 AND {_MAX_USD}"
    f" THEN CAST(round(cost_usd * {NANO_USD}) AS BIGINT) END"
)


def bucket(column: str) -> str:
    """Give the 1 % log bucket of a time in milliseconds as SQL; NULL where there is none."""
    held = f"least(greatest({column}, {_LEAST_MS}), {_MOST_MS})"
    return f"CASE WHEN {column} >= 0 THEN CAST(floor(ln({held}) / ln(1.01)) AS SMALLINT) END"

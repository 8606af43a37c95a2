"""Builds a table with one row per call and its last feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.event_query import IS_FEEDBACK, IS_SCORE
from flowai.analytics.records import NANO_USD

if TYPE_CHECKING:
    from flowai.analytics.event_query import Log
    from flowai.analytics.records import ProblemKind


FEEDBACK_PRECEDENCE = ("edited", "rejected", "thumbs_down", "accepted", "thumbs_up", "saved")
"""Verdicts in order of precedence, weaker ones first; an edited answer was not accepted unchanged."""

_FIRST_POSITIVE = 4
_RANK = f"list_position({list(FEEDBACK_PRECEDENCE)}, verdict)"
LAST_FEEDBACK = "max(given_us * 8 + rank)"
"""SQL over `given_us` and `rank` of a call's feedback: time and verdict of the last one as a number; of equal times the
stronger verdict counts."""
LAST_SCORE = "max(given_us * 2 + (NOT passed)::INTEGER)"
"""The same over `given_us` and `passed` of a call's scores; of equal times the one that failed counts."""
LAST_JUDGE = "arg_max(coalesce(judge_hash, ''), given_us * 2 + (NOT passed)::INTEGER)"
"""SQL for the judge's hash of that score; empty without one."""
IS_SAVED = f"bool_or(rank = {len(FEEDBACK_PRECEDENCE)})"
"""SQL over `rank` of a call's feedback: the answer was saved."""
PART_ROWS = 300_000
"""Calls that are joined or deduplicated at once: about 30 MB."""


def deduplicate_calls(log: Log) -> dict[ProblemKind, int]:
    """Remove repeated lines from the view `selected`; return how many were removed. Only repeated calls are copied."""
    log.fetch("""
        CREATE TEMP TABLE repeated_calls AS
        SELECT hash(call_id) AS call FROM all_selected GROUP BY ALL HAVING count(*) > 1
    """)
    same = "hash(call_id) = repeated_calls.call"
    log.fetch(f"CREATE TEMP TABLE repeated AS SELECT * FROM all_selected SEMI JOIN repeated_calls ON {same}")  # noqa: S608 - names of ours
    ((lines,),) = log.fetch("SELECT count(*) FROM repeated")
    log.fetch("CREATE TEMP TABLE distinct_lines AS SELECT * FROM repeated LIMIT 0")
    parts = max(1, -(-lines // PART_ROWS))
    for part in range(parts):
        log.fetch(f"INSERT INTO distinct_lines SELECT DISTINCT * FROM repeated WHERE hash(call_id) % {parts} = {part}")  # noqa: S608 - numbers of ours
    log.fetch(f"""
        CREATE OR REPLACE TEMP VIEW selected AS
        SELECT * FROM all_selected ANTI JOIN repeated_calls ON {same} UNION ALL SELECT * FROM distinct_lines
    """)  # noqa: S608 - names of ours
    ((kept, calls),) = log.fetch("SELECT count(*), count(DISTINCT call_id) FROM distinct_lines")
    return _repeated_lines(lines, kept, calls)


def deduplicate_lines(log: Log) -> dict[ProblemKind, int]:
    """Remove repeated lines from the table `call_lines`; return how many were removed."""
    log.fetch("CREATE TABLE repeated_calls AS SELECT call FROM call_lines GROUP BY call HAVING count(*) > 1")
    ((lines,),) = log.fetch("SELECT count(*) FROM call_lines SEMI JOIN repeated_calls USING (call)")
    if not lines:
        return {}
    log.fetch("CREATE TABLE distinct_lines AS SELECT DISTINCT * FROM call_lines SEMI JOIN repeated_calls USING (call)")
    log.fetch("DELETE FROM call_lines WHERE call IN (SELECT call FROM repeated_calls)")
    log.fetch("INSERT INTO call_lines SELECT * FROM distinct_lines")
    ((kept, calls),) = log.fetch("SELECT count(*), count(DISTINCT call) FROM distinct_lines")
    return _repeated_lines(lines, kept, calls)


def _repeated_lines(lines: int, kept: int, calls: int) -> dict[ProblemKind, int]:
    counts: dict[ProblemKind, int] = {"duplicated": lines - kept, "conflicting": kept - calls}
    return {kind: count for kind, count in counts.items() if count}


def opinions_sql(condition: str = "TRUE", *, judge: str = "NULL::VARCHAR") -> str:
    """Return SQL for feedback and hallucination scores of `lines`.

    Its columns are `call`, `given_us`, `rank`, `passed` and `judge_hash`; a row has a `rank` or has `passed`.
    `condition` is SQL over a line; `judge` is `judge_hash` where that is needed.
    """
    return f"""
        SELECT hash(call_id) AS call, at_us AS given_us, {_RANK} AS rank, NULL::BOOLEAN AS passed,
            NULL::VARCHAR AS judge_hash
        FROM lines WHERE {IS_FEEDBACK} AND {condition}
        UNION ALL
        SELECT hash(call_id), at_us, NULL, passed, {judge} FROM lines
        WHERE {IS_SCORE} AND name = 'hallucination' AND {condition}
    """  # noqa: S608 - names and numbers of ours


def accepted_sql(last_feedback: str) -> str:
    """Return SQL for "the answer was accepted", from SQL for `LAST_FEEDBACK`."""
    return f"{last_feedback} % 8 >= {_FIRST_POSITIVE}"


def join_feedback(log: Log) -> None:
    """Build `calls` from `call_lines` and the last feedback of each call; of equal times the stronger verdict counts.

    The join runs in parts, so that memory does not grow with the log.
    """
    log.fetch(f"""
        CREATE TABLE feedback AS
        SELECT hash(call_id) AS call, at_us AS given_us, {_RANK} AS rank FROM lines
        WHERE {IS_FEEDBACK} AND rank IS NOT NULL
    """)  # noqa: S608 - words of ours
    log.fetch(
        "CREATE TABLE calls AS SELECT *, NULL::BOOLEAN AS accepted, NULL::BOOLEAN AS saved FROM call_lines LIMIT 0"
    )
    for part in parts_of(log, "call"):
        # a single number encodes the time and the verdict
        log.fetch(f"""
            INSERT INTO calls
            WITH portion AS (SELECT * FROM call_lines WHERE {part}), last AS (
                SELECT call, {accepted_sql(LAST_FEEDBACK)} AS accepted, {IS_SAVED} AS saved
                FROM (SELECT * FROM feedback WHERE {part}) JOIN portion USING (call) GROUP BY call
            ) SELECT portion.*, accepted, saved FROM portion LEFT JOIN last USING (call)
        """)  # noqa: S608 - numbers and conditions of ours


def parts_of(log: Log, column: str) -> list[str]:
    """Return SQL conditions that divide `call_lines` into parts that fit into memory."""
    ((count,),) = log.fetch("SELECT count(*) FROM call_lines")
    parts = max(1, -(-count // PART_ROWS))
    if parts == 1:
        return ["TRUE"]
    return [f"{column} % {parts} = {part}" for part in range(parts)]


_MIN_MS, _MAX_MS = 0.001, 1e9
MAX_USD = 1_000_000
"""A higher price counts as unknown: its square would not fit."""


def cost_sql() -> str:
    """Return SQL for the cost of a call to a model in billionths of a dollar; NULL for an unknown price."""
    return (
        f"CASE WHEN cache = 'miss' AND cost_usd BETWEEN 0 AND {MAX_USD}"
        f" THEN CAST(round(cost_usd * {NANO_USD}) AS BIGINT) END"
    )


def bucket(column: str) -> str:
    """Return SQL for the 1 % log bucket of a time in milliseconds; NULL for NULL or a negative time."""
    clamped = f"least(greatest({column}, {_MIN_MS}), {_MAX_MS})"
    return f"CASE WHEN {column} >= 0 THEN CAST(floor(ln({clamped}) / ln(1.01)) AS SMALLINT) END"

"""Looks at users closely: their calls with what they and judges made of the answers, one user counting once in a cell.

Calls of one user (or session) are one: in each cell of time a user is at risk, fails or does not, and is not at risk
any more once they have failed. So a user whose calls all fail, or who retries, counts once. Where there are very many
calls, not every user is looked at (see `thinning`).
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from flowai.analytics.call_table import FEEDBACK_PRECEDENCE, FIRST_POSITIVE, bucket
from flowai.analytics.event_query import ANSWERED, IS_FEEDBACK, IS_SCORE, literal
from flowai.comparison.count_calls import LATENCY_METRICS, is_counted_sql
from flowai.comparison.counts import TimeBucket
from flowai.comparison.spec import CELL_US, HOUR_US, one_of_sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts, HourlyCounts
    from flowai.comparison.sampling import SamplingSchedule
    from flowai.comparison.spec import ComparisonSpec

_STAGES = 64
"""A slot is a cell times this, plus the stage: it grows with time, and a cell that two stages share gives two."""

_PART_CALLS = 200_000
"""Users of so many calls are collapsed at once: about 30 MB."""

_FAILED_IN_CELL: Mapping[Metric, str] = {
    "error_rate": "bool_or(failed)",
    "json_valid": "bool_or(bad_json)",
    "slow_calls": "bool_or(slow_calls)",
    "slow_ttft": "bool_or(slow_ttft)",
    "acceptance": "bool_or(NOT accepted)",
    "save_rate": "NOT bool_or(saved) FILTER (NOT failed)",
    "hallucination": "bool_or(hallucinated)",
}
"""Whether a user failed in a cell, by metric; NULL where there is nothing to tell it by."""

_WITH_OPINIONS = """SELECT close.*, accepted, hallucinated, coalesce(saved, FALSE) AS saved
    FROM close LEFT JOIN heard USING (call)"""

_OPINIONS: Mapping[Metric, tuple[str, str]] = {
    "acceptance": ("accepted IS NOT NULL", "NOT accepted"),
    "save_rate": ("NOT failed", "NOT failed AND NOT saved"),
    "hallucination": ("hallucinated IS NOT NULL", "hallucinated"),
}
"""Which calls count and which of them failed, for metrics that users and judges decide."""


def sample_users(log: Log, question: ComparisonSpec, thinnings: Mapping[str, SamplingSchedule], found: Counts) -> None:
    """Make the table `close`: calls of users who are looked at, of every side; find out what counts once.

    Args:
        log: with `taken`.
        question: says what the sides are.
        thinnings: who is looked at, by side.
        found: holds what served; gets `unit` and `sampled_users`.
    """
    masks = " ".join(f"WHEN side = {literal(side)} THEN {one.mask_sql}" for side, one in sorted(thinnings.items()))
    log.fetch(f"""
        CREATE OR REPLACE TEMP TABLE close AS
        SELECT hash(call_id) AS call, side, stage::UTINYINT AS stage, coalesce(feature, '') AS feature, at_us, asker,
            key, {is_counted_sql(question.sides, found)} AND {_same_versions(question, found)} AS counts,
            error_class IS NOT NULL AS failed, NOT json_valid AS bad_json,
            {_slow_sql("slow_calls", found)} AS slow_calls, {_slow_sql("slow_ttft", found)} AS slow_ttft
        FROM (SELECT *, coalesce(asker, hash(at_us)) AS key FROM taken)
        WHERE key & CASE WHEN side IS NULL THEN 0 {masks} END = 0
    """)  # noqa: S608 - names and numbers of ours, names of others quoted
    rows = log.fetch("SELECT side, count(*), count(asker) FROM close GROUP BY ALL ORDER BY ALL")
    has_askers = any(askers for side, _, askers in rows if side in question.sides.arms)
    found.unit = "user" if has_askers or not rows else "call"
    found.sampled_users = {side: calls for side, calls, _ in rows}


def _slow_sql(metric: Metric, found: Counts) -> str:
    """Give, as SQL, whether an answer is slow; NULL where nothing is frozen yet, and for what no model answered."""
    column = LATENCY_METRICS[metric]
    whens = " ".join(
        f"WHEN coalesce(feature, '') = {literal(feature)} AND at_us >= {(one.cell + 1) * CELL_US}"
        f" THEN {bucket(column)} > {one.above}"
        for feature, one in sorted(found.frozen[metric].items())
    )
    return f"CASE WHEN NOT ({ANSWERED}) THEN NULL {whens} END"


def is_repeated(log: Log) -> bool:
    """Tell whether any call that is looked at closely stands in the log more than once."""
    ((calls, different),) = log.fetch("SELECT count(*), count(DISTINCT call) FROM close")
    return bool(calls > different)


def count_users(log: Log, question: ComparisonSpec, thinnings: Mapping[str, SamplingSchedule], found: Counts) -> None:
    """Count users of `close`: how many came, by hour, and what became of them in each cell of time."""
    unit = "asker" if found.unit == "user" else "call"
    _load_feedback(log, question)
    _count_opinions(log, question, found)
    masks = {side: one.mask for side, one in thinnings.items()}
    for side, mask in masks.items():
        here = f"side = {literal(side)} AND key & {mask} = 0 AND counts"
        found.units |= {key: _times(hours, mask + 1) for key, hours in _new_users(log, unit, here).items()}
    # shares can be held against each other only among users who were looked at on every side, all the time
    common = max(masks.values(), default=0)
    left_out = " ".join(
        f"AND NOT (stage = {index} AND {one_of_sql('feature', tuple(sorted(stage.left_out)))})"
        for index, stage in enumerate(question.stages)
        if stage.left_out
    )
    found.assigned = _new_users(log, unit, f"key & {common} = 0 {left_out}")
    _count_cells(log, question, unit, found)


def _same_versions(question: ComparisonSpec, found: Counts) -> str:
    """Give the condition that what serves beside the control is the same release."""
    sides = question.sides
    if sides.beside is None:
        return "TRUE"
    releases = sorted({one.release for one in found.versions if one.side == sides.control and one.release})
    alike = one_of_sql('"release"', tuple(releases)) if releases else "FALSE"
    return f"(side <> {literal(sides.beside)} OR coalesce({alike}, FALSE))"


def _load_feedback(log: Log, question: ComparisonSpec) -> None:
    """Make the table `heard`: what users and judges said last of calls in `close`; at one moment the stronger word."""
    log.fetch(f"""
        CREATE OR REPLACE TEMP TABLE heard AS
        WITH said AS MATERIALIZED (
            SELECT hash(call_id) AS call, at_us AS said_us, list_position({list(FEEDBACK_PRECEDENCE)}, verdict) AS word,
                NULL::BOOLEAN AS passed
            FROM lines
            WHERE {IS_FEEDBACK} AND at_us <= {question.now_us} AND hash(call_id) IN (SELECT call FROM close)
            UNION ALL
            SELECT hash(call_id), at_us, NULL, passed
            FROM lines
            WHERE {IS_SCORE} AND name = 'hallucination' AND at_us <= {question.now_us}
                AND hash(call_id) IN (SELECT call FROM close)
        )
        SELECT call, max(said_us * 8 + word) % 8 >= {FIRST_POSITIVE} AS accepted,
            coalesce(bool_or(word = {len(FEEDBACK_PRECEDENCE)}), FALSE) AS saved,
            max(said_us * 2 + (NOT passed)::INTEGER) % 2 = 1 AS hallucinated
        FROM said JOIN close USING (call) WHERE said_us < at_us + {question.feedback_us} GROUP BY call
    """)  # noqa: S608 - words and numbers of ours


def _count_opinions(log: Log, question: ComparisonSpec, found: Counts) -> None:
    wanted = [name for name in question.metrics if name in _OPINIONS]
    sums = ", ".join(f"count(*) FILTER ({part})" for name in wanted for part in _OPINIONS[name])
    for side, stage, hour, *numbers in log.fetch(f"""
        SELECT side, stage, at_us // {HOUR_US}, {sums}
        FROM ({_WITH_OPINIONS}) WHERE counts AND {one_of_sql("side", question.sides.arms)} GROUP BY ALL ORDER BY ALL
    """):  # noqa: S608 - as above
        for index, name in enumerate(wanted):
            found.opinions[name, side, stage, hour * HOUR_US] = (numbers[2 * index], numbers[2 * index + 1])


def _new_users(log: Log, unit: str, condition: str) -> dict[tuple[str, int], HourlyCounts]:
    """Count different users by side and stage, by the hour in which they first came."""
    found: dict[tuple[str, int], HourlyCounts] = {}
    for side, stage, hour, count in log.fetch(f"""
        SELECT side, stage, hour, count(*) FROM (
            SELECT side, stage, {unit}, min(at_us) // {HOUR_US} AS hour FROM close
            WHERE {unit} IS NOT NULL AND {condition} GROUP BY side, stage, {unit}
        ) GROUP BY ALL ORDER BY ALL
    """):  # noqa: S608 - names and numbers of ours
        found.setdefault((side, stage), {})[hour * HOUR_US] = count
    return found


def _times(hours: HourlyCounts, factor: int) -> HourlyCounts:
    return {hour: count * factor for hour, count in hours.items()}


def _count_cells(log: Log, question: ComparisonSpec, unit: str, found: Counts) -> None:
    """Collapse the calls of each user in each cell, then count users at risk until their first failure, by metric."""
    failed = ", ".join(f"{_FAILED_IN_CELL[name]} AS {name}" for name in question.metrics)
    firsts = ", ".join(f"min(slot) FILTER ({name}) AS {name}" for name in question.metrics)
    numbers = ", ".join(
        f"count(*) FILTER (users.{name} IS NOT NULL AND slot <= coalesce(first.{name}, slot)) AS {name}_n,"
        f" count(*) FILTER (slot = first.{name}) AS {name}_failed_n"
        for name in question.metrics
    )
    parts = _parts(log)
    for part in range(parts):
        what = f"""
            WITH users AS MATERIALIZED (
                SELECT side, feature, at_us // {CELL_US} * {_STAGES} + stage AS slot, {unit} AS unit, {failed}
                FROM ({_WITH_OPINIONS} WHERE counts AND {unit} IS NOT NULL AND ({unit} >> 32) % {parts} = {part})
                GROUP BY ALL
            ), first AS (SELECT side, feature, unit, {firsts} FROM users GROUP BY ALL)
            SELECT slot, feature, side, {numbers} FROM users JOIN first USING (side, feature, unit) GROUP BY ALL
        """  # noqa: S608 - as above
        log.fetch(f"INSERT INTO cells {what}" if part else f"CREATE OR REPLACE TEMP TABLE cells AS {what}")
    rows = log.fetch("SELECT slot, feature, side, sum(COLUMNS('_n$'))::BIGINT FROM cells GROUP BY ALL ORDER BY ALL")
    found.cells = {name: [] for name in question.metrics}
    for (slot, feature), group in groupby(rows, key=itemgetter(0, 1)):
        here = list(group)
        for index, name in enumerate(question.metrics):
            at = 3 + 2 * index
            sides = {row[2]: (row[at], row[at + 1]) for row in here if row[at]}
            if sides:
                found.cells[name].append(
                    TimeBucket(stage=slot % _STAGES, feature=feature, at_us=slot // _STAGES * CELL_US, sides=sides)
                )


def _parts(log: Log) -> int:
    """Give into how many parts users are divided, so that each fits into memory."""
    ((count,),) = log.fetch("SELECT count(*) FROM close")
    return max(1, -(-int(count) // _PART_CALLS))

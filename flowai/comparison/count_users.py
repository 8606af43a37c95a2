"""Counts users with feedback and scores; a user counts once in a time cell.

In each cell a user (or session) is at risk and fails or not; after a first failure the user is not at risk any more. So
a user whose calls all fail, or who retries, counts once. With very many calls only a sample of users is counted (see
`sampling`).
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from flowai.analytics.call_table import FEEDBACK_PRECEDENCE, FIRST_POSITIVE, bucket
from flowai.analytics.event_query import ANSWERED, IS_FEEDBACK, IS_SCORE, literal
from flowai.comparison.count_calls import LATENCY_METRICS, counted_sql
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
"""A slot is a cell times this, plus the stage: it grows with time, and a cell that two stages share has two slots."""

_PART_CALLS = 200_000
"""Calls whose users are collapsed at once: about 30 MB."""

_FAILED_IN_CELL: Mapping[Metric, str] = {
    "error_rate": "bool_or(failed)",
    "json_valid": "bool_or(invalid_json)",
    "slow_calls": "bool_or(slow_calls)",
    "slow_ttft": "bool_or(slow_ttft)",
    "acceptance": "bool_or(NOT accepted)",
    "save_rate": "NOT bool_or(saved) FILTER (NOT failed)",
    "hallucination": "bool_or(hallucinated)",
}
"""SQL by metric: whether a user failed in a cell; NULL where nothing was measured."""

_WITH_OPINIONS = """SELECT sampled.*, accepted, hallucinated, coalesce(saved, FALSE) AS saved
    FROM sampled LEFT JOIN feedback USING (call)"""

_OPINIONS: Mapping[Metric, tuple[str, str]] = {
    "acceptance": ("accepted IS NOT NULL", "NOT accepted"),
    "save_rate": ("NOT failed", "NOT failed AND NOT saved"),
    "hallucination": ("hallucinated IS NOT NULL", "hallucinated"),
}
"""SQL by metric of feedback or scores: which calls count, and which of them failed."""


def sample_users(log: Log, spec: ComparisonSpec, schedules: Mapping[str, SamplingSchedule], counts: Counts) -> None:
    """Build the table `sampled`, calls of sampled users of every arm; set `unit` and `sampled_users` of the counts."""
    masks = " ".join(f"WHEN side = {literal(side)} THEN {one.mask_sql}" for side, one in sorted(schedules.items()))
    log.fetch(f"""
        CREATE OR REPLACE TEMP TABLE sampled AS
        SELECT hash(call_id) AS call, side, stage::UTINYINT AS stage, coalesce(feature, '') AS feature, at_us,
            unit_hash, key, {counted_sql(spec.sides, counts)} AND {_same_versions(spec, counts)} AS counts,
            error_class IS NOT NULL AS failed, NOT json_valid AS invalid_json,
            {_slow_sql("slow_calls", counts)} AS slow_calls, {_slow_sql("slow_ttft", counts)} AS slow_ttft
        FROM (SELECT *, coalesce(unit_hash, hash(at_us)) AS key FROM selected)
        WHERE key & CASE WHEN side IS NULL THEN 0 {masks} END = 0
    """)  # noqa: S608 - names and numbers of ours, names of others quoted
    rows = log.fetch("SELECT side, count(*), count(unit_hash) FROM sampled GROUP BY ALL ORDER BY ALL")
    names_users = any(named_count for side, _, named_count in rows if side in spec.sides.arms)
    counts.unit = "user" if names_users or not rows else "call"
    counts.sampled_users = {side: calls for side, calls, _ in rows}


def _slow_sql(metric: Metric, counts: Counts) -> str:
    """Return SQL for "the answer is slow"; NULL before the limit is frozen, and for cached answers and failures."""
    column = LATENCY_METRICS[metric]
    whens = " ".join(
        f"WHEN coalesce(feature, '') = {literal(feature)} AND at_us >= {(one.cell + 1) * CELL_US}"
        f" THEN {bucket(column)} > {one.above}"
        for feature, one in sorted(counts.frozen[metric].items())
    )
    return f"CASE WHEN NOT ({ANSWERED}) THEN NULL {whens} END"


def is_repeated(log: Log) -> bool:
    """Return whether a sampled call is in the log more than once."""
    ((calls, different),) = log.fetch("SELECT count(*), count(DISTINCT call) FROM sampled")
    return bool(calls > different)


def count_users(log: Log, spec: ComparisonSpec, schedules: Mapping[str, SamplingSchedule], counts: Counts) -> None:
    """Count users of `sampled`: arrivals by hour, and failures by time cell."""
    unit = "unit_hash" if counts.unit == "user" else "call"
    _load_feedback(log, spec)
    _count_opinions(log, spec, counts)
    masks = {side: one.mask for side, one in schedules.items()}
    for side, mask in masks.items():
        here = f"side = {literal(side)} AND key & {mask} = 0 AND counts"
        counts.units |= {key: _times(hours, mask + 1) for key, hours in _new_users(log, unit, here).items()}
    # shares can be checked only among users who were sampled on every side, all the time
    common = max(masks.values(), default=0)
    left_out = " ".join(
        f"AND NOT (stage = {index} AND {one_of_sql('feature', tuple(sorted(stage.left_out)))})"
        for index, stage in enumerate(spec.stages)
        if stage.left_out
    )
    counts.assigned = _new_users(log, unit, f"key & {common} = 0 {left_out}")
    _count_cells(log, spec, unit, counts)


def _same_versions(spec: ComparisonSpec, counts: Counts) -> str:
    """Return the SQL condition that the extra arm serves the same release as the control."""
    sides = spec.sides
    if sides.extra_control is None:
        return "TRUE"
    releases = sorted({one.release for one in counts.versions if one.side == sides.control and one.release})
    alike = one_of_sql('"release"', tuple(releases)) if releases else "FALSE"
    return f"(side <> {literal(sides.extra_control)} OR coalesce({alike}, FALSE))"


def _load_feedback(log: Log, spec: ComparisonSpec) -> None:
    """Build the table `feedback`: the last feedback and score of sampled calls; of equal times the stronger one."""
    log.fetch(f"""
        CREATE OR REPLACE TEMP TABLE feedback AS
        WITH opinions AS MATERIALIZED (
            SELECT hash(call_id) AS call, at_us AS given_us,
                list_position({list(FEEDBACK_PRECEDENCE)}, verdict) AS rank, NULL::BOOLEAN AS passed
            FROM lines
            WHERE {IS_FEEDBACK} AND at_us <= {spec.now_us} AND hash(call_id) IN (SELECT call FROM sampled)
            UNION ALL
            SELECT hash(call_id), at_us, NULL, passed
            FROM lines
            WHERE {IS_SCORE} AND name = 'hallucination' AND at_us <= {spec.now_us}
                AND hash(call_id) IN (SELECT call FROM sampled)
        )
        SELECT call, max(given_us * 8 + rank) % 8 >= {FIRST_POSITIVE} AS accepted,
            coalesce(bool_or(rank = {len(FEEDBACK_PRECEDENCE)}), FALSE) AS saved,
            max(given_us * 2 + (NOT passed)::INTEGER) % 2 = 1 AS hallucinated
        FROM opinions JOIN sampled USING (call) WHERE given_us < at_us + {spec.feedback_us} GROUP BY call
    """)  # noqa: S608 - words and numbers of ours


def _count_opinions(log: Log, spec: ComparisonSpec, counts: Counts) -> None:
    judged_metrics = [name for name in spec.metrics if name in _OPINIONS]
    sums = ", ".join(f"count(*) FILTER ({part})" for name in judged_metrics for part in _OPINIONS[name])
    for side, stage, hour, *numbers in log.fetch(f"""
        SELECT side, stage, at_us // {HOUR_US}, {sums}
        FROM ({_WITH_OPINIONS}) WHERE counts AND {one_of_sql("side", spec.sides.arms)} GROUP BY ALL ORDER BY ALL
    """):  # noqa: S608 - as above
        for index, name in enumerate(judged_metrics):
            counts.opinions[name, side, stage, hour * HOUR_US] = (numbers[2 * index], numbers[2 * index + 1])


def _new_users(log: Log, unit: str, condition: str) -> dict[tuple[str, int], HourlyCounts]:
    """Count distinct users by arm and stage, by the hour of their first call."""
    counts: dict[tuple[str, int], HourlyCounts] = {}
    for side, stage, hour, count in log.fetch(f"""
        SELECT side, stage, hour, count(*) FROM (
            SELECT side, stage, {unit}, min(at_us) // {HOUR_US} AS hour FROM sampled
            WHERE {unit} IS NOT NULL AND {condition} GROUP BY side, stage, {unit}
        ) GROUP BY ALL ORDER BY ALL
    """):  # noqa: S608 - names and numbers of ours
        counts.setdefault((side, stage), {})[hour * HOUR_US] = count
    return counts


def _times(hours: HourlyCounts, factor: int) -> HourlyCounts:
    return {hour: count * factor for hour, count in hours.items()}


def _count_cells(log: Log, spec: ComparisonSpec, unit: str, counts: Counts) -> None:
    """Collapse the calls of each user in each cell, then count users at risk until their first failure, by metric."""
    failed = ", ".join(f"{_FAILED_IN_CELL[name]} AS {name}" for name in spec.metrics)
    firsts = ", ".join(f"min(slot) FILTER ({name}) AS {name}" for name in spec.metrics)
    numbers = ", ".join(
        f"count(*) FILTER (users.{name} IS NOT NULL AND slot <= coalesce(first.{name}, slot)) AS {name}_n,"
        f" count(*) FILTER (slot = first.{name}) AS {name}_failed_n"
        for name in spec.metrics
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
    counts.cells = {name: [] for name in spec.metrics}
    for (slot, feature), group in groupby(rows, key=itemgetter(0, 1)):
        here = list(group)
        for index, name in enumerate(spec.metrics):
            at = 3 + 2 * index
            sides = {row[2]: (row[at], row[at + 1]) for row in here if row[at]}
            if sides:
                counts.cells[name].append(
                    TimeBucket(stage=slot % _STAGES, feature=feature, at_us=slot // _STAGES * CELL_US, sides=sides)
                )


def _parts(log: Log) -> int:
    """Return the number of parts that users are divided into, so that each fits into memory."""
    ((count,),) = log.fetch("SELECT count(*) FROM sampled")
    return max(1, -(-int(count) // _PART_CALLS))

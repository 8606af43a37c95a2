"""Builds `facts`, a table with a row per call of a sampled user: what each metric says about the call.

The size of the table is bounded (see `sampling`). A user of candidate or control who came from the large rest of the
traffic brings all earlier calls along, sampled or not: a user's first failure counts, wherever it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.call_table import (
    IS_SAVED,
    LAST_FEEDBACK,
    LAST_JUDGE,
    LAST_SCORE,
    accepted_sql,
    cost_sql,
    opinions_sql,
)
from flowai.analytics.event_query import ANSWERED, literal, moment
from flowai.comparison.baseline_limits import LIMITED_BY, MICRO_USD
from flowai.comparison.sampling import min_sampled_hash
from flowai.comparison.spec import CALLER_SQL, REACHES_SQL, counted_sql, one_of_sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts
    from flowai.comparison.sampling import SamplingSchedule
    from flowai.comparison.spec import ComparisonSpec

MILLION = 1_000_000
"""Logarithms and shares are whole millionths, so that the order of addition does not change a sum."""


def build_facts(log: Log, spec: ComparisonSpec, schedules: Mapping[str, SamplingSchedule], counts: Counts) -> None:
    """Build the table `facts`; set `unit` of the counts."""
    sides = spec.sides
    drops = " ".join(f"WHEN side = {literal(side)} THEN {one.dropped_sql}" for side, one in sorted(schedules.items()))
    log.fetch(f"""
        CREATE OR REPLACE TEMP VIEW sampled_calls AS
        SELECT *, known_us < coalesce(dropped_us, known_us + 1) AS in_sample FROM (
            SELECT *, CASE WHEN side IS NULL THEN NULL {drops} END AS dropped_us
            FROM (SELECT *, coalesce(unit_hash, hash(at_us)) AS key FROM selected)
        )
    """)  # noqa: S608 - names and numbers of ours
    included = "in_sample"
    is_ramp = len(spec.stages) > 1  # within a stage no user changes arms
    if is_ramp and sides.extra_control and any(one.halvings_us for one in schedules.values()):
        log.fetch(f"""
            CREATE OR REPLACE TEMP TABLE compared_users AS SELECT DISTINCT unit_hash FROM sampled_calls
            WHERE in_sample AND unit_hash IS NOT NULL AND {one_of_sql("side", sides.arms)}
        """)  # noqa: S608 - as above
        included = "(in_sample OR unit_hash IN (SELECT unit_hash FROM compared_users))"
    arms = ", ".join(literal(side) for side in sorted(schedules)) or "''"
    columns = f"""
        hash(call_id) AS call, side::ENUM({arms}) AS side, stage::UTINYINT AS stage, coalesce(feature, '') AS feature,
        at_us, known_us, coalesce(unit_hash, hash(call_id)) AS unit, unit_hash IS NOT NULL AS is_named, in_sample,
        dropped_us, {CALLER_SQL} AS caller, counts, reaches AND counts AS is_judged,
        prompt,
        {", ".join(f"{sql} AS {name}" for name, sql in _facts(counts).items())}
    """
    # one scan after the other: several at once do not fit into memory
    scans = _scans(schedules) if log.has_parquet and included == "in_sample" else ["TRUE"]
    for index, scanned in enumerate(scans):
        log.fetch(f"""
            {"INSERT INTO facts" if index else "CREATE OR REPLACE TEMP TABLE facts AS"} SELECT {columns}
            FROM (SELECT *, {REACHES_SQL} AS reaches, {counted_sql(spec)} AS counts FROM sampled_calls
                WHERE {included} AND {scanned})
        """)  # noqa: S608 - as above
    ((call_count, named_count),) = log.fetch("SELECT count(*), count(*) FILTER (is_named) FROM facts")
    counts.unit = "user" if named_count or not call_count else "call"


def _scans(schedules: Mapping[str, SamplingSchedule]) -> list[str]:
    """Return conditions on calls that divide them, and leave out most of those that are not sampled.

    Conditions on single columns are checked while Parquet is read: other columns of most calls are not even decoded.
    """
    levels = list(zip(*(one.halvings_us for one in schedules.values()), strict=False))
    # times from which on users are sampled only if their hash is not below a number, in every arm
    cuts = [(min_sampled_hash(level), max(levels[level - 1])) for level in range(2, len(levels) + 1, 2)]
    if not cuts:
        return ["TRUE"]
    ends = [f' AND "at" < {moment(end_us)}' for _, end_us in cuts[1:]] + [""]
    first = moment(cuts[0][1])
    return [
        f'"at" < {first}',
        f'"at" >= {first} AND is_sticky IS DISTINCT FROM TRUE',
        *(
            f'"at" >= {moment(begin_us)}{end} AND is_sticky AND (user_key IS NULL OR user_key >= {least})'
            for (least, begin_us), end in zip(cuts, ends, strict=True)
        ),
    ]


def _facts(counts: Counts) -> dict[Metric, str]:
    """Return SQL by metric: what is known at the end of a call; NULL where nothing was measured."""
    answered = f"reaches AND counts AND {ANSWERED}"
    ended = "reaches AND counts AND NOT is_cancelled"
    return {
        "error_rate": f"CASE WHEN {ended} THEN has_failed END",
        "json_valid": "CASE WHEN reaches AND counts THEN NOT json_valid END",
        "slow_calls": slow_sql(counts, "slow_calls"),
        "latency": f"CASE WHEN {answered} THEN {_log_sql('latency_ms')} END",
        "slow_ttft": slow_sql(counts, "slow_ttft"),
        "ttft": f"CASE WHEN {answered} AND ttft_ms >= 0 THEN {_log_sql('ttft_ms')} END",
        "cost": _limited(counts, "cost", f"least({cost_sql()}, {{edge_nano}})"),
        "cancelled": "CASE WHEN reaches AND counts THEN is_cancelled END",
        "degraded": f"CASE WHEN {ended} THEN fell_back END",
    }


def slow_sql(counts: Counts, metric: Metric) -> str:
    """Return SQL over `reaches` and `counts` for "the answer is slow"; NULL where it is not judged."""
    return _limited(counts, metric, "{column} >= {edge!r}")


def _log_sql(column: str) -> str:
    return f"CAST(round(ln(least(greatest({column}, 0.001), 1e9)) * {MILLION}) AS INTEGER)"


def _limited(counts: Counts, metric: Metric, value: str) -> str:
    """Return SQL for a value that depends on a feature's limit; NULL before the limit is frozen."""
    column, has, _ = LIMITED_BY[metric]
    whens = " ".join(
        f"WHEN coalesce(feature, '') = {literal(feature)} AND known_us >= {limit.known_us} THEN "
        + value.format(column=column, edge=limit.value, edge_nano=round(limit.value * 1000))
        for feature, limit in sorted(counts.limits[metric].items())
    )
    missing = "NULL::BIGINT" if column == MICRO_USD else "NULL::BOOLEAN"
    return f"CASE WHEN NOT coalesce(reaches AND counts AND {has} AND {column} >= 0, FALSE) THEN {missing} {whens} END"


def is_repeated(log: Log) -> bool:
    """Return whether a sampled call is in the log more than once."""
    ((calls, different),) = log.fetch("SELECT count(*), count(DISTINCT call) FROM facts")
    return bool(calls > different)


def build_opinions(log: Log, spec: ComparisonSpec) -> None:
    """Build the table `opinions`, judged calls with feedback or scores, once the time for these is over.

    Of several the last one counts; of equal times the stronger one. Calls without any are in the table only if an
    answer that was not saved counts, too.
    """
    is_known = f"at_us <= {spec.now_us} AND hash(call_id) IN (SELECT call FROM facts)"  # noqa: S608 - numbers of ours
    join = "LEFT JOIN" if "save_rate" in spec.metrics else "JOIN"
    log.fetch(f"""
        CREATE OR REPLACE TEMP TABLE opinions AS
        WITH given AS MATERIALIZED ({opinions_sql(is_known, judge="judge_hash")}), last AS (
            SELECT call, NOT {accepted_sql(LAST_FEEDBACK)} AS acceptance, coalesce({IS_SAVED}, FALSE) AS saved,
                {LAST_SCORE} % 2 = 1 AS hallucination, {LAST_JUDGE} AS judge
            FROM given JOIN facts USING (call) WHERE is_judged AND given_us < at_us + {spec.feedback_us} GROUP BY call
        ), ready AS (
            SELECT side, stage, feature, unit, caller, dropped_us, error_rate AS has_failed, saved,
                greatest(known_us, at_us + {spec.feedback_us}) AS known_us, in_sample, acceptance, hallucination,
                judge
            FROM facts {join} last USING (call) WHERE is_judged
        )
        SELECT * EXCLUDE (has_failed, saved)
            REPLACE (in_sample AND known_us < coalesce(dropped_us, {1 << 62}) AS in_sample),
            CASE WHEN NOT coalesce(has_failed, TRUE) THEN NOT coalesce(saved, FALSE) END AS save_rate
        FROM ready WHERE known_us < {spec.now_us}
    """)  # noqa: S608 - words and numbers of ours

"""Counts all calls, one by one, in a few passes over the log that keep nothing but sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.call_table import bucket, cost_sql
from flowai.analytics.event_query import ANSWERED, IS_CALL, IS_FEEDBACK, IS_OTHER, IS_SCORE, PROBLEM
from flowai.comparison.counts import CallCounts, Version
from flowai.comparison.spec import CELL_US, HOUR_US, counted_sql, one_of_sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts, HourlyCounts
    from flowai.comparison.spec import ComparisonSpec


LATENCY_METRICS: Mapping[Metric, str] = {"slow_calls": "latency_ms", "slow_ttft": "ttft_ms"}
"""Column that a latency metric is computed from."""

MAX_ERROR_CLASSES = 50
"""Classes of errors that are counted apart; the names come from the log."""


def count_problems(log: Log, spec: ComparisonSpec, counts: Counts) -> None:
    """Count unusable lines by hour."""
    # counting good lines is nearly free where files hold column statistics; one count after the other, because
    # each of them uses those statistics
    good = (f"({one}) AND at_us <= {spec.future_us}" for one in (IS_CALL, IS_FEEDBACK, IS_SCORE, IS_OTHER))
    if sum(_lines(log, condition) for condition in good) == _lines(log, "TRUE"):
        return
    for kind, hour, count in log.fetch(
        f"SELECT {PROBLEM} AS problem, coalesce(greatest(at_us, 0) // {HOUR_US}, 0), count(*) FROM lines"  # noqa: S608 - of ours
        f" WHERE coalesce(at_us < {spec.now_us} OR at_us > {spec.future_us}, TRUE) GROUP BY ALL"
        " HAVING problem IS NOT NULL ORDER BY ALL",
        {"future_us": spec.future_us},
    ):
        counts.problems.setdefault(kind, {})[hour * HOUR_US] = count


def _lines(log: Log, condition: str) -> int:
    ((count,),) = log.fetch(f"SELECT count(*) FROM lines WHERE {condition}")  # noqa: S608 - of ours
    return int(count)


def traffic_by_arm(log: Log) -> dict[str, HourlyCounts]:
    """Count calls by arm and cell of five minutes."""
    traffic: dict[str, HourlyCounts] = {}
    query = f"SELECT side, known_us // {CELL_US}, count(*) FROM selected GROUP BY ALL ORDER BY ALL"  # noqa: S608 - numbers of ours
    for side, cell, count in log.fetch(query):
        traffic.setdefault(side, {})[cell * CELL_US] = count
    return traffic


def count_calls(log: Log, spec: ComparisonSpec, counts: Counts) -> None:
    """Count calls of all arms, the versions that served them, and answers by latency bucket, in one pass."""
    nothing = ", NULL" * 10
    hour = f"known_us // {HOUR_US}"
    times = " UNION ALL ".join(
        f"SELECT '{metric}', side, NULL, feature, NULL, stage, TRUE, {hour} AS hour, {bucket(column)} AS place"  # noqa: S608 - as below
        f"{nothing}, count(*) FROM compared WHERE counts AND {ANSWERED} AND {column} >= 0"
        " GROUP BY side, feature, stage, hour, place"
        for metric, column in LATENCY_METRICS.items()
    )
    for what, side, release, feature, prompt, stage, is_counted, hour_index, place, *sums in log.fetch(f"""
        WITH compared AS (
            SELECT *, {cost_sql()} AS cost, cache = 'miss' AS reaches, {counted_sql(spec)} AS counts FROM selected
            WHERE {one_of_sql("side", spec.sides.all_arms)}
        )
        SELECT 'calls', side, "release", feature, prompt_hash, stage, counts, {hour} AS hour, NULL AS place,
            count(*), count(*) FILTER (NOT reaches), count(*) FILTER (reaches AND is_cancelled),
            count(*) FILTER (reaches AND has_failed), count(*) FILTER (reaches AND error_class IS NOT NULL
            AND NOT is_cancelled), count(*) FILTER (reaches AND fell_back), count(json_valid) FILTER (reaches),
            count(*) FILTER (reaches AND NOT json_valid), count(cost), coalesce(sum(cost), 0),
            coalesce(sum(cost::HUGEINT * cost), 0)
        FROM compared GROUP BY side, "release", feature, prompt_hash, stage, counts, hour
        UNION ALL {times} ORDER BY ALL
    """):  # noqa: S608 - names and numbers of ours
        hour_us = hour_index * HOUR_US
        if what != "calls":
            counts.times.setdefault((what, side, stage, feature or "", hour_us), {})[place] = sums[-1]
            continue
        version = Version(side=side, release=release, feature=feature or "", prompt=prompt, stage=stage)
        _add_calls(spec, counts, version, hour_us, CallCounts(*(int(one) for one in sums)), is_counted=is_counted)
    _count_error_classes(log, spec, counts)


def _add_calls(
    spec: ComparisonSpec, counts: Counts, version: Version, hour_us: int, sums: CallCounts, *, is_counted: bool
) -> None:
    hours = counts.versions.setdefault(version, {})
    hours[hour_us] = hours.get(hour_us, 0) + sums.call_count
    if version.feature in spec.stages[version.stage].left_out and version.side in spec.sides.arms:
        early = counts.premature_calls.setdefault(version.feature, {})
        early[hour_us] = early.get(hour_us, 0) + sums.call_count
    if is_counted:
        key = (version.side, version.stage, version.feature, hour_us)
        counts.calls.setdefault(key, CallCounts()).add(sums)


def _count_error_classes(log: Log, spec: ComparisonSpec, counts: Counts) -> None:
    for side, stage, name, hour, count in log.fetch(f"""
        WITH failed AS (
            SELECT side, stage, error_class, known_us // {HOUR_US} AS hour FROM selected
            WHERE error_class IS NOT NULL AND cache = 'miss' AND {counted_sql(spec)}
                AND {one_of_sql("side", spec.sides.arms)}
        ), named AS (SELECT error_class FROM failed GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {MAX_ERROR_CLASSES})
        SELECT side, stage, error_class, hour, count(*) FROM failed SEMI JOIN named USING (error_class)
        GROUP BY ALL ORDER BY ALL
    """):  # noqa: S608 - as above
        counts.error_classes.setdefault((side, stage, name), {})[hour * HOUR_US] = count

"""Counts all calls, one by one, in a few passes over the log that keep nothing but sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.call_table import _COST, bucket
from flowai.analytics.event_query import ANSWERED, IS_CALL, IS_FEEDBACK, IS_OTHER, IS_SCORE, PROBLEM, literal
from flowai.comparison.counts import CallCounts, Version
from flowai.comparison.spec import CELL_US, HOUR_US, one_of_sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts
    from flowai.comparison.spec import ArmSelector, ComparisonSpec


LATENCY_METRICS: Mapping[Metric, str] = {"slow_calls": "latency_ms", "slow_ttft": "ttft_ms"}
"""Column that a latency metric is computed from."""


def count_problems(log: Log, spec: ComparisonSpec, counts: Counts) -> None:
    """Count unusable lines by hour."""
    # counting good lines is nearly free where files hold column statistics; one count after the other, because
    # each of them uses those statistics
    good = (f"({one}) AND at_us <= {spec.now_us}" for one in (IS_CALL, IS_FEEDBACK, IS_SCORE, IS_OTHER))
    if sum(_lines(log, condition) for condition in good) == _lines(log, "TRUE"):
        return
    for kind, hour, count in log.fetch(
        f"SELECT {PROBLEM} AS problem, coalesce(greatest(at_us, 0) // {HOUR_US}, 0), count(*) FROM lines GROUP BY ALL"  # noqa: S608 - of ours
        " HAVING problem IS NOT NULL ORDER BY ALL",
        {"future_us": spec.now_us},
    ):
        counts.problems.setdefault(kind, {})[hour * HOUR_US] = count


def _lines(log: Log, condition: str) -> int:
    ((count,),) = log.fetch(f"SELECT count(*) FROM lines WHERE {condition}")  # noqa: S608 - of ours
    return int(count)


def traffic_by_arm(log: Log) -> dict[str, dict[int, int]]:
    """Count calls by arm and cell of five minutes."""
    traffic: dict[str, dict[int, int]] = {}
    query = f"SELECT side, at_us // {CELL_US}, count(*) FROM selected GROUP BY ALL ORDER BY ALL"  # noqa: S608 - numbers of ours
    for side, cell, count in log.fetch(query):
        traffic.setdefault(side, {})[cell * CELL_US] = count
    return traffic


def count_calls(log: Log, spec: ComparisonSpec, counts: Counts) -> None:
    """Count calls of the compared arms, the versions that served them, and answers by latency bucket, in one pass."""
    nothing = ", NULL" * 6
    times = " UNION ALL ".join(
        f"SELECT '{metric}', side, \"release\", feature, NULL, stage, {bucket(column)} AS place, count(*){nothing}"  # noqa: S608 - as below
        f' FROM compared WHERE {ANSWERED} AND {column} >= 0 GROUP BY side, "release", feature, stage, place'
        for metric, column in LATENCY_METRICS.items()
    )
    for what, side, release, feature, prompt, stage, place, *sums in log.fetch(f"""
        WITH compared AS (SELECT *, {_COST} AS cost FROM selected WHERE {one_of_sql("side", spec.sides.arms)})
        SELECT 'calls', side, "release", feature, prompt_hash, stage, at_us // {HOUR_US} AS place, count(*),
            count(error_class), count(json_valid), count(*) FILTER (NOT json_valid), count(cost),
            coalesce(sum(cost), 0), coalesce(sum(cost::HUGEINT * cost), 0)
        FROM compared GROUP BY side, "release", feature, prompt_hash, stage, place
        UNION ALL {times} ORDER BY ALL
    """):  # noqa: S608 - names and numbers of ours
        if what == "calls":
            version = Version(side=side, release=release, feature=feature or "", prompt=prompt, stage=stage)
            _add_calls(spec, counts, version, place * HOUR_US, CallCounts(*(int(one) for one in sums)))
        elif release == spec.sides.releases.get(side, release):
            buckets = counts.times.setdefault((what, side, stage, feature or ""), {})
            buckets[place] = buckets.get(place, 0) + sums[0]


def _add_calls(spec: ComparisonSpec, counts: Counts, version: Version, hour_us: int, sums: CallCounts) -> None:
    hours = counts.versions.setdefault(version, {})
    hours[hour_us] = hours.get(hour_us, 0) + sums.call_count
    if version.feature in spec.stages[version.stage].left_out:
        early = counts.premature_calls.setdefault(version.feature, {})
        early[hour_us] = early.get(hour_us, 0) + sums.call_count
    if version.release == spec.sides.releases.get(version.side, version.release):
        counts.calls.setdefault((version.side, version.stage, hour_us), CallCounts()).add(sums)


def counted_sql(sides: ArmSelector, counts: Counts) -> str:
    """Return the SQL condition that a call's release is the one that counts for its arm; TRUE if there is no other."""
    conditions = (
        f'(side <> {literal(side)} OR "release" IS NOT DISTINCT FROM {literal(release)})'
        for side, release in sides.releases.items()
        if any(one.release != release for one in counts.versions if one.side == side)
    )
    return " AND ".join(conditions) or "TRUE"

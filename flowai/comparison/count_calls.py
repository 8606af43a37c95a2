"""Counts calls: all of them, one by one, in a pass over the log that keeps nothing but sums; and sampled answers."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from flowai.analytics.call_table import cost_sql
from flowai.analytics.event_query import IS_CALL, IS_FEEDBACK, IS_OTHER, IS_SCORE, PROBLEM
from flowai.calibration import NO_HASH
from flowai.comparison.counts import CallCounts
from flowai.comparison.facts import MILLION
from flowai.comparison.spec import (
    CANCELLED_SQL,
    CELL_US,
    DETOUR_COLUMNS_SQL,
    FAILED_SQL,
    HOUR_US,
    REACHES_SQL,
    counted_sql,
    one_of_sql,
)
from flowai.statistics.histogram import BUCKET_RATIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts
    from flowai.comparison.spec import ComparisonSpec


LATENCY_METRICS: Mapping[Metric, Metric] = {"slow_calls": "latency", "slow_ttft": "ttft"}
"""Mean of the times that a metric of slow answers is computed from."""

BUCKET_LOG = math.log(BUCKET_RATIO)

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


_SUMS = {
    "call_count": "sum(calls)",
    "cached_count": "sum(calls) FILTER (cache <> 'miss')",
    "unsent_count": "sum(calls) FILTER (cache = 'miss' AND is_unsent)",
    "cancelled_count": "sum(calls) FILTER (reaches AND is_cancelled)",
    "failed_count": "sum(calls) FILTER (reaches AND has_failed)",
    "error_count": "sum(calls) FILTER (reaches AND error_class IS NOT NULL AND NOT is_cancelled)",
    "fell_back_count": "sum(calls) FILTER (reaches AND fell_back)",
    "promised_json_count": "sum(calls) FILTER (reaches AND json_valid IS NOT NULL)",
    "bad_json_count": "sum(calls) FILTER (reaches AND NOT json_valid)",
    "priced_count": "sum(priced)",
    "cost_nano_usd": "sum(cost_nano)",
}
"""SQL of fields of `CallCounts`, over numbers of calls that are alike."""


def count_calls(log: Log, spec: ComparisonSpec, counts: Counts) -> None:
    """Count the calls of all arms, one by one, in one pass: sums, errors by class, traffic by time cell."""
    # calls are grouped by bare columns first: conditions on groups are cheap, on calls they take most of the time
    log.fetch(f"""
        CREATE TEMP TABLE alike AS
        SELECT side, "release", feature, stage, error_class, known_us // {CELL_US} AS cell, cache, json_valid,
            is_detour, count(*) AS calls, count({cost_sql()}) AS priced, sum({cost_sql()}) AS cost_nano
        FROM selected GROUP BY ALL
    """)  # noqa: S608 - names and numbers of ours
    for side, cell, calls in log.fetch("SELECT side, cell, sum(calls)::BIGINT FROM alike GROUP BY ALL"):
        counts.traffic.setdefault(side, {})[cell * CELL_US] = calls
    names, nothing = list(_SUMS), [0] * len(_SUMS)
    totals: dict[tuple[str, int, str, int], list[int]] = {}
    for side, release, feature, stage, is_counted, error_class, hour, *sums in log.stream(f"""
        SELECT side, "release", feature, stage, counts, error_class, cell // {HOUR_US // CELL_US} AS hour,
            {", ".join(f"coalesce({_SUMS[name]}, 0)" for name in names)}
        FROM (
            SELECT *, {DETOUR_COLUMNS_SQL}, {REACHES_SQL} AS reaches, {counted_sql(spec)} AS counts,
                {CANCELLED_SQL} AS is_cancelled, {FAILED_SQL} AS has_failed
            FROM alike WHERE {one_of_sql("side", spec.sides.all_arms)}
        ) GROUP BY side, "release", feature, stage, counts, error_class, hour
    """):  # noqa: S608 - as above
        hour_us = hour * HOUR_US
        _add(counts.releases.setdefault((side, release, stage), {}), hour_us, int(sums[0]))
        if feature in spec.stages[stage].left_out and side in spec.sides.arms:
            _add(counts.premature_calls.setdefault(feature, {}), hour_us, int(sums[0]))
        if is_counted:
            key = (side, stage, feature or "", hour_us)
            totals[key] = [one + int(other) for one, other in zip(totals.get(key, nothing), sums, strict=True)]
            errors = int(sums[names.index("error_count")])
            if errors and side in spec.sides.arms:
                _add(counts.error_classes.setdefault((side, stage, error_class), {}), hour_us, errors)
    log.fetch("DROP TABLE alike")
    for key, numbers in totals.items():
        counts.calls[key] = CallCounts(**dict(zip(names, numbers, strict=True)))
    _keep_common_classes(counts)


def _keep_common_classes(counts: Counts) -> None:
    """Keep the classes of errors with most calls; their names come from the log."""
    calls: Counter[str] = Counter()
    for (*_, name), hours in counts.error_classes.items():
        calls[name] += sum(hours.values())
    kept = set(sorted(calls, key=lambda name: (-calls[name], name))[:MAX_ERROR_CLASSES])
    counts.error_classes = {key: hours for key, hours in counts.error_classes.items() if key[-1] in kept}


def count_answers(log: Log, spec: ComparisonSpec, counts: Counts) -> None:
    """Count sampled answers by latency bucket, slow ones by feature, and the prompts that served."""
    arms = one_of_sql("side", spec.sides.arms)
    for metric, mean in LATENCY_METRICS.items():
        place = f"CAST(floor({mean}::DOUBLE / {BUCKET_LOG * MILLION!r}) AS SMALLINT)"
        for side, stage, hour, bucket, count in log.fetch(
            f"SELECT side, stage, known_us // {HOUR_US} AS hour, {place} AS place, count(*) FROM facts"  # noqa: S608 - names and numbers of ours
            f" WHERE in_sample AND {mean} IS NOT NULL AND {arms} GROUP BY side, stage, hour, place"
        ):
            counts.times.setdefault((metric, side, stage, hour * HOUR_US), {})[bucket] = count
    for side, feature, prompt, hour, count in log.fetch(
        f"SELECT side, feature, prompt, known_us // {HOUR_US} AS hour, count(*) FROM facts"  # noqa: S608 - as above
        f" WHERE in_sample AND prompt IS NOT NULL AND counts AND {arms} GROUP BY side, feature, prompt, hour"
    ):
        counts.prompts.setdefault((side, feature, prompt), {})[hour * HOUR_US] = count


def count_tallies(log: Log, spec: ComparisonSpec, table: str, metrics: Sequence[Metric], counts: Counts) -> None:
    """Count sampled calls with a metric and failed ones, by arm, stage, feature and hour."""
    sums = ", ".join(f"count({name}), count(*) FILTER ({name})" for name in metrics)
    if not metrics:
        return
    for side, stage, feature, hour, *numbers in log.fetch(
        f"SELECT side, stage, feature, known_us // {HOUR_US} AS hour, {sums} FROM {table}"  # noqa: S608 - names and numbers of ours
        f" WHERE in_sample AND {one_of_sql('side', spec.sides.arms)} GROUP BY side, stage, feature, hour"
    ):
        for index, name in enumerate(metrics):
            if numbers[2 * index]:
                key = (name, side, stage, feature, hour * HOUR_US)
                counts.tallies[key] = (numbers[2 * index], numbers[2 * index + 1])


def count_judges(log: Log, spec: ComparisonSpec, counts: Counts) -> None:
    """Count sampled scores by the judge that gave them, if a judge gave any."""
    rows = log.fetch(
        f"SELECT judge, known_us // {HOUR_US} AS hour, count(*) FROM opinions"  # noqa: S608 - names and numbers of ours
        f" WHERE in_sample AND hallucination IS NOT NULL AND {one_of_sql('side', spec.sides.all_arms)} GROUP BY ALL"
    )
    for judge, hour, count in rows if any(row[0] != NO_HASH for row in rows) else ():
        counts.judges.setdefault(("hallucination", judge), {})[hour * HOUR_US] = count


def _add(numbers: dict[int, int], key: int, more: int) -> None:
    numbers[key] = numbers.get(key, 0) + more

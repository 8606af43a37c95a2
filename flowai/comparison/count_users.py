"""Counts users of a log: arrivals by query, first failures and means on arrays, a part of the users at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.event_query import literal
from flowai.comparison.metrics import RATIO_METRICS
from flowai.comparison.sampling import common_schedule
from flowai.comparison.spec import BORDER_US, HOUR_US, one_of_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts, HourlyCounts
    from flowai.comparison.sampling import SamplingSchedule
    from flowai.comparison.spec import ComparisonSpec
    from flowai.comparison.user_arrays import CallRows, MetricValues

_PART_CALLS = 40_000
"""Calls whose users are counted at once: about 20 MB."""

_MISSING = -128
"""Value of a metric that was not measured: the least of a TINYINT; a mean's logarithm or cost is never just that."""

_TYPES = ("TINYINT", "BIGINT")


def count_users(log: Log, spec: ComparisonSpec, table: str, metrics: Sequence[Metric], counts: Counts) -> None:
    """Count the users of `facts` or `opinions`."""
    from flowai.comparison.user_arrays import UserCounter  # numpy takes a while to load

    counter = UserCounter(counts=counts)
    for rows, values in _parts(log, spec, table, metrics):
        counter.add(rows, values)
    counter.finish()


def _parts(
    log: Log, spec: ComparisonSpec, table: str, metrics: Sequence[Metric]
) -> Iterator[tuple[CallRows, dict[Metric, MetricValues]]]:
    """Yield the calls of a part of the users, with the values of metrics."""
    import numpy as np

    from flowai.comparison.user_arrays import NEVER, CallRows, MetricValues

    sides = spec.sides.all_arms
    side = " ".join(f"WHEN {literal(name)} THEN {index}" for index, name in enumerate(sides))
    columns = ", ".join(f"coalesce({name}::{_TYPES[name in RATIO_METRICS]}, {_MISSING}) AS {name}" for name in metrics)
    ((row_count,),) = log.fetch(f"SELECT count(*) FROM {table}")  # noqa: S608 - names of ours
    part_count = max(1, -(-int(row_count) // _PART_CALLS))
    # in order of the parts, so that a part is read without the others
    log.fetch(f"""
        CREATE TEMP TABLE parts AS
        SELECT ((unit >> 32) % {part_count})::INTEGER AS part, (CASE side {side} END)::BIGINT AS side,
            stage::BIGINT AS stage, unit, known_us, in_sample, coalesce(dropped_us, {NEVER}) AS dropped_us, {columns}
        FROM {table} WHERE side IN ({", ".join(literal(name) for name in sides)}) ORDER BY part
    """)  # noqa: S608 - names and numbers of ours
    for part in range(part_count):
        arrays = log.fetch_arrays(f"SELECT * EXCLUDE part FROM parts WHERE part = {part}")  # noqa: S608 - as above
        rows = CallRows(
            sides=sides,
            stage_count=len(spec.stages),
            side=arrays["side"],
            stage=arrays["stage"],
            unit=np.unique(arrays["unit"], return_inverse=True)[1],
            known_us=arrays["known_us"],
            in_sample=arrays["in_sample"],
            dropped_us=arrays["dropped_us"],
        )
        values = {
            name: MetricValues(measured=arrays[name] != _MISSING, value=arrays[name].astype(np.int64))
            for name in metrics
        }
        yield rows, values
    log.fetch("DROP TABLE parts")


def count_arrivals(log: Log, spec: ComparisonSpec, schedules: Mapping[str, SamplingSchedule], counts: Counts) -> None:
    """Count units by arm and stage; those who leave the sample are taken off again."""
    came = _hours(
        log,
        "SELECT side, stage, unit, is_named, min(known_us) AS came_us, min(dropped_us) AS left_us FROM facts"
        " WHERE in_sample GROUP BY side, stage, unit, is_named",
    )
    for (side, stage, is_named), hours in came.items():
        (counts.units if is_named else counts.anonymous)[side, stage] = hours
    inside = " OR ".join(
        f"(stage = {index} AND at_us >= {stage.time_range.since_us + BORDER_US}"
        f" AND at_us < {stage.time_range.until_us - BORDER_US}"
        + (f" AND NOT {one_of_sql('feature', tuple(sorted(stage.left_out)))}" if stage.left_out else "")
        + ")"
        for index, stage in enumerate(spec.stages)
    )
    # shares can be checked only among users who were sampled on every side, all the time
    both = common_schedule(schedules.values()).dropped_sql
    query = f"""
        SELECT side, stage, unit, TRUE, min(greatest(at_us + {BORDER_US}, known_us)) AS came_us, min({both}) AS left_us
        FROM facts WHERE in_sample AND ({inside}) GROUP BY side, stage, unit
    """  # noqa: S608 - names and numbers of ours
    found = _hours(log, query)
    counts.assigned = {(side, stage): hours for (side, stage, _), hours in found.items()}
    candidates = one_of_sql("side", spec.sides.candidates)
    for stage, hour, count in log.fetch(f"""
        SELECT stage, greatest(first_us, other_us) // {HOUR_US} AS hour, count(*) FROM (
            SELECT stage, unit, min(seen_us) FILTER ({candidates}) AS first_us,
                min(seen_us) FILTER (NOT {candidates}) AS other_us
            FROM (SELECT *, greatest(at_us + {BORDER_US}, known_us) AS seen_us FROM facts)
            WHERE is_named AND in_sample AND ({inside}) GROUP BY stage, unit
        ) WHERE first_us IS NOT NULL AND other_us IS NOT NULL GROUP BY ALL ORDER BY ALL
    """):  # noqa: S608 - as above
        counts.in_both.setdefault(stage, {})[hour * HOUR_US] = count


def _hours(log: Log, units: str) -> dict[tuple[str, int, bool], HourlyCounts]:
    """Count units by arm, stage and kind, by the hour in which they came; less those who left, by theirs."""
    counts: dict[tuple[str, int, bool], HourlyCounts] = {}
    for side, stage, is_named, hour, count in log.fetch(f"""
        WITH units(side, stage, unit, is_named, came_us, left_us) AS ({units}), stayed AS (
            SELECT * FROM units WHERE left_us IS NULL OR came_us < left_us
        )
        SELECT side, stage, is_named, hour, sum(change)::BIGINT FROM (
            SELECT side, stage, is_named, came_us // {HOUR_US} AS hour, 1 AS change FROM stayed
            UNION ALL SELECT side, stage, is_named, left_us // {HOUR_US}, -1 FROM stayed WHERE left_us IS NOT NULL
        ) GROUP BY ALL ORDER BY ALL
    """):  # noqa: S608 - as above
        counts.setdefault((side, stage, is_named), {})[hour * HOUR_US] = count
    return counts

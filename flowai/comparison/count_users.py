"""Counts users: first failures by time cell, means by hour, arrivals.

The unit is the user over the whole rollout, across stages, arms and features: a user is at risk of a failure until the
first one, wherever it was. Users who often fail would otherwise be at risk anew each time they come to another arm, and
a ramp brings them all to the candidate. Calls without user and session are units of their own.

A user is at risk from the first call of a stage on, whether calling or not: users who call often and never fail would
otherwise count most, and by chance there are more of them in one arm. Only for frequent failures the users who call are
counted: each of them says something.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from flowai.comparison.counts import RiskChange, TimeBucket, UserSums
from flowai.comparison.facts import MILLION
from flowai.comparison.metrics import DELAYED_METRICS, METRIC_KINDS, RATIO_METRICS
from flowai.comparison.sampling import common_schedule
from flowai.comparison.spec import BORDER_US, CELL_US, HOUR_US, one_of_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts, HourlyCounts
    from flowai.comparison.sampling import SamplingSchedule
    from flowai.comparison.spec import ComparisonSpec

_STAGES = 64
"""A slot is a cell times this, plus the stage: it grows with time, and a cell that two stages share has two slots."""

_PART_CALLS = 200_000
"""Calls whose users are collapsed at once: about 30 MB."""


def count_users(log: Log, spec: ComparisonSpec, schedules: Mapping[str, SamplingSchedule], counts: Counts) -> None:
    """Count the users of `facts` and `opinions`."""
    _count_arrivals(log, spec, schedules, counts)
    for table, metrics in (
        ("facts", [name for name in spec.metrics if name not in DELAYED_METRICS]),
        ("opinions", [name for name in spec.metrics if name in DELAYED_METRICS]),
    ):
        _count_first_failures(log, table, [name for name in metrics if name not in RATIO_METRICS], counts)
        _sum_means(log, table, metrics, counts)


def _count_arrivals(log: Log, spec: ComparisonSpec, schedules: Mapping[str, SamplingSchedule], counts: Counts) -> None:
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


def _count_first_failures(log: Log, table: str, metrics: Sequence[Metric], counts: Counts) -> None:
    """Collapse the calls of each user in each cell, then find first failures, by metric."""
    if not metrics:
        return
    # a user who saves one of several answers has not failed to save
    failed = ", ".join(f"{'bool_and' if name == 'save_rate' else 'bool_or'}({name}) AS {name}" for name in metrics)
    firsts = ", ".join(f"min(slot) FILTER ({name}) AS {name}" for name in metrics)
    frequent = [name for name in metrics if METRIC_KINDS[name].is_frequent]
    rare = [name for name in metrics if name not in frequent]
    ((row_count,),) = log.fetch(f"SELECT count(*) FROM {table}")  # noqa: S608 - names of ours
    parts = max(1, -(-int(row_count) // _PART_CALLS))
    for part in range(parts):
        log.fetch(f"""
            CREATE OR REPLACE TEMP TABLE users AS
            SELECT side, known_us // {CELL_US} * {_STAGES} + stage AS slot, unit, bool_or(in_sample) AS in_sample,
                min(dropped_us) // {CELL_US} AS dropped_cell, {failed}
            FROM {table} WHERE (unit >> 32) % {parts} = {part} GROUP BY side, slot, unit
        """)  # noqa: S608 - as above
        log.fetch(f"CREATE OR REPLACE TEMP TABLE firsts AS SELECT unit, {firsts} FROM users GROUP BY unit")  # noqa: S608 - as above
        for results, names, query in ((_CELLS, frequent, _cells_sql(frequent)), (_RISKS, rare, _risks_sql(rare))):
            if names:
                log.fetch(
                    f"INSERT INTO {results} {query}" if part else f"CREATE OR REPLACE TEMP TABLE {results} AS {query}"
                )
    for name in frequent:
        counts.cells[name] = [
            TimeBucket(stage=stage, at_us=at_us, sides={side: (n, k) for side, n, k, _ in sides})
            for stage, at_us, sides in _by_cell(log, _CELLS, name)
        ]
    for name in rare:
        counts.risks[name] = [
            RiskChange(stage=stage, at_us=at_us, sides={side: (n, k, left) for side, n, k, left in sides})
            for stage, at_us, sides in _by_cell(log, _RISKS, name)
        ]


_CELLS, _RISKS = "user_cells", "user_risks"


def _cells_sql(metrics: Sequence[Metric]) -> str:
    """Return the query of users with a measurement who have not failed before, and of their failures, by cell."""
    return " UNION ALL ".join(
        f"SELECT '{name}' AS metric, slot, side, count(*) AS n, count(*) FILTER (users.{name}) AS k, 0 AS left_n"  # noqa: S608 - names of ours
        f" FROM users JOIN firsts USING (unit) WHERE in_sample AND users.{name} IS NOT NULL"
        f" AND slot <= coalesce(firsts.{name}, slot) GROUP BY slot, side"
        for name in metrics
    )


def _risks_sql(metrics: Sequence[Metric]) -> str:
    """Return the query of users who come to be at risk, who fail first, and who leave, by cell."""
    came = ", ".join(
        f"min(slot) FILTER ({name} IS NOT NULL AND in_sample) AS {name}_came,"
        f" min(slot) FILTER ({name} AND in_sample) AS {name}_failed"
        for name in metrics
    )
    stays = f"SELECT unit, side, slot % {_STAGES} AS stage, min(dropped_cell) AS dropped_cell, {came} FROM users"  # noqa: S608 - as above
    changes = " UNION ALL ".join(
        f"""
        SELECT '{name}' AS metric, unnest([{name}_came,
                CASE WHEN {name}_failed = first THEN first END,
                CASE WHEN first IS NULL OR {name}_failed IS DISTINCT FROM first
                    THEN least(first // {_STAGES}, dropped_cell) * {_STAGES} + stage END]) AS slot,
            unnest([1, 2, 3]) AS what, side
        FROM (SELECT stays.*, firsts.{name} AS first FROM stays JOIN firsts USING (unit))
        WHERE {name}_came <= coalesce(first, {name}_came)
        """  # noqa: S608 - as above
        for name in metrics
    )
    return f"""
        WITH stays AS MATERIALIZED ({stays} GROUP BY unit, side, stage), changes AS ({changes})
        SELECT metric, slot, side, count(*) FILTER (what = 1) AS n, count(*) FILTER (what = 2) AS k,
            count(*) FILTER (what = 3) AS left_n
        FROM changes WHERE slot IS NOT NULL GROUP BY metric, slot, side
    """  # noqa: S608 - as above


def _by_cell(log: Log, table: str, metric: Metric) -> Iterator[tuple[int, int, list[tuple[str, int, int, int]]]]:
    """Yield stage, start of the cell and numbers by arm, in order of time and stage."""
    rows = log.fetch(
        f"SELECT slot, side, sum(n)::BIGINT, sum(k)::BIGINT, sum(left_n)::BIGINT FROM {table}"  # noqa: S608 - names of ours
        f" WHERE metric = '{metric}' GROUP BY slot, side ORDER BY slot, side"
    )
    for slot, group in groupby(rows, key=itemgetter(0)):
        yield slot % _STAGES, slot // _STAGES * CELL_US, [(side, n, k, left) for _, side, n, k, left in group]


def _sum_means(log: Log, table: str, metrics: Sequence[Metric], counts: Counts) -> None:
    """Sum the means of users by arm and stage, and by hour how the sums change.

    Users who leave the sample are taken off again: the sums at any time are those of users who were sampled so far.
    """

    def columns(*forms: str) -> str:
        return ", ".join(form.format(m=name, value=_value_sql(name)) for name in metrics for form in forms)

    sums = columns("coalesce(sum({value}), 0)::BIGINT AS {m}_total", "count({m}) AS {m}_n")
    running = columns("{m}_n AS {m}_now", "sum({m}_total) OVER so_far AS {m}_total", "sum({m}_n) OVER so_far AS {m}_n")
    means = columns(
        "{m}_now + (leaves AND {m}_n > 0)::INTEGER AS {m}_now",
        "({m}_n > 0 AND NOT leaves)::INTEGER AS {m}_users",
        "({m}_total > 0 AND NOT leaves)::INTEGER AS {m}_affected",
        "CASE WHEN {m}_n > 0 AND NOT leaves THEN CAST(round({m}_total::DOUBLE / {m}_n) AS BIGINT) ELSE 0 END"
        " AS {m}_mean",
    )
    changes = columns(
        "{m}_now",
        "{m}_users - coalesce(lag({m}_users) OVER before, 0) AS {m}_users",
        "{m}_affected - coalesce(lag({m}_affected) OVER before, 0) AS {m}_affected",
        "{m}_mean",
        "coalesce(lag({m}_mean) OVER before, 0) AS {m}_before",
    )
    totals = (
        "sum({m}_now)",
        "sum({m}_users)",
        "sum({m}_affected)",
        "sum({m}_mean - {m}_before)",
        "sum({m}_mean::HUGEINT * {m}_mean - {m}_before::HUGEINT * {m}_before)",
    )
    for side, stage, hour, *numbers in log.fetch(f"""
        WITH hourly AS (
            SELECT side, stage, unit, known_us // {HOUR_US} AS hour, FALSE AS leaves, {sums}
            FROM {table} WHERE in_sample GROUP BY side, stage, unit, hour
            UNION ALL
            SELECT side, stage, unit, min(dropped_us) // {HOUR_US}, TRUE, {columns("0", "0")}
            FROM {table} WHERE in_sample AND dropped_us IS NOT NULL GROUP BY side, stage, unit
        ), running AS (
            SELECT side, stage, unit, hour, leaves, {running} FROM hourly
            WINDOW so_far AS (PARTITION BY side, stage, unit ORDER BY hour, leaves ROWS UNBOUNDED PRECEDING)
        ), means AS (SELECT side, stage, unit, hour, leaves, {means} FROM running), changes AS (
            SELECT side, stage, hour, {changes}
            FROM means WINDOW before AS (PARTITION BY side, stage, unit ORDER BY hour, leaves)
        )
        SELECT side, stage, hour, {columns(*totals)} FROM changes GROUP BY side, stage, hour ORDER BY side, stage, hour
    """):  # noqa: S608 - names and numbers of ours
        for index, name in enumerate(metrics):
            changed, *by_user = numbers[index * len(totals) : (index + 1) * len(totals)]
            if changed:
                by_hour = counts.users.setdefault((name, side, stage), {})
                by_hour[hour * HOUR_US] = UserSums(*(int(number) for number in by_user))


def _value_sql(metric: Metric) -> str:
    return metric if metric in RATIO_METRICS else f"{metric}::BIGINT * {MILLION}"

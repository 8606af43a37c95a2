"""Counts users of a log: arrivals by query, first failures and means on arrays, a part of the users at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.analytics.event_query import literal
from flowai.comparison.counts import Counts, TopCaller
from flowai.comparison.metrics import RATIO_METRICS
from flowai.comparison.sampling import common_schedule
from flowai.comparison.spec import BORDER_US, HOUR_US, one_of_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric
    from flowai.comparison.counts import HourlyCounts
    from flowai.comparison.sampling import SamplingSchedule
    from flowai.comparison.spec import ComparisonSpec
    from flowai.comparison.user_arrays import CallRows, MetricValues

_PART_CALLS = 30_000
"""Calls whose users are counted at once: about 15 MB."""

_MISSING = -128
"""Value of a metric that was not measured: the least of a TINYINT; a mean's logarithm or cost is never just that."""

_TYPES = ("TINYINT", "BIGINT")


def count_users(
    log: Log, spec: ComparisonSpec, table: str, metrics: Sequence[Metric], counts: Counts, *, where: str = "TRUE"
) -> None:
    """Count the users of `facts` or `opinions`; `where` is SQL for all calls of some of them."""
    from flowai.comparison.user_arrays import UserCounter  # numpy takes a while to load

    counter = UserCounter(counts=counts)
    for rows, values in _parts(log, spec, table, metrics, where):
        counter.add(rows, values)
    counter.finish()


def count_callers(log: Log, spec: ComparisonSpec, table: str, metrics: Sequence[Metric], counts: Counts) -> None:
    """Find the caller with the most failures by metric, arm and hour, and count the calls of such callers apart.

    Only calls that are units of their own have a caller here: a user is a unit, and has one first failure at most.
    """
    sides = spec.sides
    arms = one_of_sql("side", sides.candidates if sides.releases else sides.arms)
    selected = f"in_sample AND {arms}"
    ((has_callers,),) = log.fetch(f"SELECT count(caller) > 0 FROM {table} WHERE {selected}")  # noqa: S608 - names of ours
    if not has_callers or not metrics:
        return
    is_counted = {name: f"{name} IS NOT NULL" if name in RATIO_METRICS else name for name in metrics}
    sums = ", ".join(f"count(*) FILTER ({condition})" for condition in is_counted.values())
    callers = {(name, side): _CallerRanking() for name in metrics for side in sides.arms}
    # a caller with one call is like a user; all those together are as one here, which is never on top
    for hour, side, caller, *numbers in log.stream(f"""
        WITH callers AS (SELECT caller FROM {table} WHERE {selected} GROUP BY caller HAVING count(*) > 1)
        SELECT known_us // {HOUR_US} AS hour, side, callers.caller AS caller, {sums}
        FROM {table} LEFT JOIN callers USING (caller) WHERE {selected} GROUP BY ALL ORDER BY ALL
    """):  # noqa: S608 - as above
        for name, number in zip(metrics, numbers, strict=True):
            callers[name, side].add(hour * HOUR_US, caller, number)
    found = {key: by_hour for key, ranking in callers.items() if (by_hour := ranking.finish())}
    counts.top_callers |= found
    for caller in sorted({one.caller for by_hour in found.values() for one in by_hour.values()}):
        own = [name for name in metrics if any(one.caller == caller for one in _tops(found, name))]
        count_users(log, spec, table, own, counts.of_callers.setdefault(caller, Counts()), where=f"caller = {caller}")


def _tops(found: Mapping[tuple[Metric, str], Mapping[int, TopCaller]], metric: Metric) -> Iterator[TopCaller]:
    return (one for (name, _), by_hour in found.items() if name == metric for one in by_hour.values())


@dataclass(slots=True)
class _CallerRanking:
    """Finds the caller with the most failures at the end of each hour; of equals the first one to have so many."""

    _failures: Counter[int] = field(default_factory=Counter)
    _total: int = 0
    _hour_us: int = 0
    _top: int | None = None
    _in_hour: set[int] = field(default_factory=set)
    _by_hour: dict[int, TopCaller] = field(default_factory=dict)

    def add(self, hour_us: int, caller: int | None, count: int) -> None:
        """Add failures in an hour; hours are in order."""
        if hour_us != self._hour_us:
            self._close()
            self._hour_us = hour_us
        self._total += count
        if caller is not None and count:
            self._failures[caller] += count
            self._in_hour.add(caller)

    def _close(self) -> None:
        for caller in sorted(self._in_hour):
            if self._top is None or self._failures[caller] > self._failures[self._top]:
                self._top = caller
        self._in_hour.clear()
        if self._top is not None and self._failures[self._top] > 1:
            self._by_hour[self._hour_us] = TopCaller(self._top, self._failures[self._top], self._total)

    def finish(self) -> dict[int, TopCaller]:
        """Return the top caller by hour; none while no caller has two failures."""
        self._close()
        return self._by_hour


def _parts(
    log: Log, spec: ComparisonSpec, table: str, metrics: Sequence[Metric], where: str
) -> Iterator[tuple[CallRows, dict[Metric, MetricValues]]]:
    """Yield the calls of a part of the users, with the values of metrics."""
    import numpy as np

    from flowai.comparison.user_arrays import NEVER, CallRows, MetricValues

    sides = spec.sides.all_arms
    side = " ".join(f"WHEN {literal(name)} THEN {index}" for index, name in enumerate(sides))
    columns = ", ".join(f"coalesce({name}::{_TYPES[name in RATIO_METRICS]}, {_MISSING}) AS {name}" for name in metrics)
    ((row_count,),) = log.fetch(f"SELECT count(*) FROM {table} WHERE {where}")  # noqa: S608 - names of ours
    part_count = max(1, -(-int(row_count) // _PART_CALLS))
    # in order of the parts, so that a part is read without the others
    log.fetch(f"""
        CREATE TEMP TABLE parts AS
        SELECT ((unit >> 32) % {part_count})::INTEGER AS part, (CASE side {side} END)::BIGINT AS side,
            stage::BIGINT AS stage, unit, known_us, in_sample, coalesce(dropped_us, {NEVER}) AS dropped_us, {columns}
        FROM {table} WHERE side IN ({", ".join(literal(name) for name in sides)}) AND {where} ORDER BY part
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
        FROM (SELECT *, CASE WHEN is_named THEN unit ELSE hash(at_us) END AS key FROM facts)
        WHERE in_sample AND ({inside}) GROUP BY side, stage, unit
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

"""Freezes the p95 of the baseline's first answers, by feature, before any call is compared with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.analytics.event_query import ANSWERED, moment
from flowai.comparison.spec import CELL_US, HOUR_US, one_of_sql

if TYPE_CHECKING:
    from collections.abc import Collection

    from flowai.analytics.event_query import Log
    from flowai.comparison.spec import ComparisonSpec


MIN_BASELINE_ANSWERS = 200
"""Answers of the baseline that freeze the p95 for slow calls; calls up to then are not judged."""

FROZEN_SHARE = 0.95

_FREEZE = f"""
WITH base AS (
    SELECT coalesce(feature, '') AS feature, at_us // {CELL_US} AS cell, {{column}} AS spent FROM selected
    WHERE {{is_base}} AND {ANSWERED} AND {{column}} >= 0 AND "at" < {{end}}
), cells AS (
    SELECT feature, cell, sum(count(*)) OVER (PARTITION BY feature ORDER BY cell) AS so_far, count(*) AS here
    FROM base GROUP BY feature, cell
), early AS (SELECT feature, cell FROM cells WHERE so_far - here < {MIN_BASELINE_ANSWERS})
SELECT feature, max(cell) AS cell,
    CAST(floor(ln(least(greatest(quantile_disc(spent, {FROZEN_SHARE}), 0.001), 1e9)) / ln(1.01)) AS SMALLINT) AS above
FROM base SEMI JOIN early USING (feature, cell) GROUP BY feature HAVING count(*) >= {MIN_BASELINE_ANSWERS}
ORDER BY feature
"""  # noqa: S608 - names of ours


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineLatency:
    """Limit above which an answer of a feature is slow."""

    cell: int
    """Number of the time cell, counted from 1970, after which calls are judged."""
    above: int
    """Bucket above which an answer is slow."""


def measure_baseline_latency(
    log: Log, spec: ComparisonSpec, column: str, features: Collection[str]
) -> dict[str, BaselineLatency]:
    """Return the baseline's p95 by feature, from its first answers.

    The query reads one hour, then eight times as much, until every feature has enough answers or the log ends; the
    result does not depend on it.
    """
    sides = spec.sides
    is_base = one_of_sql("side", (sides.control, *((sides.extra_control,) if sides.extra_control else ())))
    since_us, until_us = spec.stages[0].time_range.since_us, spec.until_us
    hours = 1
    while True:
        end_us = min(since_us + hours * HOUR_US, until_us)
        query = _FREEZE.format(column=column, is_base=is_base, end=moment(end_us))
        frozen = {feature: BaselineLatency(cell=cell, above=above) for feature, cell, above in log.fetch(query)}
        if len(frozen) >= len(features) or end_us >= until_us:
            return frozen
        hours *= 8

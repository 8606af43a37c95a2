"""Freezes what slow means: the p95 of the baseline's first answers, by feature, before anything is judged by it.

In: a log that holds `rollout`. Out: a bucket by feature, and a table of them. Must never know which calls are slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.metrics.query import Log, Stretch

CELL_US = 300_000_000
"""Five minutes: the finest time that evidence knows; cells are joined into blocks when traffic is thin."""

HOUR_US = 3_600_000_000
FROZEN_AFTER_COUNT = 200
"""So many answers of the baseline freeze the p95 that slow calls are measured against; calls up to then are not
judged."""

FROZEN_SHARE = 0.95

ANSWERED = "cache = 'miss' AND error_class IS NULL"

_FREEZE = f"""
WITH base AS (
    SELECT DISTINCT hash(call_id), coalesce(feature, '') AS feature, at_us // {CELL_US} AS cell, {{column}} AS taken
    FROM rollout
    WHERE variant IN ('control', 'stable') AND {ANSWERED} AND {{column}} >= 0 AND {{begin}}
), cells AS (
    SELECT feature, cell, sum(count(*)) OVER (PARTITION BY feature ORDER BY cell) AS so_far, count(*) AS here
    FROM base GROUP BY feature, cell
), early AS (SELECT feature, cell FROM cells WHERE so_far - here < {FROZEN_AFTER_COUNT})
SELECT feature, max(cell) AS cell,
    CAST(floor(ln(greatest(quantile_disc(taken, {FROZEN_SHARE}), 0.001)) / ln(1.01)) AS SMALLINT) AS above
FROM base SEMI JOIN early USING (feature, cell) GROUP BY feature HAVING count(*) >= {FROZEN_AFTER_COUNT}
"""  # noqa: S608 - names of ours


def freeze(log: Log, stretch: Stretch, column: str) -> dict[str, int]:
    """Give the baseline's p95 by feature, from its first answers; leave `frozen_...` with the time from which it holds.

    The first hour is looked at first, then eight times as much, until every feature has enough or all was looked at:
    what is found does not depend on it.
    """
    since_us, until_us = stretch.since_us, stretch.until_us
    log.rows(f"CREATE TABLE frozen_{column} (feature VARCHAR, cell BIGINT, above SMALLINT)")
    hours = 1
    while True:
        end_us = since_us + hours * HOUR_US
        begin = f"at_us < {min(end_us, until_us)}"
        log.rows(f"DELETE FROM frozen_{column}")  # noqa: S608 - names of ours
        log.rows(f"INSERT INTO frozen_{column} {_FREEZE.format(column=column, begin=begin)}")
        ((seen, frozen),) = log.rows(
            f"SELECT (SELECT count(DISTINCT feature) FROM told), (SELECT count(*) FROM frozen_{column})"  # noqa: S608 - as above
        )
        if frozen >= seen or end_us >= until_us:
            return dict(log.rows(f"SELECT feature, above FROM frozen_{column} ORDER BY ALL"))  # noqa: S608 - as above
        hours *= 8

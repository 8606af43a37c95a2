"""Freezes limits from the baseline's first calls, by feature, before any call is compared with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.analytics.call_table import bucket
from flowai.analytics.event_query import ANSWERED, moment
from flowai.comparison.spec import CELL_US, HOUR_US, one_of_sql
from flowai.statistics.histogram import BUCKET_RATIO

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric
    from flowai.comparison.spec import ComparisonSpec


MIN_BASELINE_CALLS = 200
"""Calls of the baseline that freeze a limit; calls up to then are not judged by it."""

FROZEN_SHARE = 0.95

SLOW_RATIO = 1.05
"""An answer is slow above the p95 by this ratio: where times vary little, 3 % slower is no harm."""

COST_CAP_RATIO = 10.0
"""A call's cost counts up to the p95 by this ratio, so that one call does not decide."""

MICRO_USD = "cost_usd * 1e6"
"""Costs have the buckets of times: a millionth of a dollar is like a millisecond."""

LIMITED_BY: Mapping[Metric, tuple[str, str, float]] = {
    "slow_calls": ("latency_ms", ANSWERED, SLOW_RATIO),
    "slow_ttft": ("ttft_ms", ANSWERED, SLOW_RATIO),
    "cost": (MICRO_USD, "cache = 'miss'", COST_CAP_RATIO),
}
"""SQL by metric: the limited number and which calls have it; and the limit's ratio to the p95."""

_FREEZE = f"""
WITH base AS (
    SELECT coalesce(feature, '') AS feature, known_us // {CELL_US} AS cell, {{bucket}} AS place FROM selected
    WHERE {{is_base}} AND {{has}} AND {{column}} >= 0 AND "at" < {{end}} AND known_us < {{end_us}}
), cells AS (
    SELECT feature, cell, sum(count(*)) OVER (PARTITION BY feature ORDER BY cell) AS so_far, count(*) AS here
    FROM base GROUP BY feature, cell
), early AS (SELECT feature, cell FROM cells WHERE so_far - here < {MIN_BASELINE_CALLS})
SELECT feature, max(cell) AS cell, quantile_disc(place, {FROZEN_SHARE})
FROM base SEMI JOIN early USING (feature, cell) GROUP BY feature HAVING count(*) >= {MIN_BASELINE_CALLS}
ORDER BY feature
"""  # noqa: S608 - names of ours


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineLimit:
    """Limit of a feature's latency, time to the first token or cost."""

    known_us: int
    """End of the time cell that froze it: calls that end later are judged. Microseconds since 1970."""
    bucket: int
    """Bucket of the limit."""

    @property
    def value(self) -> float:
        """Upper edge of the bucket: from there on an answer is slow, or a call too dear (in millionths of a dollar)."""
        return BUCKET_RATIO ** (self.bucket + 1)


def freeze_limits(
    log: Log, spec: ComparisonSpec, metric: Metric, features: Collection[str]
) -> dict[str, BaselineLimit]:
    """Return the limit of a metric by feature, from the baseline's first calls.

    The query reads one hour, then eight times as much, until every feature has enough calls or the log ends; the result
    does not depend on it.
    """
    sides = spec.sides
    column, has, ratio = LIMITED_BY[metric]
    is_base = one_of_sql("side", (sides.control, *((sides.extra_control,) if sides.extra_control else ())))
    since_us = spec.stages[0].time_range.since_us
    hours, above = 1, math.ceil(math.log(ratio) / math.log(BUCKET_RATIO))
    while True:
        end_us = min((since_us // HOUR_US + 1 + hours) * HOUR_US, spec.now_us)
        query = _FREEZE.format(
            bucket=bucket(column), column=column, has=has, is_base=is_base, end=moment(end_us), end_us=end_us
        )
        limits = {
            feature: BaselineLimit(known_us=(cell + 1) * CELL_US, bucket=place + above)
            for feature, cell, place in log.fetch(query)
        }
        if len(limits) >= len(features) or end_us >= spec.now_us:
            return {feature: limit for feature, limit in limits.items() if limit.known_us <= spec.now_us}
        hours *= 8

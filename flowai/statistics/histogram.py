"""Quantiles of a sample, and of positive measurements (latencies, costs) from counts by 1 % log bucket."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.statistics.intervals import Interval, difference_interval, quantile_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BUCKET_RATIO = 1.01
"""Upper edge of a bucket over its lower edge; the middle is within 0.5 % of every value in it."""


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the quantile of an ascending sample by linear interpolation between its order statistics; None if empty.

    Source: Hyndman and Fan, Sample Quantiles in Statistical Packages (1996), definition 7.
    """
    if not ordered:
        return None
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    low, high = ordered[below], ordered[above]
    # equal neighbours yield themselves, without a rounding error
    return low + (high - low) * (position - below)


def bucket_of(value: float) -> int:
    """Return the bucket of a positive, finite measurement: floor(ln value / ln 1.01), as SQL queries compute it.

    Source: Masson, Rim and Lee, DDSketch (VLDB 2019), section 2.1.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{value} is not a positive number")
    return math.floor(math.log(value) / math.log(BUCKET_RATIO))


def bucket_quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the geometric middle of a quantile's bucket, within 0.5 %; None without measurements.

    Source: Hyndman and Fan, Sample Quantiles in Statistical Packages (1996), definition 1.
    """
    total = sum(counts.values())
    if not total:
        return None
    return math.pow(BUCKET_RATIO, _bucket_at(counts, max(1, math.ceil(share * total))) + 0.5)


def bucket_quantile_interval(counts: Mapping[int, int], share: float, *, confidence: float = 0.95) -> Interval:
    """Return a quantile with its interval, from the lower edge of one bucket to the upper edge of another.

    The interval starts at 0 or ends at inf if there are too few measurements for that bound.

    Source: `quantile_ranks`; the edges add the rounding of the buckets.
    """
    lower, upper = quantile_ranks(sum(counts.values()), share, confidence=confidence)
    return Interval(
        estimate=bucket_quantile(counts, share),
        low=0.0 if lower is None else math.pow(BUCKET_RATIO, _bucket_at(counts, lower)),
        high=math.inf if upper is None else math.pow(BUCKET_RATIO, _bucket_at(counts, upper) + 1),
    )


def quantile_ratio(
    candidate: Mapping[int, int], control: Mapping[int, int], share: float, *, confidence: float = 0.95
) -> Interval:
    """Return the ratio of a quantile, candidate to control, with its interval; above 1 the candidate is slower.

    The interval starts at 0 or ends at inf if there are too few measurements.

    Source: `difference` on the logarithms of both quantiles' intervals: Zou and Donner (2008), section 2.
    """
    first, second = (
        _logarithm(bucket_quantile_interval(counts, share, confidence=confidence)) for counts in (candidate, control)
    )
    logs = difference_interval(first, second)
    estimate = None if logs.estimate is None else math.exp(logs.estimate)
    return Interval(estimate=estimate, low=math.exp(logs.low), high=math.exp(logs.high))


def _logarithm(interval: Interval) -> Interval:
    return Interval(
        estimate=None if interval.estimate is None else math.log(interval.estimate),
        low=math.log(interval.low) if interval.low > 0 else -math.inf,
        high=math.log(interval.high),
    )


def _bucket_at(counts: Mapping[int, int], rank: int) -> int:
    """Return the bucket of the measurement with a rank, from 1 on."""
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return bucket
    raise ValueError(f"there are {seen} measurements, no {rank}th")

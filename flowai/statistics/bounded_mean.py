"""Interval of the mean of bounded values, for a single fixed analysis: pass rates, scores, differences of pairs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.statistics.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence


def bounded_mean_interval(values: Sequence[float], *, low: float, high: float, confidence: float = 0.95) -> Interval:
    """Return the interval of the mean of values between `low` and `high`; without values it is everything.

    Source: Agresti and Coull, The American Statistician 52 (1998) 119: z squared values are added, half at each end.
    Of zeros and ones it is their interval of a proportion. Of differences of pairs, from -1 to 1, it is Agresti and
    Min, Statistics in Medicine 24 (2005) 729, with z squared instead of two values: equal pairs never give width 0.
    """
    total = len(values)
    if total == 0:
        return Interval(estimate=None, low=low, high=high)
    return interval_of_sums(
        total, math.fsum(values), math.fsum([value * value for value in values]), low, high, confidence
    )


def interval_of_sums(
    total: int, value_sum: float, square_sum: float, low: float, high: float, confidence: float
) -> Interval:
    """Return `bounded_mean_interval` from the number, the sum and the sum of squares of the values."""
    added = normal_quantile(0.5 + confidence / 2) ** 2
    weight = total + added
    middle = (value_sum + added * (low + high) / 2) / weight
    variance = max((square_sum + added * (low * low + high * high) / 2) / weight - middle * middle, 0.0)
    reach = math.sqrt(added * variance / weight)
    estimate = value_sum / total
    return Interval(
        estimate=estimate,
        low=max(min(middle - reach, estimate), low),
        high=min(max(middle + reach, estimate), high),
    )


def normal_quantile(probability: float) -> float:
    """Return the quantile of the standard normal distribution."""
    from statistics import NormalDist  # 15 ms of imports that most commands do not need

    return NormalDist().inv_cdf(probability)

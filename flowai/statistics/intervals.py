"""Confidence intervals of proportions, of their differences, and of quantiles, for a single fixed analysis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.statistics.beta import beta_quantile, binomial_cdf

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL_SAMPLE = 10
"""With fewer successes or failures, `proportion_interval` is exact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A confidence interval."""

    estimate: float | None
    """In the interval; None if nothing was measured."""
    low: float
    """-inf (0 for ratios and latencies) if unbounded."""
    high: float
    """Inf if unbounded."""


def wilson(count: float, total: int, *, confidence: float = 0.95) -> Interval:
    """Return the score interval of a proportion; without trials it is everything from 0 to 1.

    `count` may be a sum of shares, 0 to 1 each: they vary no more than yes and no.

    Source: Wilson, Journal of the American Statistical Association 22 (1927) 209; Newcombe, Statistics in Medicine 17
    (1998) 857, method 3.
    """
    if total == 0:
        return Interval(estimate=None, low=0.0, high=1.0)
    z_squared = _z(confidence) ** 2
    rate = count / total
    middle = count + z_squared / 2
    reach = math.sqrt(z_squared * (total * rate * (1 - rate) + z_squared / 4))
    scale = total + z_squared
    low = 0.0 if count == 0 else (middle - reach) / scale
    high = 1.0 if count == total else (middle + reach) / scale
    return Interval(estimate=rate, low=min(low, rate), high=max(high, rate))


def clopper_pearson(count: int, total: int, *, confidence: float = 0.95) -> Interval:
    """Return the exact interval of a proportion: its coverage is at least `confidence`; arguments as of `wilson`.

    Source: Clopper and Pearson, Biometrika 26 (1934); by beta quantiles: Newcombe (1998) 857, method 5.
    """
    if total == 0:
        return Interval(estimate=None, low=0.0, high=1.0)
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else beta_quantile(tail, count, total - count + 1)
    high = 1.0 if count == total else beta_quantile(1 - tail, count + 1, total - count)
    return Interval(estimate=count / total, low=low, high=high)


def proportion_interval(count: int, total: int, *, confidence: float = 0.95) -> Interval:
    """Return `clopper_pearson` if there are fewer than 10 successes or failures, else `wilson`."""
    exact = min(count, total - count) < SMALL_SAMPLE
    return (clopper_pearson if exact else wilson)(count, total, confidence=confidence)


def difference_interval(first: Interval, second: Interval) -> Interval:
    """Return the interval of first minus second from independent intervals of each.

    Source: Zou and Donner, Statistics in Medicine 27 (2008) 1693, equation 7; with Wilson's intervals it is Newcombe's.
    """
    if first.estimate is None or second.estimate is None:
        return Interval(estimate=None, low=first.low - second.high, high=first.high - second.low)
    gap = first.estimate - second.estimate
    below = math.hypot(first.estimate - first.low, second.high - second.estimate)
    above = math.hypot(first.high - first.estimate, second.estimate - second.low)
    return Interval(estimate=gap, low=gap - below, high=gap + above)


def quantile_ranks(total: int, share: float, *, confidence: float = 0.95) -> tuple[int | None, int | None]:
    """Return the lower and upper rank, from 1, of the order statistics that enclose a quantile; None if out of reach.

    Each side errs with at most half of 1 - `confidence`, so that a sample may be too small for a bound.

    Source: David and Nagaraja, Order Statistics (2003), section 7.1: the rank of a quantile is binomial.
    """
    tail = (1 - confidence) / 2
    # the lower rank r errs if fewer than r values are below the quantile: at most r - 1 of them
    low = _last(total, lambda rank: binomial_cdf(rank - 1, total, share) <= tail)
    from_top = _last(total, lambda rank: binomial_cdf(rank - 1, total, 1 - share) <= tail)
    return low or None, (total + 1 - from_top) if from_top else None


def _last(total: int, holds: Callable[[int], bool]) -> int:
    """Return the largest rank up to `total` at which a condition holds that holds up to some rank; 0 if none."""
    low, high = 0, total
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def _z(confidence: float) -> float:
    from statistics import NormalDist  # 15 ms of imports that most commands do not need

    return NormalDist().inv_cdf(0.5 + confidence / 2)

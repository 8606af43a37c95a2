"""Confidence intervals of proportions, of their differences, and of quantiles, for a single fixed analysis.

`rate_sequence` alone holds at every time at once, however often it is looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.statistics.beta import beta_quantile, binomial_cdf

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS = 60
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


def rate_sequence(count: int, total: int, *, usual_rate: float, confidence: float = 0.95) -> Interval:
    """Return the interval of a proportion that is valid at every number of trials.

    Trials are independent, or each one's rate may depend on the ones before. `usual_rate`, > 0, is the rate near which
    the interval is narrowest; it is fixed before the first trial. It holds the rates p at which a mixture of the
    likelihood over Beta(1/2, 1 / (2 `usual_rate`)), divided by the likelihood of p, is below 1 / (1 - confidence).

    Source: Robbins, Annals of Mathematical Statistics 41 (1970) 1397, for mixtures; Ville (1939), for every time.
    """
    if total == 0:
        return Interval(estimate=None, low=0.0, high=1.0)
    first, second = 0.5, 0.5 / usual_rate
    mixed = _log_beta(first + count, second + total - count) - _log_beta(first, second)
    limit = math.log(1 / (1 - confidence))

    def is_possible(rate: float) -> bool:
        if not 0 < rate < 1:
            return False
        likelihood = count * math.log(rate) if count else 0.0
        likelihood += (total - count) * math.log1p(-rate) if count < total else 0.0
        return mixed - likelihood < limit

    rate = count / total
    low = 0.0 if count == 0 else _edge(rate, 0.0, is_possible)
    high = 1.0 if count == total else _edge(rate, 1.0, is_possible)
    return Interval(estimate=rate, low=low, high=high)


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)


def _edge(inside: float, outside: float, is_possible: Callable[[float], bool]) -> float:
    """Return where possible rates end, between the estimate and an end of the scale."""
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if is_possible(middle):
            inside = middle
        else:
            outside = middle
    return outside

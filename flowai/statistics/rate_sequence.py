"""Confidence sequence of a proportion: its interval holds at every time at once, however often it is looked at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.statistics.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS = 60


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

"""Tail probabilities of failure counts as logarithms: they may be far below the smallest float."""

from __future__ import annotations

import math

_ENOUGH = 1e-15
"""A term this small relative to the sum ends the loop: later terms are smaller."""


def log_binomial_tail(count: int, total: int, rate: float) -> float:
    """Return the log probability of at least `count` failures in `total` trials with failure rate `rate`.

    It is 0 if `count` is no more than expected, since only a surplus is evidence.

    Source: the sum of the binomial's terms from `count` on, each from the one before it.
    """
    if count <= total * rate or count <= 0:
        return 0.0
    if rate <= 0:
        return -math.inf
    odds = rate / (1 - rate)  # below 1: at a rate of 1 no count is more than expected
    first = _log_choose(total, count) + count * math.log(rate) + (total - count) * math.log1p(-rate)
    added = term = 1.0
    for reached in range(count, total):
        term *= (total - reached) / (reached + 1) * odds
        added += term
        if term < _ENOUGH * added:
            break
    return min(0.0, first + math.log(added))


def log_hypergeometric_tail(count: int, inside: int, failures: int, total: int) -> float:
    """Return the log probability that a random group of `inside` of `total` holds at least `count` of the failures.

    It is 0 if `count` is no more than expected, since only a surplus is evidence.

    Source: Fisher's exact test, one-sided; the sum of the hypergeometric's terms from `count` on.
    """
    if total <= 0 or count * total <= inside * failures:
        return 0.0
    outside = total - inside
    first = _log_choose(inside, count) + _log_choose(outside, failures - count) - _log_choose(total, failures)
    added = term = 1.0
    for reached in range(count, min(inside, failures)):
        term *= (inside - reached) / (reached + 1) * (failures - reached) / (outside - failures + reached + 1)
        added += term
        if term < _ENOUGH * added:
            break
    return min(0.0, first + math.log(added))


def _log_choose(total: int, count: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)

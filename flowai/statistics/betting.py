"""Evidence about the mean of bounded values that is valid at every time: a run may stop as soon as it is enough.

A bet multiplies its coin by 1 + stake (value - claimed mean). If the true mean is at most the claimed one, no bet gains
on average, and the mixture of the bets ever reaches 1 / alpha with probability at most alpha.

Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, Journal of the Royal
Statistical Society B 86 (2024) 1; Ville (1939).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from flowai.statistics.intervals import Interval
from flowai.statistics.mixture import log_mixture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STAKES = (0.03, 0.06, 0.12, 0.24, 0.48, 0.8)
"""Bets, as shares of the largest stake that cannot lose everything. Each starts with the same part of the coin."""

_WEIGHTS = (1 / len(STAKES),) * len(STAKES)
_STEPS = 40


class MeanEvidence:
    """Evidence that the mean of values of at least `low` is above a claimed mean.

    The values must come in an order that does not depend on them.
    """

    def __init__(self, claimed: float, *, low: float) -> None:
        self._claimed = claimed
        self._stakes = [share / (claimed - low) for share in STAKES] if claimed > low else [0.0] * len(STAKES)
        self._logs = [0.0] * len(STAKES)
        self.peak_log_e = 0.0
        """Largest logarithm of the evidence so far; it decides at log(1 / alpha)."""

    def add(self, value: float) -> float:
        """Bet on one more value; return the largest log evidence so far."""
        gap = value - self._claimed
        self._logs = [log + math.log1p(stake * gap) for log, stake in zip(self._logs, self._stakes, strict=True)]
        self.peak_log_e = max(self.peak_log_e, log_mixture(self._logs, _WEIGHTS))
        return self.peak_log_e


def betting_interval(values: Sequence[float], *, low: float, high: float, alpha: float) -> Interval:
    """Return the interval of a mean at any stopping time; each side errs with probability at most `alpha`."""
    if not values:
        return Interval(estimate=None, low=low, high=high)
    array = np.array(values)
    below = _bound(array, low, high, alpha)
    above = _bound(-array, -high, -low, alpha)
    return Interval(estimate=math.fsum(values) / len(values), low=below, high=-above)


def _bound(values: NDArray[np.float64], low: float, high: float, alpha: float) -> float:
    """Return the largest claimed mean that the evidence at the end refutes; `low` if there is none."""
    refuted, kept = low, high
    for _ in range(_STEPS):
        claimed = (refuted + kept) / 2
        stakes = [share / (claimed - low) for share in STAKES]
        logs = [float(np.log1p(stake * (values - claimed)).sum()) for stake in stakes]
        if log_mixture(logs, _WEIGHTS) >= -math.log(alpha):
            refuted = claimed
        else:
            kept = claimed
    return refuted

"""Users' own rates: quantiles of beta distributions whose mean is the rate of the release."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_LOGIT = 60.0
_POINT_COUNT = 6001


def own_rates(ranks: NDArray[np.float64], mean: float, concentration: float | None) -> NDArray[np.float64]:
    """Return the rates of users at given ranks in the distribution.

    Args:
        ranks: each user's position among all, 0 to 1: uniform over users.
        mean: mean of the rates, 0 to 1.
        concentration: sum of the beta distribution's parameters, > 0; None for equal rates.

    Returns:
        The rates, increasing in rank and, at equal ranks, in the mean.
    """
    if concentration is None or not 0 < mean < 1:
        return np.full(len(ranks), mean)
    cumulated, logits = _distribution(mean, concentration)
    found = np.interp(ranks, cumulated, logits, left=-math.inf, right=math.inf)
    return np.asarray(1 / (1 + np.exp(-found)))


@lru_cache(maxsize=64)
def _distribution(mean: float, concentration: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distribution function at some logits of the rate, and these."""
    a, b = concentration * mean, concentration * (1 - mean)
    # over the logit of the rate the density is smooth, and its tails are exponential, however small a and b are
    logits = np.linspace(-_MAX_LOGIT, _MAX_LOGIT, _POINT_COUNT)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(concentration)
    density = np.exp(-a * np.logaddexp(0, -logits) - b * np.logaddexp(0, logits) - log_beta)
    steps = (density[1:] + density[:-1]) * (logits[1] - logits[0]) / 2
    below = density[0] / a
    above = density[-1] / b
    cumulated = below + np.concatenate(([0.0], np.cumsum(steps)))
    cumulated /= cumulated[-1] + above
    return cumulated, logits

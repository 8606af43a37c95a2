"""The incomplete beta function and its inverse, for counts from 1 to 10^9 and more."""

from __future__ import annotations

import math

_TINY = 1e-300
_EPSILON = 1e-15
_MAX_TERMS = 1_000_000  # a fraction near its mean needs about sqrt(a + b) terms: far more than for 10^9 counts


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the probability that a beta variable with shapes a and b above 0 is at most x.

    This is the regularised incomplete beta function.

    Source: NIST Digital Library of Mathematical Functions 8.17.22 (continued fraction), evaluated from the front as in
    Lentz, Applied Optics 15 (1976).
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _lower(1 - x, b, a, y=x)
    return _lower(x, a, b, y=1 - x)


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return the x, to about 1e-12, at which `beta_cdf` equals a probability.

    Source: Newton's method on the distribution function, kept inside a bracket that halves when a step leaves it.
    """
    if probability <= 0 or probability >= 1:
        return 0.0 if probability <= 0 else 1.0
    low, high, x = 0.0, 1.0, a / (a + b)
    for _ in range(200):
        error = beta_cdf(x, a, b) - probability
        low, high = (low, x) if error > 0 else (x, high)
        slope = math.exp(_log_power(x, a, b, y=1 - x)) / (x * (1 - x))
        step = x - error / slope if slope > 0 else low
        step = step if low < step < high else (low + high) / 2
        if abs(step - x) <= 1e-14 * step or high - low <= 1e-15 * high:
            return step
        x = step
    return x


def binomial_cdf(count: int, total: int, rate: float) -> float:
    """Return the probability of at most `count` successes in `total` trials with success rate `rate`.

    Source: NIST Digital Library of Mathematical Functions 8.17.5.
    """
    if count < 0 or count >= total:
        return 0.0 if count < 0 else 1.0
    return beta_cdf(1 - rate, total - count, count + 1)


def _lower(x: float, a: float, b: float, *, y: float) -> float:
    """Return `beta_cdf` left of the mean, where the fraction converges fast; y is 1 - x without its rounding error."""
    return math.exp(_log_power(x, a, b, y=y)) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _nonzero(1 + term * d)
            c = _nonzero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < _EPSILON:
            break
    return value


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _log_power(x: float, a: float, b: float, *, y: float) -> float:
    """Return log(x^a y^b / B(a, b)) without the cancellation of large shapes.

    Source: Loader, Fast and accurate computation of binomial probabilities (2000): deviance plus Stirling's remainder.
    """
    total = a + b
    deviance = _deviance(a, total * x) + _deviance(b, total * y)
    remainder = _stirling(total) - _stirling(a) - _stirling(b)
    return remainder - deviance + 0.5 * math.log(a * (b / total) / (2 * math.pi))


def _stirling(shape: float) -> float:
    """Return Stirling's remainder: log gamma(shape + 1) - (shape + 1/2) log shape + shape - log(2 pi) / 2."""
    if shape < 16:  # noqa: PLR2004 - the series below has an error under 1e-16 from here on
        return math.lgamma(shape + 1) - (shape + 0.5) * math.log(shape) + shape - 0.5 * math.log(2 * math.pi)
    square = shape * shape
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / (1188 * square)) / square) / square) / square) / shape


def _deviance(count: float, mean: float) -> float:
    """Return count log(count / mean) + mean - count, precise also if the two are nearly equal."""
    gap = count - mean
    if abs(gap) >= 0.1 * (count + mean):
        return count * math.log(count / mean) - gap
    v = gap / (count + mean)
    total, term = gap * v, 2 * count * v
    for odd in range(3, 1000, 2):
        term *= v * v
        grown = total + term / odd
        if grown == total:
            break
        total = grown
    return total

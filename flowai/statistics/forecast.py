"""Forecasts how many more calls make a metric non-inferior, at the differences seen so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.statistics.mean_evidence import MeanDifference

_ERRORS = 0.84
"""Standard errors by which the true difference may lie beside the seen one, for 3 in 5 cases."""

_MAX_FACTOR = 10_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SafeForecast:
    """More calls of the candidate that are needed."""

    calls: int | None
    """At the difference seen; None if it would not end at that difference."""
    low: int | None
    high: int | None
    """The same at a smaller and at a greater difference; in 3 of 5 cases the number is between them."""


def forecast_safe(
    compared: MeanDifference, *, margin: float, log_enough: float, calls: int, users: int, min_users: int
) -> SafeForecast:
    """Return how many more calls make the evidence of "not worse by the margin" enough.

    Args:
        compared: the difference so far.
        margin: of rates, or of logarithms.
        log_enough: the evidence to reach.
        calls: the candidate's calls so far.
        users: the candidate's users so far.
        min_users: users that are needed at least.
    """
    error = math.sqrt(compared.variance)
    min_factor = max(1.0, min_users / users)

    def more(shift: float) -> int | None:
        moved = replace(compared, difference=compared.difference + shift * error)
        factor = _factor(moved, margin, log_enough, min_factor)
        return None if factor is None else max(1, math.ceil(calls * (factor - 1)))

    return SafeForecast(calls=more(0.0), low=more(-_ERRORS), high=more(_ERRORS))


def _factor(compared: MeanDifference, margin: float, log_enough: float, min_factor: float) -> float | None:
    """Return by how much the number of users must grow; None if even `_MAX_FACTOR` is not enough."""

    def is_enough(factor: float) -> bool:
        return replace(compared, variance=compared.variance / factor).log_e_not_worse(margin) >= log_enough

    if compared.difference >= margin or not is_enough(_MAX_FACTOR):
        return None
    low, high = min_factor, _MAX_FACTOR
    while high / low > 1.01:  # noqa: PLR2004 - a forecast of 1 % is exact enough
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high if not is_enough(min_factor) else min_factor

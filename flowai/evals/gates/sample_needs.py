"""Number of cases that a gate needs: to be able to decide at all, and to decide what it left undecided."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.statistics.bounded_mean import interval_of_sums, normal_quantile

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.reports.records import Gate

DEFAULT_ALPHA = 0.05
DEFAULT_MARGIN = 0.05
"""Accepted loss against a baseline."""
MAX_CASE_COUNT = 1_000_000
"""A larger number of cases is called "no number"."""


def alpha_of(gate: Gate) -> float:
    """Return the chance of a false "not met" of a gate's comparisons."""
    return DEFAULT_ALPHA if gate.alpha is None else gate.alpha


def margin_of(gate: Gate) -> float:
    """Return the accepted loss against a baseline."""
    return DEFAULT_MARGIN if gate.margin is None else gate.margin


def full_run_alpha(gate: Gate) -> float:
    """Return the part of alpha for the analysis of the complete run: half, if another half is for stopping early."""
    return alpha_of(gate) / 2 if gate.stops_early else alpha_of(gate)


def unreachable(gate: Gate, case_count: int) -> str | None:
    """Return why a gate can never be met, or never fail, at its number of cases; None if it can be both.

    Limits without `alpha` are compared with the observed value, so that every number of cases decides them.
    """
    alpha = full_run_alpha(gate)
    confidence = 1 - 2 * alpha
    problems: list[tuple[str, Callable[[int], bool]]] = []
    if gate.alpha is not None and gate.pass_rate is not None:
        floor, limit = gate.pass_rate - (gate.margin or 0.0), gate.pass_rate
        problems = [
            ("be met, even if every case passes", lambda n: interval_of_sums(n, n, n, 0, 1, confidence).low >= floor),
            ("fail, even if no case passes", lambda n: interval_of_sums(n, 0, 0, 0, 1, confidence).high < limit),
        ]
    if gate.baseline is not None:
        margin = margin_of(gate)
        problems += [
            (
                f"exclude a loss of more than {margin:g}, even if no case changes",
                lambda n: interval_of_sums(n, 0, 0, -1, 1, confidence).low > -margin,
            ),
            ("fail, even if every case turns worse", lambda n: 0.5**n <= alpha),
        ]
    for what, is_enough in problems:
        if not is_enough(case_count):
            needed = _least(is_enough)
            need = "no number of cases is enough" if needed is None else f"it needs {needed:,}"
            return f"with {case_count:,} cases and alpha {alpha_of(gate):g} it can never {what}; {need}"
    return None


def _least(is_enough: Callable[[int], bool]) -> int | None:
    low, high = 0, 1
    while not is_enough(high):
        low, high = high, high * 2
        if high > MAX_CASE_COUNT:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def needed_count(
    case_count: int, estimate: float, half_width: float, boundaries: tuple[float, float], gate: Gate
) -> int | None:
    """Return the number of cases at which the observed mean would decide with the gate's power; None for no number.

    `half_width` is that of the interval at `case_count`; above the first boundary the gate is met, below the second it
    is not.

    Source: the normal approximation: the width shrinks with the root of the number of cases.
    """
    met, unmet = boundaries
    gap = max(estimate - met, unmet - estimate)
    if case_count == 0 or gap <= 0:
        return None
    z_alpha = normal_quantile(1 - full_run_alpha(gate))
    reach = half_width * (z_alpha + normal_quantile(gate.power)) / z_alpha
    needed = max(math.ceil(case_count * (reach / gap) ** 2), case_count + 1)
    return needed if needed <= MAX_CASE_COUNT else None

"""Evidence for stopping a run before its end: bets on one case after the other, in the order of the plan."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from flowai.statistics.betting import MeanEvidence, betting_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.statistics import Interval


class EarlyResult(NamedTuple):
    """Result that was certain before the end of the plan."""

    passed: bool
    case_count: int
    """Cases after which it was certain."""
    interval: Interval
    """Valid at every time."""
    p_value: float
    """One over the evidence that the mean is below the second boundary."""


class EarlyEvidence:
    """Evidence that a mean is above one boundary (the gate is met), and that it is below another (it is not).

    Each is wrong with probability at most `alpha`, whenever the run stops.
    """

    def __init__(self, *, met: float, unmet: float, low: float, high: float, alpha: float) -> None:
        self._above = MeanEvidence(met, low=low)
        self._below = MeanEvidence(-unmet, low=-high)
        self._range = (low, high)
        self._alpha = alpha
        self._values: list[float] = []

    @property
    def result(self) -> EarlyResult | None:
        """The result; None as long as it is not certain."""
        is_met = self._above.peak_log_e >= -math.log(self._alpha)
        if not is_met and self._below.peak_log_e < -math.log(self._alpha):
            return None
        low, high = self._range
        return EarlyResult(
            passed=is_met,
            case_count=len(self._values),
            interval=betting_interval(self._values, low=low, high=high, alpha=self._alpha),
            p_value=min(1.0, math.exp(-self._below.peak_log_e)),
        )

    def add(self, value: float) -> bool:
        """Bet on one more case; return whether the result is certain."""
        self._values.append(value)
        above, below = self._above.add(value), self._below.add(-value)
        return max(above, below) >= -math.log(self._alpha)

    def add_until_certain(self, values: Iterable[float]) -> EarlyResult | None:
        """Bet on cases until the result is certain; None if it is not after the last one."""
        return self.result if any(self.add(value) for value in values) else None

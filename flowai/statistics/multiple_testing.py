"""Control of the error over several tests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def split_alpha(alpha: float, severities: Mapping[str, float]) -> dict[str, float]:
    """Divide the chance of a false alarm, above 0 and below 1, among guardrails, by severity.

    Guardrail i acts at evidence 1 / alpha_i; a guardrail of weight 0 gets none and never raises an alarm.

    Source: Boole's inequality; it holds however the guardrails depend on each other, and whenever each becomes known.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"an alpha of {alpha} is not between 0 and 1")
    total = sum(severities.values())
    if not (math.isfinite(total) and total > 0) or min(severities.values()) < 0:
        raise ValueError("severities must be 0 or more, and one of them above 0")
    return {name: alpha * severity / total for name, severity in severities.items()}


def holm(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p-values: those of at most alpha hold together, with one false one in alpha of all runs.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65.
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda item: p_values[item])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted

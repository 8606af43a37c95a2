"""Control of the error over several tests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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

"""Control of the error over several tests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def split_alpha(alpha: float, severities: Mapping[str, float]) -> dict[str, float]:
    """Divide the chance of a false alarm among guardrails, by severity.

    Args:
        alpha: chance that any of them raises a false alarm, above 0 and below 1.
        severities: weight by guardrail, 0 or more; a guardrail of weight 0 gets none and never raises an alarm.

    Returns:
        Alpha by guardrail; together `alpha`. Guardrail i acts at evidence 1 / alpha_i.

    Raises:
        ValueError: alpha is out of range, a weight is negative, or none is above 0.

    Source: Boole's inequality; it holds however the guardrails depend on each other, and whenever each becomes known.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"an alpha of {alpha} is not between 0 and 1")
    total = sum(severities.values())
    if not (math.isfinite(total) and total > 0) or min(severities.values()) < 0:
        raise ValueError("severities must be 0 or more, and one of them above 0")
    return {name: alpha * severity / total for name, severity in severities.items()}


def e_bh(log_es: Mapping[str, float], *, alpha: float) -> tuple[str, ...]:
    """Return the claims that hold among many (features, subgroups), with a false discovery rate of at most `alpha`.

    Args:
        log_es: natural logarithm of evidence by claim.
        alpha: expected share of wrong claims among those returned, above 0 and below 1.

    Returns:
        Names, strongest evidence first (ties by name).

    Source: Wang and Ramdas, False discovery rate control with e-values (2022): the e-BH procedure; any dependence.
    """
    ordered = sorted(log_es, key=lambda name: (-log_es[name], name))
    accepted = 0
    for rank, name in enumerate(ordered, 1):
        if log_es[name] >= math.log(len(ordered) / (alpha * rank)):
            accepted = rank
    return tuple(ordered[:accepted])


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p-values of several tests of one fixed analysis.

    Args:
        p_values: by claim, 0 to 1.

    Returns:
        Adjusted p-values, 0 to 1, in the order given: a claim holds at alpha when its value is at most alpha.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    adjusted: dict[str, float] = {}
    running_max = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        running_max = max(running_max, min(1.0, p_values[name] * (len(p_values) - rank)))
        adjusted[name] = running_max
    return {name: adjusted[name] for name in p_values}

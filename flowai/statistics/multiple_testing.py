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


def e_bh(log_es: Mapping[str, float], *, alpha: float) -> tuple[str, ...]:
    """Return the claims that hold among many (features, subgroups), with a false discovery rate of at most `alpha`.

    `log_es` are natural logarithms of evidence; the names are ordered by it, strongest first (ties by name).

    Source: Wang and Ramdas, False discovery rate control with e-values (2022): the e-BH procedure; any dependence.
    """
    ordered = sorted(log_es, key=lambda name: (-log_es[name], name))
    accepted = 0
    for rank, name in enumerate(ordered, 1):
        if log_es[name] >= math.log(len(ordered) / (alpha * rank)):
            accepted = rank
    return tuple(ordered[:accepted])


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p-values of several tests of one fixed analysis: a claim holds at alpha if its value is at most alpha.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    adjusted: dict[str, float] = {}
    running_max = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        running_max = max(running_max, min(1.0, p_values[name] * (len(p_values) - rank)))
        adjusted[name] = running_max
    return {name: adjusted[name] for name in p_values}

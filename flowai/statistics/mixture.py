"""The logarithm of a mixture of numbers that are too large to be written out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def log_mixture(logs: Sequence[float], weights: Sequence[float]) -> float:
    """Return the logarithm of the weighted sum of exponentials; at least one weight is above 0."""
    largest = max(logs)
    mixed = math.fsum([weight * math.exp(log - largest) for log, weight in zip(logs, weights, strict=True)])
    return largest + math.log(mixed)

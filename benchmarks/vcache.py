"""The peer of `semantic_cache.py`: vCache's rule, written after its paper and defaults, for measurements only.

An entry has a logistic curve P(correct | similarity), fitted to what was compared with it, from (0, wrong) and
(1, right) on; with fewer than six observations the model is asked. Otherwise the model is asked with the smallest
probability that keeps all answers, asked or cached, within the error bound, over confidence levels of the threshold.

Source: Schroeder et al., vCache: Verified Semantic Prompt Caching (ICLR 2026, arXiv 2502.03771), algorithm 1; defaults
of github.com/vcache-project/vCache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - fits of two weights

if TYPE_CHECKING:
    from random import Random

MIN_OBSERVATIONS = 6
LEVELS = tuple(1e-6 + at * (1 - 2e-6) / 49 for at in range(50))
SEPARATED_VARIANCE = 0.01
"""Of the threshold where a similarity separates right from wrong; theirs is a table of 0.035 at 6 to 0.005 at 40."""
_STEPS = 200
_QUANTILES = tuple(NormalDist().inv_cdf(1 - level) for level in LEVELS)


@dataclass
class VcacheEntry:
    """Observations of one cached answer."""

    observations: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0), (1.0, 1)])

    def add(self, similarity: float, *, is_right: bool) -> None:
        """Add a comparison."""
        self.observations.append((round(similarity, 3), int(is_right)))

    def explores(self, similarity: float, bound: float, rng: Random) -> bool:
        """Return whether the model is asked."""
        if len(self.observations) < MIN_OBSERVATIONS:
            return True
        threshold, slope, variance = self._curve()
        best = 1.0
        for level, quantile in zip(LEVELS, _QUANTILES, strict=True):
            limit = min(max(threshold + quantile * math.sqrt(variance), 0.0), 1.0)
            right = (1 - level) / (1 + math.exp(-min(max(slope * (round(similarity, 3) - limit), -500), 500)))
            best = min(best, 1 - bound / (1 - right))
        return rng.random() <= best

    def _curve(self) -> tuple[float, float, float]:
        """Fit the curve; return its threshold, slope and the threshold's variance."""
        similarities = np.array([pair[0] for pair in self.observations])
        labels = np.array([pair[1] for pair in self.observations], dtype=float)
        rows = np.stack([np.ones_like(similarities), similarities], axis=1)
        weights = np.zeros(2)
        for _ in range(_STEPS):  # Newton's method, slightly damped: separated data has no maximum
            shares = 1 / (1 + np.exp(-np.clip(rows @ weights, -500, 500)))
            hessian = rows.T @ (rows * (shares * (1 - shares))[:, None]) + 1e-6 * np.eye(2)
            step = np.linalg.solve(hessian, rows.T @ (labels - shares) - 1e-6 * weights)
            weights = weights + step
            if np.abs(step).max() < 1e-8:
                break
        slope = max(float(weights[1]), 1e-6)
        threshold = min(max(-float(weights[0]) / slope, 0.0), 1.0)
        if similarities[labels == 1].min() > similarities[labels == 0].max():
            return threshold, slope, SEPARATED_VARIANCE
        gradient = np.array([-1 / slope, float(weights[0]) / slope**2])
        return threshold, slope, max(0.0, float(gradient @ np.linalg.inv(hessian) @ gradient))

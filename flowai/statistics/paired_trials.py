"""Trials of one case on two sides."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedTrials:
    """Results of one case on both sides, 0 to 1 each."""

    before: tuple[float, ...]
    """The baseline's trials; at least one."""
    after: tuple[float, ...]
    """The candidate's trials; at least one."""

    @property
    def difference(self) -> float:
        """Mean of the candidate's trials minus mean of the baseline's, -1 to 1."""
        return math.fsum(self.after) / len(self.after) - math.fsum(self.before) / len(self.before)

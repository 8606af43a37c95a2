"""Changes the scores of simulated calls as a judge gives them that errs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from flowai.simulation.calls import SimulatedCalls


_STREAM = 11  # of random numbers; others belong to attempts and harms


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeError:
    """Rates of a judge, 0 to 1."""

    true_positive_rate: float
    """Share of hallucinations that it flags."""
    true_negative_rate: float
    """Share of other answers that it passes."""


def misjudge(calls: SimulatedCalls, *, candidate: JudgeError, baseline: JudgeError, seed: int) -> SimulatedCalls:
    """Return the calls with the scores of a judge that errs, maybe differently on the answers of the two releases.

    Equal seeds have equal results.
    """
    of = calls.by_candidate
    flagged_rate = np.where(
        calls.score == 0,
        np.where(of, candidate.true_positive_rate, baseline.true_positive_rate),
        1 - np.where(of, candidate.true_negative_rate, baseline.true_negative_rate),
    )
    flagged = np.random.default_rng([seed, _STREAM]).random(len(calls)) < flagged_rate
    return replace(calls, score=np.where(calls.score < 0, -1, ~flagged).astype(np.int8))

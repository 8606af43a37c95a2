"""Compares the repeats of a case with those of an earlier run: turned worse, turned better, or noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from flowai.statistics.binomial_tails import log_hypergeometric_tail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.evals.reports.records import Outcome

Turn = Literal["same", "worse", "better", "noise", "new"]
"""`worse`, `better`: all repeats changed sides, or more of them than chance explains. `noise`: the share of passed
repeats changed, but not by more than repeats differ. `new`: not judged in both runs."""

MAX_CHANCE = 0.05
"""Largest probability, by Fisher's exact test, of a change that is no noise."""


class RepeatCounts(NamedTuple):
    """Outcomes of a case's repeats."""

    passed: int
    failed: int
    error: int
    unscored: int

    @property
    def judged(self) -> int:
        """Repeats that passed or failed."""
        return self.passed + self.failed


def count_outcomes(outcomes: Iterable[Outcome]) -> RepeatCounts:
    """Count outcomes."""
    found = list(outcomes)
    return RepeatCounts(found.count("pass"), found.count("fail"), found.count("error"), found.count("unscored"))


def turn_of(before: RepeatCounts, now: RepeatCounts) -> Turn:
    """Return how a case turned."""
    if not before.judged or not now.judged:
        return "new"
    difference = now.passed * before.judged - before.passed * now.judged
    if not difference:
        return "same"
    is_worse = difference < 0
    gone, other = (now, before) if is_worse else (before, now)
    is_whole = gone.passed == 0 and other.failed == 0
    failures = now.failed + before.failed
    chance = math.exp(log_hypergeometric_tail(gone.failed, gone.judged, failures, now.judged + before.judged))
    if not is_whole and chance > MAX_CHANCE:
        return "noise"
    return "worse" if is_worse else "better"

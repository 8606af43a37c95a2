"""Decides from comparisons whether a similar request may be answered from the semantic cache.

Two learnt limits. Of a prompt: a cached answer is served only while the interval of its measured false-hit rate ends
below the declared bound. Of an entry: not at a similarity at which the entry was wrong; below the feature's threshold
only above several similarities at which it was right.

Source: thresholds of each entry instead of one for all: Schroeder et al., vCache: Verified Semantic Prompt Caching
(ICLR 2026, arXiv 2502.03771). They model P(correct | similarity) of an entry by a logistic curve; here no curve is
assumed, only that a higher similarity is no worse, and the bound is held by the measured rate of all entries.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.statistics.intervals import Interval, clopper_pearson, rate_sequence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.cache.shadow.comparison import AnswerComparison, Route

CHECK_RATE = 0.01
"""Share of hits whose model is called all the same, to check them."""

LEARNING_FLOOR = 0.8
"""Similarity from which entries are compared to learn their thresholds."""

_MIN_RIGHT_COUNT = 3
_CHECKS_WATCHED = 100
_CONFIDENCE = 0.95
_MIN_USUAL_RATE = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class FalseHitEvidence:
    """Comparisons of would-be hits, by outcome."""

    equal_count: int = 0
    same_count: int = 0
    different_count: int = 0
    undecided_count: int = 0

    @property
    def total(self) -> int:
        """All would-be hits that were compared."""
        return self.equal_count + self.same_count + self.different_count + self.undecided_count

    def interval(self, usual_rate: float) -> Interval:
        """Return the false-hit rate and its 95 % interval, valid at every time.

        Unequal answers that were not judged may be wrong at another rate than equal ones, which never are. So the rate
        is the share of unequal answers times the share of wrong ones among those judged.
        """
        usual_rate = max(usual_rate, _MIN_USUAL_RATE)
        if not self.undecided_count:
            return rate_sequence(self.different_count, self.total, usual_rate=usual_rate, confidence=_CONFIDENCE)
        each = 1 - (1 - _CONFIDENCE) / 2
        unequal_count, judged_count = self.total - self.equal_count, self.same_count + self.different_count
        unequal = rate_sequence(unequal_count, self.total, usual_rate=0.5, confidence=each)
        wrong = rate_sequence(self.different_count, judged_count, usual_rate=usual_rate, confidence=each)
        estimate = None if wrong.estimate is None else (unequal.estimate or 0.0) * wrong.estimate
        return Interval(estimate=estimate, low=unequal.low * wrong.low, high=unequal.high * wrong.high)


class _RouteTally:
    """Counts comparisons, oldest first, since checks of served hits last showed more errors than allowed."""

    def __init__(self, route: Route, max_rate: float) -> None:
        self._route = route
        self._max_rate = max_rate
        self._counts = dict.fromkeys(_OUTCOMES, 0)
        self._checks: deque[bool] = deque(maxlen=_CHECKS_WATCHED)
        self._is_within: bool | None = None  # until it is computed

    def add(self, comparison: AnswerComparison) -> None:
        if comparison.route != self._route:
            return
        self._is_within = None
        self._counts[comparison.outcome] += 1
        if comparison.is_check and comparison.outcome != "undecided":
            self._checks.append(comparison.outcome == "different")
            checks = self._checks
            if checks[-1] and clopper_pearson(sum(checks), len(checks), confidence=_CONFIDENCE).low > self._max_rate:
                self._counts = dict.fromkeys(_OUTCOMES, 0)
                checks.clear()

    def is_within(self) -> bool:
        """Return whether the interval ends within the bound."""
        if self._is_within is None:
            evidence = self.evidence()
            is_above = evidence.different_count > self._max_rate * evidence.total  # so is then the interval's end
            self._is_within = not is_above and evidence.interval(self._max_rate).high <= self._max_rate
        return self._is_within

    def evidence(self) -> FalseHitEvidence:
        return FalseHitEvidence(**{f"{outcome}_count": count for outcome, count in self._counts.items()})


_OUTCOMES = ("equal", "same", "different", "undecided")


def evidence_of(comparisons: Iterable[AnswerComparison], route: Route, max_rate: float) -> FalseHitEvidence:
    """Count a route's comparisons, oldest first, since checks of served hits last showed more errors than allowed."""
    tally = _RouteTally(route, max_rate)
    for comparison in comparisons:
        tally.add(comparison)
    return tally.evidence()


class ScopeEvidence:
    """All that was compared in one scope, and what follows from it."""

    def __init__(self, comparisons: Iterable[AnswerComparison] = ()) -> None:
        self._comparisons: list[AnswerComparison] = []
        self._tallies: dict[tuple[Route, float], _RouteTally] = {}
        self._by_key: dict[str, list[AnswerComparison]] = {}
        for comparison in comparisons:
            self.add(comparison)

    def add(self, comparison: AnswerComparison) -> None:
        """Add a newer comparison."""
        self._comparisons.append(comparison)
        self._by_key.setdefault(comparison.key, []).append(comparison)
        for tally in self._tallies.values():
            tally.add(comparison)

    def is_within(self, route: Route, max_rate: float) -> bool:
        """Return whether the interval of a route's false-hit rate ends within the bound."""
        tally = self._tallies.get((route, max_rate))
        if tally is None:
            tally = self._tallies[route, max_rate] = _RouteTally(route, max_rate)
            for comparison in self._comparisons:
                tally.add(comparison)
        return tally.is_within()

    def route(self, key: str, similarity: float, threshold: float) -> Route | None:
        """Return the route by which an entry may answer a similarity; None where the entry was wrong before."""
        compared = self._by_key.get(key, ())
        wrong = max((each.similarity for each in compared if each.outcome == "different"), default=0.0)
        if similarity <= wrong:
            return None
        if similarity > threshold:
            return "threshold"
        right_count = sum(
            wrong < each.similarity <= similarity for each in compared if each.outcome in {"equal", "same"}
        )
        return "learnt" if right_count >= _MIN_RIGHT_COUNT else "below"

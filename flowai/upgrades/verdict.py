"""Verdict on pairs of results: better, equal within the margin, worse, or undecided with the number that would decide.

Pairs come in an order that does not depend on their results; a verdict that is certain early needs no further calls.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.gates.sample_needs import MAX_CASE_COUNT
from flowai.statistics import Interval, bounded_mean_interval
from flowai.statistics.betting import MeanEvidence, betting_interval
from flowai.statistics.bounded_mean import interval_of_sums, normal_quantile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.statistics.paired_trials import PairedTrials
    from flowai.upgrades.records import Evidence, Verdict

DEFAULT_ALPHA = 0.05
DEFAULT_MARGIN = 0.05
"""Accepted loss: a larger one must not go unnoticed."""
POWER = 0.8
"""Chance of a decision at the number of pairs that a report says is needed."""
EARLY_SHARE = 0.8
"""Part of alpha for stopping early; the rest is for the analysis of all pairs (decision 0147)."""


class PairVerdict(NamedTuple):
    """Verdict on pairs."""

    verdict: Verdict
    pair_count: int
    """Pairs that it uses."""
    interval: Interval
    confidence: float
    stopped_early: bool
    needed_count: int | None
    """Pairs that would probably decide; None if it is decided, or no number would."""


class RunningVerdict:
    """Evidence from one pair after the other, valid whenever it stops.

    Args:
        margin: the accepted loss.
        alpha: chance of a false verdict of each kind, of which `EARLY_SHARE` is for stopping early.
    """

    def __init__(self, margin: float, alpha: float) -> None:
        self._margin = margin
        self._limit = -math.log(alpha * EARLY_SHARE)
        self._not_worse = MeanEvidence(-margin, low=-1)
        self._worse = MeanEvidence(0.0, low=-1)
        self._better = MeanEvidence(0.0, low=-1)
        self._sum = 0.0
        self._count = 0

    def add(self, difference: float) -> Verdict | None:
        """Add the difference of a pair; return the verdict if it is certain.

        An excluded loss ends the run as `equal`, unless the new model looks better by half of the margin or more: a
        few more pairs may then show it.
        """
        self._sum += difference
        self._count += 1
        worse = self._worse.add(-difference)
        better = self._better.add(difference)
        not_worse = self._not_worse.add(difference)
        if worse >= self._limit:
            return "worse"
        if better >= self._limit:
            return "better"
        if not_worse >= self._limit and self._sum < self._margin / 2 * self._count:
            return "equal"
        return None

    @property
    def excludes_loss(self) -> bool:
        """Return whether a loss of more than the margin is excluded."""
        return self._not_worse.peak_log_e >= self._limit


def judge_pairs(
    pairs: Sequence[PairedTrials], *, margin: float, alpha: float = DEFAULT_ALPHA, is_complete: bool = True
) -> PairVerdict:
    """Judge pairs of results in their order.

    Args:
        pairs: old and new results of each case, 0 to 1.
        margin: the accepted loss.
        alpha: chance of a false "worse", of a false "better" and of a false "equal".
        is_complete: whether all planned pairs are here; only then the analysis of all pairs may decide.
    """
    differences = [pair.difference for pair in pairs]
    early_alpha, last_alpha = alpha * EARLY_SHARE, alpha * (1 - EARLY_SHARE)
    running = RunningVerdict(margin, alpha)
    for count, difference in enumerate(differences, start=1):
        verdict = running.add(difference)
        if verdict is not None:
            return PairVerdict(
                verdict=verdict,
                pair_count=count,
                interval=betting_interval(differences[:count], low=-1, high=1, alpha=early_alpha),
                confidence=1 - 2 * early_alpha,
                stopped_early=count < len(differences) or not is_complete,
                needed_count=None,
            )
    interval = bounded_mean_interval(differences, low=-1, high=1, confidence=1 - 2 * last_alpha)
    verdict = _last_verdict(pairs, interval, margin, last_alpha) if is_complete and pairs else None
    if verdict is None and running.excludes_loss:
        verdict = "equal"
    needed = _needed_count(differences, margin, alpha) if verdict is None else None
    return PairVerdict(
        verdict=verdict or "undecided",
        pair_count=len(pairs),
        interval=interval,
        confidence=1 - 2 * last_alpha,
        stopped_early=False,
        needed_count=needed,
    )


def _needed_count(differences: Sequence[float], margin: float, alpha: float) -> int | None:
    """Return the number of pairs at which differences like these would probably decide; None for no number.

    Source: the interval of as many pairs with the same mean and mean square; for a power of 0.8 its number grows by the
    square of the quantiles' ratio.
    """
    count = len(differences)
    if not count:
        return None
    mean, square = math.fsum(differences) / count, math.fsum(value * value for value in differences) / count

    def decides(pair_count: int) -> bool:
        interval = interval_of_sums(pair_count, mean * pair_count, square * pair_count, -1, 1, 1 - 2 * alpha)
        return interval.low > -margin or interval.high < 0

    low, high = 0, 1
    while not decides(high):
        low, high = high, high * 2
        if high > MAX_CASE_COUNT:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    z_alpha = normal_quantile(1 - alpha)
    return max(count + 1, math.ceil(high * ((z_alpha + normal_quantile(POWER)) / z_alpha) ** 2))


def _last_verdict(pairs: Sequence[PairedTrials], interval: Interval, margin: float, alpha: float) -> Verdict | None:
    """Return the verdict of the analysis of all pairs; a loss that is certainly within the margin is accepted."""
    from flowai.statistics.paired import worse_p  # numpy, which a dry run needs not

    if interval.low > 0:
        return "better"
    if interval.low > -margin:
        return "equal"
    return "worse" if worse_p(pairs) <= alpha else None


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict on several comparisons: the worst of them; `better` if one is and none is worse."""
    found = set(verdicts)
    order: tuple[Verdict, ...] = ("worse", "undecided", "better", "equal")
    return next((verdict for verdict in order if verdict in found), "undecided")


def deciding_evidence(judged: Sequence[Evidence]) -> Evidence | None:
    """Return the evidence that decides: one that says worse, else the first; suites come before logged requests.

    Too few logged requests never undo what the suites show; None if nothing was compared.
    """
    worse = next((item for item in judged if item.verdict == "worse"), None)
    return worse or next((item for item in judged if item.pair_count), None)

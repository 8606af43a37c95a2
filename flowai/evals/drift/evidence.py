"""Decision on drift: did the pass rate of a model shift, in either direction, since the baseline? Pure.

A false "drifted" has the chance `alpha` over baseline and run together, however often the evidence is looked at: a part
of it is for bets on one case after the other, the rest for the exact test of the complete run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.gates.sample_needs import needed_count
from flowai.evals.reports.records import Gate
from flowai.statistics import Interval, bounded_mean_interval
from flowai.statistics.betting import MeanEvidence, betting_interval
from flowai.statistics.bounded_mean import normal_quantile
from flowai.statistics.paired_trials import PairedTrials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.evals.reports.drift_records import DriftDirection, DriftVerdict

ALPHA = 0.01
"""Chance of a false "drifted" of one run, over both directions and all prompts and models."""
MISSED = 0.02
"""Chance of a false "not drifted" at a shift of exactly the margin."""
POWER = 0.95
"""Chance that a run like this one finds the smallest shift that it names."""
DEFAULT_MARGIN = 0.10
EARLY_SHARE = 0.2
"""Part of alpha for the bets. Drift is rare, so that finding it early saves little; the rest has more power."""
EARLY_MISSED_SHARE = 0.4
"""Part of `MISSED` for the bets: most nights nothing has changed, and they end a run early."""


class GroupDecision(NamedTuple):
    """Decision on one prompt and model."""

    verdict: DriftVerdict
    direction: DriftDirection | None
    """None unless it drifted."""
    is_early: bool
    """Whether it was certain before the end of the plan."""
    interval: Interval
    """Of the difference of the pass rates, now less the baseline's."""
    confidence: float
    p_value: float
    """Two-sided."""
    case_count: int
    """Cases after which it was certain, else all."""
    smallest_shift: float | None
    """Shift, 0 to 1, that would have been found; None if it drifted. At least the margin: below it, a run may end early
    as "not drifted"."""
    needed_case_count: int | None
    """Cases that would probably decide; None if it is decided, or no number would."""


class DriftEvidence:
    """Bets on the differences of the cases, in an order that does not depend on them."""

    def __init__(self, *, margin: float, alpha: float) -> None:
        self._worse = MeanEvidence(0.0, low=-1)
        self._better = MeanEvidence(0.0, low=-1)
        self._above = MeanEvidence(-margin, low=-1)
        self._below = MeanEvidence(-margin, low=-1)
        self.shift_alpha = alpha * EARLY_SHARE / 2
        """Chance of a false "drifted" in one direction."""
        self._shift_log_e = -math.log(self.shift_alpha)
        self._same_log_e = -math.log(MISSED * EARLY_MISSED_SHARE)
        self.count = 0

    def add(self, difference: float) -> bool:
        """Bet on one more case; return whether the decision is certain."""
        self.count += 1
        for evidence, value in (
            (self._worse, -difference),
            (self._better, difference),
            (self._above, difference),
            (self._below, -difference),
        ):
            evidence.add(value)
        return self.verdict is not None

    @property
    def direction(self) -> DriftDirection | None:
        """The direction of a certain shift; None as long as there is none."""
        if self._worse.peak_log_e >= self._shift_log_e:
            return "worse"
        return "better" if self._better.peak_log_e >= self._shift_log_e else None

    @property
    def verdict(self) -> DriftVerdict | None:
        """The certain verdict; None as long as there is none."""
        if self.direction is not None:
            return "drifted"
        return "not_drifted" if min(self._above.peak_log_e, self._below.peak_log_e) >= self._same_log_e else None

    @property
    def p_value(self) -> float:
        """Two-sided p-value, valid at every time."""
        return min(1.0, 2 * math.exp(-max(self._worse.peak_log_e, self._better.peak_log_e)))


def decide_group(
    pairs: Sequence[PairedTrials], *, margin: float, alpha: float = ALPHA, is_complete: bool = True
) -> GroupDecision:
    """Decide on the cases of one prompt and model, in the order in which they are bet on.

    Args:
        pairs: trials of each case in the baseline and now.
        margin: shift that must be excluded for "not drifted", above 0 and below 1.
        alpha: chance of a false "drifted".
        is_complete: whether the plan was run to its end; otherwise only the bets decide.
    """
    differences = [pair.difference for pair in pairs]
    early = DriftEvidence(margin=margin, alpha=alpha)
    if any(early.add(difference) for difference in differences):
        return _early_decision(early, differences[: early.count], margin)
    level = MISSED * (1 - EARLY_MISSED_SHARE)
    interval = bounded_mean_interval(differences, low=-1, high=1, confidence=1 - 2 * level)
    decision = GroupDecision(
        verdict="undecided",
        direction=None,
        is_early=False,
        interval=interval,
        confidence=1 - 2 * level,
        p_value=early.p_value,
        case_count=len(pairs),
        smallest_shift=max(_smallest_shift(differences, alpha), margin) if pairs else None,
        needed_case_count=_needed_count(differences, alpha, margin),
    )
    if not pairs or not is_complete:
        return decision
    worse, better = _p_values(pairs)
    decision = decision._replace(p_value=min(1.0, 2 * min(worse, better)))
    if decision.p_value <= alpha * (1 - EARLY_SHARE):
        direction: DriftDirection = "worse" if worse < better else "better"
        return decision._replace(verdict="drifted", direction=direction, smallest_shift=None, needed_case_count=None)
    if interval.low > -margin and interval.high < margin:
        return decision._replace(verdict="not_drifted", needed_case_count=None)
    return decision


def _early_decision(early: DriftEvidence, differences: Sequence[float], margin: float) -> GroupDecision:
    is_shift = early.direction is not None
    level = early.shift_alpha if is_shift else MISSED * EARLY_MISSED_SHARE
    return GroupDecision(
        verdict="drifted" if is_shift else "not_drifted",
        direction=early.direction,
        is_early=True,
        interval=betting_interval(differences, low=-1, high=1, alpha=level),
        confidence=1 - 2 * level,
        p_value=early.p_value,
        case_count=len(differences),
        smallest_shift=None if is_shift else margin,
        needed_case_count=None,
    )


def _needed_count(differences: Sequence[float], alpha: float, margin: float) -> int | None:
    """Return the number of cases that would find the observed shift, or exclude the margin; None for no number."""
    if not differences:
        return None
    level = alpha * (1 - EARLY_SHARE) / 2
    mean = math.fsum(differences) / len(differences)
    gate = Gate(alpha=level, power=POWER)
    return needed_count(len(differences), -abs(mean), _half_width(differences, level), (-margin, 0.0), gate)


def _smallest_shift(differences: Sequence[float], alpha: float) -> float:
    """Return the shift that the exact test finds with probability `POWER`.

    Source: the normal approximation, with the spread of the differences that were seen; never fewer cases than the
    exact test needs.
    """
    level = alpha * (1 - EARLY_SHARE) / 2
    z_alpha = normal_quantile(1 - level)
    fewest = math.ceil(-math.log2(level)) / len(differences)
    return min(1.0, max(_half_width(differences, level) * (z_alpha + normal_quantile(POWER)) / z_alpha, fewest))


def _half_width(differences: Sequence[float], level: float) -> float:
    interval = bounded_mean_interval(differences, low=-1, high=1, confidence=1 - 2 * level)
    return (interval.high - interval.low) / 2


def _p_values(pairs: Sequence[PairedTrials]) -> tuple[float, float]:
    """Return the exact one-sided p-values of "worse" and "better"."""
    from flowai.statistics.paired import worse_p  # numpy, which a run that is certain early needs not

    return worse_p(pairs), worse_p([PairedTrials(before=pair.after, after=pair.before) for pair in pairs])

"""The true rate of a fault from the answers that a judge flags, corrected by the judge's measured error.

A judge flags a share q = p TPR + (1 - p) FPR of the answers if a share p of them is faulty. All limits invert one test:
a claimed p (or a claimed difference d of two arms) is refuted if q - p TPR - (1 - p) FPR (or q1 - q0 - d (TPR - FPR))
differs from 0 by more than the joint limits of its independent parts allow.

Sources: Rogan and Gladen, American Journal of Epidemiology 107 (1978) 71; limits of a linear combination of independent
rates: Zou, Huang and Zhang, Computational Statistics and Data Analysis 53 (2009) 1080, with Clopper-Pearson limits for
the labelled rates and Wilson's for the flagged shares; the inversion is Fieller's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flowai.statistics.intervals import Interval, clopper_pearson, difference_interval, wilson

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS = 60


class VerdictCounts(Protocol):
    """Labelled answers by label and by the judge's verdict. Positive is the fault: the judge flags an answer."""

    @property
    def true_positive_count(self) -> int:
        """Faulty answers that the judge flags."""

    @property
    def false_negative_count(self) -> int:
        """Faulty answers that it passes."""

    @property
    def true_negative_count(self) -> int:
        """Sound answers that it passes."""

    @property
    def false_positive_count(self) -> int:
        """Sound answers that it flags."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoganGladen:
    """The true rate of a fault, by moments."""

    estimate: float
    """May lie outside 0 to 1 by chance."""
    variance: float
    """By the delta method, from the flagged answers and the labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _JudgeRates:
    """Rates of a judge, each with its limits."""

    true_positive_rate: Interval
    false_positive_rate: Interval

    @property
    def youden(self) -> float | None:
        """TPR + TNR - 1; None if labels of one class are missing."""
        if self.true_positive_rate.estimate is None or self.false_positive_rate.estimate is None:
            return None
        return self.true_positive_rate.estimate - self.false_positive_rate.estimate


def true_positive_interval(counts: VerdictCounts, *, alpha: float = 0.05) -> Interval:
    """Return the share of the faulty answers that the judge flags (sensitivity, recall), 0 to 1.

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    total = counts.true_positive_count + counts.false_negative_count
    return clopper_pearson(counts.true_positive_count, total, confidence=1 - alpha)


def true_negative_interval(counts: VerdictCounts, *, alpha: float = 0.05) -> Interval:
    """Return the share of the sound answers that the judge passes (specificity), 0 to 1.

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    total = counts.true_negative_count + counts.false_positive_count
    return clopper_pearson(counts.true_negative_count, total, confidence=1 - alpha)


def youden_interval(counts: VerdictCounts, *, alpha: float = 0.05) -> Interval:
    """Return TPR + TNR - 1, -1 to 1: 0 is a judge without information, 1 one without error.

    Sources: Youden, Cancer 3 (1950) 32; limits as of `difference_interval`.
    """
    judge = _judge(counts, alpha)
    if judge.youden is None:
        return Interval(estimate=None, low=-1.0, high=1.0)
    rate, false = judge.true_positive_rate, judge.false_positive_rate
    below = math.hypot(_below(rate), _above(false))
    above = math.hypot(_above(rate), _below(false))
    return Interval(estimate=judge.youden, low=max(-1.0, judge.youden - below), high=min(1.0, judge.youden + above))


def rogan_gladen(flagged_count: int, judged_count: int, counts: VerdictCounts) -> RoganGladen | None:
    """Return the corrected rate (q - FPR) / (TPR - FPR), its variance beside it.

    None if no answer was judged, labels of one class are missing, or the judge flags faulty answers no more often than
    sound ones.

    Args:
        flagged_count: Judged answers that the judge flags.
        judged_count: All judged answers.
        counts: The judge's verdicts on labelled answers, independent of the judged ones.

    Source: Rogan and Gladen (1978), equations 2 and 5; Greenland, Statistics in Medicine 7 (1988) 745.
    """
    faulty = counts.true_positive_count + counts.false_negative_count
    sound = counts.true_negative_count + counts.false_positive_count
    if not (judged_count and faulty and sound):
        return None
    share = flagged_count / judged_count
    hit, false = counts.true_positive_count / faulty, counts.false_positive_count / sound
    youden = hit - false
    if youden <= 0:
        return None
    estimate = (share - false) / youden
    spread = share * (1 - share) / judged_count
    spread += estimate**2 * hit * (1 - hit) / faulty
    spread += (1 - estimate) ** 2 * false * (1 - false) / sound
    return RoganGladen(estimate=estimate, variance=spread / youden**2)


def corrected_rate(flagged_count: int, judged_count: int, counts: VerdictCounts, *, alpha: float = 0.05) -> Interval:
    """Return the true rate of the fault, 0 to 1, with limits that miss it with a chance of about `alpha` at most.

    The limits are those of `corrected_share`.

    Args:
        flagged_count: Judged answers that the judge flags.
        judged_count: All judged answers.
        counts: The judge's verdicts on labelled answers, independent of the judged ones.
        alpha: Chance of a miss, both sides together, above 0 and below 1.
    """
    return corrected_share(wilson(flagged_count, judged_count, confidence=1 - alpha), counts, alpha=alpha)


def corrected_share(share: Interval, counts: VerdictCounts, *, alpha: float = 0.05) -> Interval:
    """Return the true rate of the fault, 0 to 1, from a flagged share and its own limits.

    The labels may be drawn in any shares of faulty and sound answers. Everything from 0 to 1 without an estimate means
    that the counts determine nothing: no answer judged, labels of one class missing, a judge that flags faulty answers
    no more often than sound ones, or a flagged share that contradicts the labels (less than the judge's false alarms
    explain, or more than its hits allow).

    Args:
        share: The flagged share of the judged answers, with limits at `alpha`.
        counts: The judge's verdicts on labelled answers, independent of the judged ones.
        alpha: Chance of a miss, both sides together, above 0 and below 1.

    Source: see the module.
    """
    judge = _judge(counts, alpha)

    def is_kept(rate: float) -> bool:
        terms = ((1.0, share), (-rate, judge.true_positive_rate), (rate - 1, judge.false_positive_rate))
        return _is_zero_kept(terms)

    if share.estimate is None or judge.youden is None or judge.youden <= 0:
        return Interval(estimate=None, low=0.0, high=1.0)
    estimate = (share.estimate - (judge.false_positive_rate.estimate or 0.0)) / judge.youden
    return _inverted(estimate, (0.0, 1.0), is_kept)


def corrected_difference(
    first: tuple[int, int], second: tuple[int, int], counts: VerdictCounts, *, alpha: float = 0.05
) -> Interval:
    """Return the true rate of the first arm minus that of the second, -1 to 1, both judged by the same judge.

    The limits are those of `corrected_gap`, from the limits of the difference of two flagged shares.

    Args:
        first: Flagged and judged answers of the first arm.
        second: Flagged and judged answers of the second arm.
        counts: The judge's verdicts on labelled answers, independent of the judged ones.
        alpha: Chance of a miss, both sides together, above 0 and below 1.

    Source: limits of the difference: Newcombe, Statistics in Medicine 17 (1998) 873, method 10.
    """
    one, other = wilson(*first, confidence=1 - alpha), wilson(*second, confidence=1 - alpha)
    return corrected_gap(difference_interval(one, other), counts, alpha=alpha)


def corrected_gap(gap: Interval, counts: VerdictCounts, *, alpha: float = 0.05) -> Interval:
    """Return the difference of two true rates, -1 to 1, from the difference of their flagged shares and its limits.

    Equal rates are refuted exactly if equal flagged shares are: the judge's error does not move the null hypothesis as
    long as it is the same in both arms. If the error differs between the arms, the estimate is off by the bound of
    `difference_bias`. Limits without an estimate mean that the counts determine no more than the sign, if that.

    Args:
        gap: Flagged share of the first arm minus that of the second, with limits at `alpha`.
        counts: The judge's verdicts on labelled answers, independent of the judged ones.
        alpha: Chance of a miss, both sides together, above 0 and below 1.

    Source: see the module.
    """
    judge = _judge(counts, alpha)

    def is_kept(difference: float) -> bool:
        terms = (
            (1.0, gap),
            (-difference, judge.true_positive_rate),
            (difference, judge.false_positive_rate),
        )
        return _is_zero_kept(terms)

    if gap.estimate is None or judge.youden is None or judge.youden <= 0:
        return Interval(estimate=None, low=-1.0, high=1.0)
    if is_kept(0.0):
        return _inverted(gap.estimate / judge.youden, (-1.0, 1.0), is_kept)
    # a judge that flags faulty answers more often than sound ones does not swap the arms
    return _inverted(gap.estimate / judge.youden, (0.0, 1.0) if gap.estimate > 0 else (-1.0, 0.0), is_kept)


def difference_bias(rate: float, youden: float, *, tpr_gap: float, tnr_gap: float) -> float:
    """Return the largest bias of a corrected difference if the judge errs differently in the two arms.

    The arm whose error was measured has q0 = p0 TPR + (1 - p0) (1 - TNR), the other one, with TPR + a and TNR + b, has
    q1 = p1 (TPR + a) + (1 - p1) (1 - TNR - b). So (q1 - q0) / (TPR + TNR - 1) is p1 - p0 plus
    (a p1 - b (1 - p1)) / (TPR + TNR - 1), and the bias is at most (|a| p1 + |b| (1 - p1)) / (TPR + TNR - 1).

    Args:
        rate: True rate p1 of the fault in the arm whose error was not measured, 0 to 1.
        youden: TPR + TNR - 1 of the calibration, above 0.
        tpr_gap: Largest difference of the TPR between the arms, 0 to 1.
        tnr_gap: Largest difference of the TNR between the arms, 0 to 1.
    """
    return (abs(tpr_gap) * rate + abs(tnr_gap) * (1 - rate)) / youden


def flagged_margin(margin: float, counts: VerdictCounts, *, alpha: float = 0.05) -> float:
    """Return the difference of flagged shares that a difference of true rates causes at least.

    A candidate whose flagged share is within it of the control's is within `margin` of the control's true rate: the
    judge's TPR + TNR - 1 is taken at its lower limit. 0 if that limit is not above 0: no margin can be granted.

    Args:
        margin: Difference of true rates, 0 to 1.
        counts: The judge's verdicts on labelled answers.
        alpha: Chance that the judge separates less than the limit says, half of it on this side.
    """
    return margin * max(0.0, youden_interval(counts, alpha=alpha).low)


def _judge(counts: VerdictCounts, alpha: float) -> _JudgeRates:
    sound = counts.true_negative_count + counts.false_positive_count
    return _JudgeRates(
        true_positive_rate=true_positive_interval(counts, alpha=alpha),
        false_positive_rate=clopper_pearson(counts.false_positive_count, sound, confidence=1 - alpha),
    )


def _inverted(estimate: float, ends: tuple[float, float], is_kept: Callable[[float], bool]) -> Interval:
    """Return all values between two ends that a test keeps, around an estimate that may lie beyond them."""
    low, high = ends
    inside = min(max(estimate, low), high)
    if not is_kept(inside):
        return Interval(estimate=None, low=low, high=high)
    return Interval(estimate=inside, low=_limit(inside, low, is_kept), high=_limit(inside, high, is_kept))


def _is_zero_kept(terms: tuple[tuple[float, Interval], ...]) -> bool:
    """Return whether 0 is in the interval of a linear combination of independent rates.

    Source: Zou, Huang and Zhang (2009), equation 2.
    """
    total = math.fsum(weight * (rate.estimate or 0.0) for weight, rate in terms)
    below = math.hypot(*(weight * (_below(rate) if weight > 0 else _above(rate)) for weight, rate in terms))
    above = math.hypot(*(weight * (_above(rate) if weight > 0 else _below(rate)) for weight, rate in terms))
    return total - below <= 0 <= total + above


def _below(rate: Interval) -> float:
    return (rate.estimate or 0.0) - rate.low


def _above(rate: Interval) -> float:
    return rate.high - (rate.estimate or 0.0)


def _limit(kept: float, end: float, is_kept: Callable[[float], bool]) -> float:
    """Return the value farthest from the kept one, towards the end, before the values that are refuted."""
    if is_kept(end):
        return end
    refuted = end
    for _ in range(_STEPS):
        middle = (kept + refuted) / 2
        if is_kept(middle):
            kept = middle
        else:
            refuted = middle
    return refuted

"""Evidence and intervals for means over users that are valid at every time, for large samples.

A difference D of two means with the variance V behaves, as users arrive and come back, like Brownian motion at the
information 1 / V. So exp(b (D - m) / V - b^2 / (2 V)) is an e-process for "the true difference is at most m", for
each bet b > 0; a mixture of bets is one too, and so is its mirror image for "at least m". A user counts once, with the
mean of all calls: users who always fail are not lost, and no user weighs more than another.

Source: Robbins, Statistical methods related to the law of the iterated logarithm (1970), for the mixture; Waudby-Smith,
Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory and asymptotic confidence sequences, Annals of
Statistics 52 (2024), for estimated variances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.statistics.intervals import Interval
from flowai.statistics.mixture import log_mixture

if TYPE_CHECKING:
    from collections.abc import Sequence

MARGIN_BETS = (0.5, 1.0, 2.0)
"""Bets of "not worse by the margin", in margins from it: halfway, equal to control, better."""

MARGIN_WEIGHTS = (0.3, 0.5, 0.2)
"""Shares of the evidence that start on each of `MARGIN_BETS`."""

EXCESS_BETS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Bets of "worse by more than the margin", for a ratio: differences of logarithms beyond the margin."""

EXCESS_WEIGHTS = (0.1, 0.3, 0.35, 0.15, 0.1)
"""Shares of the evidence that start on each of `EXCESS_BETS`."""

MIN_USERS = 20
"""Users of each arm below which there is no evidence: a variance of fewer is not known well enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSample:
    """Users of an arm: mean and variance of the users' own means."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0


NO_ARM_SAMPLE = ArmSample()


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanDifference:
    """Difference of two means, candidate minus control, with its variance."""

    difference: float
    variance: float
    """Above 0."""

    def log_e_not_worse(self, margin: float) -> float:
        """Return the log evidence that the true difference is below a margin above 0."""
        bets = [bet * margin for bet in MARGIN_BETS]
        return self._log_e(margin - self.difference, bets, MARGIN_WEIGHTS)

    def log_e_worse(self, margin: float) -> float:
        """Return the log evidence that the true difference is above a margin, 0 or more."""
        return self._log_e(self.difference - margin, EXCESS_BETS, EXCESS_WEIGHTS)

    def _log_e(self, gap: float, bets: Sequence[float], weights: Sequence[float]) -> float:
        return log_mixture([(bet * gap - bet * bet / 2) / self.variance for bet in bets], weights)

    def interval(self, scale: float, *, alpha: float = 0.05) -> Interval:
        """Return the interval that contains the true difference at all times with probability 1 - alpha.

        `scale`, above 0, is the difference around which the interval is narrowest: the margin.

        Source: the normal mixture with the variance `scale` squared, both sides.
        """
        information = scale * scale / self.variance
        half = math.sqrt(self.variance * (1 + 1 / information) * (math.log1p(information) + 2 * math.log(1 / alpha)))
        return Interval(estimate=self.difference, low=self.difference - half, high=self.difference + half)


def compare_rates(candidate: ArmSample, control: ArmSample, margin: float) -> MeanDifference | None:
    """Compare failure shares, 0 to 1; None with fewer than `MIN_USERS` in an arm.

    The variance is at least that of a harm of the size of the margin that falls on few users, all of whose calls fail:
    such users may exist before the first of them comes.
    """
    floor = margin * (1 - margin)
    return _compare(candidate, control, floor)


def compare_logs(candidate: ArmSample, control: ArmSample, log_margin: float) -> MeanDifference | None:
    """Compare means of logarithms; the difference is the logarithm of a ratio. None with fewer than `MIN_USERS`."""
    return _compare(candidate, control, (log_margin / 2) ** 2)


def compare_means(candidate: ArmSample, control: ArmSample, log_margin: float) -> MeanDifference | None:
    """Compare positive means by the logarithm of their ratio; None with fewer than `MIN_USERS`, or a mean of 0.

    Source: the delta method: the variance of the logarithm of a mean is its variance over the squared mean.
    """
    if candidate.mean <= 0 or control.mean <= 0:
        return None
    first, second = (
        ArmSample(count=one.count, mean=math.log(one.mean), variance=one.variance / one.mean**2)
        for one in (candidate, control)
    )
    return _compare(first, second, (log_margin / 2) ** 2)


def _compare(candidate: ArmSample, control: ArmSample, floor: float) -> MeanDifference | None:
    if min(candidate.count, control.count) < MIN_USERS:
        return None
    # the arms' own variances differ by chance, most of all while there are few users: the larger one holds for both
    variance = max(candidate.variance, control.variance, floor, 1e-12)
    return MeanDifference(
        difference=candidate.mean - control.mean, variance=variance * (1 / candidate.count + 1 / control.count)
    )

"""The mean of labels, sharpened by a judge's verdicts on many more answers.

Sources: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Prediction-powered inference, Science 382 (2023) 669; the
power, by which the verdicts count: Angelopoulos, Duchi and Zrnic, PPI++ (2023), arXiv 2311.01453, section 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flowai.statistics.intervals import Interval, clopper_pearson, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionPowered:
    """A mean of labels, estimated with the help of verdicts."""

    estimate: float
    power: float
    """Weight of the verdicts, 0 (labels only) to 1: the one with the least variance."""
    standard_error: float


def prediction_powered_estimate(
    labelled: Sequence[tuple[float, float]], judged: Sequence[float]
) -> PredictionPowered | None:
    """Return the mean of the label over all answers; None with fewer than two labelled or two other judged answers.

    Args:
        labelled: Label and verdict of each labelled answer, both 0 to 1; drawn at random from all answers.
        judged: Verdicts on the other answers, 0 to 1.

    Source: PPI++ (2023), equations 4 and 8; variances with n - 1.
    """
    if min(len(labelled), len(judged)) < 2:  # noqa: PLR2004 - a variance needs two values
        return None
    labels = [label for label, _ in labelled]
    verdicts = [verdict for _, verdict in labelled]
    power = _power(labels, verdicts, judged)
    rest = [label - power * verdict for label, verdict in labelled]
    variance = _variance(rest) / len(rest) + power**2 * _variance(judged) / len(judged)
    return PredictionPowered(
        estimate=power * _mean(judged) + _mean(rest), power=power, standard_error=math.sqrt(variance)
    )


def prediction_powered_mean(
    labelled: Sequence[tuple[float, float]], judged: Sequence[float], *, alpha: float = 0.05
) -> Interval:
    """Return the mean of the label over all answers, 0 to 1, with its limits; all from 0 to 1 without enough answers.

    Args:
        labelled: Label and verdict of each labelled answer, both 0 to 1; drawn at random from all answers.
        judged: Verdicts on the other answers, 0 to 1.
        alpha: Chance of a miss, both sides together.
    """
    found = prediction_powered_estimate(labelled, judged)
    if found is None:
        return Interval(estimate=None, low=0.0, high=1.0)
    is_binary = {*judged, *(value for pair in labelled for value in pair)} <= {0, 1}
    low, high = _stratified_limits(labelled, judged, alpha) if is_binary else _normal_limits(found, alpha)
    estimate = min(max(found.estimate, 0.0), 1.0)
    return Interval(estimate=estimate, low=max(min(low, estimate), 0.0), high=min(max(high, estimate), 1.0))


def _normal_limits(found: PredictionPowered, alpha: float) -> tuple[float, float]:
    """Return the limits of Angelopoulos et al.; for binary labels they miss too often (decision 0141)."""
    from statistics import NormalDist  # 15 ms of imports that most commands do not need

    reach = NormalDist().inv_cdf(1 - alpha / 2) * found.standard_error
    return found.estimate - reach, found.estimate + reach


def _stratified_limits(
    labelled: Sequence[tuple[float, float]], judged: Sequence[float], alpha: float
) -> tuple[float, float]:
    """Return limits of q v + (1 - q) o: the flagged share, and the faulty shares of flagged and of passed answers.

    Source: limits of a sum of independent parts: Zou, Huang and Zhang, Computational Statistics and Data Analysis 53
    (2009) 1080, the product by its derivatives; Clopper-Pearson for v and o, Wilson for q.
    """
    flagged, passed = ([label for label, verdict in labelled if verdict == flag] for flag in (1, 0))
    share = wilson(len(flagged) + round(math.fsum(judged)), len(labelled) + len(judged), confidence=1 - alpha)
    hits, misses = (
        clopper_pearson(round(math.fsum(labels)), len(labels), confidence=1 - alpha) for labels in (flagged, passed)
    )
    return _limit(share, hits, misses, side=-1), _limit(share, hits, misses, side=1)


def _limit(share: Interval, hits: Interval, misses: Interval, *, side: Literal[-1, 1]) -> float:
    """Return the lower limit (-1) or the upper one (1) of q v + (1 - q) o."""
    q, (v, v_end), (o, o_end) = share.estimate or 0.0, _part(hits, side), _part(misses, side)
    q_end = share.high if side * (v - o) > 0 else share.low
    reach = math.hypot((v - o) * (q_end - q), q * (v_end - v), (1 - q) * (o_end - o))
    return q * v + (1 - q) * o + side * reach


def _part(rate: Interval, side: Literal[-1, 1]) -> tuple[float, float]:
    """Return a rate and its limit on a side; without labels both are the worst value."""
    end = rate.high if side > 0 else rate.low
    return (end if rate.estimate is None else rate.estimate), end


def _power(labels: Sequence[float], verdicts: Sequence[float], judged: Sequence[float]) -> float:
    """Return the covariance of label and verdict over the verdict's variance, both sample sizes taken into account."""
    spread = _variance([*verdicts, *judged]) * (1 + len(labels) / len(judged))
    if spread <= 0:
        return 0.0
    mean_label, mean_verdict = _mean(labels), _mean(verdicts)
    pairs = zip(labels, verdicts, strict=True)
    covariance = math.fsum((label - mean_label) * (verdict - mean_verdict) for label, verdict in pairs) / len(labels)
    return min(max(covariance / spread, 0.0), 1.0)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)

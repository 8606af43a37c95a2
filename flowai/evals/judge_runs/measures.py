"""The error of a judge beside people's labels: rates with intervals, agreement, consistency, position, length."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from flowai.calibration import JudgeCounts
from flowai.evals.judge_runs.records import (
    Consistency,
    LengthBias,
    PositionBias,
    RateWithInterval,
    UnscoredReason,
)
from flowai.statistics import cohen_kappa
from flowai.statistics.intervals import Interval, difference_interval, proportion_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.judge_runs.asking import Verdict
    from flowai.evals.judge_runs.labels import LabelValue

MAX_REASONS = 5
MIN_CORRELATED = 4
"""Fisher's interval of a correlation needs more than 3 pairs."""
_CONFIDENCE = 0.95
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A labelled answer and the verdicts on it."""

    case: str
    label: LabelValue
    length: int
    """Characters of the answer."""
    verdicts: tuple[Verdict, ...]
    """The first one counts; the others show how consistent the judge is."""

    @property
    def passed(self) -> bool | None:
        """The verdict that counts."""
        return self.verdicts[0].passed


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedPair:
    """Choices between a sound and a faulty answer, in both orders."""

    sound_first: int | None
    """Position that was chosen when the sound answer was first; None if the reply was unreadable."""
    sound_second: int | None


def count_verdicts(judged: Iterable[Judged]) -> JudgeCounts:
    """Count labels and readable verdicts; positive is the fault."""
    counts = Counter((one.label, one.passed) for one in judged if one.passed is not None)
    return JudgeCounts(
        true_positive_count=counts["fail", False],
        false_negative_count=counts["fail", True],
        true_negative_count=counts["pass", True],
        false_positive_count=counts["pass", False],
    )


def measure_rates(counts: JudgeCounts) -> tuple[RateWithInterval, RateWithInterval, RateWithInterval]:
    """Return true positive rate, true negative rate and Youden's index."""
    faulty = counts.true_positive_count + counts.false_negative_count
    sound = counts.true_negative_count + counts.false_positive_count
    positive = proportion_interval(counts.true_positive_count, faulty)
    negative = proportion_interval(counts.true_negative_count, sound)
    flagged_sound = proportion_interval(counts.false_positive_count, sound)
    index = difference_interval(positive, flagged_sound)
    return with_interval(positive, faulty), with_interval(negative, sound), with_interval(index, faulty + sound)


def with_interval(interval: Interval, total_count: int) -> RateWithInterval:
    """Return a measured value; all None if nothing was measured."""
    if interval.estimate is None:
        return RateWithInterval(value=None, low=None, high=None, total_count=total_count)
    return RateWithInterval(value=interval.estimate, low=interval.low, high=interval.high, total_count=total_count)


def share(count: int, total: int) -> RateWithInterval:
    """Return a share with its interval."""
    return with_interval(proportion_interval(count, total), total)


def label_kappa(judged: Iterable[Judged]) -> float | None:
    """Return Cohen's kappa of labels and verdicts."""
    return cohen_kappa((one.label, "pass" if one.passed else "fail") for one in judged if one.passed is not None).kappa


def measure_consistency(judged: Iterable[Judged], asked_count: int) -> Consistency:
    """Return the share of answers, among those asked several times, with the same verdict every time."""
    repeated = [one for one in judged if len(one.verdicts) > 1 and one.passed is not None]
    same = sum(len({verdict.passed for verdict in one.verdicts}) == 1 for one in repeated)
    return Consistency(asked_count=asked_count, same=share(same, len(repeated)))


def measure_position(pairs: Sequence[JudgedPair]) -> PositionBias | None:
    """Return how the order of two answers changes the choice; None without pairs."""
    if not pairs:
        return None
    read = [(pair.sound_first, pair.sound_second) for pair in pairs]
    both = [(first, second) for first, second in read if first is not None and second is not None]
    first_chosen = sum((first == 0) + (second == 0) for first, second in both)
    right = sum((first == 0) + (second == 1) for first, second in both)
    return PositionBias(
        pair_count=len(pairs),
        unread_count=len(pairs) - len(both),
        same_choice=share(sum(first != second for first, second in both), len(both)),
        first_chosen=share(first_chosen, 2 * len(both)),
        right=share(right, 2 * len(both)),
    )


def measure_length(judged: Sequence[Judged]) -> LengthBias:
    """Return how verdicts and labels follow the answers' lengths."""
    read = [one for one in judged if one.passed is not None]
    lengths = [math.log(1 + one.length) for one in read]
    return LengthBias(
        verdict=correlation(lengths, [float(bool(one.passed)) for one in read]),
        label=correlation(lengths, [float(one.label == "pass") for one in read]),
    )


def correlation(first: Sequence[float], second: Sequence[float]) -> RateWithInterval:
    """Return Pearson's correlation with Fisher's interval; None if one side is constant or there are too few values.

    Source: Fisher (1921), On the probable error of a coefficient of correlation, Metron 1.
    """
    total = len(first)
    unknown = RateWithInterval(value=None, low=None, high=None, total_count=total)
    if total < MIN_CORRELATED:
        return unknown
    first_mean, second_mean = math.fsum(first) / total, math.fsum(second) / total
    shared = math.fsum((a - first_mean) * (b - second_mean) for a, b in zip(first, second, strict=True))
    spread = math.fsum((a - first_mean) ** 2 for a in first) * math.fsum((b - second_mean) ** 2 for b in second)
    if spread <= 0:
        return unknown
    value = max(-1.0, min(1.0, shared / math.sqrt(spread)))
    if abs(value) >= 1 - 1e-12:
        return RateWithInterval(value=value, low=value, high=value, total_count=total)
    reach = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2) / math.sqrt(total - 3)
    middle = math.atanh(value)
    return RateWithInterval(
        value=value, low=math.tanh(middle - reach), high=math.tanh(middle + reach), total_count=total
    )


def group_reasons(judged: Iterable[Judged]) -> tuple[UnscoredReason, ...]:
    """Return the most frequent reasons of unscored answers; quotes of replies are left out so that equal ones meet."""
    reasons = Counter(
        _QUOTED.sub("...", one.verdicts[0].reason.partition("could not be judged")[2].lstrip(": ")) or "no reason"
        for one in judged
        if one.passed is None
    )
    return tuple(UnscoredReason(reason=reason, count=count) for reason, count in reasons.most_common(MAX_REASONS))

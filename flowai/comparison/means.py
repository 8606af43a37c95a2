"""Compares the means of users of two arms in a stage, as of now and of the end of any earlier hour."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.comparison.counts import UserSums, cumulated
from flowai.comparison.facts import MILLION
from flowai.comparison.metrics import METRIC_KINDS, tolerated_difference
from flowai.statistics.mean_evidence import (
    NO_ARM_SAMPLE,
    ArmSample,
    MeanDifference,
    compare_logs,
    compare_means,
    compare_rates,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.analytics.records import Metric
    from flowai.comparison.blocks import ArmPair
    from flowai.comparison.counts import Counts

_UNITS: Mapping[Metric, float] = {"cost": 1e9}
"""Sums are of whole millionths; of costs, of whole billionths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UserMeans:
    """Users of both arms in a stage, as of a time."""

    candidate: ArmSample = NO_ARM_SAMPLE
    baseline: ArmSample = NO_ARM_SAMPLE
    candidate_affected: int = 0
    """Users with a failure."""
    baseline_affected: int = 0
    margin: float = 0.0
    """Tolerated difference: of rates, or of logarithms."""
    compared: MeanDifference | None = None
    """None with too few users."""
    safe_log_e: float = 0.0
    """Log evidence that the candidate is not worse by the margin."""
    worse_log_e: float = 0.0
    """Log evidence that it is worse by more than the margin; only used for ratios of means."""


NO_USERS = UserMeans()


@dataclass(kw_only=True, slots=True)
class MeanSeries:
    """Means of users in a stage over time."""

    moments_us: list[int] = field(default_factory=list)
    means: list[UserMeans] = field(default_factory=list)
    safe_peaks: list[float] = field(default_factory=list)
    """The largest `safe_log_e` so far; it may be used at any later time of the stage."""

    def at(self, moment_us: int) -> tuple[UserMeans, float]:
        """Return the means, and the peak of the evidence, as they were known at a time."""
        index = bisect_right(self.moments_us, moment_us) - 1
        return (self.means[index], self.safe_peaks[index]) if index >= 0 else (NO_USERS, 0.0)


def mean_series(
    counts: Counts, metric: Metric, pair: ArmPair, *, stage: int, margin: float, min_users: int, now_us: int
) -> MeanSeries:
    """Compare the users of a stage at the end of each hour, and now.

    `min_users` of each arm are needed for evidence; `margin` is a difference of rates, or a ratio (see `MetricKind`).
    """
    series = MeanSeries()
    arms = (pair.candidate, *pair.baselines)
    changes = {arm: dict(cumulated(counts.users.get((metric, arm, stage), {}))) for arm in arms}
    now = {arm: UserSums() for arm in arms}
    for hour_us in sorted({hour_us for by_hour in changes.values() for hour_us in by_hour}):
        now |= {arm: by_hour[hour_us] for arm, by_hour in changes.items() if hour_us in by_hour}
        baseline = UserSums()
        for arm in pair.baselines:
            baseline.add(now[arm])
        means = _compare(metric, now[pair.candidate], baseline, margin, min_users)
        series.moments_us.append(min(hour_us, now_us))
        series.means.append(means)
        series.safe_peaks.append(max(means.safe_log_e, series.safe_peaks[-1] if series.safe_peaks else 0.0))
    return series


def _compare(metric: Metric, candidate: UserSums, baseline: UserSums, margin: float, min_users: int) -> UserMeans:
    unit = _UNITS.get(metric, MILLION)
    first, second = _sample(candidate, unit), _sample(baseline, unit)
    is_ratio = METRIC_KINDS[metric].scale == "ratio"
    margin = math.log(margin) if is_ratio else tolerated_difference(metric, margin, second.mean)
    compared = compare_arms(metric, first, second, margin)
    enough = compared is not None and min(first.count, second.count) >= min_users
    return UserMeans(
        candidate=first,
        baseline=second,
        candidate_affected=candidate.affected_count,
        baseline_affected=baseline.affected_count,
        margin=margin,
        compared=compared,
        safe_log_e=compared.log_e_not_worse(margin) if compared is not None and enough and margin > 0 else 0.0,
        worse_log_e=compared.log_e_worse(margin) if compared is not None and is_ratio else 0.0,
    )


def compare_arms(metric: Metric, first: ArmSample, second: ArmSample, margin: float) -> MeanDifference | None:
    """Compare users of two arms; the margin is a difference of rates or of logarithms. None with too few users."""
    if METRIC_KINDS[metric].scale == "difference":
        return compare_rates(first, second, margin)
    return (compare_means if metric == "cost" else compare_logs)(first, second, margin)


def _sample(sums: UserSums, unit: float) -> ArmSample:
    count = sums.user_count
    if count <= 0:
        return NO_ARM_SAMPLE
    spread = (sums.squares * count - sums.total * sums.total) / (count * max(count - 1, 1))
    return ArmSample(count=count, mean=sums.total / count / unit, variance=spread / unit**2)

"""Evidence and intervals for means: exact at the margin, valid at any time, and the same from both sides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - thousands of samples at once
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.statistics.mean_evidence import (
    EXCESS_BETS,
    EXCESS_WEIGHTS,
    MARGIN_BETS,
    MARGIN_WEIGHTS,
    MIN_USERS,
    ArmSample,
    MeanDifference,
    compare_logs,
    compare_means,
    compare_rates,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.statistics.intervals import Interval

samples = st.builds(
    ArmSample, count=st.integers(MIN_USERS, 10**6), mean=st.floats(0.01, 0.99), variance=st.floats(0.0, 0.25)
)


def _contains_zero(interval: Interval) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= 0 <= interval.high


def expectation(log_e: Callable[[float], float], center: float, variance: float) -> float:
    """Integrate the evidence over a normal difference."""
    spread = math.sqrt(variance)
    grid = np.linspace(center - 20 * spread, center + 20 * spread, 4_001)
    logs = np.array([log_e(one) for one in grid]) - (grid - center) ** 2 / (2 * variance)
    return float(np.trapezoid(np.exp(logs), grid) / math.sqrt(2 * math.pi * variance))


@pytest.mark.parametrize("margin", [0.01, 0.2])
@pytest.mark.parametrize("of_margin", [0.2, 0.5, 2.0])
def test_at_the_margin_the_expectation_of_evidence_is_exactly_one(margin: float, of_margin: float) -> None:
    variance = (margin * of_margin) ** 2

    def not_worse(difference: float) -> float:
        return MeanDifference(difference=difference, variance=variance).log_e_not_worse(margin)

    def worse(difference: float) -> float:
        return MeanDifference(difference=difference, variance=0.04).log_e_worse(margin)

    assert expectation(not_worse, margin, variance) == pytest.approx(1, abs=1e-6)
    assert expectation(not_worse, 1.5 * margin, variance) < 1
    assert expectation(not_worse, 0.0, variance) > 1
    assert expectation(worse, margin, 0.04) == pytest.approx(1, abs=1e-6)
    assert expectation(worse, margin - 0.05, 0.04) < 1
    assert expectation(worse, margin + 0.2, 0.04) > 1


def test_evidence_reaches_its_threshold_at_any_time_no_more_often_than_alpha() -> None:
    rng, margin, alpha = np.random.default_rng(3), 0.01, 0.05
    steps = np.cumsum(rng.normal(margin, 0.2, (500, 200)), axis=1)
    times = np.arange(1, 201)
    ever = 0
    for run in range(500):
        means = steps[run] / times
        found = (
            MeanDifference(difference=float(mean), variance=0.04 / int(n)).log_e_not_worse(margin)
            for mean, n in zip(means, times, strict=True)
        )
        ever += any(one >= -math.log(alpha) for one in found)
    assert ever / 500 <= alpha


@pytest.mark.parametrize("scale", [0.002, 0.01, 0.1])
def test_the_interval_contains_the_difference_at_any_one_time(scale: float) -> None:
    rng, runs, users, rate = np.random.default_rng(4), 2000, 2000, 0.05
    shares = rng.binomial(users, rate, (2, runs)) / users
    held = 0
    for candidate, control in shares.T.tolist():
        first, second = (
            ArmSample(count=users, mean=mean, variance=mean * (1 - mean) * users / (users - 1))
            for mean in (candidate, control)
        )
        compared = compare_rates(first, second, 0.01)
        assert compared is not None
        interval = compared.interval(scale)
        held += _contains_zero(interval)
    assert held / runs > 0.95


def test_the_interval_contains_the_difference_at_all_times_at_once() -> None:
    rng = np.random.default_rng(5)
    steps = np.cumsum(rng.normal(0.0, 0.2, (400, 200)), axis=1)
    ns = np.arange(1, 201)
    missed = 0
    for run in steps / ns:
        widths = [
            MeanDifference(difference=float(mean), variance=0.04 / n).interval(0.01)
            for mean, n in zip(run, ns.tolist(), strict=True)
        ]
        missed += not all(_contains_zero(one) for one in widths)
    assert missed / 400 <= 0.05


@given(samples, samples, st.floats(0.001, 0.5))
def test_arms_that_change_places_have_the_mirrored_difference(
    first: ArmSample, second: ArmSample, margin: float
) -> None:
    one, other = compare_rates(first, second, margin), compare_rates(second, first, margin)
    assert one is not None
    assert other is not None
    assert one.difference == -other.difference
    assert one.variance == pytest.approx(other.variance)
    forth, back = one.interval(margin), other.interval(margin)
    assert (forth.low, forth.high) == pytest.approx((-(back.high or 0), -(back.low or 0)))


def test_logs_and_means_agree_on_a_ratio() -> None:
    sigma, ratio, count = 0.05, 1.3, 5000
    logs = [ArmSample(count=count, mean=math.log(mean), variance=sigma**2) for mean in (ratio, 1.0)]
    means = [ArmSample(count=count, mean=mean, variance=(sigma * mean) ** 2) for mean in (ratio, 1.0)]
    by_log, by_mean = compare_logs(logs[0], logs[1], math.log(1.2)), compare_means(means[0], means[1], math.log(1.2))
    assert by_log is not None
    assert by_mean is not None
    assert by_log.difference == pytest.approx(math.log(ratio)) == pytest.approx(by_mean.difference)
    assert by_log.variance == pytest.approx(by_mean.variance)
    assert by_log.log_e_worse(math.log(1.2)) > math.log(1000)


def test_few_users_or_free_calls_are_no_evidence() -> None:
    enough, few = (ArmSample(count=count, mean=0.1, variance=0.01) for count in (MIN_USERS, MIN_USERS - 1))
    for compare in (compare_rates, compare_logs, compare_means):
        assert compare(enough, enough, 0.1) is not None
        assert compare(few, enough, 0.1) is None
        assert compare(enough, few, 0.1) is None
    assert compare_means(ArmSample(count=99), enough, 0.1) is None


def test_no_failure_so_far_does_not_mean_that_there_are_no_users_who_always_fail() -> None:
    for count, is_enough in ((250, False), (1500, True)):
        clean = ArmSample(count=count)
        compared = compare_rates(clean, clean, 0.01)
        assert compared is not None
        assert compared.variance == pytest.approx(0.01 * 0.99 * 2 / count)
        assert (compared.log_e_not_worse(0.01) >= math.log(20)) == is_enough


def test_weights_are_a_distribution() -> None:
    for bets, weights in ((MARGIN_BETS, MARGIN_WEIGHTS), (EXCESS_BETS, EXCESS_WEIGHTS)):
        assert len(bets) == len(weights)
        assert math.fsum(weights) == pytest.approx(1)

"""Intervals: equal to published examples and to scipy and statsmodels; what must hold for any counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.statistics import (
    Interval,
    clopper_pearson,
    difference_interval,
    proportion_interval,
    quantile_ranks,
    wilson,
)
from flowai.statistics.beta import beta_cdf, beta_quantile, binomial_cdf

if TYPE_CHECKING:
    from collections.abc import Callable

EDGES = [(0, 1), (1, 1), (0, 10), (10, 10), (1, 10), (5, 10), (1, 1000), (999, 1000), (0, 10**9), (1, 10**9)]
EDGES += [(10**9, 10**9), (5 * 10**8, 10**9), (2 * 10**7, 10**9)]
ONE_SAMPLE: list[Callable[..., Interval]] = [wilson, clopper_pearson, proportion_interval]


@pytest.fixture(scope="module", autouse=True)
def oracles() -> None:
    """Import the references before hypothesis starts its clock."""
    import scipy.stats  # noqa: F401


@st.composite
def samples(draw: st.DrawFn) -> tuple[int, int]:
    total = draw(st.integers(1, 10_000))
    return draw(st.integers(0, total)), total


def newcombe(k1: int, n1: int, k0: int, n0: int) -> Interval:
    """Return Newcombe's interval: the hybrid score method."""
    return difference_interval(wilson(k1, n1), wilson(k0, n0))


@pytest.mark.parametrize(
    ("count", "total", "score", "exact"),
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_published_intervals_of_one_proportion(
    count: int, total: int, score: tuple[float, float], exact: tuple[float, float]
) -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I, methods 3 and 5
    for method, expected in ((wilson, score), (clopper_pearson, exact)):
        found = method(count, total)
        assert (found.low, found.high) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.0582, 0.8062)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
        ((0, 10, 0, 10), (-0.2775, 0.2775)),
        ((10, 10, 0, 20), (0.6791, 1.0000)),
        ((10, 10, 0, 10), (0.6075, 1.0000)),
    ],
)
def test_published_intervals_of_a_difference(counts: tuple[int, int, int, int], expected: tuple[float, float]) -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 873, table II, method 10
    found = newcombe(*counts)
    assert (found.low, found.high) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("count", "total"), EDGES)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_one_proportion_equals_the_reference(count: int, total: int, confidence: float) -> None:
    from statsmodels.stats.proportion import proportion_confint

    for method, name in ((wilson, "wilson"), (clopper_pearson, "beta")):
        found = method(count, total, confidence=confidence)
        low, high = proportion_confint(count, total, alpha=1 - confidence, method=name)
        expected = (0.0 if math.isnan(low) else low, 1.0 if math.isnan(high) else high)
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-6)


def test_a_difference_equals_the_reference() -> None:
    from statsmodels.stats.proportion import confint_proportions_2indep

    for counts in ((56, 70, 48, 80), (9, 10, 3, 10), (30, 1000, 180, 9000), (5, 56, 0, 29), (0, 100, 3, 100)):
        found = newcombe(*counts)
        expected = confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=0.05)
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-6)


@given(st.floats(0.5, 1e6), st.floats(0.5, 1e6), st.floats(1e-6, 1 - 1e-6))
def test_the_beta_distribution_equals_the_reference(a: float, b: float, probability: float) -> None:
    from scipy.special import betainc, betaincinv

    x = float(betaincinv(a, b, probability))
    assert beta_cdf(x, a, b) == pytest.approx(float(betainc(a, b, x)), abs=1e-9)
    assert beta_quantile(probability, a, b) == pytest.approx(x, rel=1e-8, abs=1e-12)


@given(st.integers(1, 2000), st.floats(0, 1), st.integers(-1, 2001))
def test_the_binomial_distribution_equals_the_reference(total: int, rate: float, count: int) -> None:
    from scipy.stats import binom

    assert binomial_cdf(count, total, rate) == pytest.approx(float(binom.cdf(count, total, rate)), abs=1e-9)


@pytest.mark.parametrize("method", ONE_SAMPLE)
@given(sample=samples(), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_an_interval_holds_its_estimate_and_mirrors(
    method: Callable[..., Interval], sample: tuple[int, int], confidence: float
) -> None:
    count, total = sample
    found = method(count, total, confidence=confidence)
    mirrored = method(total - count, total, confidence=confidence)
    assert found.estimate is not None
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-9)


@pytest.mark.parametrize("method", ONE_SAMPLE)
@given(sample=samples(), times=st.integers(2, 1000))
def test_an_interval_shrinks_with_more_of_the_same(
    method: Callable[..., Interval], sample: tuple[int, int], times: int
) -> None:
    count, total = sample
    small, large = method(count, total), method(count * times, total * times)
    assert large.high - large.low < small.high - small.low


@given(samples(), samples())
def test_a_difference_swaps_and_holds_its_estimate(first: tuple[int, int], second: tuple[int, int]) -> None:
    one, other = newcombe(*first, *second), newcombe(*second, *first)
    assert one.estimate is not None
    assert -1 - 1e-12 <= one.low <= one.estimate <= one.high <= 1 + 1e-12
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)


def test_nothing_measured_is_anything_possible() -> None:
    for method in ONE_SAMPLE:
        assert method(0, 0) == Interval(estimate=None, low=0.0, high=1.0)
    assert newcombe(0, 0, 0, 0) == Interval(estimate=None, low=-1.0, high=1.0)
    one_arm = newcombe(0, 0, 0, 1000)
    assert one_arm.estimate is None
    assert one_arm.high == 1.0
    assert one_arm.low < 0


def test_few_events_are_counted_exactly() -> None:
    assert proportion_interval(9, 1000) == clopper_pearson(9, 1000)
    assert proportion_interval(10, 1000) == wilson(10, 1000)
    assert proportion_interval(995, 1000) == clopper_pearson(995, 1000)


@pytest.mark.parametrize(
    ("total", "expected"), [(10, (2, 9)), (20, (6, 15)), (25, (8, 18)), (6, (1, 6)), (5, (None, None))]
)
def test_published_ranks_around_a_median(total: int, expected: tuple[int | None, int | None]) -> None:
    # Campbell and Gardner, BMJ 296 (1988) 1454: ranks around a median, 95 %
    assert quantile_ranks(total, 0.5) == expected


@pytest.mark.parametrize("total", [40, 100, 999, 20_000])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_ranks_equal_the_reference(total: int, share: float) -> None:
    from scipy.stats import quantile_test

    expected = quantile_test(list(range(1, total + 1)), p=share).confidence_interval(0.95)
    found = [math.nan if rank is None else rank for rank in quantile_ranks(total, share)]
    assert found == pytest.approx([float(expected.low), float(expected.high)], nan_ok=True)


def test_a_small_sample_has_no_upper_bound_of_a_high_quantile() -> None:
    low, high = quantile_ranks(50, 0.95)
    assert low is not None
    assert high is None
    assert quantile_ranks(0, 0.95) == (None, None)
    assert quantile_ranks(10**8, 0.95) == (94_995_728, 95_004_272)

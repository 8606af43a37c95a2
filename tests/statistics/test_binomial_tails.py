"""Tails of counts against scipy, and where there is nothing to count."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.statistics.binomial_tails import log_binomial_tail, log_hypergeometric_tail


@pytest.mark.parametrize(
    ("count", "total", "rate"), [(5, 10, 0.1), (30, 1000, 0.01), (2_000, 100_000, 0.01), (10, 10, 0.5), (1, 1, 1e-9)]
)
def test_the_binomial_tail_is_scipys(count: int, total: int, rate: float) -> None:
    from scipy import stats

    expected = stats.binom.logsf(count - 1, total, rate)
    assert log_binomial_tail(count, total, rate) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("count", "inside", "failures", "total"),
    [(8, 10, 12, 100), (300, 2_000, 900, 50_000), (5, 5, 5, 1_000), (40, 50, 60, 80)],
)
def test_the_hypergeometric_tail_is_scipys(count: int, inside: int, failures: int, total: int) -> None:
    from scipy import stats

    expected = stats.hypergeom.logsf(count - 1, total, failures, inside)
    assert log_hypergeometric_tail(count, inside, failures, total) == pytest.approx(expected, rel=1e-6)


def test_the_first_worked_example_of_the_exact_test() -> None:
    """Fisher's tea tasting: all four of four cups, by chance 1 in 70."""
    assert math.exp(log_hypergeometric_tail(4, 4, 4, 8)) == pytest.approx(1 / 70)


def test_chances_that_no_float_holds_are_told_apart() -> None:
    weak, strong = (log_hypergeometric_tail(count, 10_000, 10_000, 1_000_000) for count in (5_000, 9_000))
    assert strong < weak < -745


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.floats(0, 1))
def test_nothing_and_everything_are_no_error(count: int, failures: int, total: int, rate: float) -> None:
    count, failures = min(count, total), min(failures, total)
    assert -math.inf <= log_binomial_tail(count, total, rate) <= 0
    inside = min(total, count + 5)
    within = min(count, inside, failures)
    if failures - within <= total - inside:
        assert -math.inf < log_hypergeometric_tail(within, inside, failures, total) <= 0


def test_no_more_than_expected_is_no_evidence() -> None:
    assert log_binomial_tail(1, 100, 0.01) == 0.0
    assert log_binomial_tail(0, 0, 0.5) == 0.0
    assert log_binomial_tail(3, 3, 1.0) == 0.0
    assert log_binomial_tail(1, 3, 0.0) == -math.inf
    assert log_hypergeometric_tail(0, 0, 0, 0) == 0.0
    assert log_hypergeometric_tail(10, 100, 100, 1000) == 0.0

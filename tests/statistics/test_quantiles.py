"""Quantiles: equal to numpy's, and the laws of an order statistic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowai.statistics import quantile

samples = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50).map(sorted)


def test_published_example() -> None:
    # Hyndman and Fan, definition 7: position 1 + (n - 1) p
    assert quantile([1, 2, 3, 4], 0.5) == 2.5
    assert quantile([10, 20, 30, 40, 50], 0.95) == 48


def test_nothing_has_no_quantile() -> None:
    assert quantile([], 0.5) is None


@given(samples, st.floats(0, 1))
def test_it_lies_between_the_extremes(sample: list[float], share: float) -> None:
    value = quantile(sample, share)
    assert value is not None
    assert sample[0] <= value <= sample[-1]


@given(samples, st.floats(0, 1), st.floats(0, 1))
def test_it_never_falls_with_the_share(sample: list[float], one: float, other: float) -> None:
    low, high = quantile(sample, min(one, other)), quantile(sample, max(one, other))
    assert low is not None
    assert high is not None
    assert low <= high + abs(high) * 1e-12

"""Quantiles from log buckets: within half a percent, merged by addition, honest about what is missing."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.statistics import bucket_of, bucket_quantile, bucket_quantile_interval, quantile_ratio


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - a sample


values = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=200)


def counted(sample: list[float]) -> Counter[int]:
    return Counter(map(bucket_of, sample))


@given(values, st.floats(0, 1))
def test_a_quantile_is_within_half_a_percent_of_the_exact_one(sample: list[float], share: float) -> None:
    exact = sorted(sample)[max(1, math.ceil(share * len(sample))) - 1]
    assert bucket_quantile(counted(sample), share) == pytest.approx(exact, rel=0.005 + 1e-9)


@given(values, values)
def test_counts_merge_by_addition(one: list[float], other: list[float]) -> None:
    assert counted(one) + counted(other) == counted(one + other)


@given(values, st.sampled_from([0.5, 0.95]))
def test_an_interval_holds_its_estimate(sample: list[float], share: float) -> None:
    found = bucket_quantile_interval(counted(sample), share)
    assert found.estimate is not None
    assert 0 <= found.low <= found.estimate <= found.high


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, held, rounds = seeded(1), 0, 400
    truth = math.exp(1.6448536269514722)  # the 95th percentile of a lognormal value
    for _ in range(rounds):
        found = bucket_quantile_interval(counted([math.exp(rng.gauss(0, 1)) for _ in range(300)]), 0.95)
        held += found.low <= truth <= found.high
    assert held >= 0.94 * rounds


def test_a_ratio_finds_the_slower_arm() -> None:
    rng = seeded(2)
    control = counted([math.exp(rng.gauss(0, 0.5)) for _ in range(5000)])
    slower = counted([1.3 * math.exp(rng.gauss(0, 0.5)) for _ in range(5000)])
    found = quantile_ratio(slower, control, 0.95)
    assert found.estimate == pytest.approx(1.3, rel=0.1)
    assert 1 < found.low < found.high
    mirrored = quantile_ratio(control, slower, 0.95)
    assert (found.low, found.high) == pytest.approx((1 / mirrored.high, 1 / mirrored.low))


def test_all_ties_are_one_bucket() -> None:
    found = bucket_quantile_interval({bucket_of(2.0): 1000}, 0.95)
    assert found.low <= 2.0 <= found.high
    assert found.high / found.low == pytest.approx(1.01)


def test_missing_measurements_bound_nothing() -> None:
    assert bucket_quantile({}, 0.95) is None
    assert bucket_quantile({7: 0}, 0.95) is None
    nothing = quantile_ratio({}, {3: 100}, 0.95)
    assert nothing.estimate is None
    assert nothing.low == 0.0
    assert nothing.high == math.inf
    few = quantile_ratio({3: 10}, {3: 10}, 0.95)
    assert few.estimate == 1.0
    assert few.low == 0.0
    assert few.high == math.inf


def test_a_billion_measurements_are_no_more_work_than_one() -> None:
    found = bucket_quantile_interval({0: 9 * 10**8, 100: 10**8}, 0.95)
    assert found.low == pytest.approx(1.01**100)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_only_positive_numbers_have_a_bucket(value: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        bucket_of(value)

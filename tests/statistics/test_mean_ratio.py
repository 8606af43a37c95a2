"""The interval of a ratio of means: by its definition, by how often it holds, and where there is little to go by."""

from __future__ import annotations

import math
import random

import pytest

from flowai.statistics.intervals import mean_ratio

Z = 1.959963984540054


def summed(values: list[float]) -> tuple[int, float, float]:
    return len(values), math.fsum(values), math.fsum(value * value for value in values)


def draws(rng: random.Random, count: int, scale: float) -> list[float]:
    return [scale * rng.lognormvariate(0, 0.6) for _ in range(count)]


def test_its_bounds_are_the_ratios_that_are_just_within_the_error() -> None:
    rng = random.Random(1)  # noqa: S311 - a sample
    first, second = draws(rng, 300, 3.0), draws(rng, 200, 2.0)
    found = mean_ratio(summed(first), summed(second))
    means = [math.fsum(values) / len(values) for values in (first, second)]
    errors = [
        math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)
        for values, mean in zip((first, second), means, strict=True)
    ]
    assert found.estimate == pytest.approx(means[0] / means[1])
    for ratio in (found.low, found.high):
        off = (means[0] - ratio * means[1]) ** 2 / (errors[0] + ratio**2 * errors[1])
        assert off == pytest.approx(Z**2, rel=1e-6)
    assert found.low < means[0] / means[1] < found.high


def test_it_holds_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(2)  # noqa: S311 - a simulation
    held = 0
    for _ in range(1000):
        found = mean_ratio(summed(draws(rng, 80, 1.3)), summed(draws(rng, 120, 1.0)))
        held += found.low <= 1.3 <= found.high
    assert 930 <= held <= 968


def test_little_data_says_little() -> None:
    nothing = mean_ratio((0, 0, 0), (9, 9, 9))
    assert nothing.estimate is None
    assert nothing.low == 0.0
    assert nothing.high == math.inf
    assert mean_ratio((1, 3, 9), (9, 9, 9)).high == math.inf
    assert mean_ratio((9, 9, 9), (9, 0, 0)).estimate is None, "nothing is a multiple of what costs nothing"
    unsure = mean_ratio((5, 5, 5), (3, 1.0, 1.0))
    assert unsure.low == 0.0, "the control may as well cost nothing"
    assert unsure.high == math.inf, "the control may as well cost nothing"
    assert mean_ratio((4, 0, 0), (4, 8, 16)).high == 0.0


def test_equal_prices_leave_no_doubt() -> None:
    found = mean_ratio((1000, 1_200_000_000, 1_440_000_000_000_000), (900, 900_000_000, 900_000_000_000_000))
    assert (found.low, found.estimate, found.high) == pytest.approx((1.2, 1.2, 1.2))

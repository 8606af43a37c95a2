"""Several questions at once: sums of alpha, and what may not be split."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.statistics import split_alpha


def named(figures: list[float]) -> dict[str, float]:
    return {f"claim{index:02}": figure for index, figure in enumerate(figures)}


def test_alpha_is_split_by_severity() -> None:
    assert split_alpha(0.05, {"errors": 3, "slow": 1, "cost": 0}) == pytest.approx(
        {"errors": 0.0375, "slow": 0.0125, "cost": 0}
    )


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=20), st.floats(0.001, 0.5))
def test_the_parts_add_up(severities: list[float], alpha: float) -> None:
    assert math.fsum(split_alpha(alpha, named(severities)).values()) == pytest.approx(alpha)


@pytest.mark.parametrize(
    ("alpha", "severities"),
    [(0.0, {"a": 1.0}), (1.0, {"a": 1.0}), (0.1, {}), (0.1, {"a": 0.0}), (0.1, {"a": 2.0, "b": -1.0})],
)
def test_impossible_splits_are_refused(alpha: float, severities: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1|0 or more"):
        split_alpha(alpha, severities)

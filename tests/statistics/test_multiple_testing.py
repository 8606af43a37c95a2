"""Several questions at once: sums of alpha, published examples, and what may not be found."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowai.statistics import e_bh, holm, split_alpha

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@pytest.fixture(scope="module", autouse=True)
def oracles() -> None:
    """Import the references before hypothesis starts its clock."""
    import scipy.stats  # noqa: F401


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


def test_published_example_of_holm() -> None:
    # the worked example of Wikipedia's article on Holm's method
    assert holm(named([0.01, 0.04, 0.03, 0.005])) == pytest.approx(named([0.03, 0.06, 0.06, 0.02]))


@given(p_values, st.floats(0.001, 0.5))
def test_holm_rejects_as_its_steps_do(figures: list[float], alpha: float) -> None:
    # step down: compare the k-th smallest of m with alpha / (m - k + 1), stop at the first that is larger
    steps, held = sorted(figures), 0
    while held < len(steps) and steps[held] * (len(steps) - held) <= alpha:
        held += 1
    assert sum(adjusted <= alpha for adjusted in holm(named(figures)).values()) == held


def test_e_bh_by_hand() -> None:
    # thresholds 4 / (0.05 k): 80, 40, 26.7, 20; the second passes its own and carries the first, which fails its own
    log_es = {name: math.log(e) for name, e in {"a": 60.0, "b": 45.0, "c": 20.0, "d": 1.0}.items()}
    assert e_bh(log_es, alpha=0.05) == ("a", "b")
    assert e_bh({}, alpha=0.05) == ()
    assert e_bh({"a": -math.inf}, alpha=0.05) == ()
    assert e_bh({"a": math.inf, "b": 0.0}, alpha=0.05) == ("a",)


@given(p_values.filter(lambda figures: min(figures) > 1e-300), st.floats(0.01, 0.3))
def test_e_bh_equals_benjamini_and_hochberg_on_inverse_p_values(figures: list[float], alpha: float) -> None:
    # Wang and Ramdas (2022): e-BH on 1 / p is BH on p
    from scipy.stats import false_discovery_control

    adjusted = false_discovery_control(figures, method="bh")
    assume(all(abs(value - alpha) > 1e-9 for value in adjusted))
    expected = {name for name, value in zip(named(figures), adjusted, strict=True) if value <= alpha}
    assert set(e_bh({name: -math.log(p) for name, p in named(figures).items()}, alpha=alpha)) == expected

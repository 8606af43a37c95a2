"""Sample-ratio mismatch: equal to scipy's distributions, sharp where it must be, silent where it should be."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.statistics import MISMATCH_ALPHA, srm_log_e_value, unexpected_arms
from flowai.statistics.srm import DIRICHLET_WEIGHT, ODDS_RATIOS, ODDS_WEIGHTS, PRIOR_ASSIGNMENTS

SHARES = {"canary": 0.01, "control": 0.01, "stable": 0.98}
ENOUGH = math.log(1 / MISMATCH_ALPHA)


@pytest.fixture(scope="module", autouse=True)
def oracles() -> None:
    """Import the references before hypothesis starts its clock."""
    import scipy.stats  # noqa: F401


@given(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6)))
def test_it_is_an_average_of_ratios_of_likelihoods(counts: tuple[int, int, int]) -> None:
    from scipy.special import logsumexp
    from scipy.stats import binom, dirichlet_multinomial, multinomial

    total, shares = sum(counts), [0.1, 0.3, 0.6]
    kept = multinomial.logpmf(counts, total, shares)
    prior = [PRIOR_ASSIGNMENTS * share for share in shares]
    terms = [math.log(DIRICHLET_WEIGHT) + dirichlet_multinomial.logpmf(counts, prior, total) - kept]
    for ratio, weight in zip(ODDS_RATIOS, ODDS_WEIGHTS, strict=True):
        for count, share in zip(counts, shares, strict=True):
            moved = ratio * share / (ratio * share + 1 - share)
            bet = binom.logpmf(count, total, moved) - binom.logpmf(count, total, share)
            terms.append(math.log(weight / len(shares)) + bet)
    expected = float(logsumexp(terms))
    found = srm_log_e_value(dict(zip("abc", counts, strict=True)), dict(zip("abc", shares, strict=True)))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_on_average_it_is_one_where_shares_are_kept() -> None:
    n, share = 12, 0.3
    total = sum(
        math.comb(n, k)
        * share**k
        * (1 - share) ** (n - k)
        * math.exp(srm_log_e_value({"a": k, "b": n - k}, {"a": share, "b": 1 - share}))
        for k in range(n + 1)
    )
    assert total == pytest.approx(1)


def test_a_canary_that_gets_half_as_much_again_is_found() -> None:
    kept = {"canary": 100, "control": 100, "stable": 9_800}
    more = {"canary": 200, "control": 100, "stable": 9_700}
    assert srm_log_e_value(kept, SHARES) < 0
    assert srm_log_e_value(more, SHARES) > ENOUGH


def test_a_canary_that_gets_nothing_is_found() -> None:
    assert srm_log_e_value({"control": 100, "stable": 9_900}, SHARES) > ENOUGH


def test_traffic_without_a_share_is_certain_and_named() -> None:
    counts = {"canary": 1, "control": 50, "stable": 50, "old": 3}
    shares = {"canary": 0.0, "control": 0.5, "stable": 0.5}
    assert srm_log_e_value(counts, shares) == math.inf
    assert unexpected_arms(counts, shares) == ("canary", "old")
    assert unexpected_arms({"canary": 0, "control": 5}, shares) == ()
    assert math.isfinite(srm_log_e_value({"canary": 0, "control": 50, "stable": 50}, shares))


@pytest.mark.parametrize("counts", [{}, {"canary": 0}, {"canary": 0, "stable": 0}])
def test_no_assignments_are_no_evidence(counts: dict[str, int]) -> None:
    assert srm_log_e_value(counts, SHARES) == 0


def test_shares_are_weights() -> None:
    counts = {"a": 30, "b": 90}
    assert srm_log_e_value(counts, {"a": 1, "b": 3}) == pytest.approx(srm_log_e_value(counts, {"a": 0.25, "b": 0.75}))


def test_billions_and_ones_are_finite() -> None:
    for canary, stable in product([0, 1, 10**9], [0, 1, 10**9]):
        assert math.isfinite(srm_log_e_value({"canary": canary, "stable": stable}, SHARES))
    assert srm_log_e_value({"a": 5 * 10**8, "b": 5 * 10**8}, {"a": 1, "b": 1}) < 0


@pytest.mark.parametrize(
    ("counts", "shares"),
    [
        ({"a": 1}, {}),
        ({"a": 1}, {"a": 0.0}),
        ({"a": 1}, {"a": math.nan}),
        ({"a": 1}, {"a": 2, "b": -1}),
        ({"a": -1}, {"a": 1}),
    ],
)
def test_impossible_figures_are_refused(counts: dict[str, int], shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"0 or more|fewer than 0"):
        srm_log_e_value(counts, shares)

"""Sequential evidence: what it is by definition, that it cannot be fooled on average, and that no count breaks it."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowai.statistics import Block, EProcess, RateEProcess, RatioEProcess
from flowai.statistics.evalues import (
    LOG_ODDS,
    LOG_ODDS_WEIGHTS,
    PLUG_IN_START,
    RATE_RATIOS,
    RATIO_WEIGHTS,
    UNSEEN_CALLS,
)

CONSTRUCTIONS = (RatioEProcess, RateEProcess)


@pytest.fixture(scope="module", autouse=True)
def oracles() -> None:
    """Import the references before hypothesis starts its clock."""
    import scipy.stats  # noqa: F401


def block(candidate_count: int, control_count: int, candidate_failures: int, control_failures: int) -> Block:
    return Block(
        candidate_count=candidate_count,
        control_count=control_count,
        candidate_failure_count=candidate_failures,
        control_failure_count=control_failures,
    )


@st.composite
def blocks(draw: st.DrawFn, most: int = 200) -> Block:
    candidate, control = draw(st.integers(0, most)), draw(st.integers(0, most))
    return block(candidate, control, draw(st.integers(0, candidate)), draw(st.integers(0, control)))


evidences = st.builds(
    lambda kind, margin: kind(margin=margin),
    st.sampled_from(CONSTRUCTIONS),
    st.sampled_from([0.0, 0.01, 0.2]),
)


def expectation(evidence: EProcess, sizes: list[tuple[int, int]], candidate_rate: float, control_rate: float) -> float:
    """Enumerate every outcome of a few small blocks."""
    if not sizes:
        return math.exp(evidence.log_e)
    total = 0.0
    (n1, n0), *rest = sizes
    for k1, k0 in product(range(n1 + 1), range(n0 + 1)):
        chance = math.comb(n1, k1) * candidate_rate**k1 * (1 - candidate_rate) ** (n1 - k1)
        chance *= math.comb(n0, k0) * control_rate**k0 * (1 - control_rate) ** (n0 - k0)
        onward = evidence.fork()
        onward.add(block(n1, n0, k1, k0))
        total += chance * expectation(onward, rest, candidate_rate, control_rate)
    return total


@pytest.mark.parametrize("kind", CONSTRUCTIONS)
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("sizes", [[(1, 1)], [(5, 2)], [(2, 7)], [(2, 2), (1, 3)], [(1, 2), (3, 1), (2, 2)]])
def test_on_average_evidence_never_grows_under_the_null(
    kind: type[EProcess], margin: float, sizes: list[tuple[int, int]]
) -> None:
    for control_rate, beyond in product([0.0, 0.01, 0.1, 0.5, 0.69, 1.0], [0.0, 0.02, 0.3]):
        candidate_rate = control_rate + margin - beyond
        if 0 <= candidate_rate <= 1:
            assert expectation(kind(margin=margin), sizes, candidate_rate, control_rate) <= 1 + 1e-9


def test_at_equal_rates_the_ratio_loses_almost_nothing() -> None:
    # the bound is sharp: no evidence is given away between one candidate and one control call
    assert expectation(RatioEProcess(), [(1, 1)], 0.02, 0.02) == pytest.approx(1, abs=1e-3)


def at_risk_expectation(evidence: RatioEProcess, users: tuple[int, int], draws: list[int], ratio: float = 1.0) -> float:
    """Enumerate first failures among users at risk: each draw is without replacement, with odds `ratio`."""
    if not draws:
        return math.exp(evidence.log_e)
    (n1, n0), (failures, *rest) = users, draws
    chances = {
        k1: math.comb(n1, k1) * math.comb(n0, failures - k1) * ratio**k1
        for k1 in range(max(0, failures - n0), min(n1, failures) + 1)
    }
    whole, total = sum(chances.values()), 0.0
    for k1, chance in chances.items():
        k0 = failures - k1
        onward = evidence.fork()
        onward.add(block(n1, n0, k1, k0))
        total += chance / whole * at_risk_expectation(onward, (n1 - k1, n0 - k0), rest, ratio)
    return total


@pytest.mark.parametrize("users", [(5, 5), (2, 9), (9, 3), (1, 1), (6, 60)])
def test_failures_among_users_at_risk_have_an_expectation_of_exactly_one(users: tuple[int, int]) -> None:
    evidence = RatioEProcess(failures_only=True)
    ones = [1] * min(users[0] + users[1] - 1, 6)
    assert at_risk_expectation(evidence, users, ones) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("users", [(5, 5), (2, 9), (9, 3), (6, 60)])
@pytest.mark.parametrize("draws", [[2], [3, 2], [2, 1, 3], [5, 2]])
def test_several_failures_at_once_are_drawn_without_replacement_and_prove_no_more(
    users: tuple[int, int], draws: list[int]
) -> None:
    evidence = RatioEProcess(failures_only=True)
    assert at_risk_expectation(evidence, users, draws) <= 1 + 1e-9
    assert at_risk_expectation(evidence, users, draws, 0.5) < 1


@pytest.mark.parametrize("users", [(5, 5), (2, 9), (9, 3)])
def test_failures_with_replacement_have_an_expectation_of_exactly_one(users: tuple[int, int]) -> None:
    n1, n0 = users
    for failures in range(min(users) + 1):
        total = 0.0
        for k1 in range(failures + 1):
            share = n1 / (n1 + n0)
            chance = math.comb(failures, k1) * share**k1 * (1 - share) ** (failures - k1)
            log_e = RatioEProcess(failures_only=True).add(block(n1, n0, k1, failures - k1))
            total += chance * math.exp(log_e)
        assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("tolerated", [1.0, 1.2, 2.0])
@pytest.mark.parametrize("users", [(5, 5), (2, 9), (9, 3), (6, 60)])
def test_a_tolerated_ratio_is_no_harm(users: tuple[int, int], tolerated: float) -> None:
    draws = [1] * 5
    evidence = RatioEProcess(tolerated_ratio=tolerated, failures_only=True)
    assert at_risk_expectation(evidence, users, draws, tolerated) == pytest.approx(1, abs=1e-9), "the edge is exact"
    assert at_risk_expectation(evidence, users, draws, 1.0) <= 1 + 1e-9
    assert at_risk_expectation(evidence, users, draws, 3 * tolerated) > 1


def test_only_failures_count_for_users_at_risk() -> None:
    fresh, later = (RatioEProcess(failures_only=True) for _ in range(2))
    later.add(block(1000, 1000, 0, 0))
    assert later.log_e == 0
    assert fresh.add(block(40, 60, 3, 1)) == later.add(block(40, 60, 3, 1))


@pytest.mark.parametrize(
    "options",
    [{"tolerated_ratio": 0.9}, {"tolerated_ratio": 1.2, "margin": 0.1}, {"failures_only": True, "margin": 0.1}],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        RatioEProcess(**options)


def test_before_a_rate_is_known_the_ratio_is_the_likelihood_ratio_of_the_candidate_s_share_of_failures() -> None:
    from scipy.stats import binom

    for n1, n0, k1, k0 in ((100, 900, 7, 20), (10, 10, 0, 3), (500, 50, 9, 0), (30, 40, 5, 5)):
        share, failures = n1 / (n1 + n0), k1 + k0
        mixed = sum(
            weight
            * binom.pmf(k1, failures, ratio * share / (ratio * share + 1 - share))
            / binom.pmf(k1, failures, share)
            for ratio, weight in zip(RATE_RATIOS, RATIO_WEIGHTS, strict=True)
        )
        assert RatioEProcess().add(block(n1, n0, k1, k0)) == pytest.approx(math.log(mixed), abs=1e-6)


def test_once_a_rate_is_known_the_ratio_is_the_likelihood_ratio_of_two_rates_around_it() -> None:
    from scipy.stats import binom

    first, second = block(200, 800, 5, 21), block(100, 900, 7, 20)
    share, rate = 0.1, 26 / (1000 + UNSEEN_CALLS)
    evidence = RatioEProcess()
    evidence.add(first)
    mixed = 0.0
    for ratio, before in zip(RATE_RATIOS, [math.exp(bet) for bet in evidence._log_bets], strict=True):
        lower = rate / (1 + share * (ratio - 1))
        likelihood = binom.pmf(7, 100, ratio * lower) * binom.pmf(20, 900, lower)
        weight = RATIO_WEIGHTS[RATE_RATIOS.index(ratio)]
        mixed += weight * before * likelihood / (binom.pmf(7, 100, rate) * binom.pmf(20, 900, rate))
    assert evidence.add(second) == pytest.approx(math.log(mixed), abs=1e-6)


def test_rate_evidence_is_a_likelihood_ratio_around_the_rate_so_far() -> None:
    from scipy.stats import bernoulli

    evidence = RateEProcess()
    evidence.add(block(50, 70, 20, 25))
    first = dict(zip(LOG_ODDS, evidence._log_bets, strict=True))
    n1, n0, k1, k0 = 30, 60, 17, 21
    share, rate = n1 / (n1 + n0), (45 + PLUG_IN_START) / (120 + 2 * PLUG_IN_START)
    calls = [("candidate", i < k1) for i in range(n1)] + [("control", i < k0) for i in range(n0)]
    mixed = 0.0
    for odds, weight in zip(LOG_ODDS, LOG_ODDS_WEIGHTS, strict=True):
        step = odds * rate * (1 - rate)
        rates = {"candidate": rate + (1 - share) * step, "control": rate - share * step}
        log_ratio = sum(bernoulli.logpmf(y, rates[arm]) - bernoulli.logpmf(y, rate) for arm, y in calls)
        mixed += weight * math.exp(first[odds] + log_ratio)
    assert evidence.add(block(n1, n0, k1, k0)) == pytest.approx(math.log(mixed), abs=1e-6)


def test_weights_are_a_distribution() -> None:
    for grid, weights in ((RATE_RATIOS, RATIO_WEIGHTS), (LOG_ODDS, LOG_ODDS_WEIGHTS)):
        assert len(grid) == len(weights)
        assert math.fsum(weights) == pytest.approx(1)


@given(evidences, st.lists(blocks(), max_size=4))
def test_an_empty_block_changes_nothing(evidence: EProcess, history: list[Block]) -> None:
    for one in history:
        evidence.add(one)
    before = evidence.log_e
    assert evidence.add(block(0, 0, 0, 0)) == before


@given(evidences, blocks())
def test_one_arm_alone_is_no_evidence(evidence: EProcess, one: Block) -> None:
    evidence.add(block(one.candidate_count, 0, one.candidate_failure_count, 0))
    evidence.add(block(0, one.control_count, 0, one.control_failure_count))
    assert evidence.log_e == pytest.approx(0, abs=1e-12)


@given(evidences, st.lists(blocks(), max_size=6))
def test_a_copy_goes_on_by_itself(evidence: EProcess, history: list[Block]) -> None:
    for one in history:
        evidence.add(one)
    twin, before = evidence.fork(), evidence.log_e
    assert twin.log_e == before
    twin.add(block(50, 50, 20, 5))
    assert evidence.log_e == before
    assert evidence.add(block(50, 50, 20, 5)) == twin.log_e


@given(evidences, st.lists(blocks(), max_size=6))
def test_the_peak_is_the_most_there_was(evidence: EProcess, history: list[Block]) -> None:
    seen = [0.0, *(evidence.add(one) for one in history)]
    assert evidence.peak_log_e == max(seen)


@settings(max_examples=200)
@given(
    evidences,
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.sampled_from([0.0, 1e-9, 0.5, 1.0]),
    st.sampled_from([0.0, 1e-9, 0.5, 1.0]),
)
def test_no_count_breaks_it(evidence: EProcess, n1: int, n0: int, one: float, other: float) -> None:
    for _ in range(3):
        evidence.add(block(n1, n0, round(n1 * one), round(n0 * other)))
        assert math.isfinite(evidence.log_e)


@pytest.mark.parametrize("kind", CONSTRUCTIONS)
def test_more_failures_of_the_candidate_are_evidence_and_fewer_are_not(kind: type[EProcess]) -> None:
    def after(margin: float, candidate_failures: int, control_failures: int) -> float:
        evidence = kind(margin=margin)
        for _ in range(20):
            evidence.add(block(300, 300, candidate_failures, control_failures))
        return evidence.log_e

    assert after(0.0, 24, 6) > 20
    assert after(0.0, 6, 24) < 0
    assert after(0.05, 24, 6) < after(0.0, 24, 6)


@pytest.mark.parametrize("kind", CONSTRUCTIONS)
def test_rates_are_learnt_for_each_stream_by_itself(kind: type[EProcess]) -> None:
    fresh, elsewhere, here = kind(), kind(), kind()
    for evidence, stream in ((elsewhere, "hard"), (here, "easy")):
        evidence.add(block(0, 1000, 0, 300), stream=stream)  # one arm alone: no evidence, but a rate
    for evidence in (fresh, elsewhere, here):
        evidence.add(block(100, 100, 9, 5), stream="easy")
    assert elsewhere.log_e == fresh.log_e
    assert here.log_e != fresh.log_e


@pytest.mark.parametrize("counts", [(1, 1, 2, 0), (1, 1, 0, 2), (1, 1, -1, 0), (-1, 0, 0, 0)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        block(*counts)


@pytest.mark.parametrize("margin", [-0.1, 1.0, math.nan])
def test_impossible_margins_are_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        RatioEProcess(margin=margin)

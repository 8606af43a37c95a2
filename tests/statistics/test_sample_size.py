"""Forecast of the calls needed: near the truth, repeatable, None if there is no forecast."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.statistics import Block, EProcess, RateEProcess, RatioEProcess, required_sample_size
from flowai.statistics.sample_size import draw_binomial


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - a sample


ENOUGH = math.log(1 / 0.05)
PACE = Block(candidate_count=100, control_count=900, candidate_failure_count=0, control_failure_count=0)


def seen(candidate_failures: int, control_failures: int, times: int = 10) -> Block:
    return Block(
        candidate_count=100 * times,
        control_count=900 * times,
        candidate_failure_count=candidate_failures,
        control_failure_count=control_failures,
    )


def test_the_forecast_comes_true_about_as_often_as_it_says() -> None:
    observed, start = seen(30, 180), RatioEProcess()
    forecast = required_sample_size(start, log_enough=ENOUGH, observed=observed, pace=PACE, rng=seeded(1))
    assert forecast is not None
    reached, rng, rounds = 0, seeded(2), 200
    for _ in range(rounds):
        evidence = start.fork()
        for _ in range(forecast // 100):
            evidence.add(seen(draw_binomial(rng, 100, 0.03), draw_binomial(rng, 900, 0.02), times=1))
        reached += evidence.peak_log_e >= ENOUGH
    assert 0.65 <= reached / rounds <= 0.95


@pytest.mark.parametrize("evidence", [RatioEProcess(), RateEProcess()])
def test_it_is_repeatable_and_leaves_the_evidence_alone(evidence: EProcess) -> None:
    first, second = (
        required_sample_size(evidence, log_enough=ENOUGH, observed=seen(60, 180), pace=PACE, rng=seeded(5))
        for _ in range(2)
    )
    assert first == second
    assert evidence.log_e == 0


def test_stronger_evidence_needs_more_calls() -> None:
    few, many = (
        required_sample_size(RatioEProcess(), log_enough=enough, observed=seen(40, 180), pace=PACE, rng=seeded(1))
        for enough in (ENOUGH, 3 * ENOUGH)
    )
    assert few is not None
    assert many is not None
    assert few < many


def test_enough_is_enough() -> None:
    evidence = RatioEProcess()
    evidence.add(Block(candidate_count=500, control_count=500, candidate_failure_count=100, control_failure_count=5))
    assert required_sample_size(evidence, log_enough=ENOUGH, observed=seen(1, 1), pace=PACE, rng=seeded(1)) == 0


def test_no_calls_give_no_forecast() -> None:
    nothing = Block(candidate_count=0, control_count=0, candidate_failure_count=0, control_failure_count=0)
    for observed, pace in ((nothing, PACE), (seen(1, 1), nothing)):
        found = required_sample_size(RatioEProcess(), log_enough=ENOUGH, observed=observed, pace=pace, rng=seeded(1))
        assert found is None


def test_what_will_not_happen_is_not_promised() -> None:
    # a third of the control's failures are no harm, however long one waits
    found = required_sample_size(RatioEProcess(), log_enough=ENOUGH, observed=seen(7, 180), pace=PACE, rng=seeded(1))
    assert found is None


@given(st.integers(0, 10**9), st.floats(0, 1), st.integers(0, 100))
def test_a_draw_is_a_possible_number(total: int, rate: float, seed: int) -> None:
    assert 0 <= draw_binomial(seeded(seed), total, rate) <= total


@pytest.mark.parametrize(("total", "rate"), [(50, 0.1), (1000, 0.02), (10_000, 0.3), (20, 0.9)])
def test_draws_have_the_binomial_s_mean_and_variance(total: int, rate: float) -> None:
    rng, rounds = seeded(3), 4000
    drawn = [draw_binomial(rng, total, rate) for _ in range(rounds)]
    mean, variance = total * rate, total * rate * (1 - rate)
    assert sum(drawn) / rounds == pytest.approx(mean, abs=4 * math.sqrt(variance / rounds))
    assert sum((one - mean) ** 2 for one in drawn) / rounds == pytest.approx(variance, rel=0.1)


def test_sure_things_are_not_left_to_chance() -> None:
    assert draw_binomial(seeded(1), 10, 0.0) == 0
    assert draw_binomial(seeded(1), 10, 1.0) == 10
    assert draw_binomial(seeded(1), 0, 0.5) == 0

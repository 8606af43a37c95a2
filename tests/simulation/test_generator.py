"""Calls of simulated rollouts have the truth that their scenario names."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.simulated_rollouts import BUSY, LARGE, SMALL

from flowai.gateway.routing.assignment import assign_variant
from flowai.simulation.calls import CANARY, COLUMNS, CONTROL, STABLE, VARIANTS, call_id, user_name
from flowai.simulation.generator import simulate_calls
from flowai.simulation.own_rates import own_rates
from flowai.simulation.scenario import Arm, CacheTraffic, Outage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from flowai.simulation.calls import SimulatedCalls

OF_ARM = {"variant", "by_candidate"}


def is_equal(first: SimulatedCalls, second: SimulatedCalls, names: set[str]) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True) for name in names)


def assert_rate(hits: NDArray[Any], rate: float, sigmas: float = 4.0) -> None:
    assert abs(hits.mean() - rate) <= sigmas * (rate * (1 - rate) / len(hits)) ** 0.5


def test_equal_seeds_repeat_a_simulation_and_others_do_not() -> None:
    first, again, other = (simulate_calls(BUSY, seed) for seed in (3, 3, 4))
    assert is_equal(first, again, set(COLUMNS))
    assert not np.array_equal(first.at_us[:100], other.at_us[:100])
    assert is_equal(simulate_calls(replace(BUSY, seed=3)), first, set(COLUMNS))


def test_equal_arms_have_the_same_outcomes_whichever_release_serves() -> None:
    calls, others = (simulate_calls(replace(BUSY, candidate_release=name), 5) for name in ("v2", "v3"))
    assert (calls.variant != others.variant).mean() > 0.1
    assert is_equal(calls, others, set(COLUMNS) - OF_ARM)


def test_a_worse_candidate_changes_only_its_own_calls() -> None:
    worse = replace(SMALL, candidate=Arm(error_rate=0.2), user_concentration=10.0)
    calls, equal = simulate_calls(worse, 1), simulate_calls(replace(worse, candidate=Arm()), 1)
    assert np.array_equal(calls.number, equal.number)
    assert np.array_equal(calls.error[~calls.by_candidate], equal.error[~calls.by_candidate])
    served = calls.by_candidate
    assert (calls.error[served] >= equal.error[served]).all()  # the same users, unluckier
    assert calls.error[served].mean() > 5 * equal.error[served].mean()


@pytest.mark.parametrize("anonymous_rate", [0.0, 1.0])
def test_variants_are_those_of_the_gateway(anonymous_rate: float) -> None:
    scenario = replace(SMALL, anonymous_rate=anonymous_rate, retry_rate=0.5, calls_per_hour=100)
    calls = simulate_calls(scenario, 2)
    for user, number, at_us, variant in zip(calls.user, calls.number, calls.at_us, calls.variant, strict=True):
        unit = call_id(2, number) if user < 0 else user_name(2, user)
        (percent,) = (one.percent for one in scenario.spans() if one.since_us <= at_us < one.until_us)
        stage: Any = percent or "dogfood"
        assert VARIANTS[variant] == assign_variant(
            candidate="v2", stage=stage, unit=unit, critical=False, critical_from=0, flagged=False
        )


def test_users_stay_with_the_candidate_from_stage_to_stage() -> None:
    calls = simulate_calls(SMALL, 1)
    assert set(calls.variant.tolist()) == {STABLE, CONTROL, CANARY}
    begin_us = SMALL.spans()[0].since_us
    for user in np.unique(calls.user):
        served = calls.by_candidate[calls.user == user]
        assert (np.diff(served.astype(int)) >= 0).all()
    assert np.array_equal(calls.by_candidate, calls.variant == CANARY)
    assert not calls.by_candidate[calls.at_us < begin_us + 2 * 3_600_000_000].any()


@pytest.mark.parametrize("concentration", [None, 2.0, 30.0])
def test_means_are_the_rates_of_each_arm(concentration: float | None) -> None:
    scenario = replace(
        LARGE,
        calls_per_user=1.0,
        activity_exponent=None,
        user_concentration=concentration,
        control=Arm(error_rate=0.05, bad_json_rate=0.02, cancelled_rate=0.03, primary_failure_rate=0.1),
        candidate=Arm(error_rate=0.1, acceptance=0.5, hallucination_rate=0.2, degraded_rate=0.5, latency_ms=1200),
        feedback_rate=0.5,
        score_rate=0.5,
        lost_feedback_rate=0.1,
    )
    calls = simulate_calls(scenario, 1)
    for arm, of_arm in ((scenario.candidate, calls.by_candidate), (scenario.control, ~calls.by_candidate)):
        served = calls.select(of_arm)
        answered = served.select(~(served.error | served.cancelled))
        assert_rate(served.error, arm.error_rate)
        assert_rate(served.cancelled[~served.error], arm.cancelled_rate)
        assert_rate(answered.json_invalid == 1, arm.bad_json_rate)
        assert_rate(answered.primary_failed, arm.primary_failure_rate)
        assert_rate(answered.degraded[answered.primary_failed], arm.degraded_rate)
        assert_rate(answered.feedback >= 0, 0.45)
        assert_rate(answered.feedback[answered.feedback >= 0], arm.acceptance)
        assert_rate(answered.score >= 0, 0.5)
        assert_rate(answered.score[answered.score >= 0], 1 - arm.hallucination_rate)
        assert np.median(served.latency_ms) == pytest.approx(arm.latency_ms, rel=0.03)
        assert np.log(served.latency_ms).std() == pytest.approx(0.5, rel=0.03)
        assert np.median(answered.ttft_ms) == pytest.approx(200, rel=0.03)
        assert (answered.ttft_ms <= answered.latency_ms).all()
        assert np.median(answered.cost_usd) == pytest.approx(0.001, rel=0.03)
    assert len(calls) == pytest.approx(72_000, rel=0.02)
    assert_rate(calls.by_candidate, 0.5)


def test_users_differ_by_their_concentration() -> None:
    few = replace(LARGE, calls_per_user=200.0, activity_exponent=None, control=Arm(error_rate=0.3))
    few = replace(few, candidate=few.control)
    spread = {}
    for concentration in (None, 30.0, 2.0):
        calls = simulate_calls(replace(few, user_concentration=concentration), 1)
        counts = np.bincount(calls.user)
        spread[concentration] = (np.bincount(calls.user, weights=calls.error) / counts).var()
    sampling = 0.3 * 0.7 / 200
    assert spread[None] == pytest.approx(sampling, rel=0.25)
    assert spread[30.0] == pytest.approx(sampling + 0.3 * 0.7 / 31, rel=0.25)
    assert spread[2.0] == pytest.approx(sampling + 0.3 * 0.7 / 3, rel=0.25)


@pytest.mark.parametrize(("mean", "concentration"), [(0.001, 2), (0.02, 10), (0.3, 30), (0.62, 2), (0.99, 10)])
def test_own_rates_are_quantiles_of_the_beta_distribution(mean: float, concentration: float) -> None:
    special: Any = pytest.importorskip("scipy.special")
    ranks = (np.arange(2000) + 0.5) / 2000
    expected = special.betaincinv(concentration * mean, concentration * (1 - mean), ranks)
    assert own_rates(ranks, mean, concentration) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_own_rates_of_certain_outcomes_are_certain() -> None:
    ranks = np.linspace(0, 1, 5)
    assert own_rates(ranks, 0.0, 2.0).tolist() == [0.0] * 5
    assert own_rates(ranks, 1.0, 2.0).tolist() == [1.0] * 5


def test_users_who_always_fail_fail_in_every_call() -> None:
    arm = Arm(error_rate=0.0, always_failing_user_rate=0.1)
    calls = simulate_calls(replace(LARGE, candidate=arm, control=arm, calls_per_user=20.0, drift=0.5), 1)
    users = np.unique(calls.user)
    shares = np.array([calls.error[calls.user == user].mean() for user in users])
    assert set(shares.tolist()) == {0.0, 1.0}
    assert_rate(shares, 0.1)


def test_failed_calls_are_retried_within_seconds_up_to_three_times() -> None:
    arm = Arm(error_rate=0.5, latency_ms=100.0)
    calls = simulate_calls(replace(SMALL, control=arm, candidate=arm, retry_rate=1.0, calls_per_hour=200), 1)
    visit, attempt = np.divmod(calls.number, 4)
    counts = Counter(attempt.tolist())
    for number in range(1, 4):
        assert counts[number] == calls.error[attempt == number - 1].sum()
    order = np.argsort(calls.number)
    is_next = np.diff(visit[order]) == 0
    waits_s = np.diff(calls.at_us[order])[is_next] / 1e6
    assert waits_s.min() > 1
    assert waits_s.max() < 15
    assert (np.diff(calls.user[order])[is_next] == 0).all()


def test_repeated_requests_fail_again() -> None:
    calls = simulate_calls(replace(LARGE, retry_rate=1.0, repeated_failure_rate=0.9), 1)
    assert_rate(calls.error[calls.number % 4 > 0], 1 - 0.1 * 0.98)
    assert_rate(calls.error[calls.number % 4 == 0], 0.02)


def test_traffic_has_a_day_a_changing_mix_and_unequal_users() -> None:
    calls = simulate_calls(replace(LARGE, day_night=1.0, features=BUSY.features), 1)
    hour = calls.at_us // 3_600_000_000 % 24
    by_hour = np.bincount(hour, minlength=24)
    assert by_hour[13:15].mean() == pytest.approx(2 * 1500 * 2, rel=0.1)
    assert by_hour[1:3].mean() < 200
    half = len(calls) // 2
    assert_rate(calls.feature[: half // 10], 1 / 3, sigmas=6)
    assert_rate(calls.feature[-half // 10 :], 2 / 3, sigmas=6)
    visits = np.sort(np.bincount(calls.user, minlength=9000))[::-1]
    assert visits.mean() == pytest.approx(8, rel=0.05)
    assert visits[:900].sum() > 0.3 * len(calls)


def test_failures_follow_features_drift_and_outages() -> None:
    outage = Outage(start_hour=10, hours=2, failure_rate=0.5)
    scenario = replace(LARGE, features=BUSY.features, drift=3.0, outage=outage)
    calls = simulate_calls(scenario, 1)
    hours = (calls.at_us - scenario.spans()[0].since_us) / 3.6e9
    is_out = (hours >= 10) & (hours < 12)
    assert_rate(calls.error[is_out & calls.by_candidate], 0.53, sigmas=6)
    assert_rate(calls.error[is_out & ~calls.by_candidate], 0.53, sigmas=6)
    extract = calls.feature == 1
    for window, factor in ((hours < 4, 1.08), (hours > 44, 2.92)):
        assert calls.error[window & ~extract].mean() == pytest.approx(0.02 * factor, rel=0.2)
        assert calls.error[window & extract].mean() == pytest.approx(0.06 * factor, rel=0.2)
    assert np.median(calls.latency_ms[extract]) == pytest.approx(1600, rel=0.03)


def test_a_new_candidate_has_a_cold_cache() -> None:
    calls = simulate_calls(replace(LARGE, cache=CacheTraffic(hit_rate=0.4, warm_up_calls=5000)), 1)
    of_candidate, of_control = calls.select(calls.by_candidate), calls.select(~calls.by_candidate)
    assert_rate(of_control.cached, 0.4)
    assert of_candidate.cached[:1000].mean() < 0.07
    assert_rate(of_candidate.cached[-5000:], 0.4)
    hits = calls.select(calls.cached)
    assert not (hits.error | hits.cancelled | hits.primary_failed).any()
    assert (hits.cost_usd == 0).all()
    assert np.isnan(hits.ttft_ms).all()
    assert hits.latency_ms.max() < 20


def test_bots_always_or_never_fail() -> None:
    calls = simulate_calls(replace(BUSY, outage=None), 1)
    first_bot = round(300 * 28 / 8)
    failing, working = (calls.error[calls.user == first_bot + number] for number in (0, 2))
    assert failing.all()
    assert not working.any()
    assert len(failing) == pytest.approx(280, rel=0.25)
    assert calls.user.max() == first_bot + 2


def test_clock_skew_moves_the_records_of_a_process_but_not_the_assignment() -> None:
    exact, skewed = (simulate_calls(replace(BUSY, clock_skew_s=skew_s), 1) for skew_s in (0.0, 30.0))
    assert (np.diff(skewed.at_us) >= 0).all()
    exact, skewed = (one.select(np.argsort(one.number)) for one in (exact, skewed))
    assert is_equal(exact, skewed, {"number", "user", "variant", "process", "error"})
    offsets = [np.unique((skewed.at_us - exact.at_us)[exact.process == process]) for process in range(3)]
    assert [len(one) for one in offsets] == [1, 1, 1]
    assert 0 < np.abs(offsets).max() <= 30_000_000

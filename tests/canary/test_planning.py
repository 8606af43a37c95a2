"""Rollouts planned from a log: the calls read, users drawn, harms added, and the power that follows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.rollout_log import BEGIN, events_of, write_log
from support.rollout_log import Scenario as LoggedRollout

from flowai.analytics.event_query import TimeRange
from flowai.canary.planning.logged_calls import LoggedCalls, read_calls, unit_count
from flowai.canary.planning.power import TrafficCurves, guardrail_power
from flowai.canary.planning.simulated_verdicts import judge_simulated, rollout_spec
from flowai.comparison.evidence import DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.comparison.spec import HOUR_US
from flowai.errors import InconclusiveError
from flowai.events import EventLog
from flowai.redaction import Redactor
from flowai.registry.policies import CanaryPolicy
from flowai.simulation.calls import CANARY, CONTROL, DOGFOOD, STABLE, SimulatedCalls
from flowai.simulation.event_log import write_event_log
from flowai.simulation.generator import simulate_calls
from flowai.simulation.harm import Harm, add_harm, failure_shares, slow_limits
from flowai.simulation.resample import Assignment, UserHistories, draw_rollout, expected_arm_calls, sample_users
from flowai.simulation.scenario import Arm, FeatureTraffic, Scenario
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.canary.planning.power_records import GuardrailPower

TRAFFIC = Scenario(
    control=Arm(cancelled_rate=0.03, primary_failure_rate=0.05, degraded_rate=0.3),
    stages=((0, 12.0),),
    calls_per_hour=500.0,
    calls_per_user=4.0,
    user_concentration=10.0,
    user_sigma=0.3,
    anonymous_rate=0.2,
    features=(FeatureTraffic(name="chat"), FeatureTraffic(name="search", latency_factor=2.0, is_json=False)),
    score_rate=0.3,
)
PLAN = Scenario(stages=((0, 4.0), (10, 4.0), (50, 4.0)), features=TRAFFIC.features)
RATES = ("error_rate", "json_valid", "slow_calls", "cancelled", "degraded", "acceptance", "hallucination")


def whole(scenario: Scenario) -> TimeRange:
    spans = scenario.spans()
    return TimeRange(since_us=spans[0].since_us, until_us=spans[-1].until_us)


def logged(scenario: Scenario = TRAFFIC, **changes: Any) -> LoggedCalls:
    facts: dict[str, Any] = {
        "release": "v1",
        "time_range": whole(scenario),
        "calls": simulate_calls(scenario, 5),
        "features": tuple(one.name for one in scenario.features),
    }
    return LoggedCalls(**(facts | changes))


def histories(calls: SimulatedCalls, plan: Scenario = PLAN, length: TimeRange | None = None) -> UserHistories:
    time_range = length or whole(TRAFFIC)
    return UserHistories.build(calls, since_us=time_range.since_us, until_us=time_range.until_us, spans=plan.spans())


def draw(calls: SimulatedCalls, seed: int = 0, plan: Scenario = PLAN, **changes: Any) -> SimulatedCalls:
    source = histories(calls, plan)
    facts: dict[str, Any] = {"user_count": len(source.starts), "max_arm_calls": 50_000} | changes
    return draw_rollout(source, Assignment(spans=plan.spans()), seed=(seed,), **facts)


# --- reading ---


def test_calls_are_read_as_they_were_written(tmp_path: Path) -> None:
    calls = simulate_calls(TRAFFIC, 5)
    write_event_log(calls, TRAFFIC, tmp_path)
    found = read_calls((tmp_path,), "v1", whole(TRAFFIC))
    assert found.features == ("chat", "search")
    assert (found.hours, found.user_share, found.call_count) == (12, 1.0, len(calls))
    order = np.lexsort((calls.latency_ms, calls.at_us))
    again = np.lexsort((found.calls.latency_ms, found.calls.at_us))
    in_time = calls.feedback_at_us < calls.at_us + HOUR_US
    scored_in_time = calls.score_at_us < calls.at_us + HOUR_US
    expected = replace(
        calls,
        feedback=np.where(in_time, calls.feedback, -1),
        feedback_at_us=np.where(in_time, calls.feedback_at_us, -1),
        score=np.where(scored_in_time, calls.score, -1),
        score_at_us=np.where(scored_in_time, calls.score_at_us, -1),
    )
    for name in ("at_us", "feature", "error", "cancelled", "primary_failed", "degraded", "json_invalid", "latency_ms",
                 "ttft_ms", "cost_usd", "cached", "feedback", "feedback_at_us", "score", "score_at_us"):  # fmt: skip
        np.testing.assert_array_equal(getattr(found.calls, name)[again], getattr(expected, name)[order], err_msg=name)
    named = calls.user >= 0
    assert unit_count(found.calls) == found.user_count == len(set(calls.user[named].tolist())) + int((~named).sum())
    sizes = Counter(Counter(calls.user[named].tolist()).values())
    assert Counter(Counter(found.calls.user[found.calls.user >= 0].tolist()).values()) == sizes


def test_users_are_known_outside_rollouts_and_the_candidates_calls_are_left_out(tmp_path: Path) -> None:
    plain = {"variant": None, "is_sticky": False}
    write_log(tmp_path, LoggedRollout(calls_count=300, percent=0, calls_per_user=3, changes=plain))
    rest = LoggedRollout(calls_count=200, percent=50, calls_per_user=2, seed=8)
    write_log(tmp_path, rest, process="web-2")
    rollout = [event for event in events_of(rest) if getattr(event, "variant", None)]
    kept = [event for event in rollout if getattr(event, "variant", None) != "canary"]
    assert 0 < len(kept) < len(rollout) == 200
    time_range = TimeRange(since_us=to_us(BEGIN), until_us=to_us(rest.end))
    found = read_calls((tmp_path,), "v1", time_range)
    assert len(found.calls) == 300 + len(kept)
    assert found.user_count == 100 + len(kept) / 2
    with pytest.raises(InconclusiveError, match="no calls of v3"):
        read_calls((tmp_path,), "v3", time_range)


def test_a_call_that_was_written_twice_counts_once(tmp_path: Path) -> None:
    rollout = LoggedRollout(calls_count=100, percent=0)
    for process in ("a", "b"):
        with EventLog(tmp_path, process, Redactor(()), lambda: BEGIN) as log:
            for event in events_of(rollout):
                log.append(event)
    found = read_calls((tmp_path,), "v1", TimeRange(since_us=to_us(BEGIN), until_us=to_us(rollout.end)))
    assert len(found.calls) == 100


def test_of_many_calls_those_of_a_sample_of_users_are_read(tmp_path: Path) -> None:
    calls = simulate_calls(TRAFFIC, 5)
    write_event_log(calls, TRAFFIC, tmp_path)
    found = read_calls((tmp_path,), "v1", whole(TRAFFIC), max_calls=2000)
    assert found.user_share == pytest.approx(1 / -(-len(calls) // 2000))
    assert len(found.calls) < 3000
    assert found.call_count == pytest.approx(len(calls), rel=0.15)


# --- resampling ---


def test_drawn_rollouts_keep_the_means_of_the_log() -> None:
    calls = simulate_calls(TRAFFIC, 5)
    drawn = [draw(calls, seed) for seed in range(60)]
    for name in ("error", "cancelled", "primary_failed", "latency_ms"):
        mean = float(np.mean([getattr(one, name).mean() for one in drawn]))
        assert mean == pytest.approx(float(getattr(calls, name).mean()), rel=0.08), name
    assert np.mean([len(one) for one in drawn]) == pytest.approx(len(calls), rel=0.05)
    assert np.mean([unit_count(one) for one in drawn]) == pytest.approx(unit_count(calls), rel=0.02)


def test_a_drawn_user_has_a_whole_history_and_one_variant_per_stage() -> None:
    calls = simulate_calls(TRAFFIC, 5)
    one_day = replace(PLAN, stages=((50, 12.0),))
    drawn = draw(calls, plan=one_day)
    sizes = set(Counter(calls.user[calls.user >= 0].tolist()).values())
    named = drawn.user >= 0
    assert set(Counter(drawn.user[named].tolist()).values()) <= sizes
    variants: dict[int, set[int]] = {}
    for user, variant in zip(drawn.user[named].tolist(), drawn.variant[named].tolist(), strict=True):
        variants.setdefault(user, set()).add(variant)
    assert all(len(several) == 1 for several in variants.values())
    assert (np.diff(drawn.at_us) >= 0).all()
    assert ((drawn.variant == CANARY) == drawn.by_candidate).all()


def test_variants_have_the_shares_of_the_stages() -> None:
    drawn = draw(simulate_calls(TRAFFIC, 5))
    spans = PLAN.spans()
    for span, shares in zip(spans, ((0, 0, 1), (0.1, 0.1, 0.8), (0.5, 0.5, 0)), strict=True):
        inside = (drawn.at_us >= span.since_us) & (drawn.at_us < span.until_us)
        for code, share in zip((CANARY, CONTROL, STABLE), shares, strict=True):
            assert float((drawn.variant[inside] == code).mean()) == pytest.approx(share, abs=0.05)


def test_a_short_log_is_repeated_and_critical_features_join_late() -> None:
    calls = simulate_calls(TRAFFIC, 5)
    long = replace(PLAN, stages=((10, 18.0), (50, 18.0)))
    source = histories(calls, long)
    assert len(source.calls) == 3 * len(calls)
    assert int(source.calls.feedback_at_us[source.calls.feedback < 0].max()) == -1
    late = Assignment(spans=long.spans(), late_features=(1,), late_from=25)
    drawn = draw_rollout(source, late, seed=(0,), user_count=len(source.starts), max_arm_calls=50_000)
    early = drawn.at_us < long.spans()[0].until_us
    assert set(drawn.variant[early & (drawn.feature == 1)].tolist()) == {DOGFOOD}
    assert DOGFOOD not in set(drawn.variant[~early | (drawn.feature == 0)].tolist())


def test_no_arm_has_more_calls_than_can_be_counted() -> None:
    calls = simulate_calls(TRAFFIC, 5)
    source = histories(calls)
    expected = expected_arm_calls(source, Assignment(spans=PLAN.spans()))
    variants = draw(calls).variant
    assert expected == pytest.approx(np.bincount(variants).max(), rel=0.1)
    assert np.bincount(draw(calls, max_arm_calls=500).variant).max() <= 500
    assert len(sample_users(calls, 0.25, seed=1)) == pytest.approx(len(calls) / 4, rel=0.2)


# --- harm ---


def over_users(calls: SimulatedCalls, metric: str) -> float:
    shares = failure_shares(calls, metric)
    assert shares is not None
    return shares.failed


@pytest.mark.parametrize("metric", RATES)
def test_a_harm_adds_the_amount_to_the_candidates_rate_alone(metric: str) -> None:
    calls = simulate_calls(replace(TRAFFIC, calls_per_hour=3000.0), 5)
    drawn = draw(calls, plan=replace(PLAN, stages=((50, 12.0),)), user_count=12_000)
    limits = slow_limits(calls)
    harmed = add_harm(
        drawn, Harm(metric=metric, amount=0.1), shares=failure_shares(calls, metric), limits=limits, seed=1
    )
    for name in ("latency_ms", "error", "json_invalid", "feedback", "score", "cancelled", "primary_failed"):
        unchanged = ~drawn.by_candidate
        np.testing.assert_array_equal(getattr(drawn, name)[unchanged], getattr(harmed, name)[unchanged])
    candidate = drawn.by_candidate
    if metric == "slow_calls":
        answered = ~(drawn.error | drawn.cancelled)
        rates = [float((one.latency_ms > limits[one.feature])[candidate & answered].mean()) for one in (drawn, harmed)]
    else:
        rates = [over_users(one.select(candidate), metric) for one in (drawn, harmed)]
    assert rates[1] - rates[0] == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(("metric", "column"), [("latency", "latency_ms"), ("ttft", "ttft_ms"), ("cost", "cost_usd")])
def test_a_harm_of_a_mean_is_a_factor(metric: str, column: str) -> None:
    calls = draw(simulate_calls(TRAFFIC, 5))
    harmed = add_harm(calls, Harm(metric=metric, amount=1.5), shares=None, limits=slow_limits(calls), seed=1)
    factor = np.where(calls.by_candidate, 1.5, 1.0)
    np.testing.assert_allclose(getattr(harmed, column), getattr(calls, column) * factor)


# --- power ---

ONCE = Scenario(
    stages=((0, 48.0),),
    calls_per_hour=200.0,
    calls_per_user=1.0,
    activity_exponent=None,
    control=Arm(bad_json_rate=0.02),
)


def rules(**margins: float) -> DecisionRules:
    policy = CanaryPolicy().margins
    guardrails = CanaryPolicy().guardrails
    of = {name: margins.get(name, policy.of(name)) for name in METRICS}
    return DecisionRules(alpha=0.05, guardrails=guardrails, margins=of, baseline="v1")


def power(scenario: Scenario, name: Any, margins: dict[str, float] | None = None, percent: int = 50) -> GuardrailPower:
    found = logged(scenario)
    return guardrail_power(name, percent, 0, TrafficCurves(found, found.calls, rules(**(margins or {}))))


@pytest.mark.parametrize("name", ["error_rate", "json_valid", "slow_calls", "latency", "cancelled", "acceptance"])
def test_more_traffic_needs_fewer_days_and_a_smaller_margin_more_users(name: str) -> None:
    margin = 1.2 if name in ("latency", "cancelled") else 0.02
    smaller = 1.1 if name == "latency" else 0.01
    little = power(ONCE, name, {name: margin})
    much = power(replace(ONCE, calls_per_hour=800.0), name, {name: margin})
    for before, after in ((little.safe, much.safe), (little.found, much.found)):
        assert before is not None
        assert after is not None
        assert before.days is not None
        assert after.days is not None
        assert after.days < before.days
    if name == "cancelled":
        return  # its margin is 1 percentage point at least
    strict = power(ONCE, name, {name: smaller})
    assert strict.safe is not None
    assert little.safe is not None
    assert strict.safe.candidate is None or strict.safe.candidate > (little.safe.candidate or 0)


def test_thin_traffic_never_decides() -> None:
    found = power(replace(ONCE, calls_per_hour=3.0), "acceptance", percent=1)
    assert found.safe is not None
    assert found.safe.days is None
    assert found.safe.candidate is None
    without = power(replace(ONCE, score_rate=0.0), "hallucination")
    assert (without.safe, without.found) == (None, None)


def test_a_figure_holds_in_simulated_rollouts() -> None:
    """In about 4 of 5 rollouts of the length that is said to be needed, a harm of the margin's size is found."""
    busy = replace(ONCE, calls_per_hour=800.0, stages=((0, 30.0),))
    needed = power(busy, "json_valid").found
    assert needed is not None
    assert needed.days is not None
    hours = needed.days * 24
    assert 4 < hours < 40
    plan = replace(PLAN, stages=((50, hours),), features=busy.features)
    calls = simulate_calls(busy, 5)
    shares = failure_shares(calls, "json_valid")
    source = histories(calls, plan, whole(busy))
    spec = replace(rollout_spec(plan), metrics=("error_rate", "json_valid"))
    found = 0
    for seed in range(60):
        drawn = draw_rollout(
            source, Assignment(spans=plan.spans()), seed=(seed,), user_count=len(source.starts), max_arm_calls=50_000
        )
        harm = Harm(metric="json_valid", amount=0.01)
        harmed = add_harm(drawn, harm, shares=shares, limits=slow_limits(calls), seed=seed)
        judged = judge_simulated(harmed, plan, replace(rules(), guardrails=CanaryPolicy().guardrails[:2]), spec)
        found += "json_valid" in judged.worse
    assert 0.6 <= found / 60 <= 0.97

"""Simulated rollouts that are played up to their rollback only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowai.canary.planning.simulated_verdicts import find_rollback, judge_simulated
from flowai.comparison.evidence import DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.registry.policies import CanaryPolicy
from flowai.simulation.calls import COLUMNS
from flowai.simulation.generator import simulate_calls
from flowai.simulation.scenario import Arm, Scenario

SCENARIO = Scenario(
    candidate=Arm(error_rate=0.06),
    stages=((0, 2.0), (10, 16.0), (50, 10.0)),
    calls_per_hour=150.0,
    calls_per_user=4.0,
    retry_rate=0.5,
    anonymous_rate=0.1,
    process_count=3,
    clock_skew_s=300.0,
)
RULES = DecisionRules(
    alpha=0.05,
    guardrails=("error_rate", "json_valid", "slow_calls", "acceptance"),
    margins={name: CanaryPolicy().margins.of(name) for name in METRICS},
    baseline="v1",
)


@pytest.mark.parametrize("seed", range(3))
def test_the_first_calls_do_not_depend_on_how_long_is_simulated(seed: int) -> None:
    until_us = SCENARIO.spans()[1].until_us
    whole, part = simulate_calls(SCENARIO, seed), simulate_calls(SCENARIO, seed, until_us=until_us)
    assert len(part) < len(whole)
    for name in COLUMNS:
        columns = (getattr(calls.select(calls.at_us < until_us), name) for calls in (whole, part))
        assert len({column.tobytes() for column in columns}) == 1, name


@pytest.mark.parametrize("hours", [1.0, 7.0, 100.0])
def test_a_rollback_does_not_depend_on_how_long_is_simulated(hours: float) -> None:
    candidates = (SCENARIO, replace(SCENARIO, candidate=Arm()))
    moments = []
    for scenario in candidates:
        for seed in range(4):
            whole = judge_simulated(simulate_calls(scenario, seed), scenario, RULES)
            found = find_rollback(scenario, seed, RULES, hours=hours)
            for name in ("rollback_us", "worse", "calls_until_rollback"):
                assert getattr(found, name) == getattr(whole, name), name
            moments.append(whole.rollback_us)
    assert any(moments)
    assert None in moments

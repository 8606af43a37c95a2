"""The counts of simulated calls are those that the query finds in their event log, metric by metric."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest
from support.varied_scenarios import varied_scenarios

from flowai.analytics.event_query import open_log
from flowai.canary.judge import verdict_of
from flowai.canary.planning.simulated_counts import count_simulated
from flowai.canary.planning.simulated_verdicts import rollout_spec
from flowai.comparison.blocks import ArmPair
from flowai.comparison.count import count_arms
from flowai.comparison.evidence import Comparison, DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.comparison.spec import COLUMNS, HOUR_US
from flowai.registry.policies import CanaryPolicy
from flowai.simulation.event_log import write_event_log
from flowai.simulation.generator import simulate_calls

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.comparison.counts import Counts
    from flowai.comparison.spec import ComparisonSpec
    from flowai.simulation.scenario import Scenario

pytestmark = pytest.mark.slow  # writes and reads fifty logs

SCENARIOS = dict(varied_scenarios())
PAIR = ArmPair(candidate="canary", control="control", extra_control="stable")
RULES = DecisionRules(
    alpha=0.05,
    guardrails=METRICS,
    margins={name: CanaryPolicy().margins.of(name) for name in METRICS},
    baseline="v1",
)
NOT_COMPARED = {"releases", "prompts", "error_classes", "problems", "unreadable", "premature_calls", "traffic"}
"""Fields of which the simulation knows nothing: names, prompts, classes of errors, unusable lines, sampling."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_simulated_calls_are_counted_as_the_log_s_query_counts_them(name: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    calls = simulate_calls(scenario)
    assert 1_500 <= len(calls) <= 6_500
    write_event_log(calls, scenario, tmp_path)
    spec = rollout_spec(scenario)
    spec = replace(spec, clock_us=spec.until_us + 2 * HOUR_US)  # the log has feedback of later
    with open_log(tmp_path, COLUMNS, spec.time_range) as log:
        queried = count_arms(log, spec)
    simulated = count_simulated(calls, [one.name for one in scenario.features], spec)
    for field in fields(queried):
        if field.name not in NOT_COMPARED:
            assert getattr(simulated, field.name) == getattr(queried, field.name), field.name
    _check_looks(simulated, queried, spec, scenario)


def _check_looks(simulated: Counts, queried: Counts, spec: ComparisonSpec, scenario: Scenario) -> None:
    both = [Comparison.build(counts, spec, RULES, PAIR) for counts in (simulated, queried)]
    hours = range((scenario.spans()[0].since_us // HOUR_US + 1) * HOUR_US, spec.now_us + 1, HOUR_US)
    for hour_us in (*hours, spec.now_us):
        looks = [one.as_of(hour_us) for one in both]
        found = [one.findings() for one in looks]
        assert found[0] == found[1]
        verdicts = [verdict_of(one, findings, ()) for one, findings in zip(looks, found, strict=True)]
        assert verdicts[0] == verdicts[1]

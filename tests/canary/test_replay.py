"""A report as of an earlier hour has the bytes that a report at that hour had."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from flowai.analytics.event_query import open_log
from flowai.canary.judge import evaluate_rollout
from flowai.canary.planning.simulated_verdicts import rollout_spec
from flowai.comparison import sampling
from flowai.comparison.count import count_arms
from flowai.comparison.evidence import DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.comparison.spec import COLUMNS, HOUR_US
from flowai.registry.policies import CanaryPolicy
from flowai.rendering.report_files import to_json
from flowai.simulation.event_log import write_event_log
from flowai.simulation.generator import simulate_calls
from flowai.simulation.scenario import Arm, CacheTraffic, FeatureTraffic, Scenario
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.comparison.counts import Counts
    from flowai.comparison.spec import ComparisonSpec

pytestmark = pytest.mark.slow  # reads a log many times

SLOW = Arm(latency_ms=200_000.0, latency_sigma=1.0, ttft_ms=20_000.0, cancelled_rate=0.03, primary_failure_rate=0.05)
SCENARIO = Scenario(
    control=SLOW,
    candidate=replace(SLOW, error_rate=0.08, acceptance=0.4),
    stages=((10, 4), (50, 5)),
    calls_per_hour=300,
    user_concentration=5.0,
    user_sigma=0.5,
    anonymous_rate=0.1,
    retry_rate=0.5,
    features=(FeatureTraffic(name="chat"), FeatureTraffic(name="extract", failure_factor=2.0)),
    cache=CacheTraffic(hit_rate=0.2, warm_up_calls=200.0),
    feedback_rate=0.6,
    feedback_delay_min=45.0,
    score_rate=0.4,
    score_delay_min=50.0,
    process_count=4,
    clock_skew_s=290.0,
    seed=5,
)
"""Two stages, late feedback, calls in flight over the hour, clocks that differ."""
RULES = DecisionRules(
    alpha=0.05,
    guardrails=METRICS,
    margins={name: CanaryPolicy().margins.of(name) for name in METRICS},
    baseline="v1",
)
WHOLE = replace(rollout_spec(SCENARIO), clock_us=SCENARIO.spans()[-1].until_us + 5 * HOUR_US)
HOURS = range(SCENARIO.spans()[0].since_us + HOUR_US, WHOLE.now_us + 1, HOUR_US)


def count(directory: Path, spec: ComparisonSpec) -> Counts:
    with open_log(directory, COLUMNS, spec.time_range) as log:
        return count_arms(log, spec)


def as_known_at(hour_us: int, source: Path, target: Path) -> None:
    """Write the lines of a log that existed at a time: calls that had ended, feedback that had been given."""
    for path in source.rglob("*.jsonl"):
        kept = [line for line in path.read_text().splitlines(keepends=True) if _known_us(line) <= hour_us]
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("".join(kept))


def _known_us(line: str) -> float:
    event = json.loads(line)
    return to_us(datetime.fromisoformat(event["at"])) + 1000 * float(event.get("latency_ms", 0.0))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write_event_log(simulate_calls(SCENARIO), SCENARIO, tmp_path / "log")
    return tmp_path / "log"


def name_callers(directory: Path) -> None:
    """Give the calls without a user to six callers over HTTP."""
    for path in directory.rglob("*.jsonl"):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for event in events:
            if event["kind"] == "call" and event["user_hash"] is None:
                event["caller_hash"] = f"caller-{crc32(event['call_id'].encode()) % 12 // 2}"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.mark.parametrize(("is_sampled", "has_callers"), [(False, False), (True, False), (True, True)])
def test_a_report_of_an_earlier_hour_has_the_bytes_of_a_report_at_that_hour(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_sampled: bool, has_callers: bool
) -> None:
    if has_callers:
        name_callers(log)
    if is_sampled:
        monkeypatch.setattr(sampling, "UNSAMPLED_CALLS", 400)
        monkeypatch.setattr(sampling, "MIN_IN_CELL", 1)
    counts = count(log, WHOLE)
    assert bool(counts.top_callers) == has_callers
    assert any(one.mask for one in counts.schedules.values()) == is_sampled
    replay = evaluate_rollout(counts, WHOLE, RULES, replay=True).replay
    assert len(replay) == len(HOURS) == SCENARIO.hours
    for told, hour_us in zip(replay, HOURS, strict=True):
        spec = WHOLE.as_of(hour_us)
        then = evaluate_rollout(count(log, spec), spec, RULES)
        again = evaluate_rollout(counts.as_of(hour_us), spec, RULES)
        assert to_json(again) == to_json(then)
        assert (told.verdict, told.reason) == (then.verdict, then.reasons[0])
        as_known_at(hour_us, log, tmp_path / str(hour_us))
        real = replace(spec, clock_us=None)
        assert to_json(evaluate_rollout(count(tmp_path / str(hour_us), real), real, RULES)) == to_json(then)
    assert len({(one.verdict, "only with one caller" in one.reason) for one in replay}) > 1


def test_users_who_leave_the_sample_are_not_at_risk_any_more(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "UNSAMPLED_CALLS", 400)
    monkeypatch.setattr(sampling, "MIN_IN_CELL", 1)
    counts = count(log, WHOLE)
    for arm in ("canary", "control", "stable"):
        changes = [one.sides[arm] for one in counts.risks["error_rate"] if one.stage == 0 and arm in one.sides]
        at_risk = sum(came - failed - left for came, failed, left in changes)
        sampled = (counts.units.get((arm, 0), {}), counts.anonymous.get((arm, 0), {}))
        assert 0 <= at_risk <= sum(sum(hours.values()) for hours in sampled), arm

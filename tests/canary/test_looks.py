"""Sampling of users, scores and feedback, arms instead of variants, and verdicts at earlier hours."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.rollout_log import BEGIN, Scenario, Side, events_of, write_log

from flowai.analytics.event_query import TimeRange, open_log
from flowai.analytics.unreadable_lines import first_unreadable
from flowai.canary.judge import evaluate_rollout
from flowai.comparison import sampling
from flowai.comparison.blocks import ArmPair
from flowai.comparison.count import count_arms
from flowai.comparison.evidence import Comparison, DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.comparison.sampling import UNSAMPLED_CALLS, SamplingSchedule, sampling_schedule
from flowai.comparison.spec import (
    CELL_US,
    COLUMNS,
    HOUR_US,
    ComparisonSpec,
    RolloutStage,
    experiment_sides,
    rollout_sides,
)
from flowai.comparison.validity import comparison_problems
from flowai.events import CallEvent, EventLog, FeedbackEvent, ScoreEvent
from flowai.redaction import Redactor
from flowai.registry.policies import NonInferiorityMargins
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flowai.analytics.records import Metric
    from flowai.canary.report_records import CanaryReport
    from flowai.comparison.counts import Counts
    from flowai.events import Event

pytestmark = pytest.mark.slow  # reads large logs

HALF = Scenario(calls_count=4000, hours=8.0, percent=50)


def spec(scenario: Scenario = HALF, **changes: Any) -> ComparisonSpec:
    time_range = TimeRange(since_us=to_us(scenario.begin), until_us=to_us(scenario.end))
    facts: dict[str, Any] = {
        "sides": rollout_sides(scenario.candidate),
        "stages": (RolloutStage(percent=scenario.percent, time_range=time_range),),
        "feature": None,
        "feedback_us": HOUR_US,
        "now_us": time_range.until_us + HOUR_US,
    }
    return ComparisonSpec(**(facts | changes))


def count(directory: Path, asked: ComparisonSpec) -> Counts:
    with open_log(directory, COLUMNS, asked.time_range) as log:
        return count_arms(log, asked)


def write(directory: Path, events: Iterable[Event], process: str = "p") -> None:
    with EventLog(directory, process, Redactor(()), lambda: BEGIN) as log:
        for event in events:
            log.append(event)


def rules(**changes: Any) -> DecisionRules:
    facts: dict[str, Any] = {
        "alpha": 0.05,
        "guardrails": METRICS[:4],
        "margins": {name: NonInferiorityMargins().of(name) for name in (*METRICS, "save_rate")},
        "baseline": "v1",
    }
    return DecisionRules(**(facts | changes))


def judge(directory: Path, asked: ComparisonSpec, **changes: Any) -> CanaryReport:
    return evaluate_rollout(count(directory, asked), asked, rules(**changes), replay=True)


def scored(scenario: Scenario, bad_rates: dict[str, float], after_s: float = 60.0) -> list[Event]:
    """Every answer judged; a first word of a judge that thinks again says the opposite."""
    events = list(events_of(scenario))
    for number, call in enumerate(event for event in events_of(scenario) if isinstance(event, CallEvent)):
        bad = number % 100 < 100 * bad_rates[call.variant or ""]
        for passed, later_s in ((bad, 0), (not bad, 5)):
            at = call.at + timedelta(seconds=after_s + later_s)
            events.append(ScoreEvent(call_id=call.call_id, at=at, origin="judge", name="hallucination", passed=passed))
        events.append(ScoreEvent(call_id=call.call_id, at=call.at, origin="judge", name="tone", passed=False))
    return events


def test_hallucinations_are_judged_by_the_last_score_of_a_call(tmp_path: Path) -> None:
    write(tmp_path, scored(HALF, {"canary": 0.1, "control": 0.01}))
    report = judge(tmp_path, spec(), guardrails=("error_rate", "hallucination"))
    metric = next(one for one in report.metrics if one.name == "hallucination")
    assert metric.status == "inferior"
    assert report.verdict == "rollback"
    assert metric.candidate_calls.rate == pytest.approx(0.1, abs=0.02)
    assert metric.control_calls.rate == pytest.approx(0.01, abs=0.01)


def test_scores_that_never_come_are_missing_not_good(tmp_path: Path) -> None:
    write(tmp_path, scored(HALF, {"canary": 0.0, "control": 0.0}, after_s=7200.0))
    report = judge(tmp_path, spec(), guardrails=("error_rate", "hallucination"))
    assert report.verdict == "invalid"
    assert report.reasons == ("no data for hallucination",)
    assert judge(tmp_path, spec()).verdict != "invalid", "no guardrail, nothing missing"


def test_a_broken_score_is_counted_as_broken(tmp_path: Path) -> None:
    write_log(tmp_path, HALF)
    at = BEGIN.isoformat()
    path = next(tmp_path.rglob("*.jsonl"))
    with path.open("a") as file:
        file.write(f'{{"kind":"score","schema_version":1,"call_id":"x","at":"{at}","name":"hallucination"}}\n')
    assert count(tmp_path, spec()).problem_count("broken") == 1


def test_costs_are_compared_with_an_interval(tmp_path: Path) -> None:
    write_log(tmp_path, Scenario(calls_count=4000, hours=8.0, percent=50, canary=Side(cost_usd=0.0012)))
    ratio = next(one for one in judge(tmp_path, spec()).metrics if one.name == "cost").effect
    assert ratio.estimate == pytest.approx(1.2)
    assert ratio.low is not None
    assert ratio.high is not None
    assert 1.15 < ratio.low < 1.2 < ratio.high < 1.25


@pytest.mark.parametrize("price", [1e300, -1.0])
def test_a_price_that_cannot_be_is_none(tmp_path: Path, price: float) -> None:
    write(tmp_path, [call for call in events_of(HALF) if isinstance(call, CallEvent)])
    path = next(tmp_path.rglob("*.jsonl"))
    path.write_text(path.read_text().replace('"cost_usd":0.001', f'"cost_usd":{price}'))
    assert judge(tmp_path, spec()).arms["candidate"].cost_usd is None


def look_at_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "UNSAMPLED_CALLS", 1000)
    monkeypatch.setattr(sampling, "MIN_IN_CELL", 1)


def test_users_are_thinned_ever_more_and_never_come_back() -> None:
    calls = {cell * CELL_US: 3000 for cell in range(200)}
    halvings = sampling_schedule(calls).halvings_us
    assert halvings == tuple(sorted(halvings))
    assert sampling_schedule({0: UNSAMPLED_CALLS}) == SamplingSchedule()
    before = [cell for cell in calls if cell < halvings[0]]
    assert sum(calls[cell] for cell in before) <= UNSAMPLED_CALLS
    assert sampling_schedule(calls).mask == (1 << len(halvings)) - 1 == 15
    early = {cell: number for cell, number in calls.items() if cell <= halvings[1]}
    assert sampling_schedule(early).halvings_us == halvings[:2], "what comes later changes nothing before"
    assert len(sampling_schedule({0: 100 * UNSAMPLED_CALLS}).halvings_us) == 7, "a burst is thinned at once"
    slow = sampling_schedule({cell * CELL_US: 200 for cell in range(9000)}).halvings_us
    assert len(slow) == 2, "of 200 calls in a cell no fewer than 30 are looked at"


def test_a_sample_of_users_decides_where_there_are_very_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse = Scenario(calls_count=8000, hours=8.0, percent=50, canary=Side(error_rate=0.08), calls_per_user=2)
    write_log(tmp_path, worse)
    whole = judge(tmp_path, spec(worse))
    look_at_few(monkeypatch)
    report = judge(tmp_path, spec(worse))
    assert report.verdict == "rollback"
    assert whole.verdict == "rollback"
    assert whole.sample == {}
    assert report.sample["canary"] > 1
    assert any(f"from a sample of users: 1 in {report.sample['canary']} of canary" in one for one in report.warnings)
    assert not any("sample of users" in one for one in whole.warnings)
    for arm, exact in whole.arms.items():
        seen = report.arms[arm]
        assert seen.call_count == exact.call_count
        assert seen.latency == pytest.approx(exact.latency, rel=0.15)
        assert seen.cost_usd == exact.cost_usd
        assert seen.unit_count == pytest.approx(exact.unit_count, rel=0.2)
    assert report.splits[0].e_value < 1, "the sample divides as all do"
    assert report.metrics[0].candidate.count < whole.metrics[0].candidate.count


def test_the_wrong_split_is_seen_in_a_sample_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_at_few(monkeypatch)
    write_log(tmp_path, HALF)
    write_log(
        tmp_path,
        Scenario(calls_count=1500, hours=8.0, seed=9, changes={"variant": "canary", "release": "v2"}),
        process="other",
    )
    report = judge(tmp_path, spec())
    assert report.verdict == "invalid"
    assert "users do not divide by the shares of stage 50" in report.reasons[0]


def test_lines_told_twice_change_nothing_in_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_at_few(monkeypatch)
    events = list(events_of(HALF))
    write(tmp_path / "once", events)
    write(tmp_path / "twice", events, "a")
    write(tmp_path / "twice", events, "b")
    once, twice = (count(tmp_path / name, spec()) for name in ("once", "twice"))
    assert twice.problem_count("duplicated") == 4000
    assert once.calls == twice.calls
    assert once.times == twice.times
    assert once.cells == twice.cells


def test_arms_of_an_experiment_are_held_against_the_first(tmp_path: Path) -> None:
    events: list[Event] = []
    arms = {"canary": "A", "control": "B"}
    saved = {"A": 20, "B": 45}
    for number, event in enumerate(events_of(Scenario(calls_count=3000, hours=8.0, percent=50, feedback_rate=0.0))):
        assert isinstance(event, CallEvent)
        arm = arms[event.variant or ""]
        events.append(
            msgspec.structs.replace(event, variant=None, release="v1", prompt_hash=arm, experiment="it's", arm=arm)
        )
        if number % 100 < saved[arm] and event.error_class is None:
            at = event.at + timedelta(seconds=9)
            events.append(FeedbackEvent(call_id=event.call_id, at=at, origin="serve", verdict="saved"))
        events.append(msgspec.structs.replace(event, call_id=f"{event.call_id}-", experiment="other", arm=arm))
    write(tmp_path, events)
    metrics: tuple[Metric, ...] = ("save_rate", "error_rate")
    asked = spec(sides=experiment_sides("it's", ("B", "A")), metrics=metrics)
    counts = count(tmp_path, asked)
    comparison = Comparison.build(counts, asked, rules(guardrails=metrics), ArmPair(candidate="A", control="B"))
    findings = {one.name: one for one in comparison.findings()}
    assert counts.call_tally("save_rate", "A", 0).failure_count == pytest.approx(
        0.8 * sum(counts.traffic["A"].values()), rel=0.03
    )
    assert findings["save_rate"].log_e_peak > math.log(1000), "A saves less"
    assert findings["error_rate"].log_e_peak < math.log(20)
    assert sum(sum(cells.values()) for cells in counts.traffic.values()) == 3000
    assert comparison_problems(counts, asked) == ()
    better = Comparison.build(counts, asked, rules(guardrails=metrics), ArmPair(candidate="B", control="A"))
    assert better.findings()[0].safe_log_e > math.log(20)


def test_each_hour_is_told_as_it_was_doubts_included(tmp_path: Path) -> None:
    write_log(tmp_path, HALF)
    late = Scenario(
        calls_count=1500,
        hours=3.0,
        begin=HALF.begin + timedelta(hours=5),
        seed=9,
        changes={"variant": "canary", "release": "v2"},
    )
    write_log(tmp_path, late, process="other")
    report = judge(tmp_path, spec())
    assert report.verdict == "invalid"
    replay = [one.verdict for one in report.replay]
    assert "invalid" not in replay[:5], "nobody knew yet"
    assert replay[-1] == "invalid"
    assert report.replay[-1].reason == report.reasons[0]


def test_a_version_that_came_late_is_no_doubt_of_the_hours_before(tmp_path: Path) -> None:
    write_log(tmp_path, HALF)
    late = Scenario(calls_count=200, begin=HALF.begin + timedelta(hours=6), hours=0.1, seed=9)
    write_log(tmp_path, replace(late, changes={"variant": "canary", "release": "v7"}), process="other")
    told = judge(tmp_path, spec()).replay
    assert all(one.verdict != "invalid" for one in told[:6])
    assert "v7 served as candidate" in told[6].reason


def test_hours_agree_with_reports_of_their_time(tmp_path: Path) -> None:
    worse = Scenario(calls_count=6000, hours=6.0, percent=50, canary=Side(error_rate=0.05))
    write_log(tmp_path, worse)
    replay = judge(tmp_path, spec(worse)).replay
    for hour, told in enumerate(replay, 1):
        until_us = to_us(worse.begin) + hour * HOUR_US
        stage = RolloutStage(percent=50, time_range=TimeRange(since_us=to_us(worse.begin), until_us=until_us))
        then = judge(tmp_path, spec(worse, stages=(stage,)))
        assert told.verdict == then.verdict, told.at
        assert told.reason == then.reasons[0], told.at


def test_unreadable_lines_are_named_by_file_and_number(tmp_path: Path) -> None:
    write_log(tmp_path, HALF)
    path = next(tmp_path.rglob("*.jsonl"))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], "garbage\n", *lines[2:], "[]\n", "\n", '{"kind": 3}\n', '{"kind":"call","ca']))
    with open_log(tmp_path, COLUMNS, spec().time_range) as log:
        counted = count_arms(log, spec()).problem_count("unreadable")
    found = first_unreadable((tmp_path,), spec().time_range)
    assert [(one.file, one.line) for one in found] == [
        (path.relative_to(tmp_path).as_posix(), line) for line in (3, len(lines) + 2, len(lines) + 4)
    ]
    assert counted >= 3

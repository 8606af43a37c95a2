"""Event logs of simulated rollouts: the readers of events accept them and count what was simulated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from support.simulated_rollouts import BUSY, SMALL

from flowai.analytics.event_query import TimeRange, open_log
from flowai.comparison.count import count_arms
from flowai.comparison.spec import COLUMNS, HOUR_US, ComparisonSpec, RolloutStage, rollout_sides
from flowai.comparison.validity import validity_problems
from flowai.errors import InfrastructureError
from flowai.events import CallEvent, Event, FeedbackEvent, ScoreEvent, read_events
from flowai.gateway.call_event import user_hash
from flowai.simulation.calls import CANARY, CONTROL, VARIANTS, call_id, user_name
from flowai.simulation.event_log import write_event_log
from flowai.simulation.generator import simulate_calls
from flowai.simulation.scenario import Arm, CacheTraffic
from flowai.timestamps import from_us

if TYPE_CHECKING:
    from pathlib import Path


def read(directory: Path) -> list[Event]:
    unreadable: list[Any] = []
    events = list(read_events(directory, on_unreadable=unreadable.append))
    assert not unreadable
    return events


def test_a_log_has_every_call_with_its_feedback_and_score(tmp_path: Path) -> None:
    scenario = replace(BUSY, cache=CacheTraffic(hit_rate=0.2), candidate=Arm(degraded_rate=0.5, ttft_ms=None))
    calls = simulate_calls(scenario, 6)
    count = write_event_log(calls, scenario, tmp_path)
    events = read(tmp_path)
    assert count == len(events) == len(calls) + (calls.feedback >= 0).sum() + (calls.score >= 0).sum()
    found = {one.call_id: one for one in events if isinstance(one, CallEvent)}
    feedback = {one.call_id: one for one in events if isinstance(one, FeedbackEvent)}
    scores = {one.call_id: one for one in events if isinstance(one, ScoreEvent)}
    for row, number in enumerate(calls.number.tolist()):
        event = found[call_id(6, number)]
        user = int(calls.user[row])
        assert event.at == from_us(int(calls.at_us[row]))
        assert event.user_hash == (None if user < 0 else user_hash(user_name(6, user)))
        assert event.is_sticky == (user >= 0)
        assert event.feature == scenario.features[calls.feature[row]].name
        assert event.variant == VARIANTS[calls.variant[row]]
        assert event.release == ("v2" if calls.by_candidate[row] else "v1")
        assert event.error_class == (
            "AllModelsFailedError" if calls.error[row] else "Cancelled" if calls.cancelled[row] else None
        )
        assert event.degraded == calls.degraded[row]
        assert (event.cache == "exact") == calls.cached[row] == (not event.attempts)
        assert event.json_valid == {-1: None, 0: True, 1: False}[int(calls.json_invalid[row])]
        assert event.latency_ms == calls.latency_ms[row]
        assert [event.ttft_ms, event.cost_usd] == [
            None if np.isnan(one) else one for one in (calls.ttft_ms[row], calls.cost_usd[row])
        ]
        if calls.primary_failed[row]:
            assert [one.status for one in event.attempts] == ["error"] * (1 + event.degraded) + ["ok"]
        if calls.feedback[row] >= 0:
            assert feedback[event.call_id].verdict == ("accepted" if calls.feedback[row] else "rejected")
            assert feedback[event.call_id].at == from_us(int(calls.feedback_at_us[row])) > event.at
        if calls.score[row] >= 0:
            assert scores[event.call_id].passed == bool(calls.score[row])
            assert scores[event.call_id].at == from_us(int(calls.score_at_us[row])) > event.at
    prompts = {(one.feature, one.release): one.prompt_hash for one in found.values()}
    assert len(set(prompts.values())) == len(prompts) == 4


def test_files_are_by_day_and_process_in_order_of_time(tmp_path: Path) -> None:
    scenario = replace(BUSY, clock_skew_s=120.0, stages=((50, 40),), calls_per_hour=60)
    write_event_log(simulate_calls(scenario, 1), scenario, tmp_path)
    files = sorted(tmp_path.rglob("*.jsonl"))
    names = {path.relative_to(tmp_path).as_posix() for path in files}
    assert {f"dt=2026-05-0{day}/web-{process}.jsonl" for day in (4, 5) for process in range(3)} <= names
    for path in files:
        times = [msgspec.json.decode(line, type=Event).at for line in path.read_bytes().splitlines()]
        assert times == sorted(times)
        assert {f"dt={one.date().isoformat()}" for one in times} == {path.parent.name}


def test_a_log_is_never_overwritten(tmp_path: Path) -> None:
    scenario = replace(SMALL, calls_per_hour=5)
    calls = simulate_calls(scenario, 1)
    write_event_log(calls, scenario, tmp_path)
    with pytest.raises(InfrastructureError, match="File exists"):
        write_event_log(calls, scenario, tmp_path)


def test_the_reader_of_rollouts_counts_what_was_simulated(tmp_path: Path) -> None:
    scenario = replace(BUSY, candidate=Arm(error_rate=0.05))
    calls = simulate_calls(scenario, 2)
    write_event_log(calls, scenario, tmp_path)
    spans = scenario.spans()[1:]
    stages = tuple(
        RolloutStage(percent=one.percent, time_range=TimeRange(since_us=one.since_us, until_us=one.until_us))
        for one in spans
    )
    end_us = stages[-1].time_range.until_us
    spec = ComparisonSpec(
        sides=rollout_sides("v2"), stages=stages, feature=None, feedback_us=HOUR_US, now_us=end_us + HOUR_US
    )
    with open_log(tmp_path, COLUMNS, spec.time_range) as log:
        counts = count_arms(log, spec)
    assert counts.unit == "user"
    assert not validity_problems(counts, spec)
    for index, span in enumerate(spans):
        within = (calls.at_us >= span.since_us) & (calls.at_us < span.until_us)
        for name, code in (("canary", CANARY), ("control", CONTROL)):
            served = calls.select(within & (calls.variant == code))
            counted = counts.for_stage(name, index)
            assert [counted.call_count, counted.error_count, counted.cancelled_count, counted.bad_json_count] == [
                len(served),
                served.error.sum(),
                served.cancelled.sum(),
                (served.json_invalid == 1).sum(),
            ]
            assert sum(counts.units.get((name, index), {}).values()) == len(np.unique(served.user[served.user >= 0]))

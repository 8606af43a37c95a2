"""Logs that led to a wrong verdict, each as small as it can be, and the right verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.rollout_log import BEGIN

from flowai.analytics.event_query import TimeRange, open_log
from flowai.canary.judge import evaluate_rollout
from flowai.canary.planning.simulated_verdicts import rollout_spec
from flowai.comparison.count import count_arms
from flowai.comparison.evidence import DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.comparison.spec import COLUMNS, HOUR_US, ComparisonSpec, RolloutStage, rollout_sides
from flowai.events import Attempt, CallEvent, EventLog
from flowai.gateway.routing.assignment import assign_variant
from flowai.redaction import Redactor
from flowai.registry.policies import CanaryPolicy
from flowai.simulation.event_log import write_event_log
from flowai.simulation.generator import simulate_calls
from flowai.simulation.scenario import Arm, CacheTraffic, Scenario
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from flowai.analytics.records import Metric
    from flowai.canary.report_records import CanaryReport
    from flowai.events import Event, Variant

pytestmark = pytest.mark.slow  # reads large logs

GUARDRAILS = CanaryPolicy().guardrails
GOOD = Arm(primary_failure_rate=0.0)


def rules(*guardrails: Metric) -> DecisionRules:
    margins = {name: CanaryPolicy().margins.of(name) for name in METRICS}
    return DecisionRules(alpha=0.05, guardrails=guardrails or GUARDRAILS, margins=margins, baseline="v1")


def stages(*lengths: tuple[int, float]) -> tuple[RolloutStage, ...]:
    """Return stages of so many percent and hours, one after the other."""
    found, since_us = [], to_us(BEGIN)
    for percent, hours in lengths:
        until_us = since_us + round(hours * HOUR_US)
        found.append(RolloutStage(percent=percent, time_range=TimeRange(since_us=since_us, until_us=until_us)))
        since_us = until_us
    return tuple(found)


def judge(directory: Path, *lengths: tuple[int, float], guardrails: tuple[Metric, ...] = ()) -> CanaryReport:
    several = stages(*lengths)
    spec = ComparisonSpec(
        sides=rollout_sides("v2"),
        stages=several,
        feature=None,
        feedback_us=HOUR_US,
        now_us=several[-1].time_range.until_us,
        clock_us=several[-1].time_range.until_us + 2 * HOUR_US,
    )
    return judge_as(directory, spec, guardrails)


def judge_as(directory: Path, spec: ComparisonSpec, guardrails: tuple[Metric, ...] = ()) -> CanaryReport:
    with open_log(directory, COLUMNS, spec.time_range) as log:
        return evaluate_rollout(count_arms(log, spec), spec, rules(*guardrails), replay=True)


def simulated(directory: Path, scenario: Scenario, *guardrails: Metric) -> CanaryReport:
    write_event_log(simulate_calls(scenario), scenario, directory)
    spec = rollout_spec(scenario)
    return judge_as(directory, replace(spec, clock_us=spec.now_us + 2 * HOUR_US), guardrails)


def verdicts(report: CanaryReport) -> set[str]:
    return {report.verdict, *(one.verdict for one in report.replay)}


def statuses(report: CanaryReport) -> dict[str, str]:
    return {one.name: one.status for one in report.metrics}


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A user, or an anonymous caller, and what the calls are like."""

    name: str
    is_named: bool = True
    always_fails: bool = False

    def variant(self, percent: int) -> Variant:
        """Return the arm that serves this caller at a stage."""
        found = assign_variant(
            candidate="v2", stage=percent, unit=self.name, critical=False, critical_from=25, flagged=False
        )
        assert found is not None
        return found


def call(number: int, at_h: float, variant: str, **changes: Any) -> CallEvent:
    """Return a call at so many hours after the start."""
    facts: dict[str, Any] = {
        "origin": "library",
        "user_hash": f"user-{number}",
        "is_sticky": True,
        "feature": "chat",
        "release": "v2" if variant == "canary" else "v1",
        "variant": variant,
        "prompt_id": "prompts/chat",
        "prompt_hash": variant * 4 if variant == "canary" else "base",
        "requested_model": "m",
        "latency_ms": 800.0,
        "ttft_ms": 200.0,
        "cost_usd": 0.001,
        "json_valid": True,
    }
    facts |= changes
    if facts.get("error_class"):
        facts |= {"ttft_ms": None, "json_valid": None, "cost_usd": None}
    return CallEvent(call_id=f"call-{number}-{variant}-{at_h}", at=BEGIN + timedelta(hours=at_h), **facts)


def write(directory: Path, events: Iterable[Event]) -> None:
    with EventLog(directory, "p", Redactor(()), lambda: BEGIN) as log:
        for event in events:
            log.append(event)


def failing(is_failing: bool) -> Mapping[str, Any]:
    return {"error_class": "ServerError" if is_failing else None}


def even(count: int, rates: Mapping[str, int], **changes: Any) -> Iterator[CallEvent]:
    """Yield calls of as many users, half of each arm, over a day: of each hundred so many fail, by arm."""
    for number in range(count):
        variant = ("canary", "control")[number % 2]
        fails = (number // 2) % 100 < rates[variant]
        yield call(number, 24 * number / count, variant, **failing(fails), **changes)


def test_users_who_always_fail_are_no_harm_when_the_candidate_gets_its_first_users(tmp_path: Path) -> None:
    users = [Caller(name=f"u{index}", always_fails=index % 10 == 0) for index in range(600)]
    events = []
    for hour in range(12):
        for index, user in enumerate(users):
            variant = user.variant(10 if hour >= 6 else 0) if hour >= 6 else "stable"
            at_h = hour + index / len(users)
            events.append(call(index, at_h, variant, user_hash=user.name, **failing(user.always_fails)))
    write(tmp_path, events)
    report = judge(tmp_path, (0, 6), (10, 6))
    assert "rollback" not in verdicts(report)


def test_four_blocked_accounts_that_fail_on_every_feature_are_four_users(tmp_path: Path) -> None:
    events: list[Event] = list(even(800, {"canary": 1, "control": 1}))
    for account in range(4):
        for feature in range(7):
            for hour in range(24):
                changes = {"user_hash": f"blocked-{account}", "feature": f"f{feature}", "error_class": "AuthError"}
                events.append(call(9000 + account * 10 + feature, hour + 0.5, "canary", **changes))
    write(tmp_path, events)
    assert "rollback" not in verdicts(judge(tmp_path, (50, 24)))


def test_calls_that_the_fallback_answers_are_failures_of_the_candidate(tmp_path: Path) -> None:
    failed = Attempt(model="m", provider="p", status="error", error_class="ServerError", at_ms=0.0, latency_ms=1.0)
    attempts = (failed, msgspec.structs.replace(failed, model="other", status="ok", error_class=None))
    fell_back = {"attempts": attempts, "served_model": "other"}
    write(
        tmp_path,
        (
            msgspec.structs.replace(one, **(fell_back if one.variant == "canary" else {}))
            for one in even(600, {"canary": 0, "control": 0})
        ),
    )
    report = judge(tmp_path, (50, 24))
    assert report.verdict == "rollback"
    assert statuses(report)["error_rate"] == "inferior"
    assert report.features[0].candidate.fell_back == report.features[0].candidate.failed > 250
    assert report.features[0].candidate.errors == 0


@pytest.mark.parametrize(("canary_rate", "verdict"), [(40, "rollback"), (1, None)])
def test_a_stray_call_is_a_warning_and_no_doubt(tmp_path: Path, canary_rate: int, verdict: str | None) -> None:
    events = list(even(800, {"canary": canary_rate, "control": 1}))
    # clocks differ: a call of before the stage, and one of a process that had not loaded the prompt yet
    stray = call(9001, 62 / 3600, "stable")
    other = msgspec.structs.replace(call(9002, 1.0, "control"), prompt_hash="other")
    write(tmp_path, [*events, stray, other])
    report = judge(tmp_path, (50, 24), guardrails=("error_rate", "json_valid"))
    assert report.verdict != "invalid"
    assert verdict in (None, report.verdict)
    assert any("1 call with another version" in one for one in report.warnings)


def test_anonymous_calls_are_judged_though_one_call_has_a_user(tmp_path: Path) -> None:
    events = [
        msgspec.structs.replace(one, user_hash=None, is_sticky=False)
        for one in even(6000, {"canary": 30, "control": 1})
    ]
    write(tmp_path, [*events, call(9001, 1.0, "control")])
    report = judge(tmp_path, (50, 24))
    assert report.verdict == "rollback"
    assert report.unit == "user"
    arms = [report.arms[name] for name in ("candidate", "control")]
    assert [one.anonymous_count for one in arms] == [3000, 3000]
    assert [one.unit_count for one in arms] == [3000, 3001]


@pytest.mark.parametrize("warm_up_calls", [2000.0, 1e6])
def test_a_cold_cache_is_no_harm(tmp_path: Path, warm_up_calls: float) -> None:
    arm = replace(GOOD, error_rate=0.05)
    scenario = Scenario(
        stages=((50, 24),),
        calls_per_hour=400,
        calls_per_user=4,
        candidate=arm,
        control=arm,
        cache=CacheTraffic(hit_rate=0.6, warm_up_calls=warm_up_calls),
        seed=3,
    )
    report = simulated(tmp_path, scenario, *METRICS)
    assert "rollback" not in verdicts(report)
    assert report.arms["control"].shares.cached > 1.3 * report.arms["candidate"].shares.cached


@pytest.mark.parametrize("seed", range(3))
def test_users_who_always_fail_beyond_the_margin_are_never_promoted(tmp_path: Path, seed: int) -> None:
    scenario = Scenario(
        stages=((50, 36),),
        candidate=replace(GOOD, always_failing_user_rate=0.015),
        control=GOOD,
        calls_per_hour=700,
        calls_per_user=3,
        seed=seed,
    )
    report = simulated(tmp_path, scenario, "error_rate")
    assert report.arms["candidate"].unit_count > 2500
    assert "promote" not in verdicts(report)


def test_a_candidate_without_one_good_call_is_rolled_back_within_a_day(tmp_path: Path) -> None:
    events = [
        call(index, 24 * index / 84, variant, feature=f"f{index % 3}", **failing(variant == "canary"))
        for index in range(84)
        for variant in [("canary", "control")[index % 2]]
    ]
    write(tmp_path, events)
    report = judge(tmp_path, (50, 24))
    assert report.arms["candidate"].shares.failed == report.arms["candidate"].call_count == 42
    assert report.verdict == "rollback"


def test_callers_who_leave_are_harm_where_that_is_a_guardrail(tmp_path: Path) -> None:
    def leaving(guardrails: tuple[Metric, ...]) -> CanaryReport:
        return judge(tmp_path, (50, 24), guardrails=guardrails)

    rates = {"canary": 20, "control": 1}
    events = (
        msgspec.structs.replace(one, error_class="Cancelled") if one.error_class else one for one in even(2000, rates)
    )
    write(tmp_path, events)
    assert statuses(leaving(("error_rate", "cancelled")))["cancelled"] == "inferior"
    assert leaving(("error_rate", "cancelled")).verdict == "rollback"
    assert "rollback" not in verdicts(leaving(("error_rate",)))


@pytest.mark.parametrize(
    ("metric", "harm"), [("cost", replace(GOOD, cost_usd=0.0015)), ("ttft", replace(GOOD, ttft_ms=260.0))]
)
def test_dearer_and_later_answers_are_found(tmp_path: Path, metric: Metric, harm: Arm) -> None:
    scenario = Scenario(stages=((50, 24),), candidate=harm, control=GOOD, calls_per_hour=200, calls_per_user=2, seed=1)
    report = simulated(tmp_path, scenario, "error_rate", metric)
    assert report.verdict == "rollback"
    assert report.reasons[0].startswith({"cost": "cost", "ttft": "TTFT"}[metric])


def test_a_median_that_doubles_is_not_promoted_though_the_p95_is_unchanged(tmp_path: Path) -> None:
    slower = replace(GOOD, latency_ms=1600.0, latency_sigma=0.08, ttft_ms=None)
    scenario = Scenario(
        stages=((50, 24),),
        candidate=slower,
        control=replace(GOOD, ttft_ms=None),
        calls_per_hour=300,
        calls_per_user=2,
        seed=2,
    )
    report = simulated(tmp_path, scenario, "latency")
    assert report.latency_p95.estimate == pytest.approx(1.0, abs=0.1)
    assert "promote" not in verdicts(report)
    assert statuses(report)["latency"] == "inferior"


def test_three_percent_slower_is_no_harm_where_times_vary_little(tmp_path: Path) -> None:
    narrow = replace(GOOD, latency_sigma=0.01, ttft_sigma=0.01)
    scenario = Scenario(
        stages=((50, 24),),
        candidate=replace(narrow, latency_ms=824.0, ttft_ms=206.0),
        control=narrow,
        calls_per_hour=300,
        calls_per_user=2,
        seed=2,
    )
    assert "rollback" not in verdicts(simulated(tmp_path, scenario, *METRICS))


@pytest.mark.parametrize(("count", "is_doubt"), [(2, False), (40, True)])
def test_users_in_both_arms_are_named(tmp_path: Path, count: int, *, is_doubt: bool) -> None:
    events = list(even(800, {"canary": 1, "control": 1}))
    again = [call(100 + index * 2, 23.5, "control", prompt_hash="base") for index in range(count)]
    write(tmp_path, [*events, *again])
    report = judge(tmp_path, (50, 24), guardrails=("error_rate",))
    assert (report.verdict == "invalid") == is_doubt
    texts = report.reasons if is_doubt else report.warnings
    expected = f"{count} of 400 users of the candidate were in both arms" if is_doubt else f"{count} users in both arms"
    assert any(expected in one for one in texts)


def test_without_calls_the_report_says_so(tmp_path: Path) -> None:
    report = judge(tmp_path, (50, 24))
    assert report.verdict == "hold"
    assert report.reasons == ("no calls of both arms yet",)


def test_calls_whose_release_contradicts_their_arm_are_counted_and_named(tmp_path: Path) -> None:
    events = list(even(2000, {"canary": 1, "control": 1}))
    wrong = [call(5000 + index, 12.0, "control", release="v2") for index in range(60)]
    early = [call(6000 + index, 12.1, "stable") for index in range(60)]
    write(tmp_path, [*events, *wrong, *early])
    report = judge(tmp_path, (50, 24))
    assert report.verdict == "invalid"
    told = " / ".join(report.reasons)
    assert "mixed versions: v2 served as control, besides v1" in told
    assert "unexpected traffic at stage 50: 60 users of stable" in told
    assert report.arms["control"].call_count == 1000, "calls of the other release are not the control's"


def test_a_user_with_very_many_calls_does_not_decide(tmp_path: Path) -> None:
    events = list(even(400, {"canary": 1, "control": 1}))
    flood = (
        call(1, 24 * index / 20_000, "canary", user_hash="flood", feature=f"f{index % 5}", error_class="ServerError")
        for index in range(20_000)
    )
    write(tmp_path, [*events])
    with EventLog(tmp_path, "q", Redactor(()), lambda: BEGIN) as log:
        for index, event in enumerate(flood):
            log.append(msgspec.structs.replace(event, call_id=f"flood-{index}"))
    report = judge(tmp_path, (50, 24))
    assert "rollback" not in verdicts(report)
    assert report.arms["candidate"].unit_count == 201


def test_a_stage_shorter_than_a_block_is_judged(tmp_path: Path) -> None:
    events = [
        call(index, index / 1000, ("canary", "control")[index % 2], **failing(index % 2 == 0)) for index in range(300)
    ]
    write(tmp_path, events)
    report = judge(tmp_path, (50, 0.3), guardrails=("error_rate",))
    assert report.verdict == "rollback"


@pytest.mark.parametrize(("hours", "verdict"), [(0.9, "hold"), (24, "invalid")])
def test_a_guardrail_whose_facts_the_log_never_had_is_missing_when_it_is_due(
    tmp_path: Path, hours: float, verdict: str
) -> None:
    write(tmp_path, even(4000, {"canary": 0, "control": 0}, ttft_ms=None))
    report = judge(tmp_path, (50, hours), guardrails=("error_rate", "ttft"))
    assert report.verdict == verdict
    assert "promote" not in verdicts(report)


@pytest.mark.parametrize("metric", ["acceptance", "hallucination", "slow_ttft", "cost"])
def test_no_missing_guardrail_is_good_news(tmp_path: Path, metric: Metric) -> None:
    write(tmp_path, even(4000, {"canary": 0, "control": 0}, ttft_ms=None, cost_usd=None))
    report = judge(tmp_path, (50, 24), guardrails=("error_rate", metric))
    assert report.verdict == "invalid"
    assert "promote" not in verdicts(report)

"""One caller is never the evidence against a release, nor is a call for which no provider was asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.rollout_log import BEGIN, Scenario, events_of

from flowai.analytics.event_query import TimeRange, open_log
from flowai.canary.judge import evaluate_rollout
from flowai.canary.tables import call_rows, screen_lines, verdict_line
from flowai.comparison.blocks import ArmPair
from flowai.comparison.count import count_arms
from flowai.comparison.evidence import Comparison, DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.comparison.spec import COLUMNS, HOUR_US, ComparisonSpec, RolloutStage, rollout_sides
from flowai.events import Attempt, CallEvent, EventLog, FeedbackEvent
from flowai.gateway.call_event import caller_hash
from flowai.redaction import Redactor
from flowai.registry.policies import CanaryPolicy
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flowai.analytics.records import Metric
    from flowai.canary.report_records import CanaryReport
    from flowai.comparison.counts import Counts
    from flowai.events import Event

GOOD = Scenario(calls_count=2_000, hours=4.0, percent=50)
UNTIL_US = to_us(BEGIN) + 4 * HOUR_US
SPEC = ComparisonSpec(
    sides=rollout_sides("v2"),
    stages=(RolloutStage(percent=50, time_range=TimeRange(since_us=to_us(BEGIN), until_us=UNTIL_US)),),
    feature=None,
    feedback_us=HOUR_US,
    now_us=UNTIL_US,
    clock_us=UNTIL_US + 2 * HOUR_US,
)
GUARDRAILS: tuple[Metric, ...] = ("error_rate", "json_valid", "slow_calls")
RULES = DecisionRules(
    alpha=0.05,
    guardrails=GUARDRAILS,
    margins={name: CanaryPolicy().margins.of(name) for name in METRICS},
    baseline="v1",
)
PAIR = ArmPair(candidate="canary", control="control", extra_control="stable")


def http_calls(count: int, callers: int, *, error_class: str | None = "ServerError", **changes: Any) -> list[CallEvent]:
    """Return calls of the candidate over HTTP, without a user, by so many callers in turn."""
    return [
        CallEvent(
            call_id=f"http-{number}-{callers}-{error_class}",
            at=BEGIN + timedelta(hours=2, seconds=20 * number),
            **{
                "origin": "serve",
                "caller_hash": caller_hash(f"key {number % callers}") if callers else None,
                "feature": "chat",
                "release": "v2",
                "variant": "canary",
                "prompt_hash": "cd" * 32,
                "requested_model": "m",
                "latency_ms": 800.0,
                "error_class": error_class,
                **changes,
            },
        )
        for number in range(count)
    ]


def count(directory: Path, more: Iterable[Event] = ()) -> Counts:
    with EventLog(directory, "web-1", Redactor(()), lambda: BEGIN) as log:
        for event in (*events_of(GOOD), *more):
            log.append(event)
    with open_log(directory, COLUMNS, SPEC.time_range) as lines:
        return count_arms(lines, SPEC)


def judged(directory: Path, more: Iterable[Event] = (), rules: DecisionRules = RULES) -> CanaryReport:
    return evaluate_rollout(count(directory, more), SPEC, rules, replay=True)


def test_failures_of_one_caller_hold_and_the_same_of_thirty_roll_back(tmp_path: Path) -> None:
    report = judged(tmp_path / "one", http_calls(60, 1))
    assert report.verdict == "hold"
    assert verdict_line(report).startswith(
        "HOLD  error rate is worse than the control's only with one caller, who accounts for 60 of "
    )
    assert "no rollback; send `user` with each call" in " ".join(screen_lines(report, "report.md"))
    assert {one.verdict for one in report.replay} <= {"hold", "promote"}
    (error_rate,) = (one for one in report.metrics if one.name == "error_rate")
    assert error_rate.single_caller is not None
    assert error_rate.single_caller.failure_count == 60
    assert judged(tmp_path / "thirty", http_calls(60, 30)).verdict == "rollback"


def test_calls_of_logs_without_callers_count_each(tmp_path: Path) -> None:
    assert judged(tmp_path, http_calls(60, 0)).verdict == "rollback"


def test_two_callers_are_evidence_if_it_holds_without_each(tmp_path: Path) -> None:
    assert judged(tmp_path / "both", http_calls(120, 2)).verdict == "rollback"
    uneven = [*http_calls(60, 1), *http_calls(2, 1, caller_hash=caller_hash("key other"), error_class="TimedOutError")]
    assert judged(tmp_path / "uneven", uneven).verdict == "hold"


@pytest.mark.parametrize(
    ("rules", "changes"),
    [
        (RULES, {"error_class": None, "json_valid": False}),
        (replace(RULES, guardrails=("error_rate", "cost")), {"error_class": None, "cost_usd": 5.0}),
        (replace(RULES, guardrails=("error_rate", "latency")), {"error_class": None, "latency_ms": 60_000.0}),
    ],
    ids=["json", "cost", "latency"],
)
def test_one_caller_is_no_evidence_of_any_guardrail(
    tmp_path: Path, rules: DecisionRules, changes: dict[str, Any]
) -> None:
    baseline = {"release": "v1", "variant": "control", "prompt_hash": "ab" * 32, "cost_usd": 0.001}
    for name, callers, expected in (("one", 1, "hold"), ("many", 40, "rollback")):
        control = http_calls(400, callers, error_class=None, **baseline)
        control = [msgspec.structs.replace(one, call_id=f"control-{one.call_id}") for one in control]
        report = judged(tmp_path / name, [*control, *http_calls(400, callers, **changes)], rules)
        assert report.verdict == expected, report.reasons


def test_the_rest_is_counted_as_if_the_caller_had_not_called(tmp_path: Path) -> None:
    """The evidence without a caller is that of a log without the caller's calls, metric by metric."""
    others = http_calls(30, 3, error_class=None, json_valid=False)
    fed = [
        FeedbackEvent(call_id=one.call_id, at=one.at, origin="serve", verdict="rejected") for one in http_calls(40, 1)
    ]
    counts = count(tmp_path / "all", [*others, *http_calls(40, 1, caller_hash=caller_hash("key 7")), *fed])
    expected = count(tmp_path / "rest", others)
    top = counts.top_caller("error_rate", "canary")
    assert top is not None
    assert top.failure_count == 40
    rest = counts.without(top.caller)
    for name in METRICS:
        if counts.top_caller(name, "canary") in (None, top):
            worse = [Comparison.build(one, SPEC, RULES, PAIR).worse[name] for one in (rest, expected)]
            assert worse[0].log_es == worse[1].log_es, name
            assert worse[0].untils_us == worse[1].untils_us, name


def test_calls_that_asked_no_provider_are_left_out_and_counted_apart(tmp_path: Path) -> None:
    refused = Attempt(model="m", provider="p", status="error", was_tried=False, error_class="InvalidRequestError")
    skipped = Attempt(model="n", provider="q", status="skipped", reason="open")
    sent = msgspec.structs.replace(refused, was_tried=True)
    poisoned = [
        msgspec.structs.replace(one, user_hash=f"u{number}", is_sticky=True)
        for number, one in enumerate(
            [
                *http_calls(100, 0, error_class="InvalidRequestError", attempts=(skipped, refused)),
                *http_calls(20, 0, error_class="BudgetError"),
            ]
        )
    ]
    report = judged(tmp_path / "poisoned", poisoned)
    assert report.verdict == "invalid", "neither blamed nor promoted"
    assert any("120 of " in one and "its parameters may be refused" in one for one in report.reasons)
    assert report.arms["candidate"].shares.unsent == 120
    assert report.arms["candidate"].shares.failed == judged(tmp_path / "good").arms["candidate"].shares.failed
    assert "InvalidRequestError" not in report.error_classes
    assert any(
        "failed before a provider was asked are not counted: 120 of canary, 0 of control" in one
        for one in report.warnings
    )
    assert any(
        row[0] == "failed before a provider was asked" and row[1].startswith("120 ") for row in call_rows(report)
    )
    asked = http_calls(100, 30, error_class="InvalidRequestError", attempts=(refused, sent))
    assert judged(tmp_path / "asked", asked).verdict == "rollback", "a provider that was asked refused them"

"""`flowai canary-report` with scores of judges: corrected, shown only, mixed, or taken as they are."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.rollout_log import BEGIN, Scenario, events_of

from flowai.calibration import Calibration, JudgeCounts, write_calibration
from flowai.events import CallEvent, EventLog, ScoreEvent
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject

    from flowai.events import Event

    Flowai = Callable[..., Ran]

UNTIL = "2026-05-04T20:00:00Z"
JUDGE, OTHER = "5f2e91c0aa31b7d4", "00c41e77d0a9b2f6"
RELEASES = """\
releases:
  v1: {chat: {prompt: prompts/echo_v1, model: m, params: {temperature: 0}}}
  v2: {extends: v1, chat: {params: {temperature: 0.5}}}
policies: {canary: {guardrails: [error_rate, hallucination], margins: {hallucination: 0.1}}}
"""
ROLLOUT = f"rollout: {{candidate: v2, stage: 50, started_at: {BEGIN.isoformat().replace('+00:00', 'Z')}}}\n"
HALF = Scenario(calls_count=6_000, hours=11.0, percent=50, feedback_rate=0.0)
TPR, TNR = 0.8, 0.9


@pytest.fixture
def rollout(project: SampleProject) -> SampleProject:
    head, _, rest = (project.root / "registry.yaml").read_text().partition("releases:\n")
    tail = rest.partition("current:")[2]
    project.write("registry.yaml", f"{head}{RELEASES}current:{tail}{ROLLOUT}")
    return project


def scored(canary: float, control: float, judges: Iterable[str | None] = (JUDGE,)) -> list[Event]:
    """Each answer is scored once, in turn by each judge, who errs as the calibration says."""
    rng, events, turn = random.Random(5), list(events_of(HALF)), list(judges)  # noqa: S311 - a simulation
    calls = [one for one in events if isinstance(one, CallEvent)]
    for number, call in enumerate(calls):
        is_faulty = rng.random() < (canary if call.variant == "canary" else control)
        is_flagged = rng.random() < (TPR if is_faulty else 1 - TNR)
        events.append(
            ScoreEvent(
                call_id=call.call_id,
                at=call.at + timedelta(seconds=20),
                origin="judge",
                name="hallucination",
                passed=not is_flagged,
                judge_hash=turn[number % len(turn)],
            )
        )
    return events


def write(project: SampleProject, events: Iterable[Event]) -> None:
    directory: Path = project.root / ".flowai" / "events"
    with EventLog(directory, "web", Redactor(()), lambda: BEGIN) as log:
        for event in events:
            log.append(event)


def calibrate(project: SampleProject, hits: int = 160, passed: int = 180, age_days: int = 5, **changes: Any) -> None:
    facts: dict[str, Any] = {
        "name": "hallucination",
        "judge": "judge (m)",
        "judge_hash": JUDGE,
        "at": datetime.now(UTC) - timedelta(days=age_days),
        "source": "evals/faithful.yaml",
        "counts": JudgeCounts(
            true_positive_count=hits,
            false_negative_count=200 - hits,
            true_negative_count=passed,
            false_positive_count=200 - passed,
        ),
    }
    write_calibration(project.root, Calibration(**(facts | changes)))


def report(project: SampleProject) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((project.root / "reports/canary/v2-50/report.json").read_bytes())
    return loaded


def row(found: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in found["metrics"] if one["name"] == "hallucination")


def test_a_calibrated_judge_gates_with_the_corrected_rates(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, scored(0.30, 0.05))
    calibrate(rollout)
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 1, ran.err
    found = report(rollout)
    assert found["verdict"] == "rollback"
    metric = row(found)
    assert metric["status"] == "inferior"
    assert metric["candidate_value"] == pytest.approx(0.30, abs=0.04)
    assert metric["control_value"] == pytest.approx(0.05, abs=0.04)
    assert metric["effect"]["low"] < 0.25 < metric["effect"]["high"]
    judged = metric["judged"]
    assert judged["flagged_candidate"] == pytest.approx(0.31, abs=0.02)
    assert judged["flagged_control"] == pytest.approx(0.135, abs=0.02)
    assert judged["candidate"]["low"] < metric["candidate_value"] < judged["candidate"]["high"]
    assert 0 < judged["flagged_margin"] < 0.07, "the margin of 10 points at the lower end of TPR + TNR - 1"
    assert judged["bias_per_point"] == pytest.approx(1 / 0.7)
    text = " ".join(ran.out.split())
    assert "hallucination: corrected by the judge's calibration of" in text
    assert "it flags 80 % [74, 85] of faulty answers and passes 90 % [85, 94] of sound ones" in text
    assert "shifts the difference by up to 1.4 pt" in text
    for ending in ("md", "html"):
        page = (rollout.root / f"reports/canary/v2-50/report.{ending}").read_text()
        assert "orrected by the judge" in page


def test_no_difference_is_promoted_within_the_translated_margin(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, scored(0.05, 0.05))
    calibrate(rollout)
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 0, ran.out + ran.err
    assert row(report(rollout))["status"] == "non_inferior"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (None, "judge 5f2e91c0 is not calibrated"),
        ({"judge_hash": OTHER}, "prompt or model of the judge changed: judge 5f2e91c0 is not calibrated"),
        ({"age_days": 120}, "120 days old, 90 allowed"),
        ({"hits": 120, "passed": 160}, "is 0.40, 0.50 required"),
        ({"name": "tone"}, "judge 5f2e91c0 is not calibrated"),
    ],
    ids=["none", "changed", "old", "below the floor", "of another property"],
)
def test_without_a_good_calibration_the_row_is_shown_and_decides_nothing(
    changes: dict[str, Any] | None, reason: str, flowai: Flowai, rollout: SampleProject
) -> None:
    write(rollout, scored(0.30, 0.05))
    if changes is not None:
        calibrate(rollout, **changes)
    ran = flowai("canary-report", "--until", UNTIL)
    found = report(rollout)
    metric = row(found)
    assert metric["status"] == "not_judged"
    assert reason in metric["judged"]["problem"]
    assert metric["candidate_calls"]["failure_count"] > 0, "shown"
    assert found["verdict"] == "promote", "of the other guardrail"
    assert found["reasons"] == ["every other guardrail is non-inferior", "hallucination is shown, not judged"]
    text = " ".join(ran.out.split())
    assert "shown, not judged" in text
    assert reason in text


def test_scores_of_several_judges_are_not_mixed(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, scored(0.30, 0.05, judges=(JUDGE, OTHER, JUDGE)))
    calibrate(rollout)
    flowai("canary-report", "--until", UNTIL)
    metric = row(report(rollout))
    assert metric["status"] == "not_judged"
    problem = metric["judged"]["problem"]
    assert problem.startswith("scores of several judges are mixed: ")
    assert "of judge 5f2e91c0" in problem
    assert "of judge 00c41e77" in problem


def test_scores_with_and_without_a_hash_are_not_mixed(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, scored(0.30, 0.05, judges=(JUDGE, JUDGE, None)))
    calibrate(rollout)
    flowai("canary-report", "--until", UNTIL)
    assert "without a judge's hash" in row(report(rollout))["judged"]["problem"]


def test_scores_without_a_hash_are_judged_as_they_are(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, scored(0.30, 0.05, judges=(None,)))
    calibrate(rollout)
    ran = flowai("canary-report", "--until", UNTIL)
    metric = row(report(rollout))
    assert ran.code == 1
    assert metric["status"] == "inferior"
    assert metric["judged"] is None
    assert metric["candidate_value"] == pytest.approx(0.31, abs=0.02), "the flagged share"
    assert "calibration" not in ran.out


def test_a_broken_calibration_is_named(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, scored(0.30, 0.05))
    rollout.write("evals/judges/hallucination.json", '{"name": 5}')
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 3, ran.out
    assert "evals/judges/hallucination.json" in ran.err


def test_only_an_unjudged_guardrail_holds(flowai: Flowai, rollout: SampleProject) -> None:
    text = (rollout.root / "registry.yaml").read_text()
    rollout.write("registry.yaml", text.replace("[error_rate, hallucination]", "[hallucination]"))
    write(rollout, scored(0.30, 0.05))
    flowai("canary-report", "--until", UNTIL)
    found = report(rollout)
    assert found["verdict"] == "hold"
    assert found["reasons"] == ["hallucination is shown, not judged"]

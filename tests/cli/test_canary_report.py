"""`flowai canary-report`: screen, files, exit status, and what it says of logs that are not whole."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.rollout_log import BEGIN, Scenario, Side, write_log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject

    Flowai = Callable[..., Ran]

UNTIL = "2026-05-04T20:00:00Z"
PLOTS = ("forest.svg", "evidence.svg", "latency.svg", "errors.svg")
RELEASES = """\
releases:
  v1: {chat: {prompt: prompts/echo_v1, model: m, params: {temperature: 0}}}
  v2: {extends: v1, chat: {params: {temperature: 0.5}}}
policies: {canary: {guardrails: [error_rate, json_valid, slow_calls, acceptance]}}
"""
ROLLOUT = f"rollout: {{candidate: v2, stage: 50, started_at: {BEGIN.isoformat().replace('+00:00', 'Z')}}}\n"


@pytest.fixture
def rollout(project: SampleProject) -> SampleProject:
    head, _, rest = (project.root / "registry.yaml").read_text().partition("releases:\n")
    tail = rest.partition("current:")[2]
    project.write("registry.yaml", f"{head}{RELEASES}current:{tail}{ROLLOUT}")
    return project


def log_of(project: SampleProject) -> Path:
    return project.root / ".flowai" / "events"


def write(project: SampleProject, **changes: Any) -> None:
    facts: dict[str, Any] = {"calls_count": 12_000, "hours": 12.0, "percent": 50} | changes
    write_log(log_of(project), Scenario(**facts))


def report(project: SampleProject, stage: str = "50") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((project.root / f"reports/canary/v2-{stage}/report.json").read_bytes())
    return loaded


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {metric["name"]: metric["status"] for metric in found["metrics"]}


def test_an_equal_candidate_is_promoted_in_one_screen(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout)
    ran = flowai("canary-report", "--until", UNTIL)
    lines = ran.out.splitlines()
    assert ran.code == 0, ran.out + ran.err
    assert lines[0].startswith("v2 against control (v1)   stage 50 %   12 h 00 min   ")
    assert lines[0].endswith("split ok")
    assert [line.split()[0] for line in lines[1:6]] == ["metric", "error", "valid", "slow", "acceptance"]
    assert "PROMOTE  every guardrail is non-inferior" in lines
    assert lines[-1] == "reports/canary/v2-50/report.md   report.html   report.json"
    written = {path.name for path in (rollout.root / "reports/canary/v2-50").iterdir()}
    assert written == {"report.json", "report.md", "report.html", *PLOTS}
    assert report(rollout)["schema_version"] == 1
    assert report(rollout)["verdict"] == "promote"
    assert len(report(rollout)["digest"]) == 64


def test_a_candidate_that_fails_more_often_is_rolled_back(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, canary=Side(error_rate=0.06))
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 1
    assert "ROLLBACK  error rate is worse than the control's" in ran.out
    assert statuses(report(rollout))["error_rate"] == "inferior"


@pytest.mark.parametrize(
    ("worse", "metric"),
    [
        (Side(bad_json_rate=0.05), "json_valid"),
        (Side(latency_ms=1400.0), "slow_calls"),
        (Side(acceptance=0.48), "acceptance"),
    ],
)
def test_each_guardrail_can_roll_back(worse: Side, metric: str, flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, canary=worse)
    assert flowai("canary-report", "--until", UNTIL).code == 1
    assert statuses(report(rollout))[metric] == "inferior"


def test_few_calls_hold_and_say_how_many_more(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, calls_count=3000, hours=2.0)
    ran = flowai("canary-report", "--until", "2026-05-04T10:00:00Z")
    assert ran.code == 5
    line = next(line for line in ran.out.splitlines() if line.startswith("HOLD"))
    assert "needs about" in line
    assert re.search(r"acceptance needs about [\d,]+ more calls \([\d,]+ (to [\d,]+|or more)\), about ", line)
    assert line.endswith(" at this rate")
    forecasts = {one["name"]: one["forecast"] for one in report(rollout)["metrics"] if one["status"] == "inconclusive"}
    assert forecasts["acceptance"]["calls"] > 0


def test_fail_on_names_the_verdicts_that_fail(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, calls_count=2000, hours=2.0)
    arguments = ("canary-report", "--until", "2026-05-04T10:00:00Z", "--fail-on")
    assert flowai(*arguments, "rollback,invalid").code == 0
    assert flowai(*arguments, "hold").code == 5
    ran = flowai(*arguments, "holt")
    assert ran.code == 2
    assert ("did you mean `hold`" in ran.err) is True


def test_no_feedback_is_no_good_news(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, feedback_rate=0.0)
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 5
    assert "INVALID  no data for acceptance" in ran.out


def test_a_candidate_that_fails_every_call_is_rolled_back_though_it_has_no_feedback(
    flowai: Flowai, rollout: SampleProject
) -> None:
    write(rollout, canary=Side(error_rate=1.0))
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 1
    assert "no data for acceptance" in ran.out


def test_json_that_nobody_promised_is_not_missed(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, changes={"json_valid": None})
    assert flowai("canary-report", "--until", UNTIL).code == 0
    assert statuses(report(rollout))["json_valid"] == "not_tested"


def test_zero_traffic_holds(flowai: Flowai, rollout: SampleProject) -> None:
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 5
    assert "HOLD" in ran.out
    assert report(rollout)["arms"]["candidate"]["call_count"] == 0


def test_one_arm_only_is_invalid(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, changes={"variant": "canary", "release": "v2"})
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 5
    assert "INVALID" in ran.out
    assert "one arm only: the control has no calls" in ran.out


def test_dogfood_calls_and_evaluations_are_left_out(flowai: Flowai, rollout: SampleProject) -> None:
    for seed, changes in enumerate(({"variant": "dogfood"}, {"origin": "eval"}, {"origin": "smoke"})):
        write_log(log_of(rollout), Scenario(calls_count=1000, seed=seed + 50, changes=changes), process=f"other-{seed}")
    flowai("canary-report", "--until", UNTIL)
    assert report(rollout)["arms"]["candidate"]["call_count"] == 0
    assert report(rollout)["splits"] == []


def test_the_wrong_split_is_invalid(flowai: Flowai, rollout: SampleProject) -> None:
    text = (rollout.root / "registry.yaml").read_text()
    rollout.write("registry.yaml", text)
    write(rollout)
    write_log(
        log_of(rollout), Scenario(calls_count=900, seed=99, changes={"variant": "canary", "release": "v2"}), process="x"
    )
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 5
    assert "split WRONG" in ran.out
    assert "users do not divide by the shares of stage 50" in ran.out


def test_another_release_among_the_canary_is_invalid(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout)
    write_log(
        log_of(rollout), Scenario(calls_count=400, seed=99, changes={"variant": "canary", "release": "v7"}), process="x"
    )
    assert "mixed versions: v7 served as candidate, besides v2" in flowai("canary-report", "--until", UNTIL).out


def test_a_prompt_that_changed_in_the_middle_is_invalid(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout)
    write_log(log_of(rollout), Scenario(calls_count=400, seed=99, changes={"prompt_hash": "ee" * 32}), process="x")
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 5
    assert "2 texts of the prompt of chat served as canary" in ran.out


def test_damaged_lines_are_counted_and_too_many_are_invalid(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout)
    path = next(log_of(rollout).rglob("*.jsonl"))
    text = path.read_text()
    second = text.splitlines(keepends=True)[1]
    old = text.splitlines(keepends=True)[2].replace('"schema_version":1', '"schema_version":9')
    path.write_text(f"{text}{second}{old}garbage\n" + '{"kind":"call","call_id":')
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 0, ran.out
    problems = {one["kind"]: one["count"] for one in report(rollout)["problems"]}
    assert problems["unreadable"] == 2
    assert problems["unknown_version"] == 1
    last = len(text.splitlines()) + 4
    name = path.relative_to(log_of(rollout)).as_posix()
    assert f"warning: 2 lines could not be read ({name}:{last - 1}, {name}:{last})" in ran.out
    path.write_text(f"{text}{'garbage' * 3}\n" + "[]\n" * 400)
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 5
    assert "401 lines of the log are lost" in ran.out


def test_events_from_the_future_are_left_out(flowai: Flowai, rollout: SampleProject) -> None:
    rollout.write("registry.yaml", (rollout.root / "registry.yaml").read_text().replace("2026-05-04", "2126-05-04"))
    write_log(log_of(rollout), Scenario(calls_count=1000, begin=BEGIN.replace(year=2126)))
    ran = flowai("canary-report", "--until", "2126-05-05T00:00:00Z")
    assert ran.code == 5
    assert report(rollout)["arms"]["candidate"]["call_count"] == 0
    assert "had a time in the future" in ran.out


def test_lines_after_the_requested_end_are_not_lost(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout)
    ran = flowai("canary-report", "--until", "2026-05-04T14:00:00Z")
    assert "INVALID" not in ran.out
    assert report(rollout)["problems"] == []


def test_replay_tells_when_the_verdict_would_have_changed(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, canary=Side(error_rate=0.06))
    ran = flowai("canary-report", "--until", UNTIL, "--replay-hourly")
    replay = report(rollout)["replay"]
    assert [one["at"] for one in replay][:2] == ["2026-05-04T09:00:00Z", "2026-05-04T10:00:00Z"]
    assert len(replay) == 12
    assert replay[-1]["verdict"] == "rollback"
    first = next(one for one in replay if one["verdict"] == "rollback")
    assert f"{first['at']}  ROLLBACK  error rate" in ran.out


def test_json_is_the_report_and_outputs_are_written(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, calls_count=2000)
    ran = flowai("canary-report", "--until", UNTIL, "--json", "-o", "mine.html", "-o", "mine.json")
    assert json.loads(ran.out) == report(rollout) == json.loads((rollout.root / "mine.json").read_bytes())
    page = (rollout.root / "mine.html").read_text()
    assert page.count("<svg ") == len(PLOTS)
    assert "<script" not in page
    assert flowai("canary-report", "-o", "mine.xml").code == 2


def test_without_a_rollout_it_asks_for_one(flowai: Flowai, project: SampleProject) -> None:
    ran = flowai("canary-report")
    assert ran.code == 5
    assert ("no active rollout" in ran.err) is True
    assert flowai("canary-report", "--candidate", "v9").code == 2
    assert "the stage of `v1` is unknown" in flowai("canary-report", "--candidate", "v1").err
    assert not (project.root / "reports" / "canary").exists()


def test_since_and_until_are_read_as_people_type_them(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout)
    flowai("canary-report", "--since", "2026-05-04T14:00", "--until", UNTIL)
    assert report(rollout, "50-part")["since"] == "2026-05-04T14:00:00Z"
    ran = flowai("canary-report", "--since", "soon")
    assert ran.code == 2
    assert ("expected a time ago" in ran.err) is True
    assert flowai("canary-report", "--window", "-1h").code == 2


@pytest.mark.parametrize("part", [("--since", "2026-05-04T14:00"), ("--feature", "chat")])
def test_a_report_of_a_part_does_not_stand_where_promote_looks(
    flowai: Flowai, rollout: SampleProject, part: tuple[str, str]
) -> None:
    write(rollout)
    flowai("canary-report", *part, "--until", UNTIL)
    assert report(rollout, "50-part")
    assert not (rollout.root / "reports/canary/v2-50").exists()


def test_only_a_report_of_the_whole_stage_names_the_next_command(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout)
    assert "Then: flowai release promote" in flowai("canary-report", "--until", UNTIL).out.splitlines()
    assert report(rollout)["is_decisive"]
    for part in (("--feature", "chat"), ("--candidate", "v2", "--stage", "50", "--since", "2026-05-04T08:00")):
        assert "flowai release" not in flowai("canary-report", *part, "--until", UNTIL).out
        assert not report(rollout, "50-part")["is_decisive"]


def test_the_report_has_features_error_classes_and_stages(flowai: Flowai, rollout: SampleProject) -> None:
    write(rollout, canary=Side(error_rate=0.06))
    fallback = {"degraded": True, "feature": "summary"}
    write_log(log_of(rollout), Scenario(calls_count=400, percent=50, seed=8, changes=fallback), process="other")
    flowai("canary-report", "--until", UNTIL)
    found = report(rollout)
    features = {one["feature"]: one for one in found["features"]}
    assert list(features) == ["chat", "summary"]
    both = [features["summary"][arm] for arm in ("candidate", "control")]
    assert sum(one["calls"] for one in both) == 400
    assert all(one["fell_back"] + one["errors"] == one["failed"] == one["calls"] for one in both)
    candidate, control = found["error_classes"]["ServerError"]
    assert candidate > control > 0
    (stage,) = found["stages"]
    assert stage["stage"] == "50"
    assert {arm: one["calls"] for arm, one in stage["calls"].items()} == {
        arm: one["call_count"] for arm, one in found["arms"].items()
    }
    assert stage["anonymous"] == {"candidate": 0, "control": 0}


def test_the_ledger_tells_the_stages(flowai: Flowai, rollout: SampleProject) -> None:
    steps = (("publish", None, "dogfood", -60), ("promote", "dogfood", 50, 0))
    lines = [
        {
            "schema_version": 1,
            "id": action,
            "at": (BEGIN + timedelta(minutes=minutes)).isoformat(),
            "actor": "ann@build",
            "action": action,
            "release": "v2",
            "from_stage": begin,
            "to_stage": end,
        }
        for action, begin, end, minutes in steps
    ]
    rollout.write(".flowai/ledger/default.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    write(rollout)
    flowai("canary-report", "--until", UNTIL)
    assert report(rollout)["since"] == "2026-05-04T08:01:00Z", "the first minute of a stage is left out"
    assert not report(rollout)["warnings"]
    text = (rollout.root / "registry.yaml").read_text()
    rollout.write("registry.yaml", text.replace("stage: 50", "stage: 75"))
    ran = flowai("canary-report", "--until", UNTIL)
    assert ran.code == 5
    assert "was the registry edited by hand?" in ran.out


def test_all_that_the_baseline_serves_adds_to_the_evidence(flowai: Flowai, rollout: SampleProject) -> None:
    rollout.write("registry.yaml", (rollout.root / "registry.yaml").read_text().replace("stage: 50", "stage: 5"))
    write(rollout, percent=5, calls_count=8000, canary=Side(error_rate=0.06))
    flowai("canary-report", "--until", UNTIL)
    with_stable = report(rollout, "5")
    for path in log_of(rollout).rglob("*.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if '"variant":"stable"' not in line))
    flowai("canary-report", "--until", UNTIL)
    alone = report(rollout, "5")
    assert with_stable["metrics"][0]["e_value_peak"] > 2 * alone["metrics"][0]["e_value_peak"]
    users = [report["metrics"][0]["control"]["count"] for report in (with_stable, alone)]
    assert users[0] > 10 * users[1]
    calls = [report["metrics"][0]["control_calls"] for report in (with_stable, alone)]
    assert calls[0] == calls[1], "calls are the control's"

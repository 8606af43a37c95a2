"""`flowai simulate` and `flowai canary-report --power`: screens, JSON, exit status, on logs of simulated traffic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from flowai.simulation.event_log import write_event_log
from flowai.simulation.generator import simulate_calls
from flowai.simulation.scenario import Arm, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject

    Flowai = Callable[..., Ran]

SINCE = ("--since", "2026-05-04")
TRAFFIC = Scenario(
    control=Arm(cancelled_rate=0.02),
    stages=((0, 8.0),),
    calls_per_hour=500.0,
    calls_per_user=3.0,
    user_concentration=20.0,
    anonymous_rate=0.1,
)
LENIENT = """\
policies:
  canary:
    stages: [dogfood, 10, 50, 100]
    guardrails: [error_rate, json_valid, hallucination]
    margins: {error_rate: 0.1, json_valid: 0.1}
"""


def write(project: SampleProject, scenario: Scenario = TRAFFIC, policies: str = LENIENT) -> None:
    with (project.root / "registry.yaml").open("a") as file:
        file.write(policies)
    write_event_log(simulate_calls(scenario, 4), scenario, project.root / ".flowai" / "events")


def simulated(flowai: Flowai, *arguments: str) -> dict[str, Any]:
    ran = flowai("simulate", *SINCE, "--hours", "1,3,4", "--json", *arguments)
    assert ran.code == 0, ran.err
    loaded: dict[str, Any] = json.loads(ran.out)
    return loaded


def test_equal_candidates_are_rarely_rolled_back_and_great_harm_always_is(
    flowai: Flowai, project: SampleProject
) -> None:
    write(project)
    report = simulated(flowai, "--runs", "20")
    assert report["rolled_back"]["rate"] <= 0.1
    assert report["rolled_back"]["low"] <= report["rolled_back"]["rate"] <= report["rolled_back"]["high"]
    assert report["stages"] == [
        {"stage": "dogfood", "hours": 1.0},
        {"stage": "10", "hours": 3.0},
        {"stage": "50", "hours": 4.0},
    ]
    error_rate, json_valid, hallucination = report["guardrails"]
    for one in (error_rate, json_valid):
        assert one["harm"] == pytest.approx(0.2)
        assert one["rolled_back"]["rate"] == one["found_by_itself"]["rate"] == 1.0
        assert one["promoted"]["rate"] <= 0.15
        assert 0 < one["calls"] < 500
        assert 1 <= one["hours"] <= 6
    assert hallucination["harm"] == pytest.approx(0.02)
    assert report["log_calls"] == pytest.approx(4000, rel=0.2)


def test_the_screen_is_one_table_of_80_columns_and_a_sentence(flowai: Flowai, project: SampleProject) -> None:
    scenario = Scenario(stages=((0, 8.0),), calls_per_hour=300.0, score_rate=0.0)
    write(project, scenario, LENIENT)
    ran = flowai("simulate", *SINCE, "--runs", "4")
    lines = ran.out.splitlines()
    assert ran.code == 0
    assert max(map(len, lines)) <= 80
    heads = [line.split("  ")[0] for line in lines]
    at = heads.index("candidate")
    assert lines[at].split() == ["candidate", "rolled", "back", "[95", "%]", "calls", "hours", "promoted", "[95", "%]"]
    assert heads[at + 1] == "equal"
    assert heads[at + 2].startswith("error rate ")
    assert heads[at + 2].endswith(" %")
    assert heads[at + 4] == "hallucination (no data)"
    assert "warning: no data in the log for hallucination: no harm of it was simulated" in ran.out
    assert "stages dogfood 2 h, 10 % 2 h, 50 % 2 h" in ran.out
    assert "Of equal candidates, " in ran.out
    assert lines[-1].endswith(".")


def test_equal_seeds_give_equal_results(flowai: Flowai, project: SampleProject) -> None:
    write(project)
    first = simulated(flowai, "--runs", "3", "--seed", "7")
    assert simulated(flowai, "--runs", "3", "--seed", "7") == first
    assert simulated(flowai, "--runs", "3", "--seed", "8")["guardrails"] != first["guardrails"]


def test_several_processes_give_the_same_results(
    flowai: Flowai, project: SampleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project)
    alone = simulated(flowai, "--runs", "3")
    monkeypatch.setattr("flowai.canary.planning.policy_runs._MIN_PARALLEL_ROLLOUTS", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert simulated(flowai, "--runs", "3") == alone


def test_a_log_with_too_few_calls_is_inconclusive(flowai: Flowai, project: SampleProject) -> None:
    ran = flowai("simulate", *SINCE)
    assert ran.code == 5
    assert "no calls of v1 in the event log" in ran.err
    write(project, Scenario(stages=((0, 4.0),), calls_per_hour=30.0))
    for arguments in (("simulate",), ("canary-report", "--power")):
        ran = flowai(*arguments, *SINCE)
        assert ran.code == 5
        assert "expected at least 100 users" in ran.err
    assert "a verdict at 50 % needs 50 users in each arm" in flowai("simulate", *SINCE).err


@pytest.mark.parametrize("hours", ["none", "0", "6,6", "6,6,6,6", "-1", "nan", "1e9"])
def test_wrong_hours_are_refused(flowai: Flowai, project: SampleProject, hours: str) -> None:
    write(project)
    ran = flowai("simulate", *SINCE, "--hours", hours)
    assert ran.code == 2
    assert f"--hours: found `{hours}`" in ran.err
    assert "3 stages below 100 %" in ran.err


def test_a_policy_without_a_comparison_is_refused(flowai: Flowai, project: SampleProject) -> None:
    write(project, policies="policies: {canary: {stages: [dogfood, 100]}}\n")
    for arguments in (("simulate",), ("canary-report", "--power")):
        ran = flowai(*arguments, *SINCE)
        assert ran.code == 2
        assert "expected a stage with a control" in ran.err


# --- power ---


def test_power_shows_users_and_days_without_a_rollout(flowai: Flowai, project: SampleProject) -> None:
    write(project, policies="")
    ran = flowai("canary-report", "--power", *SINCE)
    lines = ran.out.splitlines()
    assert ran.code == 0, ran.err
    assert max(map(len, lines)) <= 80
    table = [line for line in lines if (line.startswith(("stage", "  ")) and "harm" not in line) or " % " in line[:6]]
    assert sum("acceptance" in line for line in table) == 3
    assert [line[:5].strip() for line in lines if line[:5].strip().endswith("%")] == ["1 %", "5 %", "25 %"]
    assert "never: never at this traffic; it would take more than a year." in ran.out
    assert "users: of the candidate, in 4 of 5 rollouts" in ran.out


def test_power_as_json_of_one_stage(flowai: Flowai, project: SampleProject) -> None:
    write(project)
    ran = flowai("canary-report", "--power", *SINCE, "--stage", "20", "--json")
    assert ran.code == 0
    report = json.loads(ran.out)
    (stage,) = report["stages"]
    assert stage["percent"] == 20
    assert report["calls_per_hour"]["chat"] == pytest.approx(500, rel=0.2)
    needed = stage["guardrails"][0]["safe"]
    assert needed["baseline"] == pytest.approx(4 * needed["candidate"], rel=0.05)
    assert needed["days"] > 0


@pytest.mark.parametrize("option", [("--fail-on", "hold"), ("--replay-hourly",), ("--candidate", "v1")])
def test_power_excludes_options_of_a_rollout(flowai: Flowai, project: SampleProject, option: tuple[str, ...]) -> None:
    assert project.root.is_dir()
    ran = flowai("canary-report", "--power", *option)
    assert ran.code == 2
    assert f"it excludes `{option[0]}`" in ran.err

"""`flowai experiment`: the report's screen and files, ending an experiment, and the winner as a release."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.experiment_log import Arm, Trial, write_experiments
from support.release_project import GOOD_V1, ROLLING, release_project
from support.rollout_log import BEGIN

from flowai.experiments.stop_adopt import StopOptions, stop
from flowai.registry import load_registry
from flowai.workspace.workspace import CommandContext

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.release_project import ReleaseProject
    from support.sample_project import Ran

    Experiment = Callable[..., Ran]

pytestmark = pytest.mark.slow  # each test counts a log of thousands of calls

TONE = """\
# what we try; ask ann
experiments:
  tone:  # since May
    feature: chat
    arms:
      A: {prompt: prompts/a_v2}   # what v1 serves
      B: {prompt: prompts/a_v3, params: {temperature: 0.5}}
    goal: save_rate
"""
UNTIL = ("--until", "2026-05-04T14:00Z")


@pytest.fixture
def experiment(place: Path, command: Callable[..., Ran]) -> Experiment:  # noqa: ARG001 - stands in it
    return partial(command, "experiment")


@pytest.fixture
def project(place: Path) -> ReleaseProject:
    return release_project(place, GOOD_V1, more=TONE.splitlines())


def write(project: ReleaseProject, begin: datetime = BEGIN, **arms: Arm) -> None:
    log = project.root / ".flowai" / "events"
    write_experiments(log, Trial(begin=begin, arms=arms or {"A": Arm(), "B": Arm(save_rate=0.4)}))


def write_today(project: ReleaseProject, **arms: Arm) -> None:
    """Write an experiment that ended two hours ago: `adopt` always looks at what there is now."""
    write(project, datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=7), **arms)


def registry(project: ReleaseProject) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text(project))
    return loaded


def text(project: ReleaseProject) -> str:
    return (project.root / "registry.yaml").read_text()


def test_the_report_is_one_screen_and_three_files(experiment: Experiment, project: ReleaseProject) -> None:
    write(project)
    ran = experiment("report", "tone", *UNTIL, "-o", "out/tone.md")
    lines = ran.out.splitlines()
    assert ran.code == 0, ran.out + ran.err
    assert lines[0].startswith("tone   chat   goal save rate   6 h 00 min   ")
    assert lines[0].endswith("split ok")
    assert lines[1].startswith("arm  users  calls  save rate  error rate  valid JSON  slow calls  acceptance  p95  ")
    assert [line.split()[0] for line in lines[2:4]] == ["A", "B"]
    assert lines[5].startswith("save rate  B against A  +")
    assert lines[5].endswith("40          better")
    assert lines[-3].startswith("WINNER  B: the save rate of B is better than the other's")
    assert lines[-2:] == [
        "reports/experiments/tone/report.md   report.html   report.json",
        "Then: flowai experiment adopt tone",
    ]
    assert max(map(len, lines)) <= 120
    directory = project.root / "reports/experiments/tone"
    assert {path.name for path in directory.iterdir()} == {"report.md", "report.html", "report.json"}
    assert (project.root / "out/tone.md").read_bytes() == (directory / "report.md").read_bytes()
    assert "<script" not in (directory / "report.html").read_text()


def test_json_is_the_report(experiment: Experiment, project: ReleaseProject) -> None:
    write(project, A=Arm(), B=Arm())
    ran = experiment("report", "tone", *UNTIL, "--json")
    found = json.loads(ran.out)
    assert ran.code == 5
    assert found["schema_version"] == 1
    assert found["verdict"] == "none"
    assert found["winner"] is None
    assert found == json.loads((project.root / "reports/experiments/tone/report.json").read_bytes())


def test_a_worse_guardrail_fails_a_scheduled_job(experiment: Experiment, project: ReleaseProject) -> None:
    write(project, A=Arm(), B=Arm(error_rate=0.1))
    ran = experiment("report", "tone", *UNTIL)
    assert ran.code == 1
    assert "WORSE  error rate of B is worse than that of A" in ran.out
    assert ran.out.endswith("To end it: flowai experiment stop tone\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("report", "ton"), 2, "no experiment `ton` in `registry.yaml`"),
        (("stop", "ton"), 2, "no experiment `ton` in `registry.yaml`"),
        (("adopt", "ton"), 2, "no experiment `ton` in `registry.yaml`"),
        (("report", "tone", "-o", "x.csv"), 2, "found ending `.csv`"),
        (("report", "tone", "--since", "soon"), 2, "--since: found `soon`"),
        (("report", "tone", "--since", "2h", "--until", "3h"), 2, "`--until` must be after `--since`"),
        (("report", "tone", "--window", "x"), 2, "--window"),
        (("report", "tone"), 5, "the log has no call of the experiment `tone`"),
        (("adopt", "tone"), 5, "the log has no call of the experiment `tone`"),
        (("adopt", "tone", "--arm", "C"), 2, "experiment `tone` has no arm `C`"),
        (("adopt", "tone", "--as", "v2"), 2, "the release `v2` exists already"),
        (("adopt", "tone", "--as", "v 9"), 2, "--as: found `v 9`"),
        (("adopt", "tone", "--force", "--arm", "B"), 2, "`--force` needs `--reason`"),
        (("adopt", "tone", "--force", "--reason", "x"), 2, "`--force` needs `--arm`"),
    ],
)
def test_invalid_requests_are_errors_that_change_nothing(
    experiment: Experiment, project: ReleaseProject, arguments: tuple[str, ...], code: int, said: str
) -> None:
    before = text(project)
    ran = experiment(*arguments)
    assert ran.code == code
    assert ran.out == ""
    assert said in ran.err
    assert text(project) == before
    assert project.entries() == ()


def test_a_goal_that_cannot_be_measured_is_named(experiment: Experiment, project: ReleaseProject) -> None:
    project.write("registry.yaml", text(project).replace("goal: save_rate", "goal: csat"))
    ran = experiment("report", "tone")
    assert ran.code == 3
    assert "experiments.tone.goal" in ran.err
    assert "`save_rate`" in ran.err


def test_stop_removes_only_the_entry(experiment: Experiment, project: ReleaseProject) -> None:
    before = text(project)
    ran = experiment("stop", "tone", "--reason", "no difference")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-1] == "TONE IS OVER; v1 serves chat.  Commit registry.yaml."
    begin, end = before.index("  tone:"), before.index("current:")
    assert text(project) == before[:begin].replace("experiments:", "experiments: {}") + before[end:]
    (entry,) = project.entries()
    assert entry.action == "stop"
    assert entry.experiment == "tone"
    assert entry.reason == "no difference"
    assert entry.release == ""
    assert entry.evidence["experiment"]["arms"]["B"]["params"] == {"temperature": 0.5}
    again = experiment("stop", "tone")
    assert again.code == 0
    assert "tone has ended: stopped by " in again.out
    assert again.out.endswith("; nothing changed\n")
    assert len(project.entries()) == 1


def test_an_ended_experiment_is_named_with_its_end(experiment: Experiment, project: ReleaseProject) -> None:
    experiment("stop", "tone")
    assert len(project.entries()) == 1
    for arguments in (("report", "tone"), ("adopt", "tone")):
        ran = experiment(*arguments)
        assert ran.code == 2
        assert "the experiment `tone` has ended: stopped by " in ran.err


def test_the_end_is_logged(experiment: Experiment, project: ReleaseProject) -> None:
    experiment("stop", "tone")
    (line,) = (
        json.loads(line)
        for path in (project.root / ".flowai/events").rglob("*.jsonl")
        for line in path.read_text().splitlines()
    )
    assert line["kind"] == "release"
    assert line["action"] == "stop"
    assert line["experiment"] == "tone"
    assert line["release"] is None


def test_the_winner_becomes_a_release(experiment: Experiment, project: ReleaseProject) -> None:
    write_today(project)
    ran = experiment("adopt", "tone")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        "tone: arm B becomes v4",
        "done     release             v4 extends v1",
        "done     experiment          taken out of registry.yaml",
        "done     ledger              what it was is kept",
        "TONE IS OVER; v1 serves chat.  Commit registry.yaml.",
        "Then: flowai release publish v4",
    ]
    assert registry(project)["releases"]["v4"] == {
        "extends": "v1",
        "chat": {"prompt": "prompts/a_v3", "params": {"temperature": 0.5}},
    }
    assert "# what we try; ask ann\nexperiments: {}" in text(project)
    assert load_registry(project.project, env=None, environ={}).current == "v1"
    report = json.loads((project.root / "reports/experiments/tone/report.json").read_bytes())
    (entry,) = project.entries()
    assert entry.action == "adopt"
    assert entry.release == "v4"
    assert entry.report_digest == report["digest"]
    after = text(project)
    again = experiment("adopt", "tone")
    assert again.code == 0
    assert "tone has ended: adopted as v4 by " in again.out
    assert again.out.endswith("; nothing changed\nThen: flowai release publish v4\n")
    assert text(project) == after
    assert len(project.entries()) == 1


def test_an_adopted_release_can_be_published(
    experiment: Experiment, command: Callable[..., Ran], project: ReleaseProject
) -> None:
    write_today(project)
    refused = command("release", "publish", "v2", "--no-smoke")
    assert "in which the experiment `tone` runs" in refused.err
    assert "flowai experiment stop tone" in refused.err
    assert experiment("adopt", "tone", "--as", "polite-1").code == 0
    ran = command("release", "publish", "polite-1", "--no-smoke")
    assert ran.code == 0, ran.err
    assert project.keys()["rollout"]["candidate"] == "polite-1"
    listed = command("release", "list")
    assert "warning" not in listed.out


def test_without_a_winner_nothing_is_adopted_unless_forced(experiment: Experiment, project: ReleaseProject) -> None:
    write_today(project, A=Arm(), B=Arm())
    before = text(project)
    ran = experiment("adopt", "tone", "--arm", "B")
    assert ran.code == 5
    assert "no arm of `tone` can be adopted: no winner yet" in ran.err
    assert text(project) == before
    forced = experiment("adopt", "tone", "--arm", "B", "--force", "--reason", "the old one is being retired")
    assert forced.code == 0
    assert "tone: arm B becomes v4 (without evidence)" in forced.out
    (entry,) = project.entries()
    assert entry.forced is True
    assert entry.report_digest is None
    assert entry.reason == "the old one is being retired"


def test_adopting_a_losing_arm_is_refused(experiment: Experiment, project: ReleaseProject) -> None:
    write_today(project)
    ran = experiment("adopt", "tone", "--arm", "A")
    assert ran.code == 5
    assert "arm `A` has not won: `B` has" in ran.err


def test_an_arm_that_serves_already_needs_no_release(experiment: Experiment, project: ReleaseProject) -> None:
    write_today(project, A=Arm(save_rate=0.4), B=Arm())
    ran = experiment("adopt", "tone")
    assert ran.code == 0
    assert "tone: arm A is what v1 serves already; no release is needed" in ran.out
    assert "publish" not in ran.out
    assert set(registry(project)["releases"]) == {"v0", "v1", "v2", "v3"}
    assert "publish" not in experiment("adopt", "tone").out


def test_during_a_rollout_nothing_is_adopted(experiment: Experiment, place: Path) -> None:
    project = release_project(place, ROLLING, more=TONE.splitlines())
    before = text(project)
    ran = experiment("adopt", "tone", "--arm", "B", "--force", "--reason", "x")
    assert ran.code == 2
    assert "the rollout of `v2` is active" in ran.err
    assert text(project) == before
    assert experiment("stop", "tone").code == 0


def test_a_read_only_registry_is_left_alone(experiment: Experiment, project: ReleaseProject) -> None:
    (project.root / "registry.yaml").chmod(0o444)
    before = text(project)
    ran = experiment("stop", "tone")
    assert ran.code == 4
    assert "cannot be changed here" in ran.err
    assert text(project) == before
    assert project.entries() == ()


def test_two_concurrent_stops_end_it_once(project: ReleaseProject) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def end(number: int) -> None:
        start.wait()
        try:
            ended = stop(CommandContext(directory=project.root, user=f"p{number}"), StopOptions(name="tone"))
            outcomes.append("new" if ended.changed else "known")
        except Exception as error:  # noqa: BLE001 - what it is is asserted below
            outcomes.append(str(error))

    threads = [threading.Thread(target=end, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("new") == 1
    assert set(outcomes) <= {"new", "known", "the registry changed during the command", _GONE}
    assert len(project.entries()) == 1


_GONE = "no experiment `tone` in `registry.yaml`"  # between the change and the ledger's line


def test_an_environment_has_its_own_experiments_and_shares_releases(experiment: Experiment, place: Path) -> None:
    project = release_project(place, "")
    project.write("registry.prod.yaml", f"extends: registry.yaml\n{TONE}current: v1\nhistory: [v1]\n")
    project.write("registry.staging.yaml", "extends: registry.yaml\ncurrent: v1\nhistory: [v1]\n")
    assert experiment("stop", "tone").code == 2  # several environments, none named
    ran = experiment("adopt", "tone", "--arm", "B", "--force", "--reason", "x", "--env", "prod")
    assert ran.code == 0, ran.err
    assert "Commit registry.yaml, registry.prod.yaml." in ran.out
    assert ran.out.endswith("Then: flowai release publish v4 --env prod\n")
    assert "v4" in registry(project)["releases"]
    assert "tone" not in (project.root / "registry.prod.yaml").read_text()
    assert load_registry(project.project, env="staging", environ={}).release("v4").extends == "v1"


def test_stopping_a_shared_experiment_warns_of_other_environments(experiment: Experiment, place: Path) -> None:
    project = release_project(place, "", more=TONE.splitlines())
    project.write("registry.prod.yaml", "extends: registry.yaml\ncurrent: v1\nhistory: [v1]\n")
    ran = experiment("stop", "tone", "--env", "prod")
    assert ran.code == 0, ran.err
    assert "warning: `tone` was in registry.yaml, which other files extend: it ends in every environment" in ran.out


def test_a_reused_name_starts_without_the_earlier_calls(experiment: Experiment, project: ReleaseProject) -> None:
    write_today(project)
    before = text(project)
    experiment("stop", "tone")
    project.write("registry.yaml", before)
    ran = experiment("report", "tone")
    assert ran.code == 5
    assert "the log has no call of the experiment `tone`" in ran.err


def test_secrets_in_a_reason_do_not_reach_the_ledger(experiment: Experiment, project: ReleaseProject) -> None:
    key = "sk-" + "a1B2c3D4e5F6g7H8" * 3
    experiment("stop", "tone", "--reason", f"leaked {key}")
    assert key not in str(project.entries())

"""`flowai release`: what is locked, what moves a rollout on, and what stops it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.release_project import GOOD_V1, ROLLING, STEADY, ReleaseProject, release_project
from support.rollout_evidence import canary_report, dogfood

from flowai.prompts import PromptLock
from flowai.rollouts.promote import PromoteOptions, promote
from flowai.storage.jsonl import AppendLog
from flowai.workspace.workspace import CommandContext

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran

    from flowai.releases.ledger import LedgerEntry

    Command = Callable[..., Ran]

DONE, WORSE, USAGE, PROJECT, NOT_YET = 0, 1, 2, 3, 5


def at_stage(project: ReleaseProject, stage: int | str) -> None:
    text = (project.root / "registry.yaml").read_text()
    project.write("registry.yaml", text.replace("stage: 5", f"stage: {stage}"))


# --- publish ---


def test_publishing_locks_the_release_and_starts_its_rollout(place: Path, release: Command) -> None:
    project = release_project(place, GOOD_V1)
    ran = release("publish", "v2", "--no-smoke", "--reason", "first of May")
    assert ran.code == DONE, ran.err
    assert project.keys()["rollout"]["candidate"] == "v2"
    assert "stage" not in project.keys()["rollout"], "`dogfood` is what a rollout begins with"
    locked = PromptLock.read(place / "prompts.lock").releases["v2"]
    assert set(locked.prompts) == {"prompts/a_v3", "prompts/a_v1"}
    assert set(locked.models) == {"m"}
    (entry,) = project.entries()
    assert entry.action == "publish"
    assert entry.to_stage == "dogfood"
    assert entry.forced is True
    assert entry.evidence == {"smoke": "skipped"}
    assert entry.reason == "first of May"
    again = release("publish", "v2", "--no-smoke")
    assert again.code == DONE
    assert ("nothing changed" in again.out) is True
    assert len(project.entries()) == 1


@pytest.mark.parametrize(
    ("own", "name", "says"),
    [
        (GOOD_V1, "v9", "no release `v9`"),
        (GOOD_V1, "v1", "already serves"),
        (GOOD_V1 + "bad: [v2]\n", "v2", "marked bad"),
        (ROLLING, "v3", "the rollout of `v2` is active"),
        (
            GOOD_V1 + "experiments: {words: {feature: chat, arms: {A: {}, B: {}}, goal: save_rate}}\n",
            "v2",
            "the experiment `words` runs",
        ),
    ],
)
def test_invalid_publishes_are_refused(place: Path, release: Command, own: str, name: str, says: str) -> None:
    project = release_project(place, own)
    before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    ran = release("publish", name, "--no-smoke")
    assert ran.code == USAGE, ran.err
    assert (says in ran.err) is True, ran.err
    assert {path: path.read_bytes() for path in place.iterdir() if path.is_file()} == before
    assert project.entries() == ()


def test_an_experiment_on_an_unchanged_feature_does_not_block_publishing(place: Path, release: Command) -> None:
    release_project(place, GOOD_V1 + "experiments: {w: {feature: plan, arms: {A: {}, B: {}}, goal: save_rate}}\n")
    assert release("publish", "v2", "--no-smoke").code == DONE


def test_a_prompt_that_changed_since_any_release_stops_it(place: Path, release: Command, rollback: Command) -> None:
    project = release_project(place, GOOD_V1)
    release("publish", "v2", "--no-smoke")
    rollback()
    project.write("prompts/a_v1.prompt", "changed\n")  # v2 used it, and so does v3
    ran = release("publish", "v3", "--no-smoke")
    assert ran.code == PROJECT
    assert ("`prompts/a_v1` changed after release `v2` was published" in ran.err) is True
    assert project.keys().get("rollout") is None


def test_smoke_that_does_not_pass_stops_it(place: Path, release: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    project = release_project(place, GOOD_V1)
    monkeypatch.setattr("flowai.rollouts.publish._smoke", lambda *_: ("fail", ()))
    ran = release("publish", "v2")
    assert ran.code == WORSE
    assert ("NOT PUBLISHED" in ran.out) is True
    assert project.entries() == ()
    assert (place / "prompts.lock").exists() is False
    assert bool(project.keys().get("rollout")) is False
    monkeypatch.setattr("flowai.rollouts.publish._smoke", lambda *_: ("pass", ()))
    assert release("publish", "v2").code == DONE
    assert project.entries()[0].evidence == {"smoke": "pass"}


# --- promote ---


def test_dogfood_is_promoted_after_smoke_and_enough_answered_calls(
    place: Path, release: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowai.rollouts.publish._smoke", lambda *_: ("pass", ()))
    project = release_project(place, GOOD_V1)
    release("publish", "v2")
    dogfood(project, 19)
    dogfood(project, 30, error_class="ServerError")
    dogfood(project, 30, variant="canary")
    dogfood(project, 30, at=datetime.now(UTC) - timedelta(days=1))
    ran = release("promote")
    assert ran.code == NOT_YET, ran.out
    assert ("19 answered dogfood calls, expected at least 20 (30 failed)" in ran.out) is True, ran.out
    dogfood(project, 1, release="v2", session="one more")
    ran = release("promote", "v2")
    assert ran.code == DONE, ran.out
    assert project.keys()["rollout"]["stage"] == 1
    assert project.entries()[-1].evidence["answered_count"] == 20


def test_without_smoke_dogfood_is_promoted_by_force_only(place: Path, release: Command) -> None:
    project = release_project(place, GOOD_V1)
    release("publish", "v2", "--no-smoke")
    dogfood(project, 25)
    assert release("promote").code == NOT_YET
    ran = release("promote", "--force")
    assert ran.code == USAGE
    assert ("--force needs --reason" in ran.err) is True
    assert release("promote", "--force", "--reason", "seen by hand").code == DONE
    entry = project.entries()[-1]
    assert entry.forced is True
    assert entry.reason == "seen by hand"
    assert entry.evidence["overridden"] == "smoke: found `skipped`, expected `pass`"


def test_a_stage_is_promoted_on_the_verdict_promote_and_exposes_critical_features(
    place: Path, release: Command
) -> None:
    project = release_project(place, ROLLING)
    canary_report(project, "promote")
    ran = release("promote")
    assert ran.code == DONE, ran.out + ran.err
    assert "critical features exposed now: plan" in ran.out
    assert project.keys()["rollout"]["stage"] == 25
    (entry,) = project.entries()
    assert entry.action == "promote"
    assert entry.from_stage == 5
    assert entry.to_stage == 25
    assert len(entry.report_digest or "") == 64
    assert release("promote").code == NOT_YET, "25 % has no report yet"


@pytest.mark.parametrize(
    ("verdict", "code"), [("hold", NOT_YET), ("invalid", NOT_YET), ("rollback", WORSE), (None, NOT_YET)]
)
def test_any_other_verdict_keeps_the_stage(place: Path, release: Command, verdict: str | None, code: int) -> None:
    project = release_project(place, ROLLING)
    if verdict:
        canary_report(project, verdict)
    before = (place / "registry.yaml").read_bytes()
    assert release("promote").code == code
    assert (place / "registry.yaml").read_bytes() == before
    assert project.entries() == ()


def test_reports_of_other_rollouts_are_ignored(place: Path, release: Command) -> None:
    project = release_project(place, ROLLING)
    for wrong in ({"environment": "prod"}, {"candidate": "v3"}):
        canary_report(project, "promote", **wrong)
        assert release("promote").code == NOT_YET
    canary_report(project, "hold")
    path = place / "reports/canary/v2-5/report.json"
    path.write_text(path.read_text().replace('"hold"', '"promote"'))
    ran = release("promote")
    assert ran.code == NOT_YET
    assert ("was edited after it was written" in ran.out) is True
    path.write_text("{")
    assert release("promote").code == NOT_YET


def test_reports_older_than_the_stage_are_ignored(place: Path, release: Command) -> None:
    project = release_project(place, ROLLING)
    canary_report(project, "promote", until="2026-05-02T09:00:00+00:00")
    ran = release("promote")
    assert ran.code == NOT_YET
    assert ("older than the stage" in ran.out) is True


def test_after_the_soak_it_is_current_and_known_good(place: Path, release: Command) -> None:
    project = release_project(place, ROLLING, ["version_targets: ['dotenv:.env']"])
    at_stage(project, 25)
    canary_report(project, "promote", stage="25")
    assert release("promote").code == DONE
    ran = release("promote")
    assert ran.code == NOT_YET
    assert ("it soaks until" in ran.out) is True
    later = CommandContext(directory=place, user="ann", now=lambda: datetime.now(UTC) + timedelta(hours=25))
    done = promote(later, PromoteOptions())
    assert done.is_complete is True
    assert [step.status for step in done.steps] == ["done"]
    assert project.keys() == {"current": "v2", "history": ["v0", "v1", "v2"]}
    assert (place / ".env").read_text() == "AI_MODEL_VERSION=v2\n"
    entry = project.entries()[-1]
    assert entry.action == "complete"
    assert entry.serving == "v2"
    assert entry.actor == "ann"
    assert entry.evidence["soak_s"] == 86_400.0
    none = release("promote")
    assert none.code == NOT_YET
    assert ("no active rollout" in none.err) is True


def test_a_completion_that_was_killed_half_way_is_finished_by_running_it_again(
    place: Path, release: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = release_project(place, ROLLING, ["version_targets: ['dotenv:.env', 'command:false']"])
    for _ in range(2):
        assert release("promote", "--force", "--reason", "test").code == DONE
    with monkeypatch.context() as patched:
        patched.setattr(AppendLog, "append", _killed)
        with pytest.raises(KeyboardInterrupt):
            promote(CommandContext(directory=place, user="ann"), PromoteOptions(force=True, reason="test"))
    assert project.keys()["current"] == "v2"
    assert project.entries()[-1].action == "promote"
    ran = release("promote")
    assert ran.code == DONE
    assert ("PENDING" in ran.out) is True
    assert ("Complete pending steps" in ran.out) is True
    assert [entry.action for entry in project.entries()] == ["promote", "promote", "complete"]
    assert (place / ".env").read_text() == "AI_MODEL_VERSION=v2\n"
    assert release("promote").code == DONE, "it tries what is pending"
    assert len(project.entries()) == 3


def _killed(log: AppendLog, entry: LedgerEntry, append: Callable[..., object] = AppendLog.append) -> None:
    """Raise when the step, which began in the ledger, is to be recorded as done."""
    if entry.progress == "done":
        raise KeyboardInterrupt
    append(log, entry)


def test_a_rollback_s_overlay_does_not_outlive_the_next_release(
    place: Path, release: Command, rollback: Command
) -> None:
    project = release_project(place, STEADY)
    assert rollback().code == DONE
    release("publish", "v3", "--no-smoke")
    for _ in range(6):
        done = release("promote", "--force", "--reason", "test")
    assert "no active rollout" in done.err
    overlay = project.overlay()
    assert overlay is not None
    assert overlay.epoch == 2
    assert overlay.release is None
    assert overlay.serving is None
    assert overlay.bad == ("v2",)
    listed = json.loads(release("list", "--json").out)
    assert listed["serving"] == "v3"
    assert rollback().code == DONE
    assert project.keys() == {"current": "v1", "history": ["v0", "v1", "v2", "v3"], "bad": ["v2", "v3"]}


def test_a_rolled_back_release_is_not_promoted_from_a_stale_registry(
    place: Path, release: Command, rollback: Command
) -> None:
    project = release_project(place, ROLLING)
    before = (place / "registry.yaml").read_bytes()
    rollback()
    (place / "registry.yaml").write_bytes(before)  # deployed again from a branch that does not know
    canary_report(project, "promote")
    ran = release("promote", "--force", "--reason", "go")
    assert ran.code == USAGE
    assert ("was rolled back" in ran.err) is True
    assert rollback().code == DONE
    assert project.keys().get("rollout") is None


def test_promoting_another_candidate_is_refused(place: Path, release: Command) -> None:
    release_project(place, ROLLING)
    ran = release("promote", "v3")
    assert ran.code == USAGE
    assert ("that of `v2`" in ran.err) is True


# --- list and diff ---


def test_the_list_shows_each_release_s_state(place: Path, release: Command) -> None:
    release_project(place, ROLLING + "bad: [v3]\n")
    ran = release("list")
    assert ran.code == DONE
    lines = {line.split()[0]: " ".join(line.split()) for line in ran.out.splitlines()}
    assert "known good" in lines["v0"]
    assert "serving, current, known good" in lines["v1"]
    assert "candidate 5 %" in lines["v2"]
    assert "bad" in lines["v3"]


def test_the_difference_names_prompts_models_and_parameters(place: Path, release: Command) -> None:
    release_project(place, GOOD_V1)
    ran = release("diff", "v2")
    assert ran.code == DONE
    assert "v1 -> v2" in ran.out
    assert "chat: prompts/a_v2 -> prompts/a_v3" in ran.out
    assert "chat: params.temperature - -> 0" in ran.out
    assert '-{{role "user"}}Version 2.' in ran.out
    assert "chat: model m -> n" in release("diff", "v1", "v3").out
    assert "no differences" in release("diff", "v1", "v1").out


def test_the_environment_is_never_guessed(place: Path, release: Command) -> None:
    project = release_project(place, GOOD_V1)
    project.write("registry.prod.yaml", f"extends: registry.yaml\n{GOOD_V1}")
    assert release("publish", "v2", "--no-smoke").code == USAGE
    assert release("publish", "v2", "--no-smoke", "--env", "prod").code == DONE
    assert project.keys().get("rollout") is None
    assert project.keys("registry.prod.yaml")["rollout"]["candidate"] == "v2"

"""`flowai release` after people edited what it keeps: it is named, and never read as evidence."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.release_project import GOOD_V1, ROLLING, STEADY, ReleaseProject, release_project
from support.rollout_evidence import canary_report, dogfood

from flowai.errors import InfrastructureError
from flowai.rollouts.promote import PromoteOptions, promote
from flowai.workspace.workspace import CommandContext

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran

    Command = Callable[..., Ran]

DONE, USAGE, PROJECT, INFRASTRUCTURE, NOT_YET = 0, 2, 3, 4, 5


def edit(project: ReleaseProject, pattern: str, by: str) -> None:
    """Change a line of the registry, as a person would."""
    text = (project.root / "registry.yaml").read_text()
    changed = re.sub(pattern, by, text)
    assert changed != text
    project.write("registry.yaml", changed)


@pytest.fixture
def rolling(place: Path, release: Command) -> ReleaseProject:
    """A rollout that is at 5 %, by its ledger too."""
    project = release_project(place, GOOD_V1)
    release("publish", "v2", "--no-smoke")
    for _ in range(2):
        release("promote", "--force", "--reason", "test")
    assert project.keys()["rollout"]["stage"] == 5
    return project


# --- the registry ---


def test_a_manually_changed_stage_is_reported_without_a_start(rolling: ReleaseProject, release: Command) -> None:
    edit(rolling, "stage: 5", "stage: 100")
    ran = release("promote")
    assert ran.code == NOT_YET
    assert "has `v2` at `5`, the registry at `100`: changed by hand, or on another machine" in ran.out
    assert "the ledger does not contain the start of 100 %" in ran.out
    assert "changed by hand, or on another machine" in release("list").out


def test_a_manually_ended_rollout_is_reported(rolling: ReleaseProject, release: Command) -> None:
    edit(rolling, "rollout: .*", "")
    assert "the rollout of `v2` is in `.flowai/ledger/default.jsonl`, but not in the registry" in release("list").out
    assert release("promote").code == NOT_YET
    assert release("publish", "v2", "--no-smoke").code == DONE, "it can begin anew"


def test_a_manually_started_rollout_is_not_promoted_on_a_report(rolling: ReleaseProject, release: Command) -> None:
    edit(rolling, "candidate: v2", "candidate: v3")
    canary_report(rolling, "promote", candidate="v3")
    ran = release("promote")
    assert ran.code == NOT_YET, ran.out
    assert ("`v3` was never published" in ran.out) is True, ran.out
    assert ("publish v3" in ran.out) is True, ran.out
    assert (
        "the rollout of `v3` is in the registry, but not in `.flowai/ledger/default.jsonl`: started by hand" in ran.out
    )


@pytest.mark.parametrize(
    ("pattern", "by", "says"),
    [
        (
            r"prompts/a_v3, params",
            "prompts/a_v2, params",
            "`v2` uses other prompts or models than when it was published",
        ),
        (r"m: \{model: openai/gpt-4o-mini\}", "m: {model: openai/gpt-5}", "model `m`"),
    ],
    ids=["another prompt", "another model"],
)
def test_a_release_that_was_changed_since_is_not_promoted(
    rolling: ReleaseProject, release: Command, pattern: str, by: str, says: str
) -> None:
    canary_report(rolling, "promote")
    edit(rolling, pattern, by)
    ran = release("promote")
    assert ran.code == NOT_YET, ran.out
    assert (says in ran.out) is True, ran.out
    ran = release("promote", "--force", "--reason", "known")
    assert ran.code == DONE
    assert (says in rolling.entries()[-1].evidence["overridden"]) is True


def test_a_prompt_that_was_changed_since_is_not_promoted(rolling: ReleaseProject, release: Command) -> None:
    canary_report(rolling, "promote")
    rolling.write("prompts/a_v3.prompt", "changed\n")
    ran = release("promote")
    assert ran.code == NOT_YET, ran.out
    assert ("`v2` changed after it was published: prompt `prompts/a_v3`" in ran.out) is True, ran.out


def test_a_release_marked_bad_is_not_published_from_a_stale_registry(
    place: Path, release: Command, rollback: Command
) -> None:
    project = release_project(place, ROLLING)
    before = (place / "registry.yaml").read_text()
    rollback()
    project.write("registry.yaml", before.replace(ROLLING, GOOD_V1))
    ran = release("publish", "v2", "--no-smoke")
    assert ran.code == USAGE
    assert ("marked bad" in ran.err) is True
    project.write("registry.yaml", before)
    assert release("publish", "v3", "--no-smoke").code == DONE, "its rollout is over, whatever the registry says"


def test_a_release_after_a_rollback_keeps_the_bad_marks(place: Path, release: Command, rollback: Command) -> None:
    project = release_project(place, STEADY)
    before = (place / "registry.yaml").read_text()
    rollback()
    project.write("registry.yaml", before)  # a checkout that never heard of it
    assert "v2 " not in release("diff", "v3").out.splitlines()[0], "v1 serves, by the live overlay"
    release("publish", "v3", "--no-smoke")
    for _ in range(5):
        release("promote", "--force", "--reason", "test")
    overlay = project.overlay()
    assert overlay is not None
    assert project.keys()["current"] == "v3"
    assert overlay.serving is None
    assert overlay.bad == ("v2",)


# --- the report ---


def test_reports_of_another_stage_or_of_the_future_are_ignored(rolling: ReleaseProject, release: Command) -> None:
    canary_report(rolling, "promote", stage="1")
    there, here = (rolling.root / f"reports/canary/v2-{stage}/report.json" for stage in (1, 5))
    here.parent.mkdir(parents=True)
    here.write_bytes(there.read_bytes())
    ran = release("promote")
    assert ran.code == NOT_YET
    assert ("there is no canary report of this stage" in ran.out) is True
    canary_report(rolling, "promote", until=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    ran = release("promote")
    assert ran.code == NOT_YET
    assert ("ends in the future" in ran.out) is True
    canary_report(rolling, "promote")
    assert release("promote").code == DONE


def test_at_a_stage_of_unknown_start_reports_before_the_newest_step_are_ignored(
    rolling: ReleaseProject, release: Command
) -> None:
    edit(rolling, "stage: 5", "stage: 25")
    canary_report(rolling, "promote", stage="25", until="2026-05-02T12:00:00+00:00")
    ran = release("promote")
    assert ran.code == NOT_YET
    assert ("older than the stage" in ran.out) is True


# --- the ledger and the lock ---


def test_a_ledger_that_cannot_be_written_stops_a_step_before_anything_changes(
    rolling: ReleaseProject, release: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise InfrastructureError("cannot write: Read-only file system")

    before = (rolling.root / "registry.yaml").read_bytes()
    monkeypatch.setattr("flowai.rollouts.session.open_ledger", refused)
    assert release("promote", "--force", "--reason", "x").code == INFRASTRUCTURE
    assert (rolling.root / "registry.yaml").read_bytes() == before


def test_a_damaged_publish_line_leaves_smoke_unknown(place: Path, release: Command) -> None:
    project = release_project(place, GOOD_V1)
    release("publish", "v2", "--no-smoke")
    project.write(".flowai/ledger/default.jsonl", '{"schema_version":1,"id":"publish-')
    ran = release("promote")
    assert ran.code == NOT_YET
    assert ("smoke: found `unknown`, expected `pass`" in ran.out) is True
    assert "default.jsonl:1: not a line of the ledger" in ran.out
    assert release("publish", "v2", "--no-smoke").code == DONE
    assert [entry.evidence["smoke"] for entry in project.entries()] == ["unknown"], "it is written down again"
    assert "smoke: found `unknown`, expected `pass`" in release("promote").out


def test_a_damaged_lock_stops_it(rolling: ReleaseProject, release: Command) -> None:
    rolling.write("prompts.lock", "{")
    ran = release("promote")
    assert ran.code == PROJECT
    assert ("prompts.lock: not a lock file" in ran.err) is True


def test_duplicate_dogfood_calls_count_once_and_torn_ones_not(place: Path, release: Command) -> None:
    project = release_project(place, GOOD_V1)
    release("publish", "v2", "--no-smoke")
    now = datetime.now(UTC)
    dogfood(project, 15, at=now)
    (file,) = (place / ".flowai/events").rglob("library*.jsonl")
    file.with_name("copy.jsonl").write_bytes(file.read_bytes() + b'{"kind":"call","call_id":')
    dogfood(project, 9, at=now + timedelta(days=1))
    dogfood(project, 9, at=now, origin="eval")
    done = promote(CommandContext(directory=place, user="ann"), PromoteOptions(force=True, reason="test"))
    evidence = project.entries()[-1].evidence
    assert done.changed
    assert evidence["answered_count"] == 15
    assert evidence["unusable"]["duplicated"] == 15
    assert evidence["unusable"]["unreadable"] == 1

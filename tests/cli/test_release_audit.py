"""Each step of a rollout is in the audit log with its actor and result, and no step fails because it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from support.release_project import GOOD_V1, STEADY, ReleaseProject, release_project

from flowai.audit import AuditRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran

    Command = Callable[..., Ran]

DONE = 0
NO_LINE = "warning: the audit log lacks this step"


def records(project: ReleaseProject) -> list[AuditRecord]:
    paths = sorted((project.root / ".flowai" / "audit").glob("*.jsonl"))
    return [msgspec.json.decode(line, type=AuditRecord) for path in paths for line in path.read_bytes().splitlines()]


def test_every_step_is_recorded_with_actor_and_result(place: Path, release: Command, rollback: Command) -> None:
    project = release_project(place, GOOD_V1)
    release("publish", "v2", "--no-smoke", "--reason", "first of May")
    release("promote", "--force", "--reason", "seen")
    rollback("--reason", "INC-1")
    found = [(one.action, one.release, one.serving, one.reason, one.result) for one in records(project)]
    assert found == [(entry.action, entry.release, entry.serving, entry.reason, "done") for entry in project.entries()]
    assert [one.action for one in records(project)] == ["publish", "promote", "rollback"]
    assert {one.actor for one in records(project)} == {entry.actor for entry in project.entries()}


def test_a_step_that_fails_is_recorded_as_failed(place: Path, release: Command, rollback: Command) -> None:
    project = release_project(place, STEADY)
    registry = project.root / "registry.yaml"
    ledger = project.root / ".flowai" / "ledger" / "default.jsonl"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.unlink(missing_ok=True)
    ledger.symlink_to(place / "no such directory" / "ledger")  # can be neither read nor written
    before = registry.read_bytes()
    assert release("publish", "v3", "--no-smoke").code != DONE
    assert registry.read_bytes() == before
    assert rollback().code == DONE
    (publish, stopped) = records(project)
    assert (publish.action, publish.release, publish.result) == ("publish", "v3", "failed")
    assert "is a symbolic link" in (publish.reason or "")
    assert (stopped.action, stopped.serving) == ("rollback", "v1")


def test_an_unwritable_audit_log_is_only_a_warning(place: Path, release: Command, rollback: Command) -> None:
    project = release_project(place, STEADY)
    project.write(".flowai/audit", "a file where a directory should be")
    assert rollback().out.count(NO_LINE) == 1
    ran = release("publish", "v3", "--no-smoke")
    assert ran.code == DONE, ran
    assert ran.out.count(NO_LINE) == 1

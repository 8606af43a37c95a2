"""Each step of a rollout stands in the event log too, and no step fails, or waits long, because it cannot."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.release_project import GOOD_V1, ROLLING, STEADY, ReleaseProject, release_project

from flowai.events import EventLog, ReleaseEvent, read_events

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran

    Command = Callable[..., Ran]

DONE = 0
NO_LINE = "warning: the event log lacks this step"


def steps(project: ReleaseProject) -> list[ReleaseEvent]:
    """Give the steps in the event log, oldest first."""
    torn: list[Any] = []
    found = list(read_events(project.root / ".flowai/events", on_unreadable=torn.append))
    assert torn == []
    return sorted((event for event in found if isinstance(event, ReleaseEvent)), key=lambda event: event.at)


def test_every_step_is_logged_beside_the_ledger(place: Path, release: Command, rollback: Command) -> None:
    project = release_project(place, GOOD_V1)
    release("publish", "v2", "--no-smoke", "--reason", "first of May")
    for _ in range(6):
        release("promote", "--force", "--reason", "seen")
    rollback("--reason", "INC-1")
    entries = project.entries()
    assert [entry.action for entry in entries] == ["publish", *["promote"] * 4, "complete", "rollback"]
    assert [
        (one.at, one.action, one.release, one.serving, one.to_stage, one.actor, one.reason) for one in steps(project)
    ] == [(one.at, one.action, one.release, one.serving, one.to_stage, one.actor, one.reason) for one in entries]
    assert [event.from_stage for event in steps(project)] == [None, "dogfood", 1, 5, 25, 100, None]


def test_a_rollback_that_is_run_again_is_logged_once(place: Path, rollback: Command) -> None:
    project = release_project(place, ROLLING)
    rollback()
    rollback()
    (event,) = steps(project)
    assert event.action == "rollback"
    assert event.release == "v2"
    assert event.serving == "v1"
    assert event.from_stage == 5
    assert event.to_stage is None


def test_secrets_are_not_logged(place: Path, rollback: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGERDUTY_ROUTING_KEY", "r0ut1ngk3y5e6f7a8b9c0d1e2f3a4b5c")
    project = release_project(place, more=["alerts: {pagerduty: '${PAGERDUTY_ROUTING_KEY}'}"])
    monkeypatch.setenv("PAGERDUTY_EVENTS_URL", "http://127.0.0.1:9/")
    rollback("--reason", "leaked r0ut1ngk3y5e6f7a8b9c0d1e2f3a4b5c")
    (event,) = steps(project)
    assert "r0ut1ngk3y5e6f7a8b9c0d1e2f3a4b5c" not in str(event)


@pytest.mark.parametrize(
    "registered", ["events: .flowai/events", "events: s3://bucket/events", "events: ../elsewhere"], ids=str
)
def test_an_unwritable_log_is_only_a_warning(place: Path, release: Command, rollback: Command, registered: str) -> None:
    project = release_project(place, STEADY, [registered])
    project.write(".flowai/events", "a file where a directory should be")
    assert rollback().out.count(NO_LINE) == 1
    for command in (("publish", "v3", "--no-smoke"), ("promote", "--force", "--reason", "test")):
        ran = release(*command)
        assert ran.code == DONE, ran
        assert ran.out.count(NO_LINE) == 1, ran
    assert [entry.action for entry in project.entries()] == ["rollback", "publish", "promote"]


def test_a_hanging_log_disk_does_not_block_the_command(
    place: Path, rollback: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = release_project(place)
    answers = threading.Event()
    monkeypatch.setattr("flowai.rollouts.bounded_write.WRITE_TIMEOUT_S", 0.01)
    monkeypatch.setattr(EventLog, "append", lambda *_: answers.wait())
    ran = rollback()
    answers.set()
    assert ran.code == DONE
    assert (f"{NO_LINE}: not written within" in ran.out) is True
    assert project.keys()["current"] == "v1"


def test_a_missing_log_is_created(place: Path, rollback: Command) -> None:
    project = release_project(place)
    shutil.rmtree(place / ".flowai", ignore_errors=True)
    assert rollback().code == DONE
    assert len(steps(project)) == 1

"""`flowai rollback --drill`: the way of a rollback without its decision, and sabotage that it must find."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from support.redis_server import RedisServer
from support.release_project import release_project

from flowai.state import Overlay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran

    Command = Callable[..., Ran]

DONE, USAGE, INFRASTRUCTURE = 0, 2, 4


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowai.releases.fleet.CONFIRM_TIMEOUT_S", 0.05)


def steps(ran: Ran) -> dict[str, tuple[str, str]]:
    return {step["name"]: (step["status"], step["detail"]) for step in json.loads(ran.out)["steps"]}


def test_a_process_that_does_not_answer_is_named(place: Path, rollback: Command) -> None:
    project = release_project(place)
    project.beat(host="web-1")
    before = project.keys()
    ran = rollback("--drill")
    assert ran.code == INFRASTRUCTURE
    assert "no answer: library-1 on web-1" in ran.out
    assert "DRILL FAILED: processes; nothing was changed." in ran.out
    assert project.keys() == before
    assert project.entries() == ()
    assert project.overlay() is None


def test_a_process_that_fell_silent_is_named(place: Path, rollback: Command) -> None:
    project = release_project(place)
    project.beat(lifetime_s=0)
    ran = rollback("--drill")
    assert ran.code == INFRASTRUCTURE
    assert "silent: library-1" in ran.out
    assert rollback("--drill", "--ignore-process", "library-1").code == INFRASTRUCTURE, "then there is none"


def test_no_process_at_all_is_no_success(place: Path, rollback: Command) -> None:
    project = release_project(place)
    project.beat(env="staging")
    ran = rollback("--drill", "--json")
    assert ran.code == INFRASTRUCTURE
    assert steps(ran)["processes"][1].endswith("is it the right environment and state?")


def test_an_unreachable_state_is_found(place: Path, rollback: Command) -> None:
    release_project(place, more=["state: redis://127.0.0.1:9/0"])
    ran = rollback("--drill", "--json")
    assert ran.code == INFRASTRUCTURE
    assert steps(ran)["shared state"][0] == "failed"
    assert steps(ran)["registry.yaml"] == ("done", "can be written")


@pytest.mark.service
def test_a_rotated_password_is_found_and_not_shown(place: Path, rollback: Command) -> None:
    with RedisServer(password="pass-word-123456") as server:
        release_project(place, more=[f"state: {server.url.replace('pass-word-123456', 'pass-word-654321')}"])
        ran = rollback("--drill")
    assert ran.code == INFRASTRUCTURE
    assert "FAILED   shared state" in ran.out
    assert "pass-word" not in ran.out + ran.err


def test_a_clock_that_is_off_by_an_hour_is_found(place: Path, rollback: Command) -> None:
    project = release_project(place)
    project.beat(at=datetime.now(UTC) - timedelta(hours=1))
    ran = rollback("--drill", "--json")
    assert steps(ran)["clocks"] == ("failed", "library-1 on h1 is 60 min behind this machine")


@pytest.mark.parametrize("name", ["registry.yaml", ".flowai/ledger/default.jsonl"])
def test_what_cannot_be_written_is_found(
    place: Path, rollback: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    release_project(place)
    (place / ".flowai/ledger").mkdir(parents=True, exist_ok=True)
    (place / name).touch()
    real = os.access
    blocked = str(place / name)  # as on a read-only disk, on which root may not write either
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != blocked and real(path, mode))
    ran = rollback("--drill", "--json")
    found = steps(ran)["ledger" if "ledger" in name else name]
    assert found[1] in {"cannot be written", "read-only here: a rollback changes the shared state only"}


def test_a_full_disk_is_found(place: Path, rollback: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    release_project(place)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    ran = rollback("--drill", "--json")
    assert steps(ran)["ledger"] == ("failed", "its disk is full")


def test_a_broken_registry_is_found(place: Path, rollback: Command) -> None:
    project = release_project(place)
    project.beat()
    project.write("registry.yaml", "models: [")
    ran = rollback("--drill", "--json")
    assert ran.code == INFRASTRUCTURE
    assert steps(ran)["registry.yaml"][0] == "failed"


def test_version_targets_are_looked_at_and_not_run(place: Path, rollback: Command) -> None:
    release_project(
        place, more=["version_targets: ['dotenv:deploy.env', 'command:touch ran', 'command:no-such-tool x']"]
    )
    ran = rollback("--drill", "--json")
    found = steps(ran)
    assert found["dotenv:deploy.env"] == ("done", "can be written")
    assert found["command:touch"] == ("done", "not run")
    assert found["command:no-such-tool"] == ("failed", "no such program")
    assert not (place / "ran").exists()
    assert not (place / "deploy.env").exists()


def test_a_rollback_in_force_stays(place: Path, rollback: Command) -> None:
    project = release_project(place)
    overlay = Overlay(release="v1", bad=("v2",), serving="v1", epoch=3, at=datetime.now(UTC))
    project.put_overlay(overlay)
    rollback("--drill")
    assert project.overlay() == overlay


@pytest.mark.parametrize("option", [("--to", "v1"), ("--force",), ("--dry-run",)])
def test_options_that_decide_do_not_fit(place: Path, rollback: Command, option: tuple[str, ...]) -> None:
    release_project(place)
    assert rollback("--drill", *option).code == USAGE

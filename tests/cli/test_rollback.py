"""`flowai rollback`: what it leaves, what it does when half of the world is away, and that it can be run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.alert_receiver import AlertReceiver, Reply
from support.release_project import ROLLING, STEADY, release_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran

    Command = Callable[..., Ran]

DONE, USAGE, PROJECT, INFRASTRUCTURE = 0, 2, 3, 4


# --- what it leaves ---


def test_the_newest_known_good_release_serves_and_the_left_one_is_marked_bad(place: Path, rollback: Command) -> None:
    project = release_project(place)
    ran = rollback("--reason", "INC-4711")
    assert ran.code == DONE, ran.err
    assert project.keys() == {"current": "v1", "history": ["v0", "v1", "v2"], "bad": ["v2"]}
    overlay = project.overlay()
    assert overlay is not None
    assert overlay.release == "v1"
    assert overlay.serving == "v1"
    assert overlay.bad == ("v2",)
    assert overlay.reason == "INC-4711"
    assert "v2 -> v1; v2 is marked bad" in ran.out
    assert "chat: prompts/a_v3 -> prompts/a_v2" in ran.out
    assert "NO LIVE PROCESS SEEN" in ran.out
    (entry,) = project.entries()
    assert entry.action == "rollback"
    assert entry.release == "v2"
    assert entry.serving == "v1"
    assert entry.reason == "INC-4711"


def test_during_a_rollout_the_rollout_is_ended(place: Path, rollback: Command) -> None:
    project = release_project(place, ROLLING)
    ran = rollback()
    assert ran.code == DONE
    assert project.keys() == {"current": "v1", "history": ["v0", "v1"], "bad": ["v2"]}
    overlay = project.overlay()
    assert overlay is not None
    assert overlay.release is None
    assert overlay.serving == "v1"
    assert overlay.ends_rollout_of == "v2"
    assert "v2 (canary 5 %) -> v1" in ran.out
    assert "--since 2026-05-02T09:30Z" in ran.out, "from the rollout's begin"


def test_to_during_a_rollout_also_leaves_the_baseline(place: Path, rollback: Command) -> None:
    project = release_project(place, ROLLING)
    assert rollback("--to", "v0").code == DONE
    assert project.keys() == {"current": "v0", "history": ["v0", "v1"], "bad": ["v1", "v2"]}


@pytest.mark.parametrize("own", [STEADY, ROLLING], ids=["steady", "rolling"])
def test_a_repeated_rollback_changes_nothing_and_is_reported(place: Path, rollback: Command, own: str) -> None:
    project = release_project(place, own)
    rollback()
    before = (place / "registry.yaml").read_bytes(), project.overlay(), project.entries()
    ran = rollback()
    assert ran.code == DONE
    assert "already rolled back" in ran.out
    assert ((place / "registry.yaml").read_bytes(), project.overlay(), project.entries()) == before


def test_a_second_bad_release_is_rolled_back_like_the_first(place: Path, rollback: Command) -> None:
    project = release_project(place)
    rollback()
    registry = (place / "registry.yaml").read_text()
    project.write("registry.yaml", registry + "rollout: {candidate: v3, stage: 25}\n")
    ran = rollback()
    assert "v3 (canary 25 %) -> v1" in ran.out
    assert project.keys()["bad"] == ["v2", "v3"]
    overlay = project.overlay()
    assert overlay is not None
    assert overlay.epoch == 2
    assert overlay.bad == ("v2", "v3")
    assert overlay.serving == "v1"


def test_a_dry_run_changes_nothing(place: Path, rollback: Command) -> None:
    project = release_project(place, ROLLING)
    before = (place / "registry.yaml").read_bytes()
    ran = rollback("--dry-run")
    assert ran.code == DONE
    assert ("would be marked bad" in ran.out) is True
    assert ("NOTHING CHANGED" in ran.out) is True
    assert (place / "registry.yaml").read_bytes() == before
    assert project.overlay() is None
    assert project.entries() == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--to", "v9"], "no release `v9`"),
        (["--to", "v3"], "never completed a rollout; known good: `v0`, `v1`, `v2`"),
        (["--env", "prod"], "no environment `prod`"),
    ],
)
def test_invalid_targets_are_refused_and_nothing_changes(
    place: Path, rollback: Command, arguments: list[str], says: str
) -> None:
    project = release_project(place)
    before = (place / "registry.yaml").read_bytes()
    ran = rollback(*arguments)
    assert ran.code == USAGE, ran.err
    assert (says in ran.err) is True, ran.err
    assert (place / "registry.yaml").read_bytes() == before
    assert project.overlay() is None


def test_a_bad_release_is_refused_even_with_force(place: Path, rollback: Command) -> None:
    release_project(place, STEADY + "bad: [v1]\n")
    ran = rollback("--to", "v1", "--force")
    assert ran.code == USAGE
    assert ("marked bad" in ran.err) is True
    assert rollback().code == DONE, "the newest known good is v0 now"


def test_a_never_good_release_serves_with_force(place: Path, rollback: Command) -> None:
    project = release_project(place)
    assert rollback("--to", "v3", "--force").code == DONE
    assert project.keys()["current"] == "v3"


def test_no_known_good_release_is_an_error(place: Path, rollback: Command) -> None:
    release_project(place, "current: v2\nhistory: [v2]\n")
    ran = rollback()
    assert ran.code == USAGE
    assert ("no other release is known good" in ran.err) is True


def test_without_env_the_environments_are_listed(place: Path, rollback: Command) -> None:
    project = release_project(place)
    for env in ("prod", "staging"):
        project.write(f"registry.{env}.yaml", f"extends: registry.yaml\n{STEADY}")
    ran = rollback()
    assert ran.code == USAGE
    assert ("`prod`, `staging`, `default`" in ran.err) is True
    assert rollback("--env", "prod").code == DONE
    assert project.keys("registry.prod.yaml")["current"] == "v1"
    assert project.keys("registry.staging.yaml")["current"] == "v2"
    assert project.overlay("") is None
    assert [entry.release for entry in project.entries("prod")] == ["v2"]
    assert rollback("--env", "default").code == DONE
    assert project.keys()["current"] == "v1"


def test_a_pin_in_dotenv_is_rolled_back(place: Path, rollback: Command) -> None:
    project = release_project(place, more=["version_targets: ['dotenv:.env']"])
    project.write(".env", "# ours\nAI_MODEL_VERSION=v3\nOTHER=1\n")
    assert rollback().code == DONE
    assert project.keys()["bad"] == ["v3"]
    assert (place / ".env").read_text() == "# ours\nAI_MODEL_VERSION=v2\nOTHER=1\n"


def test_json_is_one_document(place: Path, rollback: Command) -> None:
    release_project(place)
    document = json.loads(rollback("--json", "--yes").out)
    assert document["rolled_back"] == ["v2"]
    assert document["serving"] == "v1"
    assert document["changed"] is True
    assert [step["status"] for step in document["steps"]] == ["done", "skipped", "done"]


# --- processes ---


def test_a_process_that_does_not_confirm_is_named(
    place: Path, rollback: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowai.releases.fleet.CONFIRM_TIMEOUT_S", 0.05)
    project = release_project(place)
    project.beat("library-good", release="v1", overlay_epoch=1)
    project.beat("serve-deaf", release="v2")
    ran = rollback()
    assert ran.code == INFRASTRUCTURE
    assert "1 of 2 confirm v1" in ran.out
    assert "unconfirmed: serve-deaf on h1 (pid 7) serves v2" in ran.out
    assert project.keys()["current"] == "v1", "the rest is done all the same"


def test_a_pin_of_all_live_processes_is_rolled_back(
    place: Path, rollback: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowai.releases.fleet.CONFIRM_TIMEOUT_S", 0.05)
    project = release_project(place)
    project.beat(release="v3")
    rollback()
    assert project.keys() == {"current": "v2", "history": ["v0", "v1", "v2"], "bad": ["v3"]}


# --- what follows ---


def test_failed_targets_and_alerts_are_retried_by_the_next_run(place: Path, rollback: Command) -> None:
    with AlertReceiver() as receiver:
        project = release_project(
            place,
            more=[
                f"version_targets: ['dotenv:.env', 'command:{sys.executable} set.py {{version}}']",
                f"alerts: {{webhook: '{receiver.url}'}}",
            ],
        )
        project.write(".env", "export AI_MODEL_VERSION='v2'\n")
        receiver.script(Reply(status=503))
        ran = rollback("--reason", "bad summaries")
        assert ran.code == DONE
        assert "PENDING  webhook" in ran.out
        assert "PENDING  AI_MODEL_VERSION" in ran.out, "there is no set.py"
        assert "run the same command again" in ran.out
        assert (place / ".env").read_text() == "export AI_MODEL_VERSION=v1\n"
        assert len(project.pending()) == 2
        project.write("set.py", "import os, sys; open('told', 'w').write(sys.argv[1] + os.environ['AI_MODEL_VERSION'])")
        again = rollback()
        assert again.code == DONE
        assert ("PENDING" in again.out) is False
        assert project.pending() == ()
        assert (place / "told").read_text() == "v1v1"
        assert [one["summary"] for one in receiver.posted] == ["v2 is rolled back to v1: bad summaries"] * 2
        third = rollback()
        assert third.code == DONE
        assert len(receiver.posted) == 2


def test_api_keys_are_in_no_file_and_no_output(place: Path, rollback: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "r0ut1ngk3y5e6f7a8b9c0d1e2f3a4b5c"
    monkeypatch.setenv("PAGERDUTY_ROUTING_KEY", key)
    with AlertReceiver() as receiver:
        monkeypatch.setenv("PAGERDUTY_EVENTS_URL", receiver.url)
        project = release_project(place, more=["alerts: {pagerduty: '${PAGERDUTY_ROUTING_KEY}'}"])
        receiver.script(Reply(status=400, body=f"bad key {key}".encode()))
        ran = rollback("--reason", f"leaked {key}")
        assert receiver.posted[0]["routing_key"] == key
        assert key not in ran.out + ran.err
        outbox = project.project.outbox.read_text()
        assert key not in outbox
        assert key not in str(project.entries())
        assert key not in str(project.overlay())
        rollback()
    assert receiver.posted[1]["dedup_key"] == "flowai/default/release/v2"


def test_a_changed_prompt_of_the_release_that_serves_is_warned_about(place: Path, rollback: Command) -> None:
    project = release_project(place)
    lock = {"schema_version": 1, "releases": {"v1": {"models": {}, "prompts": {"prompts/a_v2": "0" * 64}}}}
    project.write("prompts.lock", json.dumps(lock))
    ran = rollback()
    assert ran.code == DONE
    assert ("prompt `prompts/a_v2` changed after `v1` was published" in ran.out) is True


def test_a_damaged_ledger_is_reported_and_skipped(place: Path, rollback: Command) -> None:
    project = release_project(place)
    project.write(".flowai/ledger/default.jsonl", '{"torn": \n\n{"schema_version": 9}\n\xff\n')
    ran = rollback()
    assert ran.code == DONE
    for line in (1, 3, 4):
        assert f"default.jsonl:{line}: not a line of the ledger" in ran.out
    assert len(project.entries()) == 1


def test_a_fresh_interpreter_loads_nothing_that_may_be_broken(place: Path) -> None:
    release_project(place, ROLLING, ["version_targets: ['dotenv:.env']"])
    script = (
        "import sys; from flowai.cli.app import run; code = run(['rollback']);"
        "print('LOADED', code, *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place, env=environ, capture_output=True, text=True, check=True
    )
    code, *loaded = done.stdout.rpartition("LOADED ")[2].split()
    assert code == "0", done.stdout
    heavy = {"litellm", "openai", "httpx", "aiohttp", "pandas", "numpy", "duckdb", "jsonschema", "diskcache", "redis"}
    assert heavy & set(loaded) == set()

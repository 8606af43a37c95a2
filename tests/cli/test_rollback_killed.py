"""`flowai rollback` killed at every point, and two at once: running it again finishes it, on files and on Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.redis_server import RedisServer
from support.release_project import ROLLING, STEADY, ReleaseProject, release_project

from flowai.rollouts.records import RollbackOptions
from flowai.rollouts.rollback import run_rollback
from flowai.workspace.workspace import CommandContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.sample_project import Ran

    from flowai.rollouts.records import RollbackStep

    Command = Callable[..., Ran]

DONE = 0

KILLED = """
import os, sys
from flowai.cli.app import run
import flowai.rollouts.rollback as command, flowai.rollouts.notify as after
import flowai.rollouts.rollback_entry as record
from flowai.notifications.outbox import Outbox
from flowai.storage.jsonl import AppendLog
from flowai.state.sqlite_store import SqliteStateStore
from flowai.state.redis_store import RedisStateStore

Store = {"SqliteStateStore": SqliteStateStore, "RedisStateStore": RedisStateStore}[sys.argv[2]]
left = int(sys.argv[1])


def step():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)


def around(owner, name):
    plain = getattr(owner, name)

    def killed(*arguments, **named):
        step()  # what comes before the next is what comes after this
        return plain(*arguments, **named)

    setattr(owner, name, killed)


for owner, name in ((Store, "write_overlay"), (Store, "heartbeats"), (Store, "processes"), (record, "open_ledger"),
                    (command, "edit_registry"), (AppendLog, "append"), (after, "write_version"), (os, "replace")):
    around(owner, name)
code = run(["rollback", "--reason", "INC-1"])
print("SURVIVED", left)
sys.exit(code)
"""


def _killed(project: ReleaseProject, after: int) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLOWAI", "AI_MODEL"))}
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(after), type(project.state()).__name__],
        cwd=project.root,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def _left_behind(project: ReleaseProject) -> dict[str, Any]:
    overlay = project.overlay()
    return {
        "registry": (project.root / "registry.yaml").read_bytes(),
        "overlay": None
        if overlay is None
        else (overlay.release, overlay.serving, overlay.bad, overlay.ends_rollout_of),
        "dotenv": (project.root / ".env").read_bytes() if (project.root / ".env").exists() else None,
        "ledger": [(entry.action, entry.release, entry.serving, entry.rolled_back) for entry in project.entries()],
        "pending": [one.delivery.label for one in project.pending()],
    }


@pytest.fixture(params=["files", pytest.param("redis", marks=pytest.mark.service)])
def fresh_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Give what a registry names as `state`; what stood in it before is gone."""
    if request.param == "files":
        yield lambda: ".flowai"  # in a project of its own
        return
    with RedisServer() as server:

        def emptied() -> str:
            server.kill()
            server.start()
            return server.url

        yield emptied


@pytest.mark.parametrize("own", [STEADY, ROLLING], ids=["steady", "rolling"])
def test_a_killed_rollback_is_finished_by_the_next_run(
    place: Path, rollback: Command, own: str, fresh_store: Callable[[], str]
) -> None:
    targets = ["version_targets: ['dotenv:.env', 'command:true']"]
    whole = release_project(place / "whole", own, targets, fresh_store())
    done = _killed(whole, 1_000)
    assert done.returncode == DONE, done.stderr
    step_count = 1_000 - int(done.stdout.rpartition("SURVIVED ")[2])
    assert step_count >= 15
    expected = _left_behind(whole)
    assert expected["pending"] == []
    for after in range(0, step_count, 1 if own == STEADY else 3):
        project = release_project(place / f"killed-{after}", own, targets, fresh_store())
        assert _killed(project, after).returncode == -signal.SIGKILL
        os.chdir(project.root)
        ran = rollback()
        assert ran.code == DONE, (after, ran)
        assert _left_behind(project) == expected, after


def test_two_concurrent_rollbacks_agree(place: Path, fresh_store: Callable[[], str]) -> None:
    script = (
        "import sys; from flowai.cli.app import run; sys.stdin.readline(); sys.exit(run(['rollback', *sys.argv[1:]]))"
    )
    for number in range(4):
        project = release_project(place / str(number), shared=fresh_store())
        options = [[], ["--to", "v0"]] if number % 2 else [[], []]
        both = [
            subprocess.Popen(
                [sys.executable, "-c", script, *one],
                cwd=project.root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for one in options
        ]
        said = [one.communicate("go\n")[0] for one in both] if number > 1 else _together(both)
        keys, overlay = project.keys(), project.overlay()
        assert overlay is not None, said
        assert keys["current"] == overlay.serving, (said, keys, overlay)
        assert set(keys["bad"]) >= {"v2"} - {overlay.serving}, said
        assert set(keys["bad"]) == set(overlay.bad), (said, keys, overlay)
        if number % 2 == 0:
            assert keys["current"] == "v1", said
            assert keys["bad"] == ["v2"], said
            assert [one.returncode for one in both] == [0, 0], said


@pytest.mark.parametrize("away", ["briefly", "to the end"])
def test_a_failing_confirmation_leaves_registry_and_overlay_consistent(place: Path, away: str) -> None:
    """Another rollback wins, and the store does not answer when this one wants to know."""
    rival = release_project(place / "rival")
    project = release_project(place / "project")
    run_rollback(_context(rival), RollbackOptions(), lambda _: None)
    directory, aside = project.root / ".flowai", place / "aside"

    def on_step(step: RollbackStep) -> None:
        if step.name == "live overlay":
            project.put_overlay(rival.overlay())
            directory.rename(aside)
            directory.touch()  # a file where a directory should be: no question is answered
        elif step.name == "processes" and away == "briefly":
            directory.unlink()
            aside.rename(directory)

    result = run_rollback(_context(project), RollbackOptions(to="v0"), lambda _: None, on_step)
    failed = [step.name for step in result.steps if step.status == "failed"]
    assert not result.is_confirmed, "exit status 4: the same command is to be run again"
    if away == "to the end":
        assert failed == ["processes", "overlay check"]
        return
    assert failed == ["processes"]
    assert project.keys()["current"] == result.serving == "v1"
    assert project.overlay() == rival.overlay()
    assert set(project.keys()["bad"]) == {"v2"}


def _context(project: ReleaseProject) -> CommandContext:
    return CommandContext(directory=project.root, user="test", environ={})


def _together(both: list[subprocess.Popen[str]]) -> list[str]:
    for one in both:
        if one.stdin is None:
            raise AssertionError
        one.stdin.write("go\n")
        one.stdin.flush()
    return [one.communicate()[0] for one in both]

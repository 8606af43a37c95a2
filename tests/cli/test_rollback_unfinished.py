"""Rollbacks of which steps fail or are killed: what took place nowhere is not recorded; the next run finishes it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.release_project import NOON, ROLLING, STEADY, ReleaseProject, release_project

from flowai.errors import InfrastructureError
from flowai.releases.fleet import Fleet
from flowai.releases.ledger import LedgerEntry, open_ledger, read_ledger
from flowai.rollouts import rollback as rollback_command
from flowai.rollouts.rollback_entry import RollbackLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.sample_project import Ran

    Command = Callable[..., Ran]

DONE, INFRASTRUCTURE = 0, 4
AWAY = "redis://127.0.0.1:9/0"
ONLY_ONE_GOOD = "current: v2\nhistory: [v2]\n"
CASES = {
    "steady": (STEADY, [], ("v2",), "v1"),
    "rolling": (ROLLING, [], ("v2",), "v1"),
    "to": (STEADY, ["--to", "v0"], ("v2",), "v0"),
    "never good": (ONLY_ONE_GOOD, ["--to", "v1", "--force"], ("v2",), "v1"),
    "rolling, to": (ROLLING, ["--to", "v0"], ("v1", "v2"), "v0"),
}


def is_rolled_back(project: ReleaseProject, serving: str, bad: tuple[str, ...]) -> bool:
    """Return whether overlay, registry and ledger agree on a rollback, recorded once."""
    overlay, keys = project.overlay(), project.keys()
    assert overlay is not None
    assert (overlay.serving, set(overlay.bad)) == (serving, set(bad))
    assert (keys["current"], set(keys["bad"]), keys.get("rollout")) == (serving, set(bad), None)
    (entry,) = [entry for entry in project.entries() if entry.action == "rollback"]
    assert (entry.serving, set(entry.rolled_back)) == (serving, set(bad))
    assert read_ledger(project.project, None).unfinished == ()
    return True


@pytest.mark.parametrize("case", CASES)
def test_a_rollback_that_changed_nothing_is_not_recorded_as_done_and_the_next_one_finishes_it(
    place: Path, rollback: Command, case: str
) -> None:
    own, options, bad, serving = CASES[case]
    project = release_project(place, own)
    (place / "registry.yaml").chmod(0o444)
    before = (place / "registry.yaml").read_bytes()
    for _ in range(2):
        ran = rollback(*options, "--state", AWAY, "--reason", "INC-1")
        assert ran.code == INFRASTRUCTURE, ran
        assert "NOTHING CHANGED" in ran.out
        assert "not changed: the shared state (" in ran.out
        assert "registry.yaml (read-only, unchanged)" in ran.out
    assert (place / "registry.yaml").read_bytes() == before
    assert project.entries() == ()
    assert project.pending() == ()
    assert (project.project.ledger / "default.jsonl").read_bytes().count(b"\n") == 1, "started once"
    (place / "registry.yaml").chmod(0o644)
    ran = rollback()
    assert ran.code == DONE, ran
    assert "recorded by an earlier run, but not done; this run finishes it" in ran.out
    assert is_rolled_back(project, serving, bad)
    assert project.entries()[0].reason == "INC-1"
    assert rollback().code == DONE
    assert is_rolled_back(project, serving, bad)


@pytest.mark.parametrize("repaired", ["registry", "state", "nothing"])
@pytest.mark.parametrize("case", CASES)
def test_a_half_recorded_rollback_of_an_old_ledger_is_finished(
    place: Path, rollback: Command, case: str, repaired: str
) -> None:
    own, _, bad, serving = CASES[case]
    project = release_project(place, own)
    record(project, rolled_back=bad, serving=serving, is_rollout="rolling" in case)
    if repaired != "registry":
        (place / "registry.yaml").chmod(0o444)
    ran = rollback(*([] if repaired == "state" else ["--state", AWAY]))
    assert ran.code == (DONE if repaired == "state" else INFRASTRUCTURE), ran
    assert "this run finishes it" in ran.out
    assert ("NOTHING CHANGED" in ran.out) is (repaired == "nothing")
    (place / "registry.yaml").chmod(0o644)
    assert rollback().code == DONE
    assert is_rolled_back(project, serving, bad)


def test_a_record_that_people_have_moved_on_from_is_history(place: Path, rollback: Command) -> None:
    project = release_project(place, "current: v3\nhistory: [v0, v1, v2, v3]\n")
    record(project, rolled_back=("v2",), serving="v1", is_rollout=False)
    ran = rollback()
    assert ran.code == DONE
    assert "v3 -> v2" in ran.out, "v2 was never marked bad"
    assert project.keys()["bad"] == ["v3"]


def test_another_target_ends_an_unfinished_rollback(place: Path, rollback: Command) -> None:
    project = release_project(place)
    record(project, rolled_back=("v2",), serving="v1", is_rollout=False)
    assert rollback("--to", "v0").code == DONE
    assert project.keys() == {"current": "v0", "history": ["v0", "v1", "v2"], "bad": ["v2"]}, "v1 never served"


def test_a_rollback_while_the_state_was_away_counts_after_an_older_overlay(place: Path, rollback: Command) -> None:
    project = release_project(place, "current: v3\nhistory: [v0, v1, v2, v3]\n")
    assert rollback().code == DONE
    assert project.keys()["current"] == "v2"
    assert rollback("--to", "v1", "--state", AWAY).code == INFRASTRUCTURE
    assert project.keys()["bad"] == ["v3", "v2"]
    for _ in range(2):
        assert rollback().code == DONE
        overlay = project.overlay()
        assert overlay is not None
        assert (overlay.serving, overlay.bad, overlay.epoch) == ("v1", ("v3", "v2"), 2)
        assert project.keys()["current"] == "v1", "not one release further"


def record(project: ReleaseProject, *, rolled_back: tuple[str, ...], serving: str, is_rollout: bool) -> None:
    """Record a rollback as done, as flowai did before it recorded starts."""
    with open_ledger(project.project, None) as ledger:
        entry = LedgerEntry(
            id="rollback-old",
            at=NOON,
            actor="ann",
            action="rollback",
            release=rolled_back[-1],
            serving=serving,
            rolled_back=rolled_back,
            from_stage=5 if is_rollout else None,
        )
        ledger.append(entry)


# --- every single and double failure ---

BUG, REFUSED = RecursionError("maximum recursion depth exceeded"), InfrastructureError("cannot write: no space left")
FAILURES: dict[str, tuple[Any, str]] = {
    "overlay": (Fleet, "write_overlay"),
    "read": (Fleet, "read"),
    "confirm": (Fleet, "confirm"),
    "ledger": (RollbackLedger, "write"),
    "registry": (rollback_command, "edit_registry"),
}


COMBINATIONS = [names for count in (1, 2, 3) for names in itertools.combinations(FAILURES, count)]


@pytest.mark.parametrize(
    ("broken", "error"),
    [(names, REFUSED) for names in COMBINATIONS] + [(names, BUG) for names in COMBINATIONS if "ledger" not in names],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else type(value).__name__,
)
@pytest.mark.parametrize("own", [STEADY, ROLLING], ids=["steady", "rolling"])
def test_any_failing_steps_are_done_by_the_next_run(
    place: Path, rollback: Command, monkeypatch: pytest.MonkeyPatch, own: str, broken: tuple[str, ...], error: Exception
) -> None:
    project = release_project(place, own)
    with monkeypatch.context() as patch:
        for name in broken:
            patch.setattr(*FAILURES[name], raising(error))
        ran = rollback()
    has_overlay = project.overlay() is not None
    has_registry = project.keys().get("bad") == ["v2"]
    assert ran.code in (DONE, INFRASTRUCTURE), ran
    assert ran.code == INFRASTRUCTURE or (has_overlay and has_registry) or broken == ("ledger",)
    if not has_overlay and not has_registry:
        assert project.entries() == ()
        assert "NOTHING CHANGED" in ran.out
    retry = []
    if has_registry and not has_overlay and "ledger" in broken:
        assert "`flowai rollback --to v1`" in ran.out
        retry = ["--to", "v1"]
    ran = rollback(*retry)
    assert ran.code == DONE, ran
    if retry:
        assert project.keys()["current"] == "v1"
    else:
        assert is_rolled_back(project, "v1", ("v2",))


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


# --- kill -9 between any two steps ---

KILLED = """
import json, os, sys
from flowai.cli.app import run
import flowai.rollouts.rollback as rollback, flowai.rollouts.session as session
import flowai.cli.commands.release.release, flowai.cli.commands.release.rollback
import flowai.rollouts.promote, flowai.rollouts.publish
import flowai.experiments.stop_adopt as experiments
import yaml, flowai.state.sqlite_store, flowai.notifications.routing
from flowai.notifications.outbox import Outbox
from flowai.releases.fleet import Fleet
from flowai.storage.jsonl import AppendLog

left = 0


def step():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)


def around(owner, name):
    plain = getattr(owner, name)

    def killed(*arguments, **named):
        step()
        result = plain(*arguments, **named)
        step()
        return result

    setattr(owner, name, killed)


for owner, name in ((Fleet, "write_overlay"), (rollback, "edit_registry"), (session, "edit_registry"),
                    (experiments, "edit_entries"), (AppendLog, "append"), (Outbox, "queue"), (os, "replace")):
    around(owner, name)
for line in sys.stdin:  # a process per command, without the time to start an interpreter
    root, left, arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        output = os.open(f"{root}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(root)
        code = run(arguments)
        print("SURVIVED", left, flush=True)
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
TESTED = "experiments: {tone: {feature: plan, goal: save_rate, arms: {a: {}, b: {model: n}}}}"
COMPLETING = ROLLING.replace("stage: 5", "stage: 100")
COMMANDS: dict[str, tuple[str, list[str]]] = {
    "rollback without state": (STEADY, ["rollback", "--state", AWAY]),
    "rollback of a rollout without state": (ROLLING, ["rollback", "--state", AWAY]),
    "publish": (STEADY, ["release", "publish", "v3", "--no-smoke"]),
    "promote": (ROLLING, ["release", "promote", "--force", "--reason", "x"]),
    "complete": (COMPLETING, ["release", "promote", "--force", "--reason", "x"]),
    "stop": (STEADY, ["experiment", "stop", "tone"]),
    "adopt": (STEADY, ["experiment", "adopt", "tone", "--arm", "b", "--force", "--reason", "x"]),
}


class Shell:
    """Runs commands, each of which may be killed after some steps."""

    def __init__(self) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLOWAI", "AI_MODEL"))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", KILLED],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def run(self, root: Path, arguments: list[str], kill_after: int = 1_000) -> tuple[int, str]:
        """Run a command; return its exit status, negative if it was killed, and its output."""
        if self.process.stdin is None or self.process.stdout is None:
            raise AssertionError
        self.process.stdin.write(json.dumps([str(root), kill_after, arguments]) + "\n")
        status = int(self.process.stdout.readline())
        return status, root.with_name(f"{root.name}.out").read_text()


@pytest.fixture
def shell() -> Iterator[Shell]:
    shell = Shell()
    yield shell
    if shell.process.stdin is not None:
        shell.process.stdin.close()
    shell.process.wait(60)
    if shell.process.stdout is not None:
        shell.process.stdout.close()


def make(root: Path, own: str) -> ReleaseProject:
    project = release_project(root, own, [TESTED, "version_targets: ['dotenv:.env']"])
    if own == COMPLETING:
        project.lock("v2")
    return project


def left_behind(project: ReleaseProject) -> dict[str, Any]:
    ledger = read_ledger(project.project, None)
    rollout = project.keys().get("rollout", {})
    return {
        "keys": {**project.keys(), "rollout": (rollout.get("candidate"), rollout.get("stage"))},
        "experiments": "tone:" in (project.root / "registry.yaml").read_text(),
        "steps": [(one.action, one.release, one.serving, one.to_stage, one.experiment) for one in ledger.entries],
        "unfinished": ledger.unfinished,
        "pending": project.pending(),
        "lock": (project.root / "prompts.lock").exists(),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_step_is_finished_by_the_same_command_or_by_a_rollback(place: Path, shell: Shell, name: str) -> None:
    own, arguments = COMMANDS[name]
    whole = make(place / "whole", own)
    code = INFRASTRUCTURE if AWAY in arguments else DONE
    status, output = shell.run(whole.root, arguments)
    assert status == code, output
    step_count = 1_000 - int(output.rpartition("SURVIVED ")[2])
    assert step_count >= 6
    expected = left_behind(whole)
    assert expected["unfinished"] == ()
    for after in range(step_count):
        project = make(place / f"killed-{after}", own)
        assert shell.run(project.root, arguments, after)[0] == -signal.SIGKILL
        if name == "promote" and left_behind(project) == expected:
            break  # all is done: the same command would begin the next step
        status, output = shell.run(project.root, arguments)
        is_complete = name == "complete" and "no active rollout" in output
        assert status == code or is_complete, (after, output)
        assert left_behind(project) == expected, (after, output)
        if name not in {"stop", "adopt"} and after % 2:
            undo(shell, make(place / f"undone-{after}", own), name, after)


def undo(shell: Shell, project: ReleaseProject, name: str, after: int) -> None:
    """Kill a command, then roll back."""
    shell.run(project.root, COMMANDS[name][1], after)
    status, output = shell.run(project.root, ["rollback"])
    assert status == DONE, (after, output)
    keys = project.keys()
    assert keys["current"] not in keys["bad"]
    assert "rollout" not in keys
    assert left_behind(project)["unfinished"] == ()
    if name == "publish":  # before its rollout has started, the release that serves is rolled back
        assert (keys["current"], keys["bad"]) in (("v1", ["v2"]), ("v2", ["v3"])), (after, output)
    else:
        assert (keys["current"], keys["bad"]) == ("v1", ["v2"]), (after, output)

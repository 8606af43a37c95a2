"""`flowai watch`: whom it calls, what it rolls back, what it leaves alone, and that it can be killed at any time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.alert_receiver import AlertReceiver, Reply
from support.release_project import NOON, ROLLING, STEADY, release_project
from support.sample_project import Ran
from support.watch_project import RECEIVERS, World, environ_of

from flowai.cli.app import run
from flowai.cli.commands.run.watch import status_line
from flowai.errors import InfrastructureError
from flowai.events import AlertEvent, EventLog, ReleaseEvent, read_events
from flowai.redaction import Redactor
from flowai.state import Overlay
from flowai.watch.records import WatchOptions
from flowai.watch.session import WatchSession
from flowai.watch.watcher import Watcher, run_watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowai.watch.records import WatchTick

    Command = Callable[..., Ran]

DONE, OPEN, USAGE, PROJECT, INFRASTRUCTURE, NO_CALLS, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
LIMIT_S = 240.0
SOAKING = ROLLING.replace("stage: 5", "stage: 100")


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    with AlertReceiver() as made:
        yield made


@pytest.fixture
def make(place: Path, receiver: AlertReceiver) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def world(own: str = ROLLING, **options: Any) -> World:
        project = release_project(place, own, more=(RECEIVERS,))
        made.append(World(project=project, receiver=receiver, options=WatchOptions(**options)))
        return made[-1]

    yield world
    for one in made:
        one.close()


# --- whom it calls ---


def test_healthy_and_silent_differ_and_neither_pages(make: Callable[..., World]) -> None:
    world = make(STEADY)
    tick = world.tick()
    assert tick.status == "no_calls"
    assert tick.since_last_call_s is None
    assert "no calls for an hour or more" in status_line(tick)
    world.calls(100, failed=4)
    assert world.tick(later_s=30).status == "ok"
    tick = world.tick(later_s=600)
    assert tick.status == "no_calls"
    assert tick.since_last_call_s == 660.0
    assert world.receiver.posted == []


def test_a_provider_outage_is_one_incident_notified_once_and_resolved_after_a_window(
    make: Callable[..., World],
) -> None:
    world = make()
    world.both_arms(canary=(60, 40), stable=(600, 400))
    world.calls(100, failed=70, feature="plan", variant="stable")
    tick = world.tick()
    assert [one.cause for one in tick.incidents] == ["flowai/default/provider/openai"]
    assert "not caused by v2: v1 fails too" in world.said("opened")[0]
    assert world.paged == [("trigger", "flowai/default/provider/openai")]
    hook = next(one for one in world.receiver.posted if "routing_key" not in one)
    assert hook["severity"] == "critical"
    assert hook["details"]["errors"] == {"ServerError": 510}
    for _ in range(4):
        world.both_arms(canary=(6, 4), stable=(60, 40))
        assert world.tick(later_s=30).status == "alert"
    assert len(world.paged) == 1
    assert world.project.keys()["rollout"]["candidate"] == "v2", "nothing was rolled back"
    for _ in range(22):
        world.calls(50, variant="stable")
        tick = world.tick(later_s=30)
        if tick.status == "ok":
            break
    assert world.paged[1:] == [("resolve", "flowai/default/provider/openai")]
    assert world.now - NOON >= timedelta(minutes=1 + 5 + 5), "bad calls left the window, and it was well for another"
    assert world.tick(later_s=30).events == ()


def test_a_failing_feature_is_named_and_its_alert_is_logged(make: Callable[..., World]) -> None:
    world = make(STEADY)
    world.calls(100, failed=20, release="v2")
    world.calls(100, feature="plan", release="v2")
    world.tick()
    assert world.paged == [("trigger", "flowai/default/feature/chat")]
    alerts = [one for one in read_events(world.project.root / ".flowai/events", on_unreadable=print) if one.at == NOON]
    assert [(one.cause, one.feature) for one in alerts if isinstance(one, AlertEvent)] == [("error_rate", "chat")]


@pytest.mark.parametrize(
    "changes",
    [{"origin": "smoke"}, {"variant": "dogfood"}, {"error_class": "Cancelled"}],
    ids=["smoke", "dogfood", "left"],
)
def test_calls_without_users_open_no_incident(make: Callable[..., World], changes: dict[str, Any]) -> None:
    world = make(STEADY)
    error_class = changes.pop("error_class", "ServerError")
    with world.log() as log:
        for _ in range(100):
            event = world.event(False, 1.0, provider="openai", feature="chat", release="v2", **changes)
            log.append(msgspec.structs.replace(event, error_class=error_class))
    assert world.tick().status == "no_calls"


# --- what it rolls back ---


def test_a_failing_candidate_is_rolled_back_once(make: Callable[..., World]) -> None:
    world = make()
    world.both_arms(canary=(60, 40), stable=(900, 9))
    tick = world.tick()
    assert tick.rollout is not None
    assert tick.rollout.verdict == "candidate_worse"
    assert tick.rollout.release == "v2"
    assert tick.rollout.baseline == "v1"
    assert world.said("rolled_back") == ["v2 -> v1; no live process seen; commit registry.yaml before the next deploy"]
    assert world.project.keys() == {"current": "v1", "history": ["v0", "v1"], "bad": ["v2"]}
    overlay = world.project.overlay()
    assert overlay is not None
    assert overlay.bad == ("v2",)
    (entry,) = world.project.entries()
    assert entry.actor == "flowai watch, ann@h1"
    assert entry.reason == "v2 at 5 % is worse: 40 of 60 users failed, with v1 9 of 900 users"
    world.tick(later_s=30)
    world.tick(later_s=30, restarted=True)
    assert set(world.paged) == {("trigger", "flowai/default/release/v2")}, "one incident, whoever tells of it"
    assert len(world.said("rolled_back")) == len(world.project.entries()) == 1
    logged = read_events(world.project.root / ".flowai/events", on_unreadable=print)
    assert sum(isinstance(one, ReleaseEvent) for one in logged) == 1
    for _ in range(12):
        world.calls(60)
        tick = world.tick(later_s=60)
    assert tick.status == "ok"
    assert world.paged[-1] == ("resolve", "flowai/default/release/v2")
    assert "v1 serves" in world.said("resolved")[0]


def test_a_rollback_by_another_process_is_not_repeated(make: Callable[..., World]) -> None:
    world = make()
    world.both_arms(canary=(60, 40), stable=(900, 9))
    world.tick()
    own = world.project.root / "registry.yaml"
    own.write_text(own.read_text().replace("bad:", "# bad:"))
    before = own.read_bytes()
    asyncio.run(world.project.state().write_overlay("", Overlay(epoch=9, at=NOON)))
    memory = world.project.root / ".flowai/watch/default.json"
    memory.write_text(memory.read_text().replace('"rolled_back_to": "v1"', '"rolled_back_to": null'))
    world.tick(later_s=30, restarted=True)
    assert world.said("rollback_failed") == ["v2 is no longer rolled out"]
    assert own.read_bytes() == before
    assert len(world.project.entries()) == 1
    world.tick(later_s=30)
    assert len(world.said("rollback_failed")) == 1, "it does not try again"


def test_during_the_soak_unchanged_features_are_the_control(make: Callable[..., World]) -> None:
    world = make(SOAKING)
    world.calls(100, failed=60, release="v2", variant="canary")
    world.calls(100, failed=1, feature="plan", release="v2", variant="canary")
    world.tick()
    assert len(world.said("rolled_back")) == 1
    reason = world.project.entries()[0].reason or ""
    assert "60 of 100 users failed, with features that it did not change 1 of 100 users" in reason


def test_during_the_soak_an_unproven_cause_only_alerts(make: Callable[..., World]) -> None:
    world = make(SOAKING)
    world.calls(100, failed=60, release="v2", variant="canary")
    world.tick()
    assert "the cause is not proven: if it is v2, run `flowai rollback`" in world.said("opened")[0]
    world.calls(100, failed=60, feature="plan", release="v2", variant="canary")
    world.tick(later_s=30)
    assert world.said("rolled_back") == []
    assert world.project.keys()["rollout"]["candidate"] == "v2"


def test_a_feature_that_failed_before_the_soak_is_not_the_release_s_fault(make: Callable[..., World]) -> None:
    world = make(ROLLING)
    for _ in range(3):
        world.both_arms(canary=(60, 20), stable=(60, 20))
        world.calls(100, feature="plan", variant="stable")
        world.tick(later_s=60)
    assert [one.name for one in world.tick().incidents] == ["chat"]
    soak = ROLLING.replace("stage: 5, started_at: 2026-05-02T09:30:00Z", f"stage: 100, started_at: {world.now:%FT%TZ}")
    world.project.write("registry.yaml", (world.project.root / "registry.yaml").read_text().replace(ROLLING, soak))
    for _ in range(5):
        world.calls(100, failed=30, release="v2", variant="canary")
        world.calls(100, feature="plan", release="v2", variant="canary")
        world.tick(later_s=60)
    assert world.said("rolled_back") == []


def test_a_dry_run_reports_everything_and_changes_nothing(make: Callable[..., World]) -> None:
    world = make(dry_run=True)
    world.both_arms(canary=(60, 40), stable=(900, 9))
    before = (world.project.root / "registry.yaml").read_bytes()
    world.tick()
    world.tick(later_s=30)
    assert len(world.said("opened")) == 1
    assert world.said("rolled_back") == [
        "would roll back v2: v2 at 5 % is worse: 40 of 60 users failed, with v1 9 of 900 users"
    ]
    assert (world.project.root / "registry.yaml").read_bytes() == before
    assert world.receiver.posted == []
    assert sorted(one.name for one in (world.project.root / ".flowai").iterdir() if "state" not in one.name) == [
        "events"
    ]


def test_each_environment_has_incidents_and_releases_of_its_own(make: Callable[..., World]) -> None:
    world = make("current: v1\nhistory: [v1]\n", env="prod")
    own = "extends: registry.yaml\nevents: .flowai/prod-events\n" + ROLLING
    world.project.write("registry.prod.yaml", own)
    with EventLog(world.project.root / ".flowai/prod-events", "web", Redactor(()), lambda: NOON) as log:
        for number in range(600):
            release, variant = ("v2", "canary") if number < 60 else ("v1", "stable")
            facts = {"provider": "openai", "feature": "chat", "release": release, "variant": variant}
            log.append(world.event(number < 40, 1.0, **facts, user_hash=f"u{number}"))
    world.tick()
    assert set(world.paged) == {("trigger", "flowai/prod/release/v2")}
    assert world.project.keys("registry.prod.yaml")["bad"] == ["v2"]
    assert world.project.keys() == {"current": "v1", "history": ["v1"]}
    assert world.project.overlay("prod") is not None


# --- what it survives ---


def test_an_open_incident_survives_a_restart_without_a_second_alert(make: Callable[..., World]) -> None:
    world = make(STEADY)
    world.calls(100, failed=20, release="v2")
    world.tick()
    tick = world.tick(later_s=30, restarted=True)
    assert len(tick.incidents) == 1
    assert len(world.paged) == 1
    assert len(world.said("opened")) == 1


@pytest.mark.parametrize("moment", ["save", "queue", "deliver"])
def test_a_killed_watch_sends_each_message_once(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    world = make(STEADY)
    world.calls(100, failed=20, release="v2")

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    places = {
        "save": "flowai.watch.incident_store.IncidentStore.save",
        "queue": "flowai.notifications.outbox.Outbox.queue",
        "deliver": "flowai.notifications.outbox.Outbox.deliver",
    }
    with monkeypatch.context() as patch:
        patch.setattr(places[moment], dies)
        with pytest.raises(KeyboardInterrupt):
            world.tick()
    assert world.paged == []
    world.tick(later_s=30, restarted=True)
    world.tick(later_s=30, restarted=True)
    assert world.paged == [("trigger", "flowai/default/feature/chat")]


def test_a_watch_killed_during_a_rollback_is_finished_by_the_next(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    world.both_arms(canary=(60, 40), stable=(900, 9))

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flowai.rollouts.rollback.edit_registry", dies)
        with pytest.raises(KeyboardInterrupt):
            world.tick()
    assert world.project.keys()["rollout"], "the registry does not know yet"
    world.tick(later_s=30, restarted=True)
    assert world.project.keys() == {"current": "v1", "history": ["v0", "v1"], "bad": ["v2"]}
    assert len(world.said("rolled_back")) == 1


def test_a_busy_receiver_is_retried_later(make: Callable[..., World]) -> None:
    world = make(STEADY)
    world.receiver.script(Reply(status=429, headers={"Retry-After": "60"}), Reply(status=503))
    world.calls(100, failed=20, release="v2")
    world.tick()
    assert len(world.said("waiting")) == 2
    world.tick(later_s=30)
    assert world.said("notified") == ["webhook: notified"]
    world.tick(later_s=40)
    assert world.said("notified") == ["webhook: notified", "PagerDuty: notified"]


def test_an_invalid_registry_edit_is_not_used(make: Callable[..., World]) -> None:
    world = make(STEADY)
    path = world.project.root / "registry.yaml"
    good = path.read_text()
    world.calls(100, failed=20, release="v2")
    assert world.tick().warnings == ()
    path.write_text(good.replace("schema_version: 1", "schema_version: 7"))
    tick = world.tick(later_s=30)
    assert tick.status == "alert"
    assert "the last valid one is used: registry.yaml:1: schema_version" in tick.warnings[0]
    path.write_text(good + "policies: {alert: {error_rate: 0.5}}\n")
    tick = world.tick(later_s=30)
    assert tick.warnings == ()
    for _ in range(12):
        world.calls(10, failed=4, release="v2")
        tick = world.tick(later_s=60)
    assert tick.status == "ok", "by the new rule"


def test_an_unreachable_state_store_is_a_warning(make: Callable[..., World], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    world = make(STEADY, state=str(tmp_path / "file"))
    world.calls(100, failed=20, release="v2")
    tick = world.tick()
    assert tick.warnings[0].startswith("the shared state is unreachable")
    assert world.paged == [("trigger", "flowai/default/feature/chat")]


def test_a_full_disk_is_reported_and_blocks_no_rollback(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    world.both_arms(canary=(60, 40), stable=(900, 9))

    def full(*_: object, **__: object) -> None:
        raise InfrastructureError("cannot write: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("flowai.watch.incident_store.write_atomic", full)
        patch.setattr("flowai.watch.notify.EventLog.append", full)
        tick = world.tick()
        tick = world.tick(later_s=30)
    assert tick.has_errors
    assert len(world.said("opened")) == len(world.said("rolled_back")) == 1
    world.tick(later_s=30)
    assert [one.cause for one in world.tick(restarted=True).incidents] == ["flowai/default/release/v2"]


def test_a_damaged_incident_file_is_reported(make: Callable[..., World]) -> None:
    world = make(STEADY)
    (world.project.root / ".flowai/watch").mkdir(parents=True)
    for damage in ('{"incidents": 7}', "\xff", '{"schema_version": 9}'):
        (world.project.root / ".flowai/watch/default.json").write_text(damage, encoding="latin-1")
        (warning,) = world.tick(restarted=True).warnings
        assert "`default.json`" in warning


def test_unusable_lines_are_reported_and_the_others_count(make: Callable[..., World]) -> None:
    world = make(STEADY)
    world.tick()
    world.calls(60, failed=10, ago_s=240)
    world.calls(60, ago_s=-200)  # a clock ahead, as far as clocks may differ
    world.calls(3, ago_s=-3_600)
    world.calls(2, ago_s=8_000)
    world.calls(60, failed=10)
    file = next((world.project.root / ".flowai/events").glob("*/web-1.jsonl"))
    lines = file.read_text().splitlines()
    broken = [line[:90] for line in lines[:4]] + [lines[0].replace('"schema_version":1', '"schema_version":2')]
    file.write_text("\n".join([*lines, *broken, lines[0].replace("call-1", "")]) + "\n" + lines[0][:50])
    tick = world.tick(later_s=1)
    assert tick.call_count == 180
    assert tick.failure_count == 20
    assert tick.status == "alert"
    assert tick.warnings == (
        "the event log: a line lacks a field",
        "the event log: each of 3 lines is in the future: is a clock wrong?",
        "the event log: each of 2 lines is too old to count: is a clock wrong?",
        "the event log: a line is of an unknown schema version",
        "the event log: each of 4 lines cannot be read",
    )


def test_names_in_a_log_are_escaped_on_screen(make: Callable[..., World]) -> None:
    world = make(STEADY)
    world.calls(100, failed=50, feature="\x1b[2Jchat\n" + "x" * 500, release="v2")
    world.tick()
    (line,) = world.said("opened")
    assert "\x1b" not in line
    assert "\n" not in line
    assert len(line) < 300


def test_two_watches_share_incidents(make: Callable[..., World]) -> None:
    world = make()
    world.both_arms(canary=(60, 40), stable=(900, 9))
    other = Watcher(world.context, world.options)
    world.tick()
    ticks = [other.tick(), other.tick()]
    other.close()
    assert [one.events for one in ticks] == [(), ()]
    assert len(ticks[0].incidents) == 1
    assert len(world.project.entries()) == 1


# --- the command ---


@pytest.fixture
def watch(place: Path, capsys: pytest.CaptureFixture[str]) -> Command:  # noqa: ARG001 - stands in it
    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(["watch", *arguments])
        out, err = capsys.readouterr()
        return Ran(code=code, out=out, err=err)

    return call


@pytest.fixture
def live(make: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Give a world of today, whose variables the command sees."""

    def world(own: str = STEADY, **options: Any) -> World:
        made = make(own, **options)
        made.now = datetime.now(UTC)
        for name, value in environ_of(made.receiver).items():
            monkeypatch.setenv(name, value)
        return made

    return world


def test_once_prints_the_status(live: Callable[..., World], watch: Command) -> None:
    world = live()
    assert watch("--once").code == NO_CALLS
    world.calls(100, release="v2")
    ran = watch("--once")
    assert ran.code == DONE
    head, status = ran.out.splitlines()
    assert head.startswith("watching the registry: more than 5 % of at least 50 calls fail in 5 min")
    assert "notifies PagerDuty, webhook" in head
    assert status.startswith("ok ")
    assert status.endswith("100 calls in 5 min, 0.0 % failed")
    world.calls(100, failed=50, release="v2")
    ran = watch("--once", "--dry-run")
    assert ran.code == OPEN
    assert world.receiver.posted == []
    assert "(dry run) feature chat: 50 of 200 calls failed (25.0 %) in 5 min, limit 5 %; ServerError 50" in ran.out
    ran = watch("--once")
    assert ran.code == OPEN
    assert [line[:11].strip() for line in ran.out.splitlines()[1:]] == ["ALERT", "done", "done", "alert"]
    ran = watch("--once")
    assert ran.code == OPEN
    assert len(world.paged) == 1


def test_json_is_one_object_per_tick(live: Callable[..., World], watch: Command) -> None:
    world = live()
    world.calls(100, failed=50, release="v2")
    first, second = (json.loads(line) for _ in range(2) for line in watch("--once", "--json").out.splitlines())
    assert first["schema_version"] == 1
    assert first["status"] == "alert"
    assert first["call_count"] == 100
    assert [one["event"] for one in first["events"]] == ["opened", "notified", "notified"]
    assert second["events"] == []
    assert [one["id"] for one in second["incidents"]] == [one["id"] for one in first["incidents"]]


@pytest.mark.parametrize(
    "options", [("--interval", "soon"), ("--for", "-1s"), ("--env", "nowhere"), ("--interval", "0.2s")]
)
def test_wrong_usage(live: Callable[..., World], watch: Command, options: tuple[str, ...]) -> None:
    live()
    assert watch("--once", *options).code == USAGE


def test_a_wrong_registry_at_the_start_is_the_user_s(live: Callable[..., World], watch: Command) -> None:
    live().project.write("registry.yaml", "schema_version: 7\n")
    assert watch("--once").code == PROJECT


def test_an_unreadable_log_is_not_healthy(live: Callable[..., World], watch: Command) -> None:
    world = live()
    world.project.write(".flowai/events", "")
    ran = watch("--once")
    assert ran.code == INFRASTRUCTURE
    assert ("warning: the event log: events: Not a directory" in ran.out) is True


def test_an_unconfirmed_rollback_is_tried_five_times(live: Callable[..., World], watch: Command) -> None:
    world = live(ROLLING)
    world.both_arms(canary=(60, 40), stable=(900, 9))
    world.project.beat(candidate="v2")
    ran = watch("--once")
    assert ran.code == INFRASTRUCTURE
    assert "v2 -> v1 is not complete: processes: 0 of 1 confirm v1" in ran.out
    assert world.project.keys()["bad"] == ["v2"]
    world.project.beat(release="v1", overlay_epoch=1)
    ran = watch("--once")
    assert ran.code == OPEN
    assert ("v2 -> v1; 1 of 1 processes confirm" in ran.out) is True


def test_stopping_the_wait_ends_the_watch(make: Callable[..., World]) -> None:
    world = make(STEADY)
    waits: list[float] = []

    def wait(for_s: float) -> bool:
        waits.append(for_s)
        world.now += timedelta(seconds=for_s)
        return len(waits) == 3

    end = run_watch(world.context, WatchOptions(interval_s=20.0), on_head=print, on_tick=print, wait=wait)
    assert waits == [20.0] * 3
    assert end.is_stopped is True
    waits.clear()
    end = run_watch(world.context, WatchOptions(interval_s=20.0, for_s=30.0), on_head=print, on_tick=print, wait=wait)
    assert waits == [20.0]
    assert end.is_stopped is False


@pytest.mark.parametrize("broken", ["the check", "the registry"])
def test_an_unexpected_exception_does_not_end_the_watch(
    live: Callable[..., World], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    world = live(ROLLING)
    world.both_arms(canary=(60, 40), stable=(900, 9))
    ticks: list[WatchTick] = []
    owner, name = (Watcher, "_count") if broken == "the check" else (WatchSession, "_read_files")
    plain = getattr(owner, name)

    def faulty(*arguments: Any, **named: Any) -> Any:
        if len(ticks) == 1:
            raise RecursionError("maximum recursion depth exceeded")
        return plain(*arguments, **named)

    def wait(for_s: float) -> bool:
        world.now += timedelta(seconds=for_s)
        world.project.write("registry.yaml", (world.project.root / "registry.yaml").read_text() + "\n")
        return len(ticks) == 3

    monkeypatch.setattr(owner, name, faulty)
    run_watch(
        world.context, WatchOptions(interval_s=20.0, dry_run=True), on_head=print, on_tick=ticks.append, wait=wait
    )
    assert len(ticks) == 3
    assert [("RecursionError" in "".join(tick.warnings)) for tick in ticks] == [False, True, False]
    assert ticks[1].has_errors is (broken == "the check")
    assert ticks[2].call_count == ticks[0].call_count > 0


# --- other processes ---


@contextmanager
def started(world: World, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "flowai", "watch", *arguments],
        cwd=world.project.root,
        env={**os.environ, **environ_of(world.receiver)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, DONE)])
def test_signals_end_it_gracefully(live: Callable[..., World], number: signal.Signals, status: int) -> None:
    world = live()
    world.calls(100, failed=50, release="v2")
    with started(world, "--interval", "10m") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        assert lines[-1].startswith("alert")
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == status
    assert out == ""
    assert err == "stopped; 1 incident open, stored for the next watch\n"


def test_kill_9_while_it_sends_loses_nothing(live: Callable[..., World], watch: Command) -> None:
    world = live()
    world.calls(100, failed=50, release="v2")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        real = world.receiver
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        world.receiver = type("Deaf", (), {"url": url})()
        with started(world, "--once") as process:
            taken, _ = deaf.accept()
            process.kill()
            process.wait()
            taken.close()
        world.receiver = real
    assert watch("--once").code == OPEN
    assert watch("--once").code == OPEN
    assert world.paged == [("trigger", "flowai/default/feature/chat")]
    assert world.project.pending() == ()


def test_two_concurrent_watches_open_one_incident_and_roll_back_once(live: Callable[..., World]) -> None:
    world = live(ROLLING)
    world.both_arms(canary=(60, 40), stable=(900, 9))
    with started(world, "--once", "--json") as one, started(world, "--once", "--json") as other:
        outs = [process.communicate(timeout=LIMIT_S)[0] for process in (one, other)]
    happened = [one["event"] for out in outs for one in json.loads(out)["events"]]
    assert sorted(one for one in happened if one not in ("notified", "waiting")) == ["opened", "rolled_back"]
    assert len(world.project.entries()) == 1
    deadline = time.monotonic() + LIMIT_S
    while world.project.pending() and time.monotonic() < deadline:
        with started(world, "--once") as more:
            more.communicate(timeout=LIMIT_S)
    hooked = [one["summary"] for one in world.receiver.posted if "routing_key" not in one]
    assert len(hooked) == len(set(hooked)) == 2, "the alert, and the rollback's own"

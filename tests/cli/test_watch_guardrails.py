"""`flowai watch` judges the guardrails of a rollout: which it rolls back, names, only shows, and how often it looks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from support.alert_receiver import AlertReceiver
from support.release_project import NOON, ROLLING, release_project
from support.rollout_log import Scenario, Side, write_log
from support.sample_project import Ran
from support.watch_project import RECEIVERS, World, environ_of

from flowai.calibration import Calibration, JudgeCounts, write_calibration
from flowai.canary.report import evaluate_log
from flowai.cli.app import run
from flowai.cli.commands.run.watch import exit_status, status_line
from flowai.errors import ExitCode, InfrastructureError
from flowai.events import AlertEvent, CallEvent, EventLog, ScoreEvent, read_events
from flowai.redaction import Redactor
from flowai.watch.records import WatchOptions
from flowai.watch.watcher import run_watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowai.watch.records import WatchTick

ROLLING_50 = ROLLING.replace("stage: 5,", "stage: 50,")
EQUAL = Side()
BROKEN = Side(bad_json_rate=0.94)
SLOW = Side(latency_ms=2400.0)
HOURS = 2.4
ROLLED_BACK = {"current": "v1", "history": ["v0", "v1"], "bad": ["v2"]}


@pytest.fixture
def make(place: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []
    with AlertReceiver() as receiver:

        def world(own: str = ROLLING_50, policies: str = "", **options: Any) -> World:
            project = release_project(place, own, more=(RECEIVERS, *([policies] if policies else ())))
            made.append(World(project=project, receiver=receiver, options=WatchOptions(**options)))
            return made[-1]

        yield world
        for one in made:
            one.close()


def write(world: World, canary: Side = EQUAL, **changes: Any) -> None:
    """Write the calls of chat, of the arms as told, and those of plan, which are equal; they end a minute ago."""
    begin = world.now - timedelta(hours=HOURS, minutes=1)
    facts: dict[str, Any] = {"calls_count": 2400, "hours": HOURS, "percent": 50, "begin": begin, "canary": canary}
    chat = Scenario(**facts | changes)
    plan = replace(chat, canary=EQUAL, feature="plan", seed=8)
    write_log(world.project.root / ".flowai" / "events", chat, plan)


def worse(tick: WatchTick) -> list[tuple[str, str | None]]:
    assert tick.judgement is not None
    return [(one.name, one.feature) for one in tick.judgement.worse]


# --- what it rolls back ---


def test_broken_json_is_rolled_back_and_named_with_its_feature(make: Callable[..., World]) -> None:
    world = make()
    write(world, BROKEN)
    tick = world.tick()
    assert worse(tick) == [("json_valid", "chat")]
    assert tick.status == "alert"
    (opened,) = world.said("opened")
    assert opened.startswith("release v2: valid JSON is worse than the control's (chat: 9")
    assert opened.endswith(" % of calls have invalid JSON)")
    assert "valid JSON is worse than the control's (chat: 9" in status_line(tick)
    assert world.said("rolled_back") == ["v2 -> v1; no live process seen; commit registry.yaml before the next deploy"]
    assert world.project.keys() == ROLLED_BACK
    (entry,) = world.project.entries()
    assert (entry.reason or "").startswith("v2 at 50 %: valid JSON is worse than the control's (chat: 9")
    hook = next(one for one in world.receiver.posted if "routing_key" not in one)
    assert hook["severity"] == "critical"
    assert [(one["name"], one["feature"]) for one in hook["details"]["guardrails"]] == [("json_valid", "chat")]
    alerts = [one for one in read_events(world.project.root / ".flowai/events", on_unreadable=print) if one.at == NOON]
    assert [(one.cause, one.release) for one in alerts if isinstance(one, AlertEvent)] == [("guardrail", "v2")]
    for _ in range(8):
        world.calls(60)
        tick = world.tick(later_s=60)
    assert tick.status == "ok"
    assert tick.judgement is None
    assert world.said("resolved") == ["v2: recovered, after 5 min; v1 serves"]
    assert len(world.said("rolled_back")) == len(world.project.entries()) == 1


def score_all(world: World, judge_hash: str) -> None:
    """Flag half of the candidate's answers and a seventh of the control's."""
    directory = world.project.root / ".flowai" / "events"
    calls = [one for one in read_events(directory, on_unreadable=print) if isinstance(one, CallEvent)]
    with EventLog(directory, "judge", Redactor(()), lambda: world.now) as log:
        for number, call in enumerate(calls):
            flagged = number % (2 if call.variant == "canary" else 7) == 0
            at = call.at + timedelta(seconds=30)
            log.append(
                ScoreEvent(
                    call_id=call.call_id,
                    at=at,
                    origin="judge",
                    name="hallucination",
                    passed=not flagged,
                    judge_hash=judge_hash,
                )
            )


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_a_judge_rolls_back_while_it_is_calibrated_with_corrected_figures(
    make: Callable[..., World], *, is_calibrated: bool
) -> None:
    world = make(policies="policies: {canary: {guardrails: [error_rate, hallucination]}}")
    write(world)
    score_all(world, "5f2e91c0")
    counts = JudgeCounts(
        true_positive_count=160, false_negative_count=40, true_negative_count=180, false_positive_count=20
    )
    calibration = Calibration(
        name="hallucination",
        judge="judge",
        judge_hash="5f2e91c0" if is_calibrated else "00c41e77",
        at=world.now - timedelta(days=3),
        source="evals/faithful.yaml",
        counts=counts,
    )
    write_calibration(world.project.root, calibration)
    tick = world.tick()
    if not is_calibrated:
        assert worse(tick) == []
        assert world.said("rolled_back") == []
        return
    assert worse(tick) == [("hallucination", None)]
    # flagged 50 and 14.3 %; TPR .8 and TNR .9
    text = r"5\d\.\d % against [567]\.\d % of judged answers have unsupported statements, corrected by the judge's"
    assert re.search(text, world.said("opened")[0])
    assert world.project.keys() == ROLLED_BACK


def test_slow_answers_are_rolled_back(make: Callable[..., World]) -> None:
    world = make()
    write(world, SLOW)
    tick = world.tick()
    assert worse(tick) == [("slow_calls", "chat"), ("latency", None)]
    (opened,) = world.said("opened")
    assert "slow calls is worse than the control's (chat: " in opened
    assert "latency is worse than the control's (mean " in opened
    assert world.project.keys() == ROLLED_BACK


@pytest.mark.parametrize(
    ("name", "side", "text"),
    [
        (
            "acceptance",
            Side(acceptance=0.2),
            r"acceptance is worse .* \(\d+\.\d % against \d+\.\d % of answers with feedback",
        ),
        ("cost", Side(cost_usd=0.01), r"cost is worse than the control's \(mean \$0\.0055 against \$0\.001\)"),
        (
            "error_rate",
            Side(error_rate=0.04),
            r"error rate is worse .* \(chat: \d+\.\d % against \d+\.\d % of calls failed",
        ),
    ],
)
def test_each_guardrail_is_named_with_its_figures(make: Callable[..., World], name: str, side: Side, text: str) -> None:
    world = make(policies=f"policies: {{canary: {{guardrails: [{name}]}}}}")
    write(world, side, calls_count=4000)
    assert world.tick().status == "alert"
    assert re.search(text, world.said("opened")[0])
    assert world.project.keys() == ROLLED_BACK


def test_equal_arms_do_nothing(make: Callable[..., World]) -> None:
    world = make()
    write(world)
    for _ in range(4):
        tick = world.tick(later_s=30)
        assert tick.judgement is not None
        assert tick.judgement.verdict in ("hold", "promote")
        assert (tick.status, tick.events, tick.warnings) == ("ok", (), ())
    assert world.project.keys()["rollout"]["candidate"] == "v2"
    assert world.receiver.posted == []


def test_failed_calls_are_one_incident_whichever_rule_finds_them(make: Callable[..., World]) -> None:
    world = make()
    write(world, Side(error_rate=0.9, bad_json_rate=0.9))
    tick = world.tick()
    assert len(tick.incidents) == len(world.said("opened")) == len(world.said("rolled_back")) == 1
    assert ("error_rate", "chat") in worse(tick)
    assert "calls failed" in world.said("opened")[0]


def test_a_dry_run_names_the_guardrail_and_does_nothing(make: Callable[..., World]) -> None:
    world = make(dry_run=True)
    write(world, BROKEN)
    before = (world.project.root / "registry.yaml").read_bytes()
    assert [world.tick().status, world.tick(later_s=30).status] == ["alert", "alert"]
    assert len(world.said("opened")) == 1
    (line,) = world.said("rolled_back")
    assert line.startswith("would roll back v2: v2 at 50 %: valid JSON is worse than the control's (chat: 9")
    assert (world.project.root / "registry.yaml").read_bytes() == before
    assert world.receiver.posted == []
    assert world.project.entries() == ()


# --- what it leaves alone ---


@pytest.mark.parametrize("names", ["[]", "[error_rate, slow_calls]"])
def test_a_guardrail_that_the_policy_leaves_out_is_not_acted_on(make: Callable[..., World], names: str) -> None:
    world = make(policies=f"policies: {{watch: {{guardrails: {names}}}}}")
    write(world, BROKEN)
    tick = world.tick()
    assert (tick.status, tick.events) == ("ok", ())
    assert (tick.judgement is None) == (names == "[]")
    assert world.project.keys()["rollout"]["candidate"] == "v2"


@pytest.mark.parametrize("stage", ["100", "dogfood"])
def test_there_is_nothing_to_compare_at_dogfood_and_at_100(make: Callable[..., World], stage: str) -> None:
    world = make(ROLLING.replace("stage: 5,", f"stage: {stage},"))
    write(world, BROKEN)
    tick = world.tick()
    assert tick.judgement is None
    assert tick.events == ()


def test_a_doubt_keeps_it_from_acting_and_is_said_once(make: Callable[..., World]) -> None:
    world = make()
    write(world, Side(bad_json_rate=0.05), calls_count=1400)
    stray: dict[str, Any] = {"release": "v2", "variant": "canary", "is_sticky": True, "feature": "plan"}
    world.calls(900, ago_s=3600, **stray)
    ticks = [world.tick()]
    for _ in range(3):
        world.calls(30, ago_s=1800, **stray)
        ticks.append(world.tick(later_s=30))
    assert {tick.judgement.verdict for tick in ticks if tick.judgement} == {"invalid"}
    assert worse(ticks[0]) == [("json_valid", "chat")]
    assert [tick.status for tick in ticks] == ["worse"] * 4
    assert "users do not divide by the shares of stage 50" in " ".join(ticks[0].warnings)
    assert all(one.startswith("v2 at 50 % cannot be judged: ") for one in ticks[0].warnings)
    assert [tick.warnings for tick in ticks[1:]] == [()] * 3
    assert [tick.has_errors for tick in ticks] == [False] * 4
    assert status_line(ticks[0]).startswith("worse ")
    assert "valid JSON is worse than the control's (chat: " in status_line(ticks[0])
    once = WatchOptions(once=True)
    end = run_watch(world.context, once, on_head=print, on_tick=print, wait=lambda _: False)
    assert exit_status(end, is_interrupt=False) == ExitCode.GATE_NOT_MET
    assert world.said("opened", "rolled_back") == []


# --- what it survives ---


@pytest.mark.parametrize("error", [InfrastructureError("the disk is full"), ZeroDivisionError("by zero")])
def test_an_evaluation_that_fails_ends_nothing(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    world = make()
    write(world, BROKEN)

    def fails(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("flowai.watch.guardrails.evaluate_log", fails)
        for tick in (world.tick(), world.tick(later_s=1)):
            assert tick.has_errors
            assert tick.status == "ok"
            assert len(tick.warnings) == 1
            assert tick.warnings[0].startswith("the rollout's guardrails are not judged: ")
            assert str(error) in tick.warnings[0]
    tick = world.tick(later_s=30)
    assert not tick.has_errors
    assert len(world.said("rolled_back")) == 1


def test_a_log_that_cannot_be_read_is_said(make: Callable[..., World]) -> None:
    world = make()
    write(world, BROKEN)
    damaged = world.project.root / ".flowai/events" / f"dt={NOON.date()}" / "part.parquet"
    damaged.write_bytes(b"PAR1 and no more")
    tick = world.tick()
    assert tick.has_errors
    assert tick.warnings[0].startswith("the rollout's guardrails are not judged: ")
    damaged.unlink()
    world.tick(later_s=30)
    assert len(world.said("rolled_back")) == 1


def test_a_rollback_is_tried_five_times(make: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    write(world, BROKEN)

    def fails(*_: object, **__: object) -> None:
        raise InfrastructureError("the disk is full")

    monkeypatch.setattr("flowai.watch.auto_rollback.run_rollback", fails)
    ticks = [world.tick(later_s=30) for _ in range(7)]
    assert [tick.has_errors for tick in ticks] == [True] * 5 + [False] * 2
    assert [tick.status for tick in ticks] == ["alert"] * 7
    assert world.said("rollback_failed") == ["v2 could not be rolled back: the disk is full"] * 5
    assert len(world.said("opened")) == 1


# --- how often it looks ---


@pytest.mark.parametrize(("duration_s", "interval_s"), [(0.0, 30), (1.0, 30), (3.0, 60), (12.0, 240), (60.0, 1200)])
def test_evaluations_take_a_twentieth_of_the_time(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch, duration_s: float, interval_s: int
) -> None:
    world = make()
    write(world, calls_count=60)
    starts: list[datetime] = []

    def slowly(*arguments: Any) -> Any:
        starts.append(world.now)
        result = evaluate_log(*arguments)
        world.now += timedelta(seconds=duration_s)
        return result

    monkeypatch.setattr("flowai.watch.guardrails.evaluate_log", slowly)
    until = world.now + timedelta(seconds=3 * interval_s)
    while world.now <= until:
        tick = world.tick()
        assert tick.judgement is not None, "the latest one holds in between"
        world.now += timedelta(seconds=10 - (world.now - NOON).total_seconds() % 10)
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(starts)]
    assert set(gaps) == {float(interval_s)}


def test_a_new_stage_is_judged_at_once(make: Callable[..., World]) -> None:
    world = make()
    write(world, calls_count=60)
    first = world.tick().judgement
    assert world.tick(later_s=1).judgement == first
    registry = world.project.root / "registry.yaml"
    registry.write_text(registry.read_text().replace("stage: 50", "stage: 25"))
    second = world.tick(later_s=1).judgement
    assert first is not None
    assert second is not None
    assert (first.stage, second.stage) == (50, 25)
    assert second.at > first.at


# --- the command ---


def test_the_command_rolls_back_and_prints_the_guardrail(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make()
    world.now = datetime.now(UTC)
    for name, value in environ_of(world.receiver).items():
        monkeypatch.setenv(name, value)
    write(world, BROKEN)

    def watch(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(["watch", "--once", *arguments])
        out, err = capsys.readouterr()
        return Ran(code=code, out=out, err=err)

    found = json.loads(watch("--dry-run", "--json").out)
    assert found["status"] == "alert"
    assert found["judgement"]["verdict"] == "rollback"
    assert [one["name"] for one in found["judgement"]["worse"]] == ["json_valid"]
    ran = watch()
    assert ran.code == 1
    lines = ran.out.splitlines()[1:]
    assert [line[:11].strip() for line in lines] == ["ALERT", "ROLLED BACK", "alert"]
    assert "release v2: valid JSON is worse than the control's (chat: 9" in lines[0]
    assert ("trigger", "flowai/default/release/v2") in world.paged
    assert world.project.keys() == ROLLED_BACK

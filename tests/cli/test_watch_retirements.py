"""`flowai watch` tells once of a model that is retired soon: over restarts, and again when it becomes an error."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.alert_receiver import AlertReceiver
from support.release_project import NOON, ROLLING, STEADY, release_project
from support.watch_project import RECEIVERS, World

from flowai.events import AlertEvent, read_events
from flowai.providers import PriceTable
from flowai.watch.records import WatchOptions
from flowai.watch.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAY_S = 86_400.0
CAUSE = "flowai/default/model/m"


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    with AlertReceiver() as made:
        yield made


class Retiring(World):
    """A watch over models whose end dates are made up."""

    prices: PriceTable

    def tick(self, *, later_s: float = 0.0, restarted: bool = False) -> Any:
        """Let time pass, and look."""
        self.now += timedelta(seconds=later_s)
        if restarted:
            self.close()
        if self._watch is None:
            self._watch = Watcher(self.context, self.options, prices=self.prices)
        tick = self._watch.tick()
        self.happened += tick.events
        return tick

    def told(self) -> list[str]:
        """Return what was told of models."""
        return self.said("retiring")

    def logged(self) -> list[AlertEvent]:
        """Return the alerts of the event log."""
        found = [
            event
            for event in read_events(
                self.project.root / ".flowai" / "events", on_unreadable=lambda line: pytest.fail(str(line))
            )
            if isinstance(event, AlertEvent)
        ]
        return [event for event in found if event.cause == "retirement"]


@pytest.fixture
def make(place: Path, tmp_path: Path, receiver: AlertReceiver) -> Iterator[Callable[..., Retiring]]:
    made: list[Retiring] = []

    def world(days: int, own: str = STEADY, *, model: str = "gpt-4o-mini", **options: Any) -> Retiring:
        file = tmp_path / "prices.json"
        end = (NOON.date() + timedelta(days=days)).isoformat()
        rows = {
            name: {"litellm_provider": "openai", "mode": "chat"} for name in ("gpt-4o-mini", "gpt-4o", "gpt-5-mini")
        }
        rows[model]["deprecation_date"] = end
        file.write_text(json.dumps(rows))
        project = release_project(place, own, more=(RECEIVERS,))
        made.append(Retiring(project=project, receiver=receiver, options=WatchOptions(**options)))
        made[-1].prices = PriceTable(file)
        return made[-1]

    yield world
    for one in made:
        one.close()


def test_a_model_is_told_of_once_with_alert_event_and_message(make: Callable[..., Retiring]) -> None:
    world = make(30)
    tick = world.tick()
    (text,) = world.told()
    assert text.startswith("model `m` (openai/gpt-4o-mini) is retired on 2026-06-01, in 30 days; used by ")
    assert text.endswith("; newest of its family: openai/gpt-5-mini")
    assert (tick.status, tick.incidents) == ("no_calls", ())
    assert world.paged == [("trigger", CAUSE)]
    (page,) = [one for one in world.receiver.posted if "routing_key" in one]
    assert page["payload"]["severity"] == "warning"
    (event,) = world.logged()
    assert (event.model, event.release, event.message) == ("m", "v2", text)
    for _ in range(3):
        world.tick(later_s=DAY_S)
        world.tick(later_s=30, restarted=True)
    assert len(world.told()) == len(world.logged()) == len(world.paged) == 1


def test_it_is_told_of_again_when_it_becomes_an_error(make: Callable[..., Retiring]) -> None:
    world = make(16)
    world.tick()
    world.tick(later_s=DAY_S, restarted=True)
    assert len(world.told()) == 1
    world.tick(later_s=DAY_S, restarted=True)
    assert len(world.told()) == 2
    assert "in 14 days" in world.told()[1]
    assert world.paged == [("trigger", CAUSE)] * 2
    assert [one["payload"]["severity"] for one in world.receiver.posted if "routing_key" in one] == ["warning", "error"]
    for _ in range(20):
        world.tick(later_s=DAY_S, restarted=True)
    assert len(world.told()) == len(world.logged()) == 2


def test_before_the_window_nothing_is_told(make: Callable[..., Retiring]) -> None:
    world = make(62)
    world.tick()
    world.tick(later_s=DAY_S)
    assert world.told() == []
    world.tick(later_s=DAY_S)
    assert len(world.told()) == 1


def test_a_message_that_a_killed_watch_did_not_queue_comes_later(
    make: Callable[..., Retiring], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(30)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("flowai.watch.retirements.NoticeQueue.queue", killed)
        with pytest.raises(KeyboardInterrupt):
            world.tick()
    assert world.paged == []
    world.tick(later_s=DAY_S, restarted=True)
    world.tick(later_s=30, restarted=True)
    assert world.paged == [("trigger", CAUSE)]
    assert len(world.logged()) == 1


def test_a_replaced_model_is_resolved(make: Callable[..., Retiring]) -> None:
    world = make(30)
    world.tick()
    path = world.project.root / "registry.yaml"
    path.write_text(path.read_text().replace("m: {model: openai/gpt-4o-mini}", "m: {model: openai/gpt-5-mini}"))
    world.tick(later_s=30)
    assert world.paged == [("trigger", CAUSE), ("resolve", CAUSE)]
    world.tick(later_s=30, restarted=True)
    assert len(world.paged) == 2
    assert len(world.told()) == 1


@pytest.mark.parametrize(("candidate", "count"), [("v3", 1), ("v2", 0)])
def test_the_candidate_of_a_rollout_counts_and_unused_models_do_not(
    make: Callable[..., Retiring], candidate: str, count: int
) -> None:
    world = make(10, ROLLING.replace("candidate: v2", f"candidate: {candidate}"), model="gpt-4o")
    world.tick()
    assert len(world.told()) == count


def test_a_dry_run_tells_once_and_queues_nothing(make: Callable[..., Retiring]) -> None:
    world = make(30, dry_run=True)
    tick = world.tick()
    assert tick.events[0].is_dry_run
    world.tick(later_s=30)
    assert len(world.told()) == 1
    assert world.receiver.posted == []
    assert world.logged() == []


def test_a_juror_counts(make: Callable[..., Retiring]) -> None:
    world = make(30, model="gpt-4o")
    path = world.project.root / "registry.yaml"
    jury = "plan: {critical: true, jury: {models: [m, n], combine: mean}}"
    path.write_text(path.read_text().replace("plan: {critical: true}", jury))
    world.tick()
    (text,) = world.told()
    assert text.startswith("model `n` (openai/gpt-4o) is retired on")
    assert "used by plan" in text

"""The outbox: no message is lost or sent twice, and retries wait for the right time."""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.errors import InfrastructureError
from flowai.notifications import Delivery, DeliveryError, Outbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOON = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)


def delivery(name: str = "a", *, slot: str | None = None, to: str = "webhook") -> Delivery:
    return Delivery(id=name, to=to, label=to, slot=slot, body={"text": name})


class World:
    """An outbox with a stopped clock, and a receiver with scripted failures."""

    def __init__(self, path: Path) -> None:
        self.now = NOON
        self.path = path
        self.got: list[str] = []
        self.fails: list[DeliveryError] = []

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.path, now=lambda: self.now)

    def send(self, one: Delivery) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.got.append(one.id)

    def deliver(self, *, only_due: bool = False) -> list[str | None]:
        return [one.error for one in self.outbox.deliver({"webhook": self.send}, only_due=only_due)]

    def waiting(self) -> list[str]:
        return [one.delivery.id for one in self.outbox.pending()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "outbox.jsonl")


def test_a_queued_message_is_sent_once(world: World) -> None:
    world.outbox.queue([delivery("a"), delivery("b")])
    world.outbox.queue([delivery("a")])
    assert world.deliver() == [None, None]
    world.outbox.queue([delivery("a")])
    assert world.deliver() == []
    assert world.got == ["a", "b"]
    assert world.waiting() == []


def test_an_empty_outbox_creates_no_file(world: World) -> None:
    assert world.deliver() == []
    world.outbox.queue([])
    assert not world.path.exists()


def test_back_off_grows_and_respects_retry_after(world: World) -> None:
    world.outbox.queue([delivery()])
    world.fails = [DeliveryError("HTTP 503"), DeliveryError("HTTP 429", retry_after_s=60.0), DeliveryError("HTTP 503")]
    pauses = []
    while world.fails:
        (waiting,) = world.outbox.pending()
        assert waiting.retry_at is not None
        world.now = waiting.retry_at - timedelta(milliseconds=1)
        if waiting.attempt_count:
            assert world.deliver(only_due=True) == [], "too early"
        world.now = waiting.retry_at
        world.deliver(only_due=True)
        (waiting,) = world.outbox.pending()
        assert waiting.retry_at is not None
        pauses.append((waiting.retry_at - world.now).total_seconds())
    assert pauses == [5.0, 60.0, 20.0]


def test_a_permanent_failure_is_not_retried_automatically(world: World) -> None:
    world.outbox.queue([delivery()])
    world.fails = [DeliveryError("HTTP 400: bad key", is_transient=False)]
    assert world.deliver() == ["HTTP 400: bad key"]
    world.now += timedelta(days=9)
    assert world.deliver(only_due=True) == []
    assert world.deliver() == [None], "a person who asks tries everything"


def test_only_the_newest_message_of_a_slot_is_sent(world: World) -> None:
    world.outbox.queue([delivery("v1", slot="version"), delivery("other")])
    world.outbox.queue([delivery("v2", slot="version")])
    assert world.waiting() == ["other", "v2"]
    world.deliver()
    assert world.got == ["other", "v2"]


def test_a_message_without_a_sender_stays(world: World) -> None:
    world.outbox.queue([delivery(to="pigeon")])
    assert world.deliver() == []
    assert world.waiting() == ["a"]


@given(cut=st.integers(min_value=1, max_value=400))
def test_a_torn_file_loses_the_torn_line_only(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    world = World(tmp_path_factory.mktemp("o") / "outbox.jsonl")
    world.outbox.queue([delivery("a"), delivery("b"), delivery("c")])
    whole = world.path.read_bytes()
    world.path.write_bytes(whole[: max(0, len(whole) - cut)])
    left = world.path.read_bytes().count(b"\n")
    kept = world.waiting()
    assert kept == ["a", "b", "c"][: len(kept)]
    assert len(kept) in (left, left + 1), "a last line without its newline may be whole"
    world.outbox.queue([delivery("d")])
    assert world.waiting() == [*kept, "d"]


def test_foreign_lines_are_skipped(world: World) -> None:
    world.path.write_bytes(b'\xff\xfe\n{}\n{"event":"sent"}\n[1]\n\n')
    world.outbox.queue([delivery()])
    assert world.deliver() == [None]


def test_nothing_is_sent_while_another_process_sends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowai.notifications.outbox.LOCK_TIMEOUT_S", 0.0)
    world.outbox.queue([delivery()])
    with world.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert world.deliver() == ["another process is sending"]
    assert world.deliver() == [None]
    assert world.got == ["a"]


def test_a_crashing_sender_keeps_the_message(world: World) -> None:
    def broken(_: Delivery) -> None:
        raise KeyboardInterrupt

    world.outbox.queue([delivery()])
    with pytest.raises(KeyboardInterrupt):
        world.outbox.deliver({"webhook": broken})
    assert world.deliver() == [None]
    assert world.got == ["a"]


@pytest.mark.parametrize("act", [lambda box: box.queue([delivery()]), lambda box: box.deliver({})])
def test_an_unwritable_file_is_an_infrastructure_error(tmp_path: Path, act: Callable[[Outbox], object]) -> None:
    (tmp_path / "outbox.jsonl").mkdir()
    with pytest.raises(InfrastructureError):
        act(Outbox(tmp_path / "outbox.jsonl", now=lambda: NOON))

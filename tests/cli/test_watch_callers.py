"""`flowai watch` rolls back for failures of several callers that a provider had, never for those of one caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.alert_receiver import AlertReceiver
from support.release_project import ROLLING, release_project
from support.watch_project import RECEIVERS, World

from flowai.events import Attempt
from flowai.gateway.call_event import caller_hash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOAKING = ROLLING.replace("stage: 5", "stage: 100")
ROLLED_BACK = {"current": "v1", "history": ["v0", "v1"], "bad": ["v2"]}
POISONED = Attempt(model="m", provider="openai", status="error", was_tried=False, error_class="InvalidRequestError")


@pytest.fixture(params=[ROLLING, SOAKING], ids=["canary", "soak"])
def world(request: pytest.FixtureRequest, place: Path) -> Iterator[World]:
    with AlertReceiver() as receiver:
        made = World(project=release_project(place, request.param, more=(RECEIVERS,)), receiver=receiver)
        yield made
        made.close()


def good_traffic(world: World) -> None:
    """Log calls of users that succeed, of the candidate and of what it is compared with."""
    candidate: dict[str, Any] = {"release": "v2", "variant": "canary"}
    world.calls(20, **candidate)
    world.calls(300, feature="plan", **candidate)
    world.calls(300, variant="stable")


def anonymous(world: World, count: int, caller: str, **changes: Any) -> None:
    """Log failed calls of the candidate over HTTP without a user."""
    facts = {"release": "v2", "variant": "canary", "origin": "serve", "user_hash": None, **changes}
    world.calls(count, failed=count, caller_hash=caller_hash(caller), **facts)


def poisoned(world: World, count: int, **changes: Any) -> None:
    """Log calls of the candidate whose body no provider was asked with."""
    with world.log() as log:
        for number in range(count):
            facts = {"user_hash": f"poisoned-{number}", **changes}
            event = world.event(True, 1.0, provider="openai", feature="chat", release="v2", variant="canary", **facts)
            log.append(
                msgspec.structs.replace(
                    event,
                    call_id=f"poisoned-{number}",
                    provider=None,
                    error_class="InvalidRequestError",
                    attempts=(POISONED,),
                )
            )


def test_requests_that_asked_no_provider_blame_no_release(world: World) -> None:
    good_traffic(world)
    poisoned(world, 40)
    tick = world.tick()
    assert world.said("rolled_back") == []
    assert tick.failure_count == 40
    assert [(one.kind, one.name) for one in tick.incidents] == [("feature", "chat")], "neither release nor provider"
    assert "InvalidRequestError (not sent) 40" in world.said("opened")[0]
    assert tick.rollout is not None
    assert tick.rollout.failed_user_count == 0
    assert world.project.keys()["rollout"]["candidate"] == "v2"


def test_six_poisoned_requests_of_one_key_leave_the_release(world: World) -> None:
    good_traffic(world)
    poisoned(world, 6, origin="serve", user_hash=None, caller_hash=caller_hash("key a"))
    world.tick()
    assert world.said("rolled_back") == []
    assert world.project.keys()["rollout"]["candidate"] == "v2"


def test_failures_of_one_key_alert_and_roll_nothing_back(world: World) -> None:
    good_traffic(world)
    anonymous(world, 37, "key a")
    anonymous(world, 3, "key b")
    tick = world.tick()
    assert tick.rollout is not None
    assert tick.rollout.verdict == "single_caller"
    assert world.said("rolled_back") == []
    (opened,) = world.said("opened")
    assert opened.endswith(
        "; one caller accounts for 37 of 40 failures: no automatic rollback; send `user` with each call, so that users "
        "are counted"
    )
    assert world.project.keys()["rollout"]["candidate"] == "v2"
    for number in range(30):
        anonymous(world, 1, f"key {number}")
    world.tick(later_s=30)
    assert len(world.said("rolled_back")) == 1, "others prove it"


def test_the_same_failures_of_thirty_callers_roll_back(world: World) -> None:
    good_traffic(world)
    for number in range(30):
        anonymous(world, 1, f"key {number}")
    world.tick()
    assert len(world.said("rolled_back")) == 1
    assert world.project.keys() == ROLLED_BACK


def test_calls_of_logs_without_callers_count_each(world: World) -> None:
    good_traffic(world)
    world.calls(30, failed=30, release="v2", variant="canary", user_hash=None)
    world.tick()
    assert world.project.keys() == ROLLED_BACK

"""The plan of a rollback, from every state: it never serves what is bad, and repeating it decides nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.errors import FlowaiError, UsageError
from flowai.registry.records import Registry, Release, Rollout
from flowai.registry.writer import ManagedKeys
from flowai.releases.ledger import LedgerEntry
from flowai.releases.rollback_plan import ObservedState, RollbackPlan, plan_rollback
from flowai.state import Heartbeat, Overlay

NOON = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)
NAMES = ("v0", "v1", "v2", "v3")

names = st.sampled_from(NAMES)
lists = st.lists(names, unique=True, max_size=4).map(tuple)
rollouts = st.none() | st.builds(Rollout, candidate=names, stage=st.sampled_from([1, 5, 100]))
own_keys = st.builds(ManagedKeys, current=st.none() | names, history=lists, bad=lists, rollout=rollouts)


def registry(own: ManagedKeys) -> Registry:
    return Registry(schema_version=1, releases={name: Release() for name in NAMES}, **msgspec.structs.asdict(own))


def overlay_of(plan: RollbackPlan, epoch: int = 1) -> Overlay:
    return Overlay(
        release=plan.release,
        bad=plan.bad,
        ends_rollout_of=plan.ends_rollout_of,
        serving=plan.serving,
        epoch=epoch,
        at=NOON,
    )


def beat(release: str, candidate: str | None = None) -> Heartbeat:
    return Heartbeat(
        process=release, host="h", pid=1, origin="serve", release=release, candidate=candidate, started_at=NOON, at=NOON
    )


def planned(own: ManagedKeys, **seen: Any) -> RollbackPlan:
    to, force = seen.pop("to", None), seen.pop("force", False)
    pin = seen.pop("pin", None)
    environ = {} if pin is None else {"AI_MODEL_VERSION": pin}
    return plan_rollback(ObservedState(registry=registry(own), environ=environ, **seen), to=to, force=force)


@given(own=own_keys, to=st.none() | names, force=st.booleans(), pin=st.none() | names)
def test_the_serving_release_is_never_bad_and_a_repetition_changes_nothing(
    own: ManagedKeys, to: str | None, force: bool, pin: str | None
) -> None:
    try:
        plan = planned(own, to=to, force=force, pin=pin)
    except FlowaiError:
        return
    assert plan.serving not in plan.bad
    assert set(plan.rolled_back) <= set(plan.bad)
    after = plan.update_keys(own)
    assert set(own.bad) <= set(after.bad)
    assert after.rollout is None or after.rollout.candidate not in after.bad
    assert after.history == own.history, "what was good is remembered; `bad` says that it is no more"
    if not plan.rolled_back:
        return
    overlay = overlay_of(plan)
    for killed_before_the_registry in (own, after):
        again = planned(killed_before_the_registry, overlay=overlay, to=to, force=force, pin=pin)
        assert again.changed is False
        assert again.serving == plan.serving
        assert (set(again.rolled_back) <= set(plan.bad)) is True
        assert again.matches(overlay)
        assert again.update_keys(after) == after


@given(own=own_keys, pin=st.none() | names)
def test_registry_and_overlay_agree(own: ManagedKeys, pin: str | None) -> None:
    try:
        plan = planned(own, pin=pin)
    except FlowaiError:
        return
    if not plan.rolled_back:
        return
    after = plan.update_keys(own)
    without = planned(after, overlay=overlay_of(plan), pin=pin)
    assert without.serving == plan.serving
    assert after.current not in after.bad


def test_a_release_published_since_is_rolled_back_in_turn() -> None:
    before = ManagedKeys(current="v1", history=("v0", "v1"), bad=("v2",))
    overlay = Overlay(release="v1", bad=("v2",), serving="v1", epoch=3, at=NOON)
    rolling = msgspec.structs.replace(before, rollout=Rollout(candidate="v3", stage=5))
    assert planned(before, overlay=overlay).changed is False
    plan = planned(rolling, overlay=overlay)
    assert plan.changed is True
    assert plan.rolled_back == ("v3",)
    assert plan.serving == "v1"
    assert plan.bad == ("v2", "v3")
    taken_back = Overlay(bad=("v2",), epoch=4, at=NOON)
    assert planned(before, overlay=taken_back).rolled_back == ("v1",)


def test_differing_pins_of_processes_are_not_rolled_back() -> None:
    own = ManagedKeys(current="v2", history=("v0", "v1", "v2"))
    assert planned(own, heartbeats=(beat("v3"), beat("v3"))).rolled_back == ("v3",)
    assert planned(own, heartbeats=(beat("v3"), beat("v2"))).rolled_back == ("v2",)
    assert planned(own, heartbeats=(beat("unknown"),)).rolled_back == ("v2",)
    assert planned(own, heartbeats=(beat("v1", "v2"),)).rolled_back == ("v2",), "it has not heard that v2 is current"


def test_a_manually_ended_rollout_is_ended_where_it_is_still_active() -> None:
    own = ManagedKeys(current="v1", history=("v0", "v1"))
    plan = planned(own, heartbeats=(beat("v1", "v2"), beat("v1")))
    assert plan.rolled_back == ("v2",)
    assert plan.serving == "v1"
    assert plan.release is None
    assert plan.ends_rollout_of == "v2"
    assert plan.stage is None
    again = planned(own, heartbeats=(beat("v1", "v2"),), overlay=overlay_of(plan))
    assert again.changed is False
    assert again.rolled_back == ("v2",)
    assert planned(own, heartbeats=(beat("v1", "v2"),), to="v0").rolled_back == ("v1", "v2")
    assert planned(own, heartbeats=(beat("v0", "v1"),)).rolled_back == ("v1",), "it has completed since"


def test_a_release_manually_marked_bad_is_rolled_back_where_it_still_serves() -> None:
    own = ManagedKeys(current="v1", history=("v0", "v1"), bad=("v2",))
    plan = planned(own, heartbeats=(beat("v2"), beat("v1")))
    assert plan.rolled_back == ("v2",)
    assert plan.serving == "v1"
    assert plan.release == "v1"
    assert plan.changed is True
    again = planned(own, heartbeats=(beat("v2"),), overlay=overlay_of(plan))
    assert again.changed is False
    assert again.serving == "v1"
    assert planned(own, heartbeats=(beat("v2"),), to="v0").rolled_back == ("v1",)
    assert planned(own, heartbeats=(beat("v1"),)).rolled_back == ("v1",)
    taken_back = Overlay(bad=("v2",), epoch=4, at=NOON)
    assert planned(own, heartbeats=(beat("v2"),), overlay=taken_back).rolled_back == ("v1",), "it was told long ago"


def test_without_registry_and_processes_the_plan_is_an_error() -> None:
    with pytest.raises(UsageError, match="the serving release is unknown"):
        plan_rollback(ObservedState(registry=None, environ={}), to="v1", force=True)


def test_without_a_registry_only_the_rollout_is_ended() -> None:
    def blind(*beats: Heartbeat, to: str | None = None, force: bool = False) -> RollbackPlan:
        return plan_rollback(ObservedState(registry=None, environ={}, heartbeats=beats), to=to, force=force)

    plan = blind(beat("v1", "v2"), beat("v1", "v2"))
    assert plan.rolled_back == ("v2",)
    assert plan.serving == "v1"
    assert plan.release is None
    assert plan.ends_rollout_of == "v2"
    forced = blind(beat("v2"), to="v1", force=True)
    assert forced.rolled_back == ("v2",)
    assert forced.serving == "v1"
    assert forced.release == "v1"
    for wrong in ({}, {"to": "v1"}):
        with pytest.raises(UsageError):
            blind(beat("v2"), **wrong)  # type: ignore[arg-type]  # a table of arguments
    with pytest.raises(UsageError):
        blind(beat("v1", "v2"), beat("v0", "v2"))
    with pytest.raises(UsageError):
        blind(beat("v1", "v2"), to="v2")


@given(own=own_keys, to=st.none() | names, force=st.booleans(), pin=st.none() | names)
def test_a_rollback_that_only_the_ledger_contains_is_finished_as_it_was_decided(
    own: ManagedKeys, to: str | None, force: bool, pin: str | None
) -> None:
    try:
        plan = planned(own, to=to, force=force, pin=pin)
    except FlowaiError:
        return
    if not plan.rolled_back:
        return
    entry = LedgerEntry(
        id="a",
        at=NOON,
        actor="ann",
        action="rollback",
        release=plan.ends_rollout_of or plan.rolled_back[-1],
        serving=plan.serving,
        rolled_back=plan.rolled_back,
        from_stage=plan.stage or ("?" if plan.ends_rollout_of else None),
    )
    again = planned(own, pin=pin, last_step=entry)
    assert (again.serving, set(again.rolled_back)) == (plan.serving, set(plan.rolled_back))
    assert (again.changed, again.release, again.ends_rollout_of) == (False, plan.release, plan.ends_rollout_of)
    assert again.update_keys(own) == plan.update_keys(own)

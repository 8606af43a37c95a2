"""A bad release that was seen stays bad, whatever a store that lost its data says; later decisions still win."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from flowai.state import FallbackStateStore, InMemoryStateStore, Overlay
from flowai.state.overlay_memory import OverlayMemory, RememberedOverlay, combine

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 5, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def overlay(epoch: int, *bad: str, at: datetime = NOON, **facts: Any) -> Overlay:
    return Overlay(epoch=epoch, bad=bad, at=at, **facts)


def held(known: Overlay | None, seen: Overlay | None) -> Overlay | None:
    return combine(RememberedOverlay(overlay=known), RememberedOverlay(overlay=seen)).overlay


@pytest.mark.parametrize("skew", [-HOUR, timedelta(0), HOUR])
def test_a_higher_epoch_wins_whatever_its_clock_says(skew: timedelta) -> None:
    newer = overlay(6, "v2", "v1", at=NOON + skew, release="v0")
    assert held(overlay(5, "v2", release="v1"), newer) == newer


def test_a_store_that_comes_back_empty_or_older_changes_nothing() -> None:
    known = overlay(5, "v3", "v2", release="v1")
    assert held(known, None) == known
    assert held(known, overlay(4, "v3", release="v2", at=NOON - HOUR)) == known


def test_a_decision_on_a_store_that_lost_its_data_counts_and_brings_nothing_back() -> None:
    known = overlay(5, "v2", release="v1")
    after = held(known, overlay(1, "v1", release="v0", at=NOON + HOUR))
    assert after is not None
    assert after.release == "v0"
    assert set(after.bad) == {"v1", "v2"}
    assert after.epoch > 5, "the store takes it"


def test_processes_that_remember_different_things_agree() -> None:
    one, other = OverlayMemory(), OverlayMemory()
    one.update("", RememberedOverlay(overlay=overlay(5, "v2")))
    other.update("", RememberedOverlay(overlay=overlay(3, "v3", at=NOON - HOUR)))
    stored = RememberedOverlay()
    for _ in range(3):
        for memory in (one, other):
            stored = memory.update("", stored)
    assert one.update("", stored) == other.update("", stored) == stored
    assert stored.overlay is not None
    assert set(stored.overlay.bad) == {"v2", "v3"}


def test_an_overlay_cleared_on_purpose_is_forgotten() -> None:
    memory = OverlayMemory()
    memory.update("", RememberedOverlay(overlay=overlay(5, "v2")))
    cleared = RememberedOverlay(clear_count=1)
    assert memory.update("", cleared) == cleared
    after = RememberedOverlay(overlay=overlay(1, "v3"), clear_count=1)
    assert memory.update("", after) == after


def test_a_restarted_process_remembers_and_writes_it_back(tmp_path: Path) -> None:
    clock = lambda: 0.0  # noqa: E731

    def guarded(store: InMemoryStateStore) -> FallbackStateStore:
        return FallbackStateStore(store, InMemoryStateStore(clock), clock, memory=OverlayMemory(tmp_path))

    async def act() -> None:
        known = overlay(5, "v2", release="v1")
        first = InMemoryStateStore(clock)
        await first.clear_overlay("prod")
        await first.write_overlay("prod", known)
        assert (await guarded(first).shared("prod")).overlay == known
        emptied = InMemoryStateStore(clock)
        assert (await guarded(emptied).shared("prod")).overlay == known
        stored = await emptied.shared("prod")
        assert (stored.overlay, stored.overlay_clear_count) == (known, 1)
        assert (await guarded(emptied).shared("staging")).overlay is None
        await emptied.clear_overlay("prod")
        assert (await guarded(emptied).shared("prod")).overlay is None, "as the operator wants"

    asyncio.run(act())


def test_a_damaged_or_unwritable_memory_fails_no_call(tmp_path: Path) -> None:
    (tmp_path / "prod.json").write_text('{"overlay": "planted"')
    memory = OverlayMemory(tmp_path)
    seen = RememberedOverlay(overlay=overlay(1, "v2"))
    assert memory.update("prod", seen) == seen
    assert OverlayMemory(tmp_path).update("prod", RememberedOverlay()) == seen
    (tmp_path / "file").touch()
    blocked = OverlayMemory(tmp_path / "file" / "below")
    assert blocked.update("prod", seen) == seen
    assert blocked.error is not None
    assert "restart" in blocked.error

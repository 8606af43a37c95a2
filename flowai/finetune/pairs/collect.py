"""Collects the golden pairs of a feature from an event log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.events import CallEvent, FeedbackEvent
from flowai.finetune.pairs.pairing import STEP, FeedbackItem, build_pair
from flowai.finetune.records import Quarantined
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from flowai.events import Event
    from flowai.finetune.pairs.pair_store import PairStore

_USER_ORIGINS = ("library", "serve")


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSelector:
    """Filter for the calls of an export: feature, time range, releases."""

    feature: str
    since: datetime | None = None
    """Inclusive; None for no limit."""
    until: datetime | None = None
    """Exclusive; None for no limit."""
    releases: frozenset[str] = frozenset()
    """Empty for all releases."""

    def matches(self, call: CallEvent) -> bool:
        """Return whether a call is selected; calls of evaluations and judges never are."""
        return (
            call.feature == self.feature
            and call.origin in _USER_ORIGINS
            and (self.since is None or call.at >= self.since)
            and (self.until is None or call.at < self.until)
            and (not self.releases or call.release in self.releases)
        )


class Funnel(msgspec.Struct, kw_only=True):
    """Numbers of calls left after each filter."""

    call_count: int = 0
    """Calls in the log, repeated lines included."""
    selected_count: int = 0
    """Calls of users that match the feature, the time range and the releases."""
    judged_count: int = 0
    """Calls with feedback of a user."""
    content_count: int = 0
    """Judged calls with content in the log."""
    pair_count: int = 0
    """Judged calls with a complete pair."""


def collect_pairs(
    events: Callable[[], Iterable[Event]],
    selector: PairSelector,
    store: PairStore,
    quarantine: Callable[[Quarantined], None],
) -> Funnel:
    """Collect pairs into the store, and pass every judged call without a complete pair to `quarantine`.

    `events` is called twice and returns the log from the beginning each time.
    """
    for event in events():
        if isinstance(event, FeedbackEvent) and event.feature in (None, selector.feature):
            store.add_feedback(
                event.call_id, FeedbackItem(at_us=to_us(event.at), verdict=event.verdict, text=event.text)
            )
    store.index_feedback()
    funnel = Funnel()
    for event in events():
        if isinstance(event, CallEvent):
            _add_event(event, selector, store, funnel)
    funnel.pair_count = store.pair_count
    for rejected in store.rejected():
        quarantine(rejected)
    for call_id in store.feedback_without_call():
        detail = "it has feedback, and no call in the log has this id"
        quarantine(Quarantined(id=call_id, step=STEP, reason="no_call", detail=detail))
    return funnel


def _add_event(call: CallEvent, selector: PairSelector, store: PairStore, funnel: Funnel) -> None:
    funnel.call_count += 1
    feedback = store.feedback_of(call.call_id)
    if feedback:
        store.mark_seen(call.call_id)
    if not selector.matches(call):
        return
    funnel.selected_count += 1
    if feedback:
        funnel.judged_count += 1
        funnel.content_count += call.content is not None
        store.add(build_pair(call, feedback))

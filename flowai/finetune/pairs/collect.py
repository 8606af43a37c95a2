"""Gathers the golden pairs of a feature out of an event log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.events import CallEvent, FeedbackEvent
from flowai.finetune.pairs.pairing import STEP, FeedbackItem, pair_of
from flowai.finetune.records import Quarantined
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from flowai.events import Event
    from flowai.finetune.pairs.pair_store import PairStore

_OWN = ("library", "serve")


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSelector:
    """Which calls are wanted."""

    feature: str
    """Whose."""
    since: datetime | None = None
    """Calls before are left out; None for all."""
    until: datetime | None = None
    """Calls at it or later are left out; None for all."""
    releases: frozenset[str] = frozenset()
    """Only calls these served; empty for all."""

    def holds(self, call: CallEvent) -> bool:
        """Tell whether a call is wanted; what evaluations and judges asked is not."""
        return (
            call.feature == self.feature
            and call.origin in _OWN
            and (self.since is None or call.at >= self.since)
            and (self.until is None or call.at < self.until)
            and (not self.releases or call.release in self.releases)
        )


class Funnel(msgspec.Struct, kw_only=True):
    """How many were left after each question."""

    call_count: int = 0
    """Calls in the log, lines that stand there twice included."""
    wanted_count: int = 0
    """Those of the feature, in time, of users."""
    judged_count: int = 0
    """Those that a user judged."""
    content_count: int = 0
    """Those whose content the log holds."""
    pair_count: int = 0
    """Those that gave a pair."""


def collect_pairs(
    events: Callable[[], Iterable[Event]],
    wanted: PairSelector,
    bench: PairStore,
    keep_out: Callable[[Quarantined], None],
) -> Funnel:
    """Gather.

    Args:
        events: gives the log's events from the begin; called twice.
        wanted: which calls.
        bench: where the pairs go.
        keep_out: told of everything that was judged and gives no pair.

    Returns:
        The counts.
    """
    for event in events():
        if isinstance(event, FeedbackEvent) and event.feature in (None, wanted.feature):
            bench.add_feedback(
                event.call_id, FeedbackItem(at_us=to_us(event.at), verdict=event.verdict, text=event.text)
            )
    bench.close_words()
    funnel = Funnel()
    for event in events():
        if isinstance(event, CallEvent):
            _add_event(event, wanted, bench, funnel)
    funnel.pair_count = bench.pair_count
    for kept_out in bench.rejected():
        keep_out(kept_out)
    for call_id in bench.words_without_call():
        detail = "somebody judged it, and no call has this id"
        keep_out(Quarantined(id=call_id, step=STEP, reason="no_call", detail=detail))
    return funnel


def _add_event(call: CallEvent, wanted: PairSelector, bench: PairStore, funnel: Funnel) -> None:
    funnel.call_count += 1
    words = bench.feedback_of(call.call_id)
    if words:
        bench.mark_seen(call.call_id)
    if not wanted.holds(call):
        return
    funnel.wanted_count += 1
    if words:
        funnel.judged_count += 1
        funnel.content_count += call.content is not None
        bench.add(pair_of(call, words))

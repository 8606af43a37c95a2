"""Counts what the event log gained since the last look."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from flowai.events.records import SCHEMA_VERSION
from flowai.events.tail import EventTail
from flowai.watch.attribution import UserSample
from flowai.watch.error_rates import LONG_MINUTES, CountKey, MinuteCounts

if TYPE_CHECKING:
    from pathlib import Path

CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of ours another machine's clock may be; its calls count as of now."""

_COUNTED_ORIGINS = ("library", "serve")
_LEFT = "Cancelled"  # a caller who leaves is no failure of a model (decision 0030)


class _Attempt(msgspec.Struct, frozen=True, kw_only=True):
    provider: str = ""


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed of a line; see `CallEvent` for the fields."""

    kind: str = ""
    schema_version: int = 0
    call_id: str = ""
    at: Annotated[datetime, Meta(tz=True)] | None = None
    origin: str = ""
    user_hash: str | None = None
    session: str | None = None
    feature: str | None = None
    release: str | None = None
    variant: str | None = None
    provider: str | None = None
    attempts: tuple[_Attempt, ...] = ()
    cache: str = "miss"
    error_class: str | None = None


class EventCounter:
    """Follows the log.

    Args:
        directory: the log.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.counts = MinuteCounts()
        self.units = UserSample()
        self._tail = EventTail(directory, CallRow)
        self._problems: Counter[str] = Counter()
        self._is_first = True
        self._now_minute = 0
        self._now = datetime.now(UTC)
        self._from_minute = 0

    def read(self, now: datetime, *, keep_minutes: int) -> tuple[tuple[str, ...], bool]:
        """Read what is new, forget what is old.

        Args:
            now: the time, UTC.
            keep_minutes: how far back calls are needed.

        Returns:
            What could not be used, one line each; whether the log itself could not be read.
        """
        self._now, self._now_minute = now, minute_of(now)
        self._from_minute = self._now_minute - keep_minutes
        self._problems.clear()
        report = self._tail.read(self._count, since=now - timedelta(minutes=keep_minutes + 1))
        self.counts.forget(self._from_minute)
        self.units.forget(self._now_minute - LONG_MINUTES)
        if self._is_first:
            del self._problems["late"]  # where reading began
        self._is_first = False
        self._problems["unreadable"] = report.unreadable_count
        said = [_words(kind, count) for kind, count in sorted(self._problems.items()) if count]
        return (*said, *(f"the event log: {error}" for error in report.errors)), bool(report.errors)

    def _count(self, line: CallRow) -> None:
        if line.kind != "call":
            return
        if line.schema_version != SCHEMA_VERSION:
            self._problems["unknown_version"] += 1
            return
        if line.at is None or not line.call_id:
            self._problems["broken"] += 1
            return
        if line.origin not in _COUNTED_ORIGINS or line.error_class == _LEFT or line.variant == "dogfood":
            return
        minute = minute_of(line.at)
        if minute > self._now_minute:
            if line.at - self._now > CLOCK_SKEW:
                self._problems["future"] += 1
                return
            minute = self._now_minute
        if minute < self._from_minute:
            self._problems["late"] += 1
            return
        cell = CountKey(
            feature=line.feature or "",
            # who was asked first: the last one may be a fallback, and nobody was where breakers are open
            provider=(line.attempts[0].provider if line.attempts else line.provider) or "",
            release=line.release or "",
            variant=line.variant or "",
            error=line.error_class or "",
        )
        self.counts.add(minute, cell)
        if line.cache == "miss" and minute >= self._now_minute - LONG_MINUTES:
            self.units.add(minute, line.user_hash or line.session or line.call_id, cell)


def minute_of(moment: datetime) -> int:
    """Give the minute of a moment, minutes since 1970 (UTC)."""
    return int(moment.timestamp() // 60)


_WORDS = {
    "broken": "lacks a field",
    "future": "lies in the future: is a clock wrong?",
    "late": "is too old to count: is a clock wrong?",
    "unknown_version": "is of an unknown schema version",
    "unreadable": "cannot be read",
}


def _words(kind: str, count: int) -> str:
    lines = "a line" if count == 1 else f"each of {count:,} lines"
    return f"the event log: {lines} {_WORDS[kind]}"

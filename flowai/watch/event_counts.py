"""Counts the new events of the log at each check."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from flowai.comparison.spec import UNSENT_ERRORS
from flowai.events.records import SCHEMA_VERSION
from flowai.events.tail import EventTail
from flowai.watch.attribution import UserSample
from flowai.watch.error_rates import LONG_MINUTES, CountKey, MinuteCounts

if TYPE_CHECKING:
    from pathlib import Path

CLOCK_SKEW = timedelta(minutes=5)
"""Tolerated clock skew; calls within it count as of now."""

_COUNTED_ORIGINS = ("library", "serve")
_CANCELLED = "Cancelled"  # a cancelled call is no failure of a model (decision 0030)


class _Attempt(msgspec.Struct, frozen=True, kw_only=True):
    provider: str = ""
    status: str = ""
    was_tried: bool | None = None


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of `CallEvent` that are needed."""

    kind: str = ""
    schema_version: int = 0
    call_id: str = ""
    at: Annotated[datetime, Meta(tz=True)] | None = None
    origin: str = ""
    user_hash: str | None = None
    caller_hash: str | None = None
    session: str | None = None
    feature: str | None = None
    release: str | None = None
    variant: str | None = None
    provider: str | None = None
    attempts: tuple[_Attempt, ...] = ()
    cache: str = "miss"
    error_class: str | None = None

    @property
    def was_tried(self) -> bool:
        """Return whether a provider was asked, or skipped; attempts of old logs count as sent."""
        if self.error_class is None:
            return True
        called = [one for one in self.attempts if one.status != "skipped"]
        if not called:
            return self.error_class not in UNSENT_ERRORS
        return any(one.was_tried is not False for one in called)


class EventCounter:
    """Follows the event log in a directory; counts calls and samples users."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.counts = MinuteCounts()
        self.users = UserSample()
        self._tail = EventTail(directory, CallRow)
        self._problems: Counter[str] = Counter()
        self._is_first = True
        self._now_minute = 0
        self._now = datetime.now(UTC)
        self._from_minute = 0

    def read(self, now: datetime, *, keep_minutes: int) -> tuple[tuple[str, ...], bool]:
        """Count new events and drop old counts.

        Args:
            now: the time, UTC.
            keep_minutes: age up to which counts are needed.

        Returns:
            Warnings about skipped lines, and whether the log could not be read.
        """
        self._now, self._now_minute = now, minute_of(now)
        self._from_minute = self._now_minute - keep_minutes
        self._problems.clear()
        report = self._tail.read(self._count, since=now - timedelta(minutes=keep_minutes + 1))
        self.counts.drop_before(self._from_minute)
        self.users.drop_before(self._now_minute - LONG_MINUTES)
        if self._is_first:
            del self._problems["late"]  # the first read starts within a minute
        self._is_first = False
        self._problems["unreadable"] = report.unreadable_count
        warnings = [_warning(kind, count) for kind, count in sorted(self._problems.items()) if count]
        return (*warnings, *(f"the event log: {error}" for error in report.errors)), bool(report.errors)

    def _count(self, line: CallRow) -> None:
        if line.kind != "call":
            return
        if line.schema_version != SCHEMA_VERSION:
            self._problems["unknown_version"] += 1
            return
        if line.at is None or not line.call_id:
            self._problems["broken"] += 1
            return
        if line.origin not in _COUNTED_ORIGINS or line.error_class == _CANCELLED or line.variant == "dogfood":
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
        # of the first attempt: the last one may be a fallback, and with open breakers there is no provider
        provider = (line.attempts[0].provider if line.attempts else line.provider) or ""
        cell = CountKey(
            feature=line.feature or "",
            provider=provider if line.was_tried else "",  # a provider that was not asked is no cause
            release=line.release or "",
            variant=line.variant or "",
            error=line.error_class or "",
            was_tried=line.was_tried,
        )
        self.counts.add(minute, cell)
        if line.cache == "miss" and line.was_tried and minute >= self._now_minute - LONG_MINUTES:
            user = line.user_hash or line.session
            self.users.add(minute, user or line.call_id, cell, caller=user or line.caller_hash)


def minute_of(moment: datetime) -> int:
    """Return a time as minutes since 1970 (UTC)."""
    return int(moment.timestamp() // 60)


_PROBLEM_TEXTS = {
    "broken": "lacks a field",
    "future": "is in the future: is a clock wrong?",
    "late": "is too old to count: is a clock wrong?",
    "unknown_version": "is of an unknown schema version",
    "unreadable": "cannot be read",
}


def _warning(kind: str, count: int) -> str:
    lines = "a line" if count == 1 else f"each of {count:,} lines"
    return f"the event log: {lines} {_PROBLEM_TEXTS[kind]}"

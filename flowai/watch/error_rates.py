"""Failure counts by minute, and the alert rule.

Source: Google, The Site Reliability Workbook (2018), chapter 5, "Alerting on SLOs", sections on multiple windows: a
long window makes an alert significant, a short one ends it soon after the problem.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONG_MINUTES = 60
SHORT_MINUTES = 5
MAX_KEYS_PER_MINUTE = 5_000
"""Bounds the memory: further keys of a minute are counted as one."""


class CountKey(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes of calls that are counted together; empty if unknown."""

    feature: str = ""
    provider: str = ""
    """Provider of the first attempt."""
    release: str = ""
    variant: str = ""
    error: str = ""
    """Error class; empty if the call was answered."""
    was_tried: bool = True
    """False if the call failed before a provider was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRule:
    """Limits above which failures raise an alert."""

    error_rate: float
    """Maximum failure rate, 0 to 1."""
    window_minutes: int
    """>= 1."""
    min_calls: int
    """Minimum number of calls for an alert, >= 1."""

    @property
    def keep_minutes(self) -> int:
        """Age up to which counts are needed, in minutes."""
        return max(LONG_MINUTES, self.window_minutes)


@dataclass(frozen=True, kw_only=True, slots=True)
class CallCount:
    """Calls, and those of them that failed; or users, and those with a failure."""

    call_count: int = 0
    failure_count: int = 0

    @property
    def rate(self) -> float:
        """Failure rate, 0 to 1; 0 without calls."""
        return self.failure_count / self.call_count if self.call_count else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Counts of some calls in the three windows."""

    window: CallCount = CallCount()
    """The rule's window."""
    short: CallCount = CallCount()
    """5 minutes."""
    long: CallCount = CallCount()
    """60 minutes."""

    def exceeds_threshold(self, rule: AlertRule) -> bool:
        """Return whether the rate exceeds the limit in the window, or in both the last hour and five minutes.

        The second condition finds failures of features with few calls: `min_calls` are counted over the hour. The error
        budget is the rule's limit, so the burn rate threshold of both windows is 1.
        """
        limit = rule.error_rate
        if self.window.call_count >= rule.min_calls and self.window.rate > limit:
            return True
        return self.long.call_count >= rule.min_calls and self.long.rate > limit and self.short.rate > limit

    def is_elevated(self, rule: AlertRule) -> bool:
        """Return whether the rate exceeds the limit in the window, even with few calls."""
        return self.window.rate > rule.error_rate

    def is_healthy(self, rule: AlertRule) -> bool:
        """Return whether there are calls and their rate is within the limit."""
        return self.window.call_count > 0 and not self.is_elevated(rule)


@dataclass(frozen=True, kw_only=True, slots=True)
class BurnWindows:
    """Counts of calls by key in the three windows, see `Health`."""

    window: Mapping[CountKey, int]
    short: Mapping[CountKey, int]
    long: Mapping[CountKey, int]

    def of(self, accepts: Callable[[CountKey], bool]) -> Health:
        """Return the totals of some keys."""
        return Health(
            window=_tally(self.window, accepts), short=_tally(self.short, accepts), long=_tally(self.long, accepts)
        )

    def without(self, drops: Callable[[CountKey], bool]) -> BurnWindows:
        """Return the counts of all other keys."""

        def rest(counts: Mapping[CountKey, int]) -> dict[CountKey, int]:
            return {cell: count for cell, count in counts.items() if not drops(cell)}

        return BurnWindows(window=rest(self.window), short=rest(self.short), long=rest(self.long))

    def cells(self) -> set[CountKey]:
        """Return all keys."""
        return {*self.window, *self.long}

    def errors(self, accepts: Callable[[CountKey], bool]) -> dict[str, int]:
        """Count failures in the window by error class, most frequent first."""
        counts: dict[str, int] = defaultdict(int)
        for cell, count in self.window.items():
            if cell.error and accepts(cell):
                counts[cell.error if cell.was_tried else f"{cell.error} (not sent)"] += count
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class MinuteCounts:
    """Counts of recent calls by minute and key."""

    def __init__(self) -> None:
        self._minutes: dict[int, dict[CountKey, int]] = {}

    @property
    def newest_minute(self) -> int | None:
        """Newest minute with calls."""
        return max(self._minutes, default=None)

    def add(self, minute: int, cell: CountKey) -> None:
        """Count a call that started in a minute since 1970 (UTC)."""
        cells = self._minutes.setdefault(minute, {})
        if cell in cells:
            cells[cell] += 1
        elif len(cells) < MAX_KEYS_PER_MINUTE:
            cells[cell] = 1
        else:
            other = CountKey(error="(other)" if cell.error else "")
            cells[other] = cells.get(other, 0) + 1

    def drop_before(self, before_minute: int) -> None:
        """Drop older minutes."""
        for minute in [minute for minute in self._minutes if minute < before_minute]:
            del self._minutes[minute]

    def since(self, minute: int) -> dict[CountKey, int]:
        """Return the totals since a minute."""
        totals: dict[CountKey, int] = defaultdict(int)
        for each, cells in self._minutes.items():
            if each >= minute:
                for cell, count in cells.items():
                    totals[cell] += count
        return dict(totals)

    def windows(self, now_minute: int, rule: AlertRule) -> BurnWindows:
        """Return the three windows of a rule; each includes the current, incomplete minute."""
        return BurnWindows(
            window=self.since(now_minute - rule.window_minutes),
            short=self.since(now_minute - SHORT_MINUTES),
            long=self.since(now_minute - LONG_MINUTES),
        )


def _tally(counts: Mapping[CountKey, int], accepts: Callable[[CountKey], bool]) -> CallCount:
    calls = failures = 0
    for cell, count in counts.items():
        if accepts(cell):
            calls += count
            failures += count if cell.error else 0
    return CallCount(call_count=calls, failure_count=failures)

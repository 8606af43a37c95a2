"""How many calls fail, minute by minute, and when that is too many.

Source: Google, The Site Reliability Workbook (2018), chapter 5, "Alerting on SLOs", sections on multiple windows: an
alert needs a long window, so that it means something, and a short one, so that it ends when the trouble does.
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
MAX_CELLS = 5_000
"""So many different cells are told apart in a minute; the rest is counted as one, so that memory stays small."""


class CountKey(msgspec.Struct, frozen=True, kw_only=True):
    """What calls have in common that are counted together; empty where a call has no such thing."""

    feature: str = ""
    """The feature."""
    provider: str = ""
    """Who was asked first."""
    release: str = ""
    """The release that served."""
    variant: str = ""
    """Which side of a rollout served."""
    error: str = ""
    """Class of the error the caller got; empty where it got an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRule:
    """When failures are too many."""

    error_rate: float
    """Share of failed calls that is still borne, 0 to 1."""
    window_minutes: int
    """Over how many minutes, >= 1."""
    min_calls: int
    """Fewer calls than this say nothing, >= 1."""

    @property
    def keep_minutes(self) -> int:
        """How far back calls are needed."""
        return max(LONG_MINUTES, self.window_minutes)


@dataclass(frozen=True, kw_only=True, slots=True)
class CallCount:
    """Calls of a stretch of time."""

    call_count: int = 0
    """Calls, >= 0."""
    failure_count: int = 0
    """Those that failed, 0 to `call_count`."""

    @property
    def rate(self) -> float:
        """Share of calls that failed, 0 to 1; 0 without calls."""
        return self.failure_count / self.call_count if self.call_count else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """How some of the calls go."""

    window: CallCount = CallCount()
    """Over the rule's window."""
    short: CallCount = CallCount()
    """Over 5 minutes."""
    long: CallCount = CallCount()
    """Over 60 minutes."""

    def exceeds_threshold(self, rule: AlertRule) -> bool:
        """Tell whether somebody must know: too many fail over the window, or over both an hour and five minutes.

        The second finds what a window with few calls cannot: `min_calls` are gathered over the hour. The budget that
        burns is the error rate which the rule still bears, so that the burn rate of both windows is 1.
        """
        limit = rule.error_rate
        if self.window.call_count >= rule.min_calls and self.window.rate > limit:
            return True
        return self.long.call_count >= rule.min_calls and self.long.rate > limit and self.short.rate > limit

    def is_elevated(self, rule: AlertRule) -> bool:
        """Tell whether too many fail in the window, however few the calls."""
        return self.window.rate > rule.error_rate

    def is_healthy(self, rule: AlertRule) -> bool:
        """Tell whether there are calls, and few of them fail; no calls are no good news."""
        return self.window.call_count > 0 and not self.is_elevated(rule)


@dataclass(frozen=True, kw_only=True, slots=True)
class BurnWindows:
    """Counts of calls by cell, over the three stretches that the rule looks at."""

    window: Mapping[CountKey, int]
    """Over the rule's window."""
    short: Mapping[CountKey, int]
    """Over 5 minutes."""
    long: Mapping[CountKey, int]
    """Over 60 minutes."""

    def of(self, accepts: Callable[[CountKey], bool]) -> Health:
        """Add up the calls of some cells."""
        return Health(
            window=_tally(self.window, accepts), short=_tally(self.short, accepts), long=_tally(self.long, accepts)
        )

    def without(self, drops: Callable[[CountKey], bool]) -> BurnWindows:
        """Give the calls of all other cells."""

        def rest(counts: Mapping[CountKey, int]) -> dict[CountKey, int]:
            return {cell: count for cell, count in counts.items() if not drops(cell)}

        return BurnWindows(window=rest(self.window), short=rest(self.short), long=rest(self.long))

    def cells(self) -> set[CountKey]:
        """Give every cell there is."""
        return {*self.window, *self.long}

    def errors(self, accepts: Callable[[CountKey], bool]) -> dict[str, int]:
        """Count the failures of some cells in the window by class, the most frequent first."""
        found: dict[str, int] = defaultdict(int)
        for cell, count in self.window.items():
            if cell.error and accepts(cell):
                found[cell.error] += count
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


class MinuteCounts:
    """Calls by minute and cell, of the last minutes only."""

    def __init__(self) -> None:
        self._minutes: dict[int, dict[CountKey, int]] = {}

    @property
    def newest_minute(self) -> int | None:
        """The last minute that has calls; None when none has."""
        return max(self._minutes, default=None)

    def add(self, minute: int, cell: CountKey) -> None:
        """Count a call.

        Args:
            minute: when it began, minutes since 1970 (UTC).
            cell: where it belongs.
        """
        cells = self._minutes.setdefault(minute, {})
        if cell in cells:
            cells[cell] += 1
        elif len(cells) < MAX_CELLS:
            cells[cell] = 1
        else:
            other = CountKey(error="(other)" if cell.error else "")
            cells[other] = cells.get(other, 0) + 1

    def forget(self, before_minute: int) -> None:
        """Drop older minutes."""
        for minute in [one for one in self._minutes if one < before_minute]:
            del self._minutes[minute]

    def since(self, minute: int) -> dict[CountKey, int]:
        """Add up the calls from a minute on."""
        found: dict[CountKey, int] = defaultdict(int)
        for one, cells in self._minutes.items():
            if one >= minute:
                for cell, count in cells.items():
                    found[cell] += count
        return dict(found)

    def spans(self, now_minute: int, rule: AlertRule) -> BurnWindows:
        """Give what the rule looks at; each stretch has the minute that is not over besides its whole ones."""
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

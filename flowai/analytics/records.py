"""Records and metric names that every analysis of the event log shares."""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA_VERSION = 1

Metric = Literal[
    "error_rate",
    "json_valid",
    "slow_calls",
    "latency",
    "slow_ttft",
    "ttft",
    "cost",
    "cancelled",
    "degraded",
    "acceptance",
    "save_rate",
    "hallucination",
]
"""Metrics for which evidence is computed. `error_rate`: of calls whose own model failed, whatever the caller got.
`slow_calls`, `slow_ttft`: above the baseline's frozen limit. `latency`, `ttft`: geometric means. `cost`: mean, single
calls capped. `cancelled`: the caller left. `degraded`: another model or the last resort answered. `acceptance`: of
answers with feedback. `save_rate`: of all answers. `hallucination`: of answers with a score for it."""

ProblemKind = Literal["unreadable", "unknown_version", "broken", "future", "duplicated", "conflicting"]
"""`unreadable`: not JSON. `unknown_version`: a schema version that this flowai does not know. `broken`: a field is
missing or of the wrong type. `future`: later than the clock allows. `duplicated`: the same line again. `conflicting`:
the same call with different contents."""

PROBLEM_TEXTS: dict[ProblemKind, str] = {
    "unreadable": "could not be read",
    "unknown_version": "had an unknown schema version",
    "broken": "lacked a field, or had one of the wrong type",
    "future": "had a time in the future",
    "duplicated": "repeated another one; each counts once",
    "conflicting": "contradicted another one about the same call",
}
"""Predicates of "N lines of the log", for warnings."""


class ReportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all report records."""


class CountOfTotal(ReportRecord, frozen=True, kw_only=True):
    """A count and the failures in it."""

    count: int = 0
    failure_count: int = 0
    """0 to `count`."""

    @property
    def rate(self) -> float | None:
        """Share of failures; None if nothing was counted."""
        return self.failure_count / self.count if self.count else None


class Range(ReportRecord, frozen=True, kw_only=True):
    """A 95 % interval."""

    estimate: float | None
    """None if nothing was measured."""
    low: float | None
    """None if unbounded."""
    high: float | None
    """None if unbounded."""


NOT_MEASURED = Range(estimate=None, low=None, high=None)


class LogLocation(ReportRecord, frozen=True, kw_only=True):
    """Position of a line in the log."""

    file: str
    """Path below the log's directory."""
    line: int
    """From 1 on."""


class DataProblem(ReportRecord, frozen=True, kw_only=True):
    """Lines of the log that could not be used."""

    kind: ProblemKind
    count: int
    """1 or more."""
    places: tuple[LogLocation, ...] = ()
    """The first few of them; only in JSONL files."""


NANO_USD = 1_000_000_000
"""Dollars are summed as whole billionths, so that the order of addition does not change the sum."""

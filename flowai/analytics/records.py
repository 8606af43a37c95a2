"""Records and metric names that every analysis of the event log shares."""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA_VERSION = 1

Metric = Literal["error_rate", "json_valid", "slow_calls", "slow_ttft", "acceptance", "save_rate", "hallucination"]
"""What evidence is gathered on. `slow_calls`, `slow_ttft`: above the baseline's frozen p95. `acceptance`: of answers
that users judged. `save_rate`: of all answers. `hallucination`: of answers that were judged for it."""

ProblemKind = Literal["unreadable", "unknown_version", "broken", "future", "duplicated", "conflicting"]
"""`unreadable`: no JSON. `unknown_version`: of a format this flowai does not know. `broken`: a field is missing or of
the wrong type. `future`: later than the clock allows. `duplicated`: the same line again. `conflicting`: the same
call, told differently."""


class ReportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What all records here share: they are frozen, and their fields are named."""


class CountOfTotal(ReportRecord, frozen=True, kw_only=True):
    """Failures among what was counted.

    Args:
        count: how many were counted, >= 0.
        failure_count: how many of them failed, 0 to `count`.
    """

    count: int = 0
    failure_count: int = 0

    @property
    def rate(self) -> float | None:
        """Share that failed; None when nothing was counted."""
        return self.failure_count / self.count if self.count else None


class Range(ReportRecord, frozen=True, kw_only=True):
    """A 95 % interval.

    Args:
        estimate: the best single value; None when nothing was measured.
        low: lower bound; None for none.
        high: upper bound; None for none.
    """

    estimate: float | None
    low: float | None
    high: float | None


NOT_MEASURED = Range(estimate=None, low=None, high=None)


class LogLocation(ReportRecord, frozen=True, kw_only=True):
    """Where a line stands.

    Args:
        file: path below the log's directory.
        line: its number, from 1 on.
    """

    file: str
    line: int


class DataProblem(ReportRecord, frozen=True, kw_only=True):
    """Lines that could not be used as they stand.

    Args:
        kind: what is wrong with them.
        count: how many, >= 1.
        places: where the first few of them stand, where files have lines.
    """

    kind: ProblemKind
    count: int
    places: tuple[LogLocation, ...] = ()


NANO_USD = 1_000_000_000
"""Dollars are summed as whole billionths, so that the order of addition cannot show."""

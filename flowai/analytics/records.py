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
    """Failures among what was counted."""

    count: int = 0
    """How many were counted, >= 0."""
    failure_count: int = 0
    """How many of them failed, 0 to `count`."""

    @property
    def rate(self) -> float | None:
        """Share that failed; None when nothing was counted."""
        return self.failure_count / self.count if self.count else None


class Range(ReportRecord, frozen=True, kw_only=True):
    """A 95 % interval."""

    estimate: float | None
    """The best single value; None when nothing was measured."""
    low: float | None
    """Lower bound; None for none."""
    high: float | None
    """Upper bound; None for none."""


NOT_MEASURED = Range(estimate=None, low=None, high=None)


class LogLocation(ReportRecord, frozen=True, kw_only=True):
    """Where a line stands."""

    file: str
    """Path below the log's directory."""
    line: int
    """Its number, from 1 on."""


class DataProblem(ReportRecord, frozen=True, kw_only=True):
    """Lines that could not be used as they stand."""

    kind: ProblemKind
    """What is wrong with them."""
    count: int
    """How many, >= 1."""
    places: tuple[LogLocation, ...] = ()
    """Where the first few of them stand, where files have lines."""


NANO_USD = 1_000_000_000
"""Dollars are summed as whole billionths, so that the order of addition cannot show."""

"""The trials that did not pass, the worst first: what a reviewer reads before the rest is cut off."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.evals.reports.records import Report, Trial

_OUTCOME_ORDER = {"fail": 0, "error": 1, "unscored": 2}


def worst_first(report: Report, max_count: int) -> list[Trial]:
    """Return the trials that did not pass: of critical cases, those that turned worse, failures by score, the others.

    Args:
        report: a finished run; its trials are read once.
        max_count: number of trials to return at most.
    """
    changes = [*([report.changes] if report.changes else []), *report.against_baseline]
    worse = frozenset(key for change in changes for key in change.regressions)

    def rank(numbered: tuple[int, Trial]) -> tuple[bool, bool, int, float, int]:
        number, trial = numbered
        order = _OUTCOME_ORDER[trial.outcome]
        return not trial.is_critical, trial.key not in worse, order, trial.score or 0.0, number

    unpassed = ((number, trial) for number, trial in enumerate(report.trials) if trial.outcome != "pass")
    return [trial for _, trial in heapq.nsmallest(max_count, unpassed, key=rank)]

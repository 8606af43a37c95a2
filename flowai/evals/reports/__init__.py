"""Reports of runs: their records, totals and output formats."""

from flowai.evals.reports.aggregate import RunTotals, changes_between, earlier_trials, groups_of, totals_of
from flowai.evals.reports.dataframe import to_frame
from flowai.evals.reports.records import (
    AssertionResult,
    Changes,
    EarlierTrial,
    Failure,
    Gate,
    GateCheck,
    GateDecision,
    Outcome,
    PromptVersion,
    Report,
    Totals,
    Trial,
)
from flowai.evals.reports.writer import STANDARD_NAMES, WRITERS

__all__ = [
    "STANDARD_NAMES",
    "WRITERS",
    "AssertionResult",
    "Changes",
    "EarlierTrial",
    "Failure",
    "Gate",
    "GateCheck",
    "GateDecision",
    "Outcome",
    "PromptVersion",
    "Report",
    "RunTotals",
    "Totals",
    "Trial",
    "changes_between",
    "earlier_trials",
    "groups_of",
    "to_frame",
    "totals_of",
]

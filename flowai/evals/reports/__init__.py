"""Reports of runs: their records, totals and output formats."""

from flowai.evals.reports.aggregate import changes_between, groups_of, totals_of
from flowai.evals.reports.dataframe import to_frame
from flowai.evals.reports.records import (
    SCHEMA_VERSION,
    AssertionResult,
    Changes,
    Distribution,
    Failure,
    Gate,
    GateCheck,
    GateDecision,
    GateVerdict,
    Group,
    Outcome,
    PromptVersion,
    Report,
    Totals,
    Trial,
)
from flowai.evals.reports.writer import STANDARD_NAMES, WRITERS

__all__ = [
    "SCHEMA_VERSION",
    "STANDARD_NAMES",
    "WRITERS",
    "AssertionResult",
    "Changes",
    "Distribution",
    "Failure",
    "Gate",
    "GateCheck",
    "GateDecision",
    "GateVerdict",
    "Group",
    "Outcome",
    "PromptVersion",
    "Report",
    "Totals",
    "Trial",
    "changes_between",
    "groups_of",
    "to_frame",
    "totals_of",
]

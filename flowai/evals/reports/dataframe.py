"""Gives a report as a pandas table, for notebooks and tabular exports. No command uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import pandas as pd

    from flowai.evals.reports.records import Report


def to_frame(report: Report) -> pd.DataFrame:
    """Give one row per trial, in the report's order.

    Returns:
        The fields of `Trial` as columns, checks left out; `check_count` and `held_count` say how many there were and
        how many held, `failure_kind` and `failure_message` why there is no answer.
    """
    import pandas as pd  # a second of start-up that only notebooks pay

    rows = []
    for trial in report.trials:
        row = msgspec.structs.asdict(trial)
        checks, failure = row.pop("checks"), row.pop("failure")
        row["check_count"] = len(checks)
        row["held_count"] = sum(check.passed is True for check in checks)
        row["failure_kind"] = failure.kind if failure else None
        row["failure_message"] = failure.message if failure else None
        rows.append(row)
    return pd.DataFrame(rows)

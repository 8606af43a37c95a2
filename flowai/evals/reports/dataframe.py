"""A report as a pandas DataFrame, for notebooks and tabular exports. No command uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import pandas as pd

    from flowai.evals.reports.records import Report


def to_frame(report: Report) -> pd.DataFrame:
    """Return one row per trial: the fields of `Trial`, and `check_count`, `passed_count` instead of the checks."""
    import pandas as pd  # takes a second to import

    rows = []
    for trial in report.trials:
        row = msgspec.structs.asdict(trial)
        checks, failure = row.pop("checks"), row.pop("failure")
        row["check_count"] = len(checks)
        row["passed_count"] = sum(check.passed is True for check in checks)
        row["failure_kind"] = failure.kind if failure else None
        row["failure_message"] = failure.message if failure else None
        rows.append(row)
    return pd.DataFrame(rows)

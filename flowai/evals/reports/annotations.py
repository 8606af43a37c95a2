"""Annotations of GitHub Actions: failing cases, marked in the suite's file of a pull request.

Source: GitHub, Workflow commands for GitHub Actions, setting an error message; a step shows at most ten errors.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from flowai.evals.reports.worst_first import worst_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.evals.reports.records import Report

MAX_ANNOTATIONS = 10
MAX_TRIALS = 1_000
"""Trials that are read for them: equal ones, of other prompts, models and repeats, are one annotation."""


def annotation_lines(report: Report, to_repository: Callable[[str], str]) -> Iterator[str]:
    """Yield GitHub's workflow commands for the worst cases.

    Args:
        report: a finished run.
        to_repository: returns a file of the project by its path in the repository.
    """
    counts: dict[tuple[str, str, str], int] = {}
    for trial in worst_first(report, MAX_TRIALS):
        reasons = [trial.failure.message] if trial.failure else []
        reasons += [check.reason for check in trial.checks if check.passed is not True]
        key = trial.place, f"{report.kind} {trial.outcome}: {trial.case}", "; ".join(reasons)
        counts[key] = counts.get(key, 0) + 1
    for (at, title, text), number in islice(counts.items(), MAX_ANNOTATIONS):
        file, _, line = at.rpartition(":")
        repeated = f" ({number:,} results)" if number > 1 else ""
        place = _property(to_repository(file))
        yield f"::error file={place},line={line},title={_property(title)}::{_message(text)}{repeated}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")

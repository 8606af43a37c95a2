"""Annotations of GitHub Actions: failing cases, marked in the suite's file of a pull request.

Source: GitHub, Workflow commands for GitHub Actions, setting an error message; a step shows at most ten errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.reports.worst_first import worst_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.evals.reports.records import Report

MAX_ANNOTATIONS = 10


def annotation_lines(report: Report, to_repository: Callable[[str], str]) -> Iterator[str]:
    """Yield GitHub's workflow commands for the worst trials.

    Args:
        report: a finished run.
        to_repository: returns a file of the project by its path in the repository.
    """
    for trial in worst_first(report, MAX_ANNOTATIONS):
        file, _, line = trial.place.rpartition(":")
        reasons = [trial.failure.message] if trial.failure else []
        reasons += [check.reason for check in trial.checks if check.passed is not True]
        title = _property(f"{report.kind} {trial.outcome}: {trial.case}")
        place = _property(to_repository(file))
        yield f"::error file={place},line={line},title={title}::{_message('; '.join(reasons))}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")

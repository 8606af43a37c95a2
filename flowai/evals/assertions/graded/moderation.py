"""`moderation`: a moderation model flags no category of harm in the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.assertions.graded.grading import graded_check
from flowai.evals.assertions.records import CheckResult, quoted, suite_error

if TYPE_CHECKING:
    from flowai.evals.assertions.graded.grading import Grading
    from flowai.evals.assertions.records import Answer, AsyncCheck
    from flowai.evals.assertions.services import CheckServices
    from flowai.evals.suites.records import Assertion


def moderation(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if none of the categories in `value` is flagged; without a value, none at all."""
    value = assertion.value
    if value is not None and not (isinstance(value, list) and all(isinstance(part, str) for part in value)):
        raise suite_error(assertion, f"found {quoted(value)}; expected a list of categories")

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        if not answer.text.strip():
            return CheckResult(passed=True, detail=" flags nothing in an empty answer")
        flagged = [name for name in await grading.moderate(answer) if not value or name in value]
        detail = f" flags {', '.join(map(quoted, flagged))}" if flagged else " flags nothing"
        return CheckResult(passed=not flagged, detail=detail)

    return graded_check(assertion, services, grade)

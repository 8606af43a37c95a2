"""Checks by edit distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.assertions.records import CheckResult, quoted, suite_error

if TYPE_CHECKING:
    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.suites.records import Assertion

DEFAULT_MAX_DISTANCE = 5.0


def levenshtein(assertion: Assertion) -> CheckFunction:
    """Pass if at most `threshold` characters (default 5) must be inserted, deleted or replaced."""
    expected = assertion.value
    if not isinstance(expected, str):
        raise suite_error(assertion, f"found {quoted(expected)}; expected a text", hint="put it in quotes")
    max_distance = DEFAULT_MAX_DISTANCE if assertion.threshold is None else assertion.threshold

    def check(answer: Answer) -> CheckResult:
        distance = edit_distance(expected, answer.text, max_distance=int(max_distance))
        if distance is None:
            return CheckResult(passed=False, detail=f" distance to {quoted(expected)} > {max_distance:g}")
        return CheckResult(passed=True, detail=f" distance to {quoted(expected)} is {distance}")

    return check


def edit_distance(left: str, right: str, *, max_distance: int) -> int | None:
    """Count the insertions, deletions and substitutions of code points; None if there are more than `max_distance`."""
    from rapidfuzz.distance import Levenshtein  # imported only for this type

    limit = min(max_distance, max(len(left), len(right)))  # no distance is greater; the library accepts 64 bits
    distance = Levenshtein.distance(left, right, score_cutoff=limit)
    return distance if distance <= limit else None

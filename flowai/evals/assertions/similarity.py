"""Checks on how near an answer is to a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.assertions.records import CheckResult, quoted, suite_error

if TYPE_CHECKING:
    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.suites.records import Assertion

DEFAULT_DISTANCE = 5.0


def levenshtein(assertion: Assertion) -> CheckFunction:
    """Hold when at most `threshold` characters (default 5) must be put in, taken out or changed.

    Raises:
        SuiteError: no text to compare with.
    """
    expected = assertion.value
    if not isinstance(expected, str):
        raise suite_error(assertion, f"found {quoted(expected)}; expected a text", hint="put it in quotes")
    most = DEFAULT_DISTANCE if assertion.threshold is None else assertion.threshold

    def judge(answer: Answer) -> CheckResult:
        distance = edit_distance(expected, answer.text, most=int(most))
        if distance is None:
            return CheckResult(passed=False, detail=f" distance to {quoted(expected)} > {most:g}")
        return CheckResult(passed=True, detail=f" distance to {quoted(expected)} is {distance}")

    return judge


def edit_distance(left: str, right: str, *, most: int) -> int | None:
    """Count the insertions, deletions and substitutions of characters that turn one text into the other.

    Args:
        left: one text.
        right: the other; the distance is the same both ways.
        most: the search ends as soon as the distance must be greater, >= 0.

    Returns:
        The distance, or None when it is greater than `most`.

    Source: rapidfuzz's Levenshtein distance, over code points.
    """
    from rapidfuzz.distance import Levenshtein  # only this check compares texts

    limit = min(most, max(len(left), len(right)))  # no distance is greater, and the library takes 64 bits
    distance = Levenshtein.distance(left, right, score_cutoff=limit)
    return distance if distance <= limit else None

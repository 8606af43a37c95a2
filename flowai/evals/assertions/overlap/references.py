"""Reference texts of a check, and the check of a score that is computed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.assertions.records import CheckResult, quoted, suite_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.suites.records import Assertion

MAX_SCORED_CHARS = 1_000_000
"""Longest answer that is scored; n-grams of a longer one take gigabytes."""


def references_of(assertion: Assertion, *, allows_list: bool = True) -> list[str]:
    """Return the reference texts of an assertion."""
    value = assertion.value
    if isinstance(value, str):
        return [value]
    if allows_list and isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return list(value)
    expected = "a text, or a list of texts" if allows_list else "a text"
    raise suite_error(assertion, f"found {quoted(value)}; expected {expected}", hint="put numbers in quotes")


def check_score(assertion: Assertion, score_of: Callable[[str], float], *, default_threshold: float) -> CheckFunction:
    """Pass if the score of the answer is at least the threshold."""
    threshold = default_threshold if assertion.threshold is None else assertion.threshold

    def check(answer: Answer) -> CheckResult:
        if len(answer.text) > MAX_SCORED_CHARS:
            return CheckResult(None, f": the answer is longer than {MAX_SCORED_CHARS:,} characters")
        score = score_of(answer.text)
        passed = score >= threshold
        return CheckResult(passed, f" {score:.4f} {'>=' if passed else '<'} {threshold:g}", score)

    return check

"""Score of a case: the weighted checks and the threshold decide pass, fail or unscored.

Source of the weighting: promptfoo, "Assertions & metrics", sections on weights and `assert-set`
(promptfoo.dev/docs/configuration/expected-outputs); docs/reference/assertions.md lists the differences.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flowai.evals.assertions.records import CheckResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.assertions.records import Answer
    from flowai.evals.reports.records import AssertionResult, Outcome

_ROUNDING = 1e-9
_MAX_SHOWN_REASONS = 3


class Score(NamedTuple):
    """Result of a case's checks for one answer."""

    outcome: Outcome
    """`unscored` if no check, or not enough of them, could be judged."""
    score: float | None
    """Weighted mean of the judged checks' scores, 0 to 1; None if unscored."""
    checks: tuple[AssertionResult, ...]


class AppliedCheck(Protocol):
    """A compiled assertion."""

    def __call__(self, answer: Answer) -> AssertionResult:
        """Return the result of an assertion that needs no program and no model."""
        ...

    async def wait(self, answer: Answer) -> AssertionResult:
        """Return the result of any assertion."""
        ...


def apply_checks(checks: Iterable[AppliedCheck], answer: Answer) -> tuple[AssertionResult, ...]:
    """Apply checks that need no program and no model."""
    return tuple([check(answer) for check in checks])


async def apply_checks_async(checks: Iterable[AppliedCheck], answer: Answer) -> tuple[AssertionResult, ...]:
    """Apply any checks, one after the other: a grader sees the assertions of a case in their order."""
    return tuple([await check.wait(answer) for check in checks])


def score_answer(checks: Iterable[AppliedCheck], answer: Answer, threshold: float | None) -> Score:
    """Apply a case's checks, none of which needs a program or a model, to an answer; see `score_results`."""
    return score_results(apply_checks(checks, answer), threshold)


def score_results(results: tuple[AssertionResult, ...], threshold: float | None) -> Score:
    """Combine the results of a case's checks.

    `threshold` is the minimum score of the case, 0 to 1; None: every check with a weight must pass. The outcome is
    `pass` or `fail` only if certain: a check that could not be judged leaves the case unscored, unless its result could
    not change it.
    """
    passed, score = aggregate(results, threshold)
    if passed is None:
        return Score("unscored", None, results)
    return Score("pass" if passed else "fail", score, results)


def aggregate(checks: Sequence[AssertionResult], threshold: float | None) -> tuple[bool | None, float]:
    """Return whether the checks passed (None: uncertain) and the weighted mean of the judged scores, 0 without any."""
    counted = [check for check in checks if check.weight > 0]
    judged = [check for check in counted if check.passed is not None]
    if not judged:
        return None, 0.0
    judged_weight = math.fsum(check.weight for check in judged)
    weighted_score = math.fsum(check.weight * check.score for check in judged)
    score = min(1.0, weighted_score / judged_weight)
    unjudged_weight = math.fsum(check.weight for check in counted if check.passed is None)
    if threshold is None:
        if any(check.passed is False for check in judged):
            return False, score
        return (None if unjudged_weight else True), score
    total_weight = judged_weight + unjudged_weight
    if weighted_score / total_weight >= threshold - _ROUNDING:
        return True, score
    if (weighted_score + unjudged_weight) / total_weight < threshold - _ROUNDING:
        return False, score
    return None, score


def combine(checks: Sequence[AssertionResult], threshold: float | None) -> CheckResult:
    """Combine the checks of an `assert-set` into one result; its score is their weighted mean."""
    passed, score = aggregate(checks, threshold)
    return _combined(checks, threshold, passed, score)


def combine_or(checks: Sequence[AssertionResult], threshold: float | None) -> CheckResult:
    """Combine the checks of an `or`: one of them must pass, or have the score; the score is the best one."""
    score = max((check.score for check in checks if check.passed is not None), default=0.0)
    enough = any(check.passed is True for check in checks) if threshold is None else score >= threshold - _ROUNDING
    is_certain = enough or all(check.passed is not None for check in checks)
    return _combined(checks, threshold, enough if is_certain else None, score)


def _combined(
    checks: Sequence[AssertionResult],
    threshold: float | None,
    passed: bool | None,  # noqa: FBT001 - as a check's result
    score: float,
) -> CheckResult:
    passed_count = sum(check.passed is True for check in checks)
    summary = f" {passed_count} of {len(checks)} passed"
    if threshold is not None:
        summary += f", score {score:.2f} of {threshold:g}"
    reasons = [check.reason for check in checks if check.reason][:_MAX_SHOWN_REASONS]
    metrics = {name: value for check in checks for name, value in check.metrics.items()}
    return CheckResult(passed, "; ".join([summary, *reasons]), None if passed is None else score, metrics or None)

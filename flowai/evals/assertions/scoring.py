"""Sums checks up: what a case came to, and its score.

Source of the weighting: promptfoo, "Assertions & metrics", sections on weights and `assert-set`
(promptfoo.dev/docs/configuration/expected-outputs); docs/reference/assertions.md says what differs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.assertions.records import CheckResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flowai.evals.assertions.records import Answer
    from flowai.evals.reports.records import AssertionResult, Outcome

_ROUNDING = 1e-9
_SHOWN_REASONS_COUNT = 3


class Score(NamedTuple):
    """What one answer came to."""

    outcome: Outcome
    """`pass`, `fail`, or `unscored` when nothing, or not enough, could be judged."""
    score: float | None
    """Weighted mean of the judged checks' scores, 0 to 1; None when unscored."""
    checks: tuple[AssertionResult, ...]
    """One per check, in order."""


def score_answer(
    checks: Iterable[Callable[[Answer], AssertionResult]], answer: Answer, threshold: float | None
) -> Score:
    """Apply a case's checks to an answer and sum them up.

    Args:
        checks: as `compile_checks` gives them.
        answer: what the model said and how it came about.
        threshold: the case's; the score that passes, 0 to 1. None: every check that counts must hold.

    Returns:
        `fail` and `pass` only where they are certain: a check that could not be judged leaves the case unscored, unless
        the others decide it whatever that one would have said.
    """
    results = tuple([check(answer) for check in checks])
    passed, score = aggregate(results, threshold)
    if passed is None:
        return Score("unscored", None, results)
    return Score("pass" if passed else "fail", score, results)


def aggregate(checks: Sequence[AssertionResult], threshold: float | None) -> tuple[bool | None, float]:
    """Decide whether checks hold together.

    Args:
        checks: the checks; those of weight 0 do not count.
        threshold: as in `score_answer`.

    Returns:
        (whether they hold, None when that cannot be told; weighted mean of the judged scores, 0 when there are none).
    """
    counted = [check for check in checks if check.weight > 0]
    judged = [check for check in counted if check.passed is not None]
    if not judged:
        return None, 0.0
    judged_weight = math.fsum(check.weight for check in judged)
    reached = math.fsum(check.weight * check.score for check in judged)
    score = min(1.0, reached / judged_weight)
    open_weight = math.fsum(check.weight for check in counted if check.passed is None)
    if threshold is None:
        if any(check.passed is False for check in judged):
            return False, score
        return (None if open_weight else True), score
    total_weight = judged_weight + open_weight
    if reached / total_weight >= threshold - _ROUNDING:
        return True, score
    if (reached + open_weight) / total_weight < threshold - _ROUNDING:
        return False, score
    return None, score


def combine(checks: Sequence[AssertionResult], threshold: float | None) -> CheckResult:
    """Sum an `assert-set` up as if it were one assertion; its score is the mean of what it holds."""
    held, score = aggregate(checks, threshold)
    holding_count = sum(check.passed is True for check in checks)
    summary = f" {holding_count} of {len(checks)} held"
    if threshold is not None:
        summary += f", score {score:.2f} of {threshold:g}"
    reasons = [check.reason for check in checks if check.reason][:_SHOWN_REASONS_COUNT]
    return CheckResult(held, "; ".join([summary, *reasons]), None if held is None else score)

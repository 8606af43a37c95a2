"""Assertions that compare all answers to a case, those of every prompt and target: `select-best` and `max-score`.

They are applied once per case and repeat, when every answer has the results of its own checks. The winner passes, every
other answer fails. Source: promptfoo, "Select Best" and "Max Score".
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from flowai.errors import FlowaiError
from flowai.evals.assertions.graded import Grading, choose_best_in_both_orders
from flowai.evals.assertions.records import Answer, quoted, suite_error
from flowai.evals.assertions.scoring import Score
from flowai.evals.reports.records import AssertionResult
from flowai.evals.suites.assertion_types import COMPARISON_TYPES

if TYPE_CHECKING:
    from flowai.evals.assertions.services import CheckServices
    from flowai.evals.suites.records import Assertion, Case

MIN_ANSWERS = 2
_METHODS = ("average", "sum")


class BestAnswer(NamedTuple):
    """Result of one comparison."""

    winner: int | None
    """Position of the best answer; None if there is none."""
    detail: str
    """Reason of the answers that do not win; follows the type's name."""
    is_judged: bool = True


Select = Callable[[Sequence[Answer], Sequence[Score]], Awaitable[BestAnswer]]


@dataclass(frozen=True, slots=True)
class ComparisonFunction:
    """A compiled comparison."""

    assertion: Assertion
    select: Select

    async def compare(self, answers: Sequence[Answer], scores: Sequence[Score]) -> list[Score]:
        """Return the scores of all answers to a case, with the result of this comparison; it never raises."""
        if len(answers) < MIN_ANSWERS:
            selection = BestAnswer(None, f": needs at least {MIN_ANSWERS} answers to compare", is_judged=False)
        else:
            selection = await self.select(answers, scores)
        return [self._add(score, selection, position) for position, score in enumerate(scores)]

    def _add(self, score: Score, selection: BestAnswer, position: int) -> Score:
        passed = position == selection.winner if selection.is_judged else None
        result = AssertionResult(
            type=self.assertion.type,
            passed=passed,
            score=float(passed or False),
            weight=self.assertion.weight,
            metric=self.assertion.metric,
            place=self.assertion.place,
            reason="" if passed else f"{self.assertion.type}{selection.detail}",
        )
        checks = (*score.checks, result)
        if passed or self.assertion.weight == 0:
            is_first = score.outcome == "unscored" and not score.checks
            return Score("pass", 1.0, checks) if is_first and passed else score._replace(checks=checks)
        if passed is False:
            return Score("fail", 0.0, checks)
        return Score("fail", score.score, checks) if score.outcome == "fail" else Score("unscored", None, checks)


def compile_comparisons(case: Case, services: CheckServices) -> tuple[ComparisonFunction, ...]:
    """Compile the comparisons of a case; raise SuiteError for a wrong value."""
    return tuple(
        ComparisonFunction(assertion, _BUILDERS[assertion.type](assertion, services))
        for assertion in case.assertions
        if assertion.type in COMPARISON_TYPES
    )


def _select_best(assertion: Assertion, services: CheckServices) -> Select:
    _refuse_negation(assertion)
    if not isinstance(assertion.value, str) or not assertion.value.strip():
        raise suite_error(assertion, f"found {quoted(assertion.value)}; expected the criterion of the best answer")
    if services.models is None:
        raise suite_error(assertion, "calls a model, which this run does not allow")
    grading = Grading(assertion=assertion, models=services.models, services=services)

    async def select(answers: Sequence[Answer], _: Sequence[Score]) -> BestAnswer:
        try:
            choice = await choose_best_in_both_orders(grading, answers)
        except FlowaiError as error:
            return BestAnswer(None, f": {error.what}", is_judged=False)
        if choice.position is None:
            return BestAnswer(None, choice.detail, is_judged=False)
        return BestAnswer(choice.position, f": another answer is better{choice.detail}")

    return select


def _max_score(assertion: Assertion, _: CheckServices) -> Select:
    _refuse_negation(assertion)
    value: Any = assertion.value or {}
    if not isinstance(value, dict) or not value.keys() <= {"method", "weights", "threshold"}:
        raise suite_error(assertion, f"found {quoted(value)}; expected `method`, `weights` or `threshold`")
    method, weights = value.get("method", "average"), value.get("weights") or {}
    threshold = value.get("threshold", assertion.threshold)
    if method not in _METHODS:
        raise suite_error(assertion, f"found the method {quoted(method)}; expected `average` or `sum`")
    if not isinstance(weights, dict) or not all(map(_is_number, weights.values())):
        raise suite_error(assertion, f"found `weights` {quoted(weights)}; expected a number for each type")
    if threshold is not None and not _is_number(threshold):
        raise suite_error(assertion, f"found a `threshold` of {quoted(threshold)}; expected a number")

    async def select(_: Sequence[Answer], scores: Sequence[Score]) -> BestAnswer:
        totals = [_total(score.checks, weights, is_sum=method == "sum") for score in scores]
        judged = [total for total in totals if total is not None]
        if len(judged) < len(totals):
            return BestAnswer(None, ": an answer has no other check, or one that could not be judged", is_judged=False)
        best = max(judged)
        if threshold is not None and best < threshold:
            return BestAnswer(None, f": the best score is {best:.3f}, below {threshold:g}")
        return BestAnswer(judged.index(best), f": another answer has the best score, {best:.3f}")

    return select


def _total(checks: Sequence[AssertionResult], weights: dict[str, float], *, is_sum: bool) -> float | None:
    """Return the sum or mean of the checks' scores; None if one of them is not judged or there is none."""
    counted = [check for check in checks if check.type not in COMPARISON_TYPES]
    if not counted or any(check.passed is None for check in counted):
        return None
    shares = [float(weights.get(check.type, 1.0)) for check in counted]
    total = math.fsum(share * check.score for share, check in zip(shares, counted, strict=True))
    weight = math.fsum(shares)
    return total if is_sum else total / weight if weight > 0 else 0.0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_negation(assertion: Assertion) -> None:
    if assertion.negated:
        raise suite_error(assertion, "cannot be negated", hint=f"use `{assertion.type}`; every other answer fails")


_BUILDERS: dict[str, Callable[[Assertion, CheckServices], Select]] = {
    "select-best": _select_best,
    "max-score": _max_score,
}

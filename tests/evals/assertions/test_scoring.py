"""Scores of cases: weights, thresholds, sets, and checks that could not be judged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.evals.assertions import Answer, compile_cases, compile_checks, score_answer
from flowai.evals.assertions.scoring import aggregate
from flowai.evals.reports.records import AssertionResult
from flowai.evals.suites.records import Assertion, Case

YES = Assertion(type="contains", value="yes")
NO = Assertion(type="contains", value="no")
UNKNOWN = Assertion(type="cost", threshold=1.0)
ANSWER = Answer(text="yes")


def with_weight(assertion: Assertion, weight: float, **more: Any) -> Assertion:
    fields = {"type": assertion.type, "value": assertion.value, "threshold": assertion.threshold}
    return Assertion(weight=weight, **fields | more)


@pytest.mark.parametrize(
    ("assertions", "threshold", "outcome", "score"),
    [
        ((), None, "unscored", None),
        ((), 0.0, "unscored", None),
        ((YES,), None, "pass", 1.0),
        ((YES, NO), None, "fail", 0.5),
        ((YES, with_weight(NO, 0)), None, "pass", 1.0),
        ((with_weight(NO, 0),), None, "unscored", None),
        ((with_weight(YES, 3), NO), 0.75, "pass", 0.75),
        ((with_weight(YES, 3), NO), 0.76, "fail", 0.75),
        ((NO,), 0.0, "pass", 0.0),
        ((YES, UNKNOWN), None, "unscored", None),
        ((NO, UNKNOWN), None, "fail", 0.0),
        ((YES, with_weight(UNKNOWN, 0)), None, "pass", 1.0),
        ((YES, UNKNOWN), 0.5, "pass", 1.0),
        ((YES, UNKNOWN), 0.6, "unscored", None),
        ((NO, UNKNOWN), 0.6, "fail", 0.0),
    ],
)
def test_a_case_passes_fails_or_stays_unscored(
    assertions: tuple[Assertion, ...], threshold: float | None, outcome: str, score: float | None
) -> None:
    result = score_answer(compile_checks(assertions), ANSWER, threshold)
    assert result.outcome == outcome
    assert result.score == score
    assert len(result.checks) == len(assertions)


def test_a_set_is_one_check_with_its_own_threshold() -> None:
    strict = Assertion(type="assert-set", children=(YES, NO))
    lenient = Assertion(type="assert-set", children=(YES, NO), threshold=0.5, weight=2.0, metric="tone")
    result = score_answer(compile_checks((strict, lenient)), ANSWER, None)
    assert [(check.passed, check.score) for check in result.checks] == [(False, 0.5), (True, 0.5)]
    assert result.checks[0].reason == 'assert-set 1 of 2 passed; contains "no"'
    assert result.checks[1].weight == 2.0
    assert result.checks[1].metric == "tone"


def test_sets_nest_and_negate() -> None:
    inner = Assertion(type="assert-set", children=(NO, NO, YES), threshold=0.9)
    outer = Assertion(type="assert-set", children=(inner, YES), threshold=0.5, negated=True)
    (check,) = score_answer(compile_checks((outer,)), ANSWER, None).checks
    assert check.passed is False
    assert check.score == pytest.approx(1 - (1 / 3 + 1) / 2)


def test_a_set_that_cannot_be_judged_says_so() -> None:
    result = score_answer(compile_checks((Assertion(type="assert-set", children=(YES, UNKNOWN)),)), ANSWER, None)
    assert result.outcome == "unscored"
    assert result.checks[0].reason == "assert-set 1 of 2 passed; cost: the price is not known"


def test_metrics_inside_a_set_are_collected_without_counting_twice() -> None:
    member = Assertion(type="contains", value="no", metric="politeness")
    checks = score_answer(
        compile_checks((Assertion(type="assert-set", threshold=0.5, children=(YES, member)),)), ANSWER, None
    )
    assert checks.outcome == "pass"
    assert [(check.metric, check.score, check.weight) for check in checks.checks] == [
        (None, 0.5, 1.0),
        ("politeness", 0.0, 0.0),
    ]


def test_cases_share_compiled_assertions() -> None:
    schema = {"type": "object"}
    own = [Assertion(type="is-json", value=dict(schema)) for _ in range(2)]
    cases = [Case(id=str(number), vars={}, assertions=(YES, assertion)) for number, assertion in enumerate(own)]
    compiled = compile_cases(cases)
    assert list(compiled) == ["0", "1"]
    assert compiled["0"][0] is compiled["1"][0]
    assert score_answer(compiled["1"], Answer(text='{"yes": 1}'), None).outcome == "pass"


CHECKS = st.builds(
    lambda passed, score, weight: AssertionResult(
        type="x", passed=passed, score=0.0 if passed is None else score, weight=weight
    ),
    st.sampled_from([True, False, None]),
    st.floats(0, 1),
    st.floats(0, 1e6),
)


@given(st.lists(CHECKS, max_size=8), st.none() | st.floats(0, 1))
def test_a_score_is_between_0_and_1(checks: list[AssertionResult], threshold: float | None) -> None:
    _, score = aggregate(checks, threshold)
    assert 0 <= score <= 1


@given(
    st.lists(st.tuples(st.sampled_from([True, False, None]), st.integers(0, 9)), max_size=8),
    st.none() | st.integers(0, 20).map(lambda twentieth: twentieth / 20),
    st.integers(-8, 8),
)
def test_only_the_proportion_of_weights_matters(
    rows: list[tuple[bool | None, int]], threshold: float | None, power: int
) -> None:
    def settled(factor: float) -> tuple[bool | None, float]:
        return aggregate(
            [
                AssertionResult(type="x", passed=passed, score=float(passed or 0), weight=weight * factor)
                for passed, weight in rows
            ],
            threshold,
        )

    assert settled(1.0) == settled(2.0**power)


@given(
    st.sampled_from(["equals", "contains", "icontains", "starts-with", "ends-with", "contains-any", "levenshtein"]),
    st.text(min_size=1, max_size=8).filter(str.strip).filter(lambda text: set(text) - set(',"\\ \r\n')),
    st.text(max_size=12),
)
def test_not_is_the_exact_complement(name: str, value: str, text: str) -> None:
    pair = [
        Assertion(type=name, value=[value] if name == "contains-any" else value, negated=negated)
        for negated in (False, True)
    ]
    plain, opposite = (check(Answer(text=text)) for check in compile_checks(pair))
    assert plain.passed is not opposite.passed
    assert plain.score + opposite.score == 1

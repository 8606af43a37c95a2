"""All assertion types by name. Assertions are compiled into checks once, before any call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import expected_one_of
from flowai.evals.assertions import limits, similarity, structure, text
from flowai.evals.assertions.records import suite_error
from flowai.evals.assertions.schema import Schemas
from flowai.evals.assertions.scoring import combine
from flowai.evals.reports.records import AssertionResult
from flowai.evals.suites.assertion_types import ASSERT_SET, ASSERTION_TYPES, SUPPORTED_TYPES, UNSUPPORTED_TYPES
from flowai.evals.suites.records import iterate_assertions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.assertions.records import Answer, CheckFunction, CheckResult
    from flowai.evals.suites.records import Assertion, Case

AssertionFunction = Callable[["Answer"], AssertionResult]
"""Apply one assertion of the suite to any number of answers."""


def _without_schemas(build: Callable[[Assertion], CheckFunction]) -> Callable[[Assertion, Schemas], CheckFunction]:
    return lambda assertion, _: build(assertion)


_BUILDERS: dict[str, Callable[[Assertion, Schemas], CheckFunction]] = {
    "equals": _without_schemas(text.equals),
    "contains": _without_schemas(text.contains),
    "contains-all": _without_schemas(text.contains_all),
    "contains-any": _without_schemas(text.contains_any),
    "icontains": _without_schemas(partial(text.contains, fold=str.casefold)),
    "icontains-all": _without_schemas(partial(text.contains_all, fold=str.casefold)),
    "icontains-any": _without_schemas(partial(text.contains_any, fold=str.casefold)),
    "starts-with": _without_schemas(text.starts_with),
    "ends-with": _without_schemas(text.ends_with),
    "regex": _without_schemas(text.regex),
    "word-count": _without_schemas(text.word_count),
    "is-json": structure.valid_json,
    "contains-json": structure.contains_json,
    "levenshtein": _without_schemas(similarity.levenshtein),
    "latency": _without_schemas(limits.latency),
    "ttft": _without_schemas(limits.ttft),
    "cost": _without_schemas(limits.cost),
    "finish-reason": _without_schemas(limits.finish_reason),
}
"""Builders of check functions by type; each raises SuiteError for a wrong value or threshold."""


def compile_cases(cases: Sequence[Case]) -> dict[str, tuple[AssertionFunction, ...]]:
    """Compile the assertions of a suite's cases, by case id; shared assertions and JSON Schemas are compiled once."""
    schemas = Schemas()
    shared: dict[int, tuple[AssertionFunction, ...]] = {}  # by identity: the cases hold their assertions alive
    compiled: dict[str, tuple[AssertionFunction, ...]] = {}
    for case in cases:
        for assertion in case.assertions:
            if id(assertion) not in shared:
                shared[id(assertion)] = compile_checks((assertion,), schemas=schemas)
        compiled[case.id] = tuple(check for assertion in case.assertions for check in shared[id(assertion)])
    return compiled


def compile_checks(assertions: Iterable[Assertion], *, schemas: Schemas | None = None) -> tuple[AssertionFunction, ...]:
    """Compile one check per assertion; after a set, also one per assertion in it that has a metric.

    The extra checks have weight 0, because the set already counts them.
    """
    compiled: list[AssertionFunction] = []
    for assertion in assertions:
        compiled.append(compile_check(assertion, schemas=schemas))
        with_metric = (child for child in iterate_assertions(assertion.children) if child.metric is not None)
        uncounted = (msgspec.structs.replace(child, weight=0.0) for child in with_metric)
        compiled.extend(compile_check(child, schemas=schemas) for child in uncounted)
    return tuple(compiled)


def compile_check(assertion: Assertion, *, schemas: Schemas | None = None) -> AssertionFunction:
    """Compile an assertion into a check that never raises; raise SuiteError for a wrong type, value or threshold."""
    check = _build_check(assertion, schemas or Schemas())
    spelling = assertion.spelling
    passing = AssertionResult(
        type=spelling, passed=True, score=1.0, weight=assertion.weight, metric=assertion.metric, place=assertion.place
    )

    def apply(answer: Answer) -> AssertionResult:
        result = check(answer)
        passed = None if result.passed is None else result.passed != assertion.negated
        if passed and result.score is None:
            return passing
        return msgspec.structs.replace(
            passing,
            passed=passed,
            score=_score(result, passed=passed, negated=assertion.negated),
            reason="" if passed else f"{spelling}{result.detail}",
        )

    return apply


def _score(result: CheckResult, *, passed: bool | None, negated: bool) -> float:
    if passed is None:
        return 0.0
    if result.score is None:
        return float(passed)
    return 1.0 - result.score if negated else result.score


def _build_check(assertion: Assertion, schemas: Schemas) -> CheckFunction:
    if assertion.type == ASSERT_SET:
        return _build_set_check(assertion, schemas)
    definition, build = ASSERTION_TYPES.get(assertion.type), _BUILDERS.get(assertion.type)
    if definition is None or build is None:
        raise _unknown_type(assertion)
    if assertion.value is None and definition.value == "required":
        raise suite_error(assertion, "has no `value`")
    if assertion.value is not None and definition.value == "forbidden":
        raise suite_error(assertion, "accepts no `value`", hint="set its limit as `threshold`")
    if assertion.threshold is not None and not definition.threshold:
        raise suite_error(assertion, "accepts no `threshold`", hint="it only passes or fails; remove `threshold`")
    return build(assertion, schemas)


def _unknown_type(assertion: Assertion) -> Exception:
    hint = expected_one_of(SUPPORTED_TYPES, found=assertion.type)
    if assertion.type in UNSUPPORTED_TYPES:
        return suite_error(
            assertion, "is one of promptfoo's assertion types that flowai does not support yet", hint=hint
        )
    return suite_error(assertion, "is not an assertion type", hint=hint)


def _build_set_check(assertion: Assertion, schemas: Schemas) -> CheckFunction:
    if assertion.threshold is not None and assertion.threshold > 1:
        raise suite_error(assertion, f"found a `threshold` of {assertion.threshold:g}; expected a score from 0 to 1")
    checks = [compile_check(child, schemas=schemas) for child in assertion.children]

    def check_set(answer: Answer) -> CheckResult:
        return combine([check(answer) for check in checks], assertion.threshold)

    return check_set

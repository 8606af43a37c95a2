"""All assertion types by name. Assertions are compiled into checks once, before any call."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import expected_one_of
from flowai.evals.assertions import external, limits, refusals, similarity, structure, text, tool_calls
from flowai.evals.assertions.graded import GRADED_BUILDERS
from flowai.evals.assertions.overlap import meteor, ngrams
from flowai.evals.assertions.records import AsyncCheck, CheckResult, suite_error
from flowai.evals.assertions.scoring import apply_checks, apply_checks_async, combine, combine_or
from flowai.evals.assertions.services import CheckServices
from flowai.evals.assertions.syntax import html, sql, xml
from flowai.evals.assertions.transformed import computed_check, transformed_check
from flowai.evals.reports.records import AssertionResult
from flowai.evals.suites.assertion_types import (
    ASSERTION_TYPES,
    CODE_TYPES,
    COMPARISON_TYPES,
    SET_TYPES,
    SUPPORTED_TYPES,
    UNSUPPORTED_HINTS,
)
from flowai.evals.suites.records import iterate_assertions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flowai.evals.assertions.records import Answer, Check, CheckFunction
    from flowai.evals.suites.assertion_types import AssertionType
    from flowai.evals.suites.records import Assertion, Case


@dataclass(frozen=True, kw_only=True, slots=True)
class AssertionFunction:
    """Apply one assertion of the suite to any number of answers; it never raises."""

    assertion: Assertion
    check: Check
    passing: AssertionResult
    """Result of an answer that passes without a score of its own."""

    @property
    def is_async(self) -> bool:
        """True if the assertion calls a program or a model, so that it must be awaited."""
        return isinstance(self.check, AsyncCheck)

    def __call__(self, answer: Answer) -> AssertionResult:
        """Return the result of an assertion that needs no program and no model."""
        if isinstance(self.check, AsyncCheck):
            raise TypeError(f"`{self.passing.type}` must be awaited")
        try:
            return self._finish(self.check(answer))
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError, MemoryError) as error:
            return self._finish(_broken(error))

    async def wait(self, answer: Answer) -> AssertionResult:
        """Return the result of any assertion."""
        if not isinstance(self.check, AsyncCheck):
            return self(answer)
        try:
            return self._finish(await self.check.apply(answer))
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError, MemoryError) as error:
            return self._finish(_broken(error))

    def _finish(self, result: CheckResult) -> AssertionResult:
        negated = self.assertion.negated
        passed = None if result.passed is None else result.passed != negated
        if passed and result.score is None and not result.metrics:
            return self.passing
        return msgspec.structs.replace(
            self.passing,
            passed=passed,
            score=_score(result, passed=passed, negated=negated),
            reason="" if passed else f"{self.passing.type}{result.detail}",
            metrics=result.metrics or {},
        )


def _alone(build: Callable[[Assertion], CheckFunction]) -> Callable[[Assertion, CheckServices], CheckFunction]:
    return lambda assertion, _: build(assertion)


_BUILDERS: dict[str, Callable[[Assertion, CheckServices], Check]] = {
    "equals": _alone(text.equals),
    "contains": _alone(text.contains),
    "contains-all": _alone(text.contains_all),
    "contains-any": _alone(text.contains_any),
    "icontains": _alone(partial(text.contains, fold=str.casefold)),
    "icontains-all": _alone(partial(text.contains_all, fold=str.casefold)),
    "icontains-any": _alone(partial(text.contains_any, fold=str.casefold)),
    "starts-with": _alone(text.starts_with),
    "ends-with": _alone(text.ends_with),
    "regex": _alone(text.regex),
    "word-count": _alone(text.word_count),
    "character-count": _alone(text.character_count),
    "is-json": structure.valid_json,
    "contains-json": structure.contains_json,
    "is-html": _alone(html.valid_html),
    "contains-html": _alone(html.contains_html),
    "is-sql": _alone(sql.valid_sql),
    "contains-sql": _alone(sql.contains_sql),
    "is-xml": _alone(xml.valid_xml),
    "contains-xml": _alone(xml.contains_xml),
    "is-refusal": _alone(refusals.refusal),
    "levenshtein": _alone(similarity.levenshtein),
    "bleu": _alone(ngrams.bleu),
    "gleu": _alone(ngrams.gleu),
    "rouge-n": _alone(ngrams.rouge_n),
    "meteor": _alone(meteor.meteor),
    "similar": similarity.similar,
    "similar:cosine": similarity.similar,
    "similar:dot": similarity.similar,
    "similar:euclidean": similarity.similar,
    "latency": _alone(limits.latency),
    "ttft": _alone(limits.ttft),
    "cost": _alone(limits.cost),
    "perplexity": _alone(limits.perplexity),
    "perplexity-score": _alone(limits.perplexity_score),
    "finish-reason": _alone(limits.finish_reason),
    "guardrails": _alone(limits.guardrails),
    "is-valid-function-call": tool_calls.valid_function_call,
    "is-valid-openai-function-call": tool_calls.valid_function_call,
    "is-valid-openai-tools-call": tool_calls.valid_tools_call,
    "tool-call-f1": _alone(tool_calls.tool_call_f1),
    "javascript": external.code_check,
    "python": external.code_check,
    "webhook": external.webhook,
    **GRADED_BUILDERS,
}
"""Builders of check functions by type; each raises SuiteError for a wrong value or threshold."""


def compile_cases(
    cases: Sequence[Case], services: CheckServices | None = None
) -> dict[str, tuple[AssertionFunction, ...]]:
    """Compile the assertions of a suite's cases, by case id; shared assertions and JSON Schemas are compiled once."""
    services = services or CheckServices()
    shared: dict[int, tuple[AssertionFunction, ...]] = {}  # by identity: the cases hold their assertions alive
    compiled: dict[str, tuple[AssertionFunction, ...]] = {}
    for case in cases:
        for assertion in case.assertions:
            if id(assertion) not in shared:
                shared[id(assertion)] = compile_checks((assertion,), services=services)
        compiled[case.id] = tuple(check for assertion in case.assertions for check in shared[id(assertion)])
    return compiled


def compile_checks(
    assertions: Iterable[Assertion], *, services: CheckServices | None = None
) -> tuple[AssertionFunction, ...]:
    """Compile one check per assertion; after a set, also one per assertion in it that has a metric.

    The extra checks have weight 0, because the set already counts them.
    """
    compiled: list[AssertionFunction] = []
    for assertion in assertions:
        if assertion.type in COMPARISON_TYPES:
            continue  # they are applied when all answers are there: `comparison`
        compiled.append(compile_check(assertion, services=services))
        with_metric = (child for child in iterate_assertions(assertion.children) if child.metric is not None)
        uncounted = (msgspec.structs.replace(child, weight=0.0) for child in with_metric)
        compiled.extend(compile_check(child, services=services) for child in uncounted)
    return tuple(compiled)


def compile_check(assertion: Assertion, *, services: CheckServices | None = None) -> AssertionFunction:
    """Compile an assertion; raise SuiteError for a wrong type, value or threshold."""
    passing = AssertionResult(
        type=assertion.spelling,
        passed=True,
        score=1.0,
        weight=assertion.weight,
        metric=assertion.metric,
        place=assertion.place,
    )
    check = _build_check(assertion, services or CheckServices())
    return AssertionFunction(assertion=assertion, check=check, passing=passing)


def _broken(error: Exception) -> CheckResult:
    """Return the result of a check that an answer broke: a fault of flowai's, of which the answer is not guilty."""
    return CheckResult(None, f": the check broke ({type(error).__name__})")


def _score(result: CheckResult, *, passed: bool | None, negated: bool) -> float:
    if passed is None:
        return 0.0
    if result.score is None:
        return float(passed)
    return 1.0 - result.score if negated else result.score


def _build_check(assertion: Assertion, services: CheckServices) -> Check:
    if assertion.transform is not None:
        own = msgspec.structs.replace(assertion, transform=None)
        return transformed_check(assertion, services, _build_check(own, services))
    if assertion.type in SET_TYPES:
        return _build_set_check(assertion, services)
    definition, build = ASSERTION_TYPES.get(assertion.type), _BUILDERS.get(assertion.type)
    if definition is None or build is None:
        raise _wrong_type(assertion)
    _check_fields(assertion, definition)
    if assertion.code is not None and assertion.type not in CODE_TYPES:
        return computed_check(assertion, services, lambda own: _build_check(own, services))
    return build(assertion, services)


def _check_fields(assertion: Assertion, definition: AssertionType) -> None:
    if assertion.value is None and assertion.code is None and definition.value == "required":
        raise suite_error(assertion, "has no `value`")
    if assertion.value is not None and definition.value == "forbidden":
        hint = "set its limit as `threshold`" if definition.threshold else "remove `value`"
        raise suite_error(assertion, "accepts no `value`", hint=hint)
    if assertion.threshold is not None and not definition.threshold:
        raise suite_error(assertion, "accepts no `threshold`", hint="it only passes or fails; remove `threshold`")


def _wrong_type(assertion: Assertion) -> Exception:
    name = assertion.type
    if name in COMPARISON_TYPES:
        return suite_error(assertion, "compares all answers to a case; a set cannot contain it")
    if name in UNSUPPORTED_HINTS:
        what = "is one of promptfoo's assertion types that flowai does not support"
        return suite_error(assertion, what, hint=UNSUPPORTED_HINTS[name])
    return suite_error(assertion, "is not an assertion type", hint=expected_one_of(SUPPORTED_TYPES, found=name))


def _build_set_check(assertion: Assertion, services: CheckServices) -> Check:
    if assertion.threshold is not None and assertion.threshold > 1:
        raise suite_error(assertion, f"found a `threshold` of {assertion.threshold:g}; expected a score from 0 to 1")
    checks = [compile_check(child, services=services) for child in assertion.children]
    combine_all = combine_or if assertion.type == "or" else combine

    def check_set(answer: Answer) -> CheckResult:
        return combine_all(apply_checks(checks, answer), assertion.threshold)

    async def check_set_async(answer: Answer) -> CheckResult:
        return combine_all(await apply_checks_async(checks, answer), assertion.threshold)

    return AsyncCheck(check_set_async) if any(check.is_async for check in checks) else check_set

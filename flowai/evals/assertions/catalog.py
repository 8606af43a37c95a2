"""All assertion types by name: turns assertions into checks, once, before any call."""

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
from flowai.evals.suites.assertion_types import ASSERT_SET, ASSERTION_TYPES, NOT_SUPPORTED, SUPPORTED
from flowai.evals.suites.records import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.assertions.records import Answer, CheckFunction, CheckResult
    from flowai.evals.suites.records import Assertion, Case

AssertionFunction = Callable[["Answer"], AssertionResult]
"""One assertion of the suite, ready for any number of answers."""


def _plain(build: Callable[[Assertion], CheckFunction]) -> Callable[[Assertion, Schemas], CheckFunction]:
    """Fit a type that knows no schemas into the table."""
    return lambda assertion, _: build(assertion)


_BUILDERS: dict[str, Callable[[Assertion, Schemas], CheckFunction]] = {
    "equals": _plain(text.equals),
    "contains": _plain(text.contains),
    "contains-all": _plain(text.contains_all),
    "contains-any": _plain(text.contains_any),
    "icontains": _plain(partial(text.contains, fold=str.casefold)),
    "icontains-all": _plain(partial(text.contains_all, fold=str.casefold)),
    "icontains-any": _plain(partial(text.contains_any, fold=str.casefold)),
    "starts-with": _plain(text.starts_with),
    "ends-with": _plain(text.ends_with),
    "regex": _plain(text.regex),
    "word-count": _plain(text.word_count),
    "is-json": structure.json_judge,
    "contains-json": structure.contains_json,
    "levenshtein": _plain(similarity.levenshtein),
    "latency": _plain(limits.latency),
    "ttft": _plain(limits.ttft),
    "cost": _plain(limits.cost),
    "finish-reason": _plain(limits.finish_reason),
}
"""Makes a judge of an assertion by its type; raises SuiteError when its value or threshold is wrong."""


def compile_cases(cases: Sequence[Case]) -> dict[str, tuple[AssertionFunction, ...]]:
    """Make the checks of a suite's cases; what they share (`defaultTest`, JSON Schemas) is made once.

    Returns:
        Checks by the case's id, in the suite's order.

    Raises:
        SuiteError: as in `compile_check`.
    """
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
    """Make one check per assertion; after a set, also one per assertion in it that collects a metric.

    Those extra checks have weight 0: the set has counted them already.

    Raises:
        SuiteError: as in `compile_check`.
    """
    compiled: list[AssertionFunction] = []
    for assertion in assertions:
        compiled.append(compile_check(assertion, schemas=schemas))
        collecting = (child for child in walk(assertion.children) if child.metric is not None)
        noted = (msgspec.structs.replace(child, weight=0.0) for child in collecting)
        compiled.extend(compile_check(child, schemas=schemas) for child in noted)
    return tuple(compiled)


def compile_check(assertion: Assertion, *, schemas: Schemas | None = None) -> AssertionFunction:
    """Make a check of an assertion; everything that can be wrong with it is found here.

    Args:
        assertion: what the suite asks for.
        schemas: where compiled JSON Schemas are shared; default: not.

    Returns:
        A function from an answer to the check's result. It raises nothing, whatever the answer is.

    Raises:
        SuiteError: an unknown or unsupported type, or a wrong value or threshold.
    """
    judge = _judge(assertion, schemas or Schemas())
    spelling = assertion.spelling
    held = AssertionResult(
        type=spelling, passed=True, score=1.0, weight=assertion.weight, metric=assertion.metric, place=assertion.place
    )

    def check(answer: Answer) -> AssertionResult:
        finding = judge(answer)
        passed = None if finding.passed is None else finding.passed != assertion.negated
        if passed and finding.score is None:
            return held
        return msgspec.structs.replace(
            held,
            passed=passed,
            score=_score(finding, passed=passed, negated=assertion.negated),
            reason="" if passed else f"{spelling}{finding.detail}",
        )

    return check


def _score(finding: CheckResult, *, passed: bool | None, negated: bool) -> float:
    if passed is None:
        return 0.0
    if finding.score is None:
        return float(passed)
    return 1.0 - finding.score if negated else finding.score


def _judge(assertion: Assertion, schemas: Schemas) -> CheckFunction:
    if assertion.type == ASSERT_SET:
        return _set_judge(assertion, schemas)
    kind, build = ASSERTION_TYPES.get(assertion.type), _BUILDERS.get(assertion.type)
    if kind is None or build is None:
        raise _unknown(assertion)
    if assertion.value is None and kind.value == "must":
        raise suite_error(assertion, "has no `value`")
    if assertion.value is not None and kind.value == "no":
        raise suite_error(assertion, "takes no `value`", hint="give its limit as `threshold`")
    if assertion.threshold is not None and not kind.threshold:
        raise suite_error(assertion, "takes no `threshold`", hint="it either holds or not; remove `threshold`")
    return build(assertion, schemas)


def _unknown(assertion: Assertion) -> Exception:
    hint = expected_one_of(SUPPORTED, found=assertion.type)
    if assertion.type in NOT_SUPPORTED:
        return suite_error(
            assertion, "is one of promptfoo's assertion types that flowai does not support yet", hint=hint
        )
    return suite_error(assertion, "is not an assertion type", hint=hint)


def _set_judge(assertion: Assertion, schemas: Schemas) -> CheckFunction:
    if assertion.threshold is not None and assertion.threshold > 1:
        raise suite_error(assertion, f"found a `threshold` of {assertion.threshold:g}; expected a score from 0 to 1")
    checks = [compile_check(child, schemas=schemas) for child in assertion.children]

    def judge(answer: Answer) -> CheckResult:
        return combine([check(answer) for check in checks], assertion.threshold)

    return judge

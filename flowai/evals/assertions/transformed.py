"""Checks of an answer that the assertion's own code changes first, and checks whose value is computed by code."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import SuiteError
from flowai.evals.assertions.external import check_context, code_runner, value_of
from flowai.evals.assertions.records import AsyncCheck, CheckResult, suite_error
from flowai.evals.assertions.services import CodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.assertions.records import Answer, Check
    from flowai.evals.assertions.services import CheckServices
    from flowai.evals.suites.records import Assertion

_DEFAULT_TRANSFORM = "get_transform"


async def apply_check(check: Check, answer: Answer) -> CheckResult:
    """Return the result of any check."""
    return await check.apply(answer) if isinstance(check, AsyncCheck) else check(answer)


def transformed_check(assertion: Assertion, services: CheckServices, check: Check) -> AsyncCheck:
    """Apply a check to what the assertion's `transform` makes of the answer."""
    runner, code = code_runner(assertion, services), assertion.transform
    if code is None:
        raise suite_error(assertion, "has no `transform`")
    if code.language == "python" and code.file is not None and code.function is None:
        code = msgspec.structs.replace(code, function=_DEFAULT_TRANSFORM)

    async def apply(answer: Answer) -> CheckResult:
        try:
            output = await runner.call(code, [value_of(answer), check_context(answer, assertion)])
        except CodeError as error:
            return CheckResult(None, f": `transform`: the code {error}")
        if output is None:
            return CheckResult(None, ": `transform` returned nothing")
        return await apply_check(check, with_output(answer, output))

    return AsyncCheck(apply)


def with_output(answer: Answer, output: Any) -> Answer:  # noqa: ANN401 - any JSON value
    """Return the answer with another value; its text is the value, or the value as JSON."""
    if isinstance(output, str):
        return replace(answer, text=output, output=None)
    return replace(answer, text=json.dumps(output, ensure_ascii=False, separators=(",", ":")), output=output)


def computed_check(assertion: Assertion, services: CheckServices, build: Callable[[Assertion], Check]) -> AsyncCheck:
    """Apply a type's check with the value that the assertion's code returns for the answer."""
    runner, code = code_runner(assertion, services), assertion.code
    if code is None:
        raise suite_error(assertion, "has no code")

    async def apply(answer: Answer) -> CheckResult:
        try:
            value = await runner.call(code, [value_of(answer), check_context(answer, assertion)])
        except CodeError as error:
            return CheckResult(None, f": the code {error}")
        if isinstance(value, bool) or (isinstance(value, dict) and "pass" in value):
            return CheckResult(None, ": the code returned a result; expected the value to compare with")
        try:
            check = build(msgspec.structs.replace(assertion, code=None, value=value))
        except SuiteError as error:
            return CheckResult(None, f": the code's value: {error.what}")
        return await apply_check(check, answer)

    return AsyncCheck(apply)

"""Code that makes parts of a suite: prompts, variables and tests, called as promptfoo calls it; derived metrics.

Every function raises CodeError if the code gives no result, or one of the wrong kind.
"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flowai.errors import Place, SuiteError
from flowai.evals.assertions.services import DEFAULT_CODE_TIMEOUT_S, CodeError
from flowai.evals.code.environment import code_environment
from flowai.evals.code.records import CHECK_LIMITS, TARGET_LIMITS, CodeCall
from flowai.evals.code.runner import SubprocessCodeRunner

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from flowai.evals.suites.records import CodeRef, Suite, SuitePrompt, SuiteProvider
    from flowai.redaction import Redactor

Value = TypeVar("Value")
SOURCE_TIMEOUT_S = 60.0
"""Limit of one call that makes a prompt, a variable, or all tests of a file."""


async def call_prompt_function(
    runner: SubprocessCodeRunner, prompt: SuitePrompt, variables: Mapping[str, Any], provider: SuiteProvider | None
) -> Any:  # noqa: ANN401 - any JSON value
    """Return the prompt that a function makes: a text, a list of messages, or `{prompt, config}`.

    The function gets `{vars, provider: {id, label}, config}`. A Python file without a function's name is run as a
    program with that object as its argument; its output is the prompt.
    """
    code = prompt.code
    if code is None:
        raise CodeError(f"prompt `{prompt.id}` has no code", kind="missing")
    shown = {"id": provider.id, "label": provider.name} if provider is not None else {"id": "", "label": ""}
    context = {"vars": dict(variables), "provider": shown, "config": prompt.config}
    if code.language == "python" and code.file is not None and code.function is None:
        value = await runner.run_program(code, context, timeout_s=SOURCE_TIMEOUT_S)
    else:
        value = await runner.call(code, (context,), timeout_s=SOURCE_TIMEOUT_S)
    if value is None:
        raise CodeError("returned no prompt", kind="nonsense")
    return value


async def call_variable_function(
    runner: SubprocessCodeRunner,
    code: CodeRef,
    name: str,
    prompt: str,
    variables: Mapping[str, Any],
) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a variable: `get_var(name, prompt, variables)` of Python, or the function of JavaScript.

    The code returns `{output}` or `{error}`; a text of Python loses the white space around it.
    """
    call = CodeCall(code=code, arguments=(name, prompt, dict(variables)), function="get_var")
    value = await runner.run(call, timeout_s=SOURCE_TIMEOUT_S)
    if not isinstance(value, dict) or not (value.get("error") or value.get("output")):
        raise CodeError(f"returned no `output` for variable `{name}`", kind="nonsense")
    if value.get("error"):
        raise CodeError(f"returned an error for variable `{name}`: {runner.redacted(str(value['error']))}")
    output = value["output"]
    return output.strip() if code.language == "python" and isinstance(output, str) else output


async def call_test_function(runner: SubprocessCodeRunner, code: CodeRef, arguments: Sequence[Any]) -> list[Any]:
    """Return the tests that code makes: `generate_tests(config)` of Python, or what JavaScript exports.

    `arguments` is the config that the suite gives, or nothing. JavaScript may export the list itself.
    """
    call = CodeCall(code=code, arguments=tuple(arguments), function="generate_tests", may_be_value=True)
    value = await runner.run(call, timeout_s=SOURCE_TIMEOUT_S)
    if not isinstance(value, list):
        raise CodeError("returned no list of tests", kind="nonsense")
    return value


async def call_metric_function(runner: SubprocessCodeRunner, code: CodeRef, values: Mapping[str, float]) -> float:
    """Return the number that a derived metric's code makes of the other metrics: `get_metric(values)` of Python."""
    call = CodeCall(code=code, arguments=(dict(values),), function="get_metric")
    value = await runner.run(call, timeout_s=DEFAULT_CODE_TIMEOUT_S)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CodeError("returned no number", kind="nonsense")
    return float(value)


def make_metric(
    code: CodeRef, values: Mapping[str, float], *, suite: Suite, environ: Mapping[str, str], redactor: Redactor
) -> float:
    """Return a derived metric that is code, outside any event loop; see `call_metric_function`.

    Raises:
        CodeError: there is no finite number.
    """
    runner = SubprocessCodeRunner(
        folder=Path(suite.folder),
        environment=code_environment(suite.env, with_keys=False, environ=environ),
        limits=CHECK_LIMITS,
        redactor=redactor,
    )
    return asyncio.run(_closing(runner, call_metric_function(runner, code, values)))


def make_tests(
    code: CodeRef, arguments: Sequence[Any], *, folder: Path, environ: Mapping[str, str], redactor: Redactor
) -> list[Any]:
    """Return the tests that code makes while a suite is loaded, outside any event loop; see `call_test_function`.

    Args:
        code: the code.
        arguments: the suite's config, or nothing.
        folder: the suite's folder.
        environ: variables of the code, those of the suite's `env` included.
        redactor: removes secrets from errors.

    Raises:
        SuiteError: there is no list; it has the place of the code in the suite.
    """
    runner = SubprocessCodeRunner(
        folder=folder,
        environment=code_environment({}, with_keys=True, environ=environ),
        limits=TARGET_LIMITS,
        redactor=redactor,
    )
    try:
        return asyncio.run(_closing(runner, call_test_function(runner, code, arguments)))
    except CodeError as error:
        file, _, line = code.place.rpartition(":")
        place = Place(file=file, line=int(line)) if line.isdecimal() else None
        name = Path(code.file or "").name
        raise SuiteError(f"`{name}` made no tests: {error.what}", place=place) from None


async def _closing(runner: SubprocessCodeRunner, call: Coroutine[Any, Any, Value]) -> Value:
    """Return the value of a call, and close its runner."""
    try:
        return await call
    finally:
        await runner.aclose()

"""Code that makes parts of a suite: prompts, variables and tests; called as promptfoo calls it.

Every function raises CodeError if the code gives no result, or one of the wrong kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.services import CodeError
from flowai.evals.code.records import CodeCall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.code.runner import SubprocessCodeRunner
    from flowai.evals.suites.records import CodeRef, SuitePrompt, SuiteProvider

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


async def call_test_function(
    runner: SubprocessCodeRunner, code: CodeRef, config: Mapping[str, Any] | None
) -> list[Any]:
    """Return the tests that code makes: `generate_tests(config)` of Python, or what JavaScript exports.

    Python gets no argument if the suite gives no config; JavaScript may export the list itself.
    """
    arguments: tuple[Any, ...] = () if config is None and code.language == "python" else (config,)
    call = CodeCall(code=code, arguments=arguments, function="generate_tests", may_be_value=True)
    value = await runner.run(call, timeout_s=SOURCE_TIMEOUT_S)
    if not isinstance(value, list):
        raise CodeError("returned no list of tests", kind="nonsense")
    return value

"""Transforms: code that changes an answer, the variables of a case, or the context of a graded assertion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from flowai.evals.assertions.services import DEFAULT_CODE_TIMEOUT_S, CodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.assertions.services import CodeRunner
    from flowai.evals.suites.records import CodeRef

_DEFAULT_FUNCTION = "get_transform"


async def apply_transform(
    runner: CodeRunner,
    code: CodeRef,
    output: Any,  # noqa: ANN401 - any JSON value
    context: Mapping[str, Any],
    *,
    timeout_s: float = DEFAULT_CODE_TIMEOUT_S,
) -> Any:  # noqa: ANN401 - any JSON value
    """Return what `transform`, `options.transform`, an assertion's transform or `contextTransform` makes of an answer.

    Args:
        runner: runs the code.
        code: `(output, context)`; a Python file's default function is `get_transform`.
        output: the answer, or what an earlier transform made of it.
        context: `vars`, `prompt`, `metadata` and what the caller adds.
        timeout_s: limit of the call.

    Raises:
        CodeError: there is no result, or it is null.
    """
    value = await runner.call(_with_default(code), (output, dict(context)), timeout_s=timeout_s)
    if value is None:
        raise CodeError("returned nothing; a transform returns the new value", kind="nonsense")
    return value


async def transform_variables(
    runner: CodeRunner,
    code: CodeRef,
    variables: Mapping[str, Any],
    context: Mapping[str, Any],
    *,
    timeout_s: float = DEFAULT_CODE_TIMEOUT_S,
) -> dict[str, Any]:
    """Return the variables that `transformVars` makes of a case's.

    Args:
        runner: runs the code.
        code: `(vars, context)`; a Python file's default function is `get_transform`.
        variables: the case's.
        context: `prompt` and `metadata`.
        timeout_s: limit of the call.

    Raises:
        CodeError: there is no result, or it is not an object.
    """
    named = replace(_with_default(code), parameters=("vars", "context"))
    value = await runner.call(named, (dict(variables), dict(context)), timeout_s=timeout_s)
    if not isinstance(value, dict):
        raise CodeError("returned no object of variables", kind="nonsense")
    return value


def _with_default(code: CodeRef) -> CodeRef:
    if code.language == "python" and code.file is not None and code.function is None:
        return replace(code, function=_DEFAULT_FUNCTION)
    return code

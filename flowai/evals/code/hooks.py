"""Extension hooks: code that runs before and after a suite and each of its cases.

An extension `file://hooks.py:beforeEach` is called for that hook only, with `(context, {hookName})`; one with another
function's name is called for every hook, with `(hookName, context)`. The contexts are promptfoo's: `{suite}` before
all, `{test}` before each, `{test, result}` after each, and `{results, suite, ...}` after all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from flowai.evals.assertions.services import CodeError
from flowai.evals.code.records import CodeCall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.evals.code.runner import SubprocessCodeRunner
    from flowai.evals.suites.records import CodeRef

Hook = Literal["beforeAll", "beforeEach", "afterEach", "afterAll"]
HOOKS: tuple[Hook, ...] = ("beforeAll", "beforeEach", "afterEach", "afterAll")
HOOK_TIMEOUT_S = 300.0
"""Limit of one hook: it may start a server or fill a database."""
_SUITE_KEYS = ("prompts", "providerPromptMap", "tests", "scenarios", "defaultTest", "nunjucksFilters", "derivedMetrics")
_DEFAULT_FUNCTION = "get_transform"


async def run_hooks(
    runner: SubprocessCodeRunner, extensions: Sequence[CodeRef], hook: Hook, context: Mapping[str, Any]
) -> dict[str, Any]:
    """Call the extensions of a hook in order; return the context with what they changed.

    Args:
        runner: runs the code.
        extensions: the suite's `extensions`.
        hook: the hook.
        context: JSON values, as in the module's text.

    Returns:
        `{suite}` for `beforeAll`, `{test}` for `beforeEach`, `{test, result}` for `afterEach`: of the result, an
        extension adds `namedScores` (finite numbers) and `metadata`, and metadata of its `response`. For `afterAll`
        the context is returned unchanged.

    Raises:
        CodeError: an extension failed, or returned an object without the hook's part.
    """
    current = dict(context)
    for code in extensions:
        name = code.function
        if name in HOOKS and name != hook:
            continue
        arguments = (current, {"hookName": hook}) if name in HOOKS else (hook, current)
        call = CodeCall(code=code, arguments=arguments, function=_DEFAULT_FUNCTION, has_logger=True)
        value = await runner.run(call, timeout_s=HOOK_TIMEOUT_S)
        if value:
            current = _merged(hook, current, value)
    return current


def _merged(hook: Hook, context: dict[str, Any], value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    if hook == "afterAll":
        return context
    part = {"beforeAll": "suite", "beforeEach": "test", "afterEach": "result"}[hook]
    changed = value.get(part) if isinstance(value, dict) else None
    if not isinstance(changed, dict):
        if hook == "afterEach" and isinstance(value, dict):
            return context
        raise CodeError(f"returned no `{part}` from hook `{hook}`; return the context, or nothing", kind="nonsense")
    if hook == "beforeAll":
        return {"suite": {**context.get("suite", {}), **{key: changed.get(key) for key in _SUITE_KEYS}}}
    if hook == "beforeEach":
        return {"test": changed}
    return {**context, "result": _merged_result(context.get("result") or {}, changed)}


def _merged_result(result: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    scores = {name: score for name, score in _mapping(changed, "namedScores").items() if _is_finite(score)}
    merged = {
        **result,
        "namedScores": {**_mapping(result, "namedScores"), **scores},
        "metadata": {**_mapping(result, "metadata"), **_mapping(changed, "metadata")},
    }
    added = _mapping(_mapping(changed, "response"), "metadata")
    if added and isinstance(result.get("response"), dict):
        response = result["response"]
        merged["response"] = {**response, "metadata": {**_mapping(response, "metadata"), **added}}
    return merged


def _mapping(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

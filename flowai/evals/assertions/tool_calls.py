"""Checks of the functions that an answer calls: valid by the target's declarations, and the expected ones.

Source of the meaning: promptfoo, "Deterministic metrics", sections `is-valid-openai-tools-call`,
`is-valid-function-call` and `tool-call-f1`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.errors import SuiteError
from flowai.evals.assertions.javascript_text import to_text
from flowai.evals.assertions.records import CheckResult, quoted, suite_error
from flowai.storage.strict_json import NotStrictError, parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.assertions.services import CheckServices
    from flowai.evals.suites.records import Assertion

MAX_CALLS = 1_000
"""Calls of one answer that are checked."""


def output_of(answer: Answer) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value that checks of calls read: the target's value, its calls, or its text."""
    if answer.output is not None:
        return answer.output
    return {"tool_calls": list(answer.tool_calls)} if answer.tool_calls else answer.text


def valid_tools_call(assertion: Assertion, services: CheckServices) -> CheckFunction:
    """Pass if the answer has calls in OpenAI's format, and all are valid by the target's `tools`."""

    def check(answer: Answer) -> CheckResult:
        output = output_of(answer)
        if isinstance(output, str) and "MCP Tool " in output:
            return _mcp_result(output)
        calls = output.get("tool_calls", output) if isinstance(output, dict) else output
        if not isinstance(calls, list) or not calls:
            return CheckResult(passed=False, detail=": no tool calls in the answer")
        functions = [call.get("function") if isinstance(call, dict) else None for call in calls]
        declared = [tool.get("function") for tool in _declared(answer, "tools") if tool.get("type") == "function"]
        return _calls_result(functions, declared, assertion, services)

    return check


def valid_function_call(assertion: Assertion, services: CheckServices) -> CheckFunction:
    """Pass if the answer is a call of a function (`name`, `arguments`) that is valid by the target's `functions`."""

    def check(answer: Answer) -> CheckResult:
        call = output_of(answer)
        if isinstance(call, dict):
            call = call.get("function_call", call)
            if isinstance(call, dict) and isinstance(call.get("tool_calls"), list) and len(call["tool_calls"]) == 1:
                call = call["tool_calls"][0].get("function")
        tools = [tool["function"] for tool in _declared(answer, "tools") if isinstance(tool.get("function"), dict)]
        return _calls_result([call], [*_declared(answer, "functions"), *tools], assertion, services)

    return check


def _mcp_result(output: str) -> CheckResult:
    failed = "MCP Tool Error" in output
    return CheckResult(not failed, ": the MCP tool failed" if failed else ": the MCP tool answered")


def _parsed(output: Any) -> Any:  # noqa: ANN401 - any JSON value
    if not isinstance(output, str):
        return output
    try:
        return parse_json(output, dialect="rfc8259")
    except NotStrictError:
        return output


def _declared(answer: Answer, key: str) -> list[dict[str, Any]]:
    """Return the target's declarations; a target without any has none."""
    value = answer.declared_tools.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _calls_result(
    calls: list[Any], declared: Iterable[Any], assertion: Assertion, services: CheckServices
) -> CheckResult:
    functions = {item.get("name"): item for item in declared if isinstance(item, dict)}
    if len(calls) > MAX_CALLS:
        return CheckResult(None, f": {len(calls):,} calls; at most {MAX_CALLS:,} are checked")
    for call in calls:
        try:
            problem = _call_problem(call, functions, assertion, services)
        except (SuiteError, TimeoutError) as error:
            return CheckResult(None, f": {error.what if isinstance(error, SuiteError) else error}")
        if problem is not None:
            return CheckResult(passed=False, detail=f": {problem}")
    return CheckResult(passed=True, detail=": all calls are valid")


def _call_problem(
    call: Any,  # noqa: ANN401 - any JSON value
    functions: dict[Any, dict[str, Any]],
    assertion: Assertion,
    services: CheckServices,
) -> str | None:
    import msgspec

    if not isinstance(call, dict) or not all(isinstance(call.get(key), str) for key in ("name", "arguments")):
        return f"{quoted(call)} is no call with the texts `name` and `arguments`"
    name = quoted(call["name"])
    if call["name"] not in functions:
        return f"calls {name}, which the target does not declare"
    try:
        arguments = parse_json(call["arguments"], dialect="rfc8259")
    except NotStrictError as error:
        return f"the arguments of {name} are not JSON: {error}"
    schema = functions[call["name"]].get("parameters")
    if schema is None:
        return f"{name} has no `parameters` to check against"
    problem = services.schemas.checker(msgspec.structs.replace(assertion, value=schema))(arguments)
    return None if problem is None else f"the arguments of {name}: {problem}"


def tool_call_f1(assertion: Assertion) -> CheckFunction:
    """Pass if the F1 of the called and the expected functions' names is at least `threshold` (default 1)."""
    value = assertion.value
    names = (
        value.split(",")
        if isinstance(value, str)
        else [to_text(name) for name in value]
        if isinstance(value, list)
        else []
    )
    expected = {name.strip() if isinstance(value, str) else name for name in names}
    if not expected:
        raise suite_error(assertion, f"found {quoted(value)}; expected names of functions")
    threshold = 1.0 if assertion.threshold is None else assertion.threshold

    def check(answer: Answer) -> CheckResult:
        called = set(_called_names(output_of(answer)))
        score = 2 * len(expected & called) / (len(expected) + len(called))
        passed = score >= threshold
        names = ", ".join(quoted(name) for name in sorted(called)[:3]) or "nothing"
        return CheckResult(passed, f" {score:.3f} {'>=' if passed else '<'} {threshold:g}: called {names}", score)

    return check


def _called_names(output: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    """Yield the names of called functions in the formats of OpenAI, Anthropic and Google."""
    if isinstance(output, str):
        yield from _names_in_text(output)
    elif isinstance(output, list):
        for item in output:
            if isinstance(item, dict):
                yield from _name_of_item(item)
    elif isinstance(output, dict):
        yield from _names_in_mapping(output)


def _names_in_text(text: str) -> Iterator[str]:
    parsed = _parsed(text)
    if not isinstance(parsed, str):
        yield from _called_names(parsed)
        return
    for line in text.split("\n"):
        if line.lstrip().startswith(("{", "[")):
            parsed = _parsed(line.strip())
            if not isinstance(parsed, str):
                yield from _called_names(parsed)


def _names_in_mapping(output: dict[str, Any]) -> Iterator[str]:
    live = output.get("toolCall")
    if isinstance(output.get("tool_calls"), list):
        for call in output["tool_calls"]:
            if isinstance(call, dict):
                yield from _names(call.get("function"), call)
    elif output.get("type") == "tool_use" and isinstance(output.get("name"), str):
        yield output["name"]
    elif output.get("functionCall"):
        yield from _names(output["functionCall"])
    elif isinstance(live, dict) and isinstance(live.get("functionCalls"), list):
        yield from _names(*live["functionCalls"])


def _name_of_item(item: dict[str, Any]) -> Iterator[str]:
    inner: Callable[[str], Any] = item.get
    if item.get("type") == "tool_use" and isinstance(item.get("name"), str):
        yield item["name"]
    elif isinstance(inner("functionCall"), dict):
        yield from _names(item["functionCall"])
    elif isinstance(inner("function"), dict):
        yield from _names(item["function"])
    else:
        yield from _names(item)


def _names(*holders: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    for holder in holders:
        if isinstance(holder, dict) and isinstance(holder.get("name"), str):
            yield holder["name"]

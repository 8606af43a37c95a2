"""Checks of answers that are or contain JSON (RFC 8259): valid, equal to a value, valid by a JSON Schema."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.records import CheckResult, quoted
from flowai.storage.strict_json import NotStrictError, parse_json, parse_json_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.assertions.services import CheckServices
    from flowai.evals.suites.records import Assertion

_OPENING = re.compile(r"[\[{]")
_WORK_PER_CHAR = 16
_MIN_WORK = 200_000
_MAX_WORK = 5_000_000
_WORK_IF_TOO_DEEP = 5_000


class NotJsonError(ValueError):
    """Raised if an answer is not JSON; the message is one short line."""


def parse_answer(text: str) -> Any:  # noqa: ANN401 - JSON is anything
    """Parse an answer that is JSON as a whole, except white space around it; else raise NotJsonError."""
    try:
        return parse_json(text, dialect="rfc8259")
    except NotStrictError as error:
        if not text.strip():
            raise NotJsonError("the answer is empty") from None
        if text.lstrip().startswith("```"):
            raise NotJsonError("the answer is wrapped in a code fence") from None
        raise NotJsonError(str(error)) from None


def iterate_json(text: str) -> Iterator[Any]:
    """Yield the outermost JSON objects and lists in a text, from left to right.

    A search starts at each `{` and `[`. In a hostile text each could run to the end, so the total work is bounded;
    beyond that, TimeoutError is raised.
    """
    work_left = min(_WORK_PER_CHAR * len(text) + _MIN_WORK, len(text) + _MAX_WORK)
    position = 0
    while opening := _OPENING.search(text, position):
        start = opening.start()
        position = start + 1
        try:
            value, position = parse_json_at(text, start, dialect="rfc8259")
        except NotStrictError as error:
            if error.position is not None:
                work_left -= error.position - start + start // 32 + 32  # building the error counts the lines before it
            else:
                work_left -= _WORK_IF_TOO_DEEP if error.rule == "json/too_deep" else len(text) - start
        else:
            yield value
        if work_left < 0:
            raise TimeoutError("too many brackets that are not JSON")


def difference(expected: object, found: object, path: str = "$") -> str | None:
    """Describe the first difference of two JSON values (`$.a[0] is 2, expected 3`); None if they are equal.

    Numbers are equal by value (1 and 1.0), and never equal to booleans.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected.keys() | found.keys():
            if key not in found:
                return f"{path} lacks {quoted(key)}"
            if key not in expected:
                return f"{path} has unexpected {quoted(key)}"
        parts = ((f"{path}.{key}", part, found[key]) for key, part in expected.items())
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{path} has {len(found)} items, expected {len(expected)}"
        parts = ((f"{path}[{i}]", *pair) for i, pair in enumerate(zip(expected, found, strict=True)))
    elif expected == found and isinstance(expected, bool) == isinstance(found, bool):
        return None
    else:
        return f"{path} is {quoted(found)}, expected {quoted(expected)}"
    differences = (difference(part, other, part_path) for part_path, part, other in parts)
    return next((text for text in differences if text is not None), None)


def equals_json(expected: dict[str, Any] | list[Any]) -> CheckFunction:
    """Pass if the answer is JSON with the same value."""
    return _check_value(lambda found: difference(expected, found), passing=f" {quoted(expected)}")


def valid_json(assertion: Assertion, services: CheckServices) -> CheckFunction:
    """Pass if the complete answer is JSON and valid by the JSON Schema, if there is one."""
    return _check_value(services.schemas.checker(assertion), passing=": the answer is valid JSON")


def _check_value(problem_of: Callable[[object], str | None], *, passing: str) -> CheckFunction:
    def check(answer: Answer) -> CheckResult:
        try:
            problem = problem_of(parse_answer(answer.text))
        except NotJsonError as error:
            problem = str(error)
        except TimeoutError as error:
            return CheckResult(None, f": {error}")
        return CheckResult(problem is None, passing if problem is None else f": {problem}")

    return check


def contains_json(assertion: Assertion, services: CheckServices) -> CheckFunction:
    """Pass if the answer contains a JSON object or list that is valid by the JSON Schema, if there is one."""
    schema_problem = services.schemas.checker(assertion)

    def check(answer: Answer) -> CheckResult:
        problem: str | None = None
        try:
            for value in iterate_json(answer.text):
                for candidate in _candidates(value):
                    problem = schema_problem(candidate)
                    if problem is None:
                        kind = "object" if isinstance(candidate, dict) else "list"
                        return CheckResult(passed=True, detail=f": found a JSON {kind}")
        except TimeoutError as error:
            return CheckResult(None, f": {error}")
        return CheckResult(passed=False, detail=f": {problem or 'no JSON object or list in the answer'}")

    return check


def _candidates(value: Any) -> Iterator[Any]:  # noqa: ANN401 - JSON is anything
    """Yield an object or list, and the outermost objects in a list."""
    yield value
    open_lists = [value] if isinstance(value, list) else []
    while open_lists:
        for item in open_lists.pop():
            if isinstance(item, dict):
                yield item
            elif isinstance(item, list):
                open_lists.append(item)

"""Checks on answers that are JSON, or hold some: valid, equal to a value, following a JSON Schema.

JSON here is RFC 8259 (dialect `rfc8259`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.records import CheckResult, quoted
from flowai.storage.strict_json import NotStrictError, parse_json, parse_json_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.assertions.schema import Schemas
    from flowai.evals.suites.records import Assertion

_OPENING = re.compile(r"[\[{]")
_WORK_PER_CHAR = 16
_MIN_WORK = 200_000
_NESTED_WORK = 1_000


class NotJsonError(ValueError):
    """An answer that is not JSON; its message says why, in one short line."""


def parse_answer(text: str) -> Any:  # noqa: ANN401 - JSON is anything
    """Parse an answer that is JSON from its first to its last character, space around it aside.

    Raises:
        NotJsonError: it is not.
    """
    try:
        return parse_json(text, dialect="rfc8259")
    except NotStrictError as error:
        if not text.strip():
            raise NotJsonError("the answer is empty") from None
        if text.lstrip().startswith("```"):
            raise NotJsonError("the answer is wrapped in a code fence") from None
        raise NotJsonError(str(error)) from None


def json_within(text: str) -> Iterator[Any]:
    """Find the JSON objects and lists in a text, the outermost ones, from left to right.

    Reading starts at each `{` and `[`. A hostile text could make every start read on to its end, so the work is bounded
    in proportion to the text's length.

    Raises:
        TimeoutError: the bound is reached.
    """
    work_left = _WORK_PER_CHAR * len(text) + _MIN_WORK
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
                work_left -= _NESTED_WORK if error.rule == "json/too_deep" else len(text) - start
        else:
            yield value
        if work_left < 0:
            raise TimeoutError("too many brackets that open nothing")


def difference(expected: object, found: object, path: str = "$") -> str | None:
    """Say where two JSON values differ; numbers are equal by value (1 and 1.0), but never to true and false.

    Returns:
        One line (`$.a[0] is 2, expected 3`); None when they are the same.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected.keys() | found.keys():
            if key not in found:
                return f"{path} lacks {quoted(key)}"
            if key not in expected:
                return f"{path} has {quoted(key)} too much"
        parts = ((f"{path}.{key}", part, found[key]) for key, part in expected.items())
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{path} has {len(found)} items, expected {len(expected)}"
        parts = ((f"{path}[{i}]", *pair) for i, pair in enumerate(zip(expected, found, strict=True)))
    elif expected == found and isinstance(expected, bool) == isinstance(found, bool):
        return None
    else:
        return f"{path} is {quoted(found)}, expected {quoted(expected)}"
    differences = (difference(part, other, way) for way, part, other in parts)
    return next((found_there for found_there in differences if found_there is not None), None)


def equals_json(expected: dict[str, Any] | list[Any]) -> CheckFunction:
    """Hold when the answer is JSON with the same value."""

    def judge(answer: Answer) -> CheckResult:
        try:
            found = parse_answer(answer.text)
        except NotJsonError as error:
            return CheckResult(passed=False, detail=f": {error}")
        where = difference(expected, found)
        return CheckResult(where is None, f" {quoted(expected)}" if where is None else f": {where}")

    return judge


def json_judge(assertion: Assertion, schemas: Schemas) -> CheckFunction:
    """Hold when the whole answer is JSON and, where a JSON Schema is given, follows it.

    Raises:
        SuiteError: the schema is none.
    """
    check = schemas.checker(assertion)

    def judge(answer: Answer) -> CheckResult:
        try:
            value = parse_answer(answer.text)
        except NotJsonError as error:
            return CheckResult(passed=False, detail=f": {error}")
        try:
            problem = None if check is None else check(value)
        except TimeoutError as error:
            return CheckResult(None, f": {error}")
        return CheckResult(problem is None, f": {problem}" if problem else ": the answer is JSON as asked for")

    return judge


def contains_json(assertion: Assertion, schemas: Schemas) -> CheckFunction:
    """Hold when a JSON object or list stands somewhere in the answer and, where a JSON Schema is given, follows it.

    Raises:
        SuiteError: the schema is none.
    """
    check = schemas.checker(assertion)

    def judge(answer: Answer) -> CheckResult:
        problem: str | None = None
        try:
            for value in json_within(answer.text):
                problem = None if check is None else check(value)
                if problem is None:
                    return CheckResult(
                        passed=True, detail=f": found a JSON {'object' if isinstance(value, dict) else 'list'}"
                    )
        except TimeoutError as error:
            return CheckResult(None, f": {error}")
        return CheckResult(passed=False, detail=f": {problem or 'no JSON object or list in the answer'}")

    return judge

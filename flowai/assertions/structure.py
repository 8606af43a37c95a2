"""Checks on answers that are JSON, or hold some: valid, equal to a value, following a JSON Schema.

In: an assertion. Out: a judge. Must never know negation, weights or other assertions.

JSON here is RFC 8259: `NaN` and `Infinity`, which Python's reader takes, are refused.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from flowai.assertions.model import Finding, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.assertions.model import Answer, Judge
    from flowai.assertions.schema import Schemas
    from flowai.suites.model import Assertion

_LONGEST_WHOLE_DIGITS = 4000  # Python refuses to read longer ones at all; beyond it a number is read as a float
_OPENING = re.compile(r"[\[{]")
_WORK_PER_CHAR = 16
_LEAST_WORK = 200_000
_NESTED_WORK = 1_000


class NotJsonError(ValueError):
    """A text that is not JSON; its message says why, in one short line."""


def _refuse(name: str) -> NoReturn:
    raise NotJsonError(f"`{name}` is not a JSON number")


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_WHOLE_DIGITS else float(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_int=_whole)


def parse_json(text: str) -> Any:  # noqa: ANN401 - JSON is anything
    """Read a text that is JSON from its first to its last character, space around it aside.

    Raises:
        NotJsonError: it is not.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise NotJsonError("the answer is empty") from None
        if text.lstrip().startswith("```"):
            raise NotJsonError("the answer is wrapped in a code fence") from None
        problem = error.msg[:1].lower() + error.msg[1:].removesuffix(" starting at").removesuffix(" at")
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno} column {error.colno}"
        raise NotJsonError(f"{problem} at {where}") from None
    except RecursionError:
        raise NotJsonError("nested too deeply") from None


def json_within(text: str) -> Iterator[Any]:
    """Find the JSON objects and lists in a text, the outermost ones, from left to right.

    Reading starts at each `{` and `[`. A hostile text could make every start read on to its end, so the work is bounded
    in proportion to the text's length.

    Raises:
        TimeoutError: the bound is reached.
    """
    work_left = _WORK_PER_CHAR * len(text) + _LEAST_WORK
    position = 0
    while opening := _OPENING.search(text, position):
        start = opening.start()
        position = start + 1
        try:
            value, position = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            work_left -= error.pos - start + start // 32 + 32  # building the error counts the lines before it
        except NotJsonError:
            work_left -= len(text) - start
        except RecursionError:
            work_left -= _NESTED_WORK
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


def equals_json(expected: dict[str, Any] | list[Any]) -> Judge:
    """Hold when the answer is JSON with the same value."""

    def judge(answer: Answer) -> Finding:
        try:
            found = parse_json(answer.text)
        except NotJsonError as error:
            return Finding(held=False, detail=f": {error}")
        where = difference(expected, found)
        return Finding(where is None, f" {quoted(expected)}" if where is None else f": {where}")

    return judge


def json_judge(assertion: Assertion, schemas: Schemas) -> Judge:
    """Hold when the whole answer is JSON and, where a JSON Schema is given, follows it.

    Raises:
        SuiteError: the schema is none.
    """
    check = schemas.checker(assertion)

    def judge(answer: Answer) -> Finding:
        try:
            value = parse_json(answer.text)
        except NotJsonError as error:
            return Finding(held=False, detail=f": {error}")
        try:
            problem = None if check is None else check(value)
        except TimeoutError as error:
            return Finding(None, f": {error}")
        return Finding(problem is None, f": {problem}" if problem else ": the answer is JSON as asked for")

    return judge


def contains_json(assertion: Assertion, schemas: Schemas) -> Judge:
    """Hold when a JSON object or list stands somewhere in the answer and, where a JSON Schema is given, follows it.

    Raises:
        SuiteError: the schema is none.
    """
    check = schemas.checker(assertion)

    def judge(answer: Answer) -> Finding:
        problem: str | None = None
        try:
            for value in json_within(answer.text):
                problem = None if check is None else check(value)
                if problem is None:
                    return Finding(
                        held=True, detail=f": found a JSON {'object' if isinstance(value, dict) else 'list'}"
                    )
        except TimeoutError as error:
            return Finding(None, f": {error}")
        return Finding(held=False, detail=f": {problem or 'no JSON object or list in the answer'}")

    return judge

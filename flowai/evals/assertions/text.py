"""Checks on the words of an answer: equal, contain, start, end, match, count.

Source of the types and their meaning: promptfoo, "Deterministic metrics"
(promptfoo.dev/docs/configuration/expected-outputs/deterministic); docs/reference/assertions.md says what differs.
"""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING

from flowai.evals.assertions.records import CheckResult, quoted, suite_error
from flowai.evals.assertions.safe_regex import LIMIT_S, compile_pattern
from flowai.evals.assertions.structure import equals_json
from flowai.evals.suites.table_columns import split_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.suites.records import Assertion


def _text_of(assertion: Assertion, value: object) -> str:
    """Take a text, or a number as the text it is written as."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    found = "an empty text" if value == "" else quoted(value)
    hint = (
        "put it in quotes" if isinstance(value, bool) else "an empty text is in every answer" if value == "" else None
    )
    raise suite_error(assertion, f"found {found}; expected a text", hint=hint)


def _texts_of(assertion: Assertion) -> list[str]:
    """Take a list of texts, or one text that parts them by commas."""
    value = assertion.value
    if isinstance(value, str):
        try:
            value = split_list(value)
        except csv.Error as error:
            raise suite_error(assertion, f"is not a list parted by commas: {error}") from None
    if not isinstance(value, list) or not value:
        raise suite_error(assertion, f"found {quoted(assertion.value)}; expected a list of texts")
    return [_text_of(assertion, item) for item in value]


def _same(text: str) -> str:
    return text


def equals(assertion: Assertion) -> CheckFunction:
    """Hold when the answer is the text, byte for byte; or, for a list or mapping, the same JSON value.

    Raises:
        SuiteError: no value.
    """
    value = assertion.value
    if isinstance(value, dict | list):
        return equals_json(value)
    expected = value if isinstance(value, str) else quoted(value)
    detail = f" {quoted(expected)}"

    def judge(answer: Answer) -> CheckResult:
        return CheckResult(answer.text == expected, detail)

    return judge


def contains(assertion: Assertion, fold: Callable[[str], str] = _same) -> CheckFunction:
    """Hold when the text occurs in the answer.

    Args:
        assertion: with a text, or a number.
        fold: applied to both sides first; `str.casefold` makes case no matter.

    Raises:
        SuiteError: no text, or an empty one.
    """
    text = _text_of(assertion, assertion.value)
    wanted, detail = fold(text), f" {quoted(text)}"

    def judge(answer: Answer) -> CheckResult:
        return CheckResult(wanted in fold(answer.text), detail)

    return judge


def contains_all(assertion: Assertion, fold: Callable[[str], str] = _same) -> CheckFunction:
    """Hold when every text occurs in the answer; see `contains`."""
    texts = _texts_of(assertion)
    wanted = [(fold(text), text) for text in texts]

    def judge(answer: Answer) -> CheckResult:
        found = fold(answer.text)
        missing = [text for folded, text in wanted if folded not in found]
        return CheckResult(not missing, f": no {_listed(missing)}" if missing else f": found {_listed(texts)}")

    return judge


def contains_any(assertion: Assertion, fold: Callable[[str], str] = _same) -> CheckFunction:
    """Hold when at least one of the texts occurs in the answer; see `contains`."""
    texts = _texts_of(assertion)
    wanted = [(fold(text), text) for text in texts]

    def judge(answer: Answer) -> CheckResult:
        found = fold(answer.text)
        present = [text for folded, text in wanted if folded in found]
        return CheckResult(bool(present), f": found {_listed(present)}" if present else f": none of {_listed(texts)}")

    return judge


def _listed(texts: list[str]) -> str:
    shown = ", ".join(quoted(text) for text in texts[:3])
    return shown if len(texts) <= 3 else f"{shown} and {len(texts) - 3} more"  # noqa: PLR2004 - one line


def starts_with(assertion: Assertion) -> CheckFunction:
    """Hold when the answer begins with the text.

    Raises:
        SuiteError: no text, or an empty one.
    """
    text = _text_of(assertion, assertion.value)
    detail = f" {quoted(text)}"

    def judge(answer: Answer) -> CheckResult:
        return CheckResult(answer.text.startswith(text), detail)

    return judge


def ends_with(assertion: Assertion) -> CheckFunction:
    """Hold when the answer ends with the text.

    Raises:
        SuiteError: no text, or an empty one.
    """
    text = _text_of(assertion, assertion.value)
    detail = f" {quoted(text)}"

    def judge(answer: Answer) -> CheckResult:
        return CheckResult(answer.text.endswith(text), detail)

    return judge


def regex(assertion: Assertion) -> CheckFunction:
    """Hold when the pattern occurs anywhere in the answer; undecided when the search takes longer than a second.

    Raises:
        SuiteError: no pattern, or one that is no regular expression.
    """
    pattern = _text_of(assertion, assertion.value)
    try:
        found = compile_pattern(pattern)
    except ValueError as error:
        raise suite_error(assertion, f"has a wrong pattern {quoted(pattern)}: {error}") from None
    detail = f" {quoted(pattern)}"

    def judge(answer: Answer) -> CheckResult:
        try:
            return CheckResult(found(answer.text), detail)
        except TimeoutError:
            return CheckResult(None, f"{detail}: gave up after {LIMIT_S:g} s")

    return judge


def word_count(assertion: Assertion) -> CheckFunction:
    """Hold when the answer has this many words, or a number of words within `min` and `max`; words are parted by space.

    Raises:
        SuiteError: neither a whole number nor a range of them.
    """
    least, most = _word_range(assertion)

    def judge(answer: Answer) -> CheckResult:
        count = len(answer.text.split())
        if count < least:
            return CheckResult(passed=False, detail=f" {count} < {least:g}")
        if count > most:
            return CheckResult(passed=False, detail=f" {count} > {most:g}")
        return CheckResult(passed=True, detail=f" {count}")

    return judge


def _word_range(assertion: Assertion) -> tuple[float, float]:
    value = assertion.value
    if isinstance(value, dict):
        if value and value.keys() <= {"min", "max"}:
            least = 0 if value.get("min") is None else _words(assertion, value["min"])
            most = math.inf if value.get("max") is None else _words(assertion, value["max"])
            if least <= most:
                return least, most
            raise suite_error(assertion, f"has `min` {least} above `max` {most}")
        raise suite_error(assertion, f"found {quoted(value)}; expected `min`, `max` or both")
    count = _words(assertion, value)
    return count, count


def _words(assertion: Assertion, value: object) -> int:
    if isinstance(value, str) and value.strip().isdecimal():  # from a column of a table
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise suite_error(assertion, f"found {quoted(value)}; expected a whole number >= 0, or `min` and `max`")

"""Checks of an answer's text: equality, substrings, patterns, number of words.

Each function builds the check of one assertion and raises SuiteError for a wrong value or threshold.

Source of the types and their meaning: promptfoo, "Deterministic metrics"
(promptfoo.dev/docs/configuration/expected-outputs/deterministic); docs/reference/assertions.md lists the differences.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.evals.assertions.javascript_text import to_text, words_of
from flowai.evals.assertions.records import CheckResult, quoted, suite_error
from flowai.evals.assertions.safe_regex import TIMEOUT_S, compile_pattern
from flowai.evals.assertions.structure import equals_json
from flowai.evals.suites.comma_list import split_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.suites.records import Assertion


def _text_of(assertion: Assertion, value: object) -> str:
    """Return a text; a number counts as its digits."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return to_text(value)
    found = "an empty text" if value == "" else quoted(value)
    hint = (
        "put it in quotes" if isinstance(value, bool) else "an empty text is in every answer" if value == "" else None
    )
    raise suite_error(assertion, f"found {found}; expected a text", hint=hint)


def _texts_of(assertion: Assertion) -> list[str]:
    """Return a list of texts; a single text is split at commas."""
    value = assertion.value
    if isinstance(value, str):
        try:
            value = split_list(value)
        except ValueError as error:
            raise suite_error(assertion, f"is not a list separated by commas: {error}") from None
    if not isinstance(value, list) or not value:
        raise suite_error(assertion, f"found {quoted(assertion.value)}; expected a list of texts")
    return [to_text(item) if isinstance(item, bool) else _text_of(assertion, item) for item in value]


def _check_text(text: str, is_met: Callable[[str], bool]) -> CheckFunction:
    detail = f" {quoted(text)}"
    return lambda answer: CheckResult(is_met(answer.text), detail)


def equals(assertion: Assertion) -> CheckFunction:
    """Pass if the answer is the text, byte for byte; for a list or mapping, the same JSON value."""
    value = assertion.value
    if isinstance(value, dict | list):
        return equals_json(value)
    expected = to_text(value)
    return _check_text(expected, lambda answer: answer == expected)


def contains(assertion: Assertion, fold: Callable[[str], str] = str) -> CheckFunction:
    """Pass if the text occurs in the answer; `fold` is applied to both sides first (`str.casefold` ignores case)."""
    text = _text_of(assertion, assertion.value)
    folded = fold(text)
    return _check_text(text, lambda answer: folded in fold(answer))


def contains_all(assertion: Assertion, fold: Callable[[str], str] = str) -> CheckFunction:
    """Pass if every text occurs in the answer; see `contains`."""
    texts = _texts_of(assertion)
    folded_texts = [(fold(text), text) for text in texts]

    def check(answer: Answer) -> CheckResult:
        answer_text = fold(answer.text)
        missing = [text for folded, text in folded_texts if folded not in answer_text]
        return CheckResult(not missing, f": no {_join(missing)}" if missing else f": found {_join(texts)}")

    return check


def contains_any(assertion: Assertion, fold: Callable[[str], str] = str) -> CheckFunction:
    """Pass if at least one of the texts occurs in the answer; see `contains`."""
    texts = _texts_of(assertion)
    folded_texts = [(fold(text), text) for text in texts]

    def check(answer: Answer) -> CheckResult:
        answer_text = fold(answer.text)
        present = [text for folded, text in folded_texts if folded in answer_text]
        return CheckResult(bool(present), f": found {_join(present)}" if present else f": none of {_join(texts)}")

    return check


def _join(texts: list[str]) -> str:
    shown = ", ".join(quoted(text) for text in texts[:3])
    return shown if len(texts) <= 3 else f"{shown} and {len(texts) - 3} more"  # noqa: PLR2004 - one line


def starts_with(assertion: Assertion) -> CheckFunction:
    """Pass if the answer begins with the text."""
    text = _text_of(assertion, assertion.value)
    return _check_text(text, lambda answer: answer.startswith(text))


def ends_with(assertion: Assertion) -> CheckFunction:
    """Pass if the answer ends with the text."""
    text = _text_of(assertion, assertion.value)
    return _check_text(text, lambda answer: answer.endswith(text))


def regex(assertion: Assertion) -> CheckFunction:
    """Pass if the pattern occurs anywhere in the answer; not judged if the search exceeds its time limit."""
    pattern = _text_of(assertion, assertion.value)
    try:
        occurs = compile_pattern(pattern)
    except ValueError as error:
        raise suite_error(assertion, f"has a wrong pattern {quoted(pattern)}: {error}") from None
    detail = f" {quoted(pattern)}"

    def check(answer: Answer) -> CheckResult:
        try:
            return CheckResult(occurs(answer.text), detail)
        except TimeoutError:
            return CheckResult(None, f"{detail}: timed out after {TIMEOUT_S:g} s")

    return check


def word_count(assertion: Assertion) -> CheckFunction:
    """Pass if the number of words, separated by white space, is the value or within its `min` and `max`."""
    return _count(assertion, lambda text: len(words_of(text)))


def character_count(assertion: Assertion) -> CheckFunction:
    """Pass if the number of characters (code points) is the value or within its `min` and `max`."""
    return _count(assertion, len)


def _count(assertion: Assertion, count_of: Callable[[str], int]) -> CheckFunction:
    low, high = _range(assertion)

    def check(answer: Answer) -> CheckResult:
        count = count_of(answer.text)
        if count < low:
            return CheckResult(passed=False, detail=f" {count} < {low:g}")
        if count > high:
            return CheckResult(passed=False, detail=f" {count} > {high:g}")
        return CheckResult(passed=True, detail=f" {count}")

    return check


def _range(assertion: Assertion) -> tuple[float, float]:
    value = assertion.value
    if isinstance(value, dict):
        if value and value.keys() <= {"min", "max"}:
            low = 0 if value.get("min") is None else _whole_number(assertion, value["min"])
            high = math.inf if value.get("max") is None else _whole_number(assertion, value["max"])
            if low <= high:
                return low, high
            raise suite_error(assertion, f"has `min` {low} above `max` {high}")
        raise suite_error(assertion, f"found {quoted(value)}; expected `min`, `max` or both")
    count = _whole_number(assertion, value)
    return count, count


def _whole_number(assertion: Assertion, value: object) -> int:
    if isinstance(value, str) and value.strip().isdecimal():  # from a column of a table
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == value // 1:
        return int(value)
    raise suite_error(assertion, f"found {quoted(value)}; expected a whole number >= 0, or `min` and `max`")

"""Each assertion type on answers that pass and that fail; every pair is checked with `not-` too."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from flowai.errors import SuiteError
from flowai.evals.assertions import Answer, compile_check
from flowai.evals.assertions.catalog import _BUILDERS
from flowai.evals.suites.assertion_types import COMPARISON_TYPES, SET_TYPES, SUPPORTED_TYPES, UNSUPPORTED_TYPES
from flowai.evals.suites.records import Assertion

PERSON = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "additionalProperties": False,
}

HOLDS: list[tuple[str, Any, str]] = [
    ("equals", "Paris", "Paris"),
    ("equals", "", ""),
    ("equals", 42, "42"),
    ("equals", {"a": [1, 2.0]}, ' {"a": [1.0, 2]}\n'),
    ("equals", True, "true"),
    ("contains", "ção", "a oração"),
    ("contains", 0, "10 items"),
    ("icontains", "STRASSE", "in der Straße"),
    ("icontains", "οδος", "ΟΔΟΣ"),
    ("contains-all", ["a", 2], "2 a"),
    ("contains-all", 'in stock, "1,000"', "1,000 in stock"),
    ("icontains-all", ["A", "B"], "ab"),
    ("contains-any", ["x", "y"], "xyz"),
    ("icontains-any", ["X", "Q"], "xyz"),
    ("starts-with", "Yes", "Yes, it is"),
    ("ends-with", "!", "no!"),
    ("regex", r"\d{4}", "in 2024 or so"),
    ("regex", "(?i)^no$", "NO"),
    ("regex", r"(?<year>\d+)", "7"),
    ("word-count", 3, " one  two\nthree "),
    ("word-count", "3", "one two three"),
    ("word-count", {"min": 1, "max": 3}, "one"),
    ("word-count", {"max": 0}, ""),
    ("is-json", None, '{"a": 1}'),
    ("is-json", None, "3"),
    ("is-json", PERSON, '{"name": "Ada", "age": 36}'),
    ("is-json", "type: [array, 'null']", "null"),
    ("is-json", True, "[]"),
    ("contains-json", None, 'Here you are: {"a": {"b": [1]}} as asked.'),
    ("contains-json", PERSON, 'see [1]: {"name": "Ada"}'),
    ("contains-json", {"type": "object"}, '{"items": [{"a": 1}, {"b": '),
    ("levenshtein", "kitten", "sitting"),
]
FAILS: list[tuple[str, Any, str, str]] = [
    ("equals", "Paris", "paris", 'equals "Paris"'),
    ("equals", {"a": 1}, '{"a": true}', "equals: $.a is true, expected 1"),
    ("equals", {"a": 1}, "{}", 'equals: $ lacks "a"'),
    ("equals", [1], '[1, {"b": 2}]', "equals: $ has 2 items, expected 1"),
    ("equals", {"a": 1}, "Paris", "equals: expecting value at column 1"),
    ("contains", "said", "", 'contains "said"'),
    ("contains-all", ["a", "b"], "a", 'contains-all: no "b"'),
    ("contains-any", ["a", "b"], "c", 'contains-any: none of "a", "b"'),
    ("icontains", "x", "", 'icontains "x"'),
    ("starts-with", "b", "ab", 'starts-with "b"'),
    ("ends-with", "a", "ab", 'ends-with "a"'),
    ("regex", "^a$", "ab", 'regex "^a$"'),
    ("word-count", {"max": 2}, "a b c", "word-count 3 > 2"),
    ("word-count", {"min": 1}, "", "word-count 0 < 1"),
    ("word-count", 1, "a b", "word-count 2 > 1"),
    ("is-json", None, "", "is-json: the answer is empty"),
    ("is-json", None, '{"a": "b', "is-json: unterminated string at column 7"),
    ("is-json", None, '{\n "a": }', "is-json: expecting value at line 2 column 7"),
    ("is-json", None, "```json\n{}\n```", "is-json: the answer is wrapped in a code fence"),
    ("is-json", None, "[NaN]", "is-json: `NaN` is not a JSON number"),
    ("is-json", None, "[" * 100_000, "is-json: nested too deeply"),
    ("is-json", PERSON, "{}", 'is-json: $ lacks "name"'),
    ("is-json", PERSON, '{"name": 3}', "is-json: $.name is 3, expected string"),
    ("is-json", PERSON, '{"name": "", "age": -1}', "is-json: $.age is -1, expected minimum 0"),
    ("is-json", PERSON, '{"name": "", "x": 1}', 'is-json: $ has unexpected "x"'),
    ("is-json", {"enum": ["a", "b"]}, '"c"', 'is-json: $ is "c", expected one of ["a", "b"]'),
    ("is-json", {"maxItems": 1}, "[1, 2]", "is-json: $ has length 2, expected maxItems 1"),
    ("is-json", {"pattern": "^a"}, '"b"', 'is-json: $ is "b", which does not match "^a"'),
    ("contains-json", None, "a { b } and [c", "contains-json: no JSON object or list in the answer"),
    ("contains-json", None, "", "contains-json: no JSON object or list in the answer"),
    ("contains-json", PERSON, '{"name": 3}', "contains-json: $.name is 3, expected string"),
    ("levenshtein", "", "longer", 'levenshtein distance to "" > 5'),
]


def check(name: str, value: object, answer: Answer, **more: Any) -> Any:
    return compile_check(Assertion(type=name, value=value, place="evals/x.yaml:7", **more))(answer)


@pytest.mark.parametrize(("name", "value", "text"), HOLDS)
def test_a_passing_check_passes_and_its_opposite_fails(name: str, value: object, text: str) -> None:
    held = check(name, value, Answer(text=text))
    assert held.passed is True
    assert held.score == 1.0
    assert held.reason == ""
    opposite = check(name, value, Answer(text=text), negated=True)
    assert opposite.passed is False
    assert opposite.score == 0.0
    assert opposite.type == f"not-{name}"
    assert opposite.reason.startswith(f"not-{name}")
    assert opposite.place == "evals/x.yaml:7"


@pytest.mark.parametrize(("name", "value", "text", "reason"), FAILS)
def test_a_failing_check_has_a_reason_and_its_opposite_passes(name: str, value: object, text: str, reason: str) -> None:
    failed = check(name, value, Answer(text=text))
    assert failed.passed is False
    assert failed.score == 0.0
    assert failed.reason == reason
    assert check(name, value, Answer(text=text), negated=True).passed is True


@pytest.mark.parametrize(
    ("name", "value", "threshold", "answer", "passed", "reason"),
    [
        ("latency", None, 5000, Answer(text="", latency_ms=5000), True, ""),
        ("latency", None, 5000, Answer(text="", latency_ms=5210.4), False, "latency 5210 ms > 5000 ms"),
        ("latency", None, 5000, Answer(text=""), None, "latency: not measured"),
        ("ttft", None, 300, Answer(text="", ttft_ms=299.9), True, ""),
        ("ttft", None, 300, Answer(text="", ttft_ms=301), False, "ttft 301 ms > 300 ms"),
        ("ttft", None, 300, Answer(text="", latency_ms=1), None, "ttft: not measured"),
        ("cost", None, 0.001, Answer(text="", cost_usd=0), True, ""),
        ("cost", None, 0.001, Answer(text="", cost_usd=0.0021), False, "cost $0.0021 > $0.001"),
        ("cost", None, 0.001, Answer(text=""), None, "cost: the price is not known"),
        ("finish-reason", "STOP", None, Answer(text="", finish_reason="stop"), True, ""),
        (
            "finish-reason",
            "stop",
            None,
            Answer(text="", finish_reason="length"),
            False,
            'finish-reason "length", expected "stop"',
        ),
        ("finish-reason", "stop", None, Answer(text=""), None, "finish-reason: not reported by the provider"),
        ("levenshtein", "abc", 0, Answer(text="abc"), True, ""),
        ("levenshtein", "abc", 0, Answer(text="abd"), False, 'levenshtein distance to "abc" > 0'),
    ],
)
def test_limits_are_not_judged_without_a_measurement(
    name: str,
    value: object,
    threshold: float | None,
    answer: Answer,
    passed: bool | None,
    reason: str,
) -> None:
    result = check(name, value, answer, threshold=threshold)
    assert result.passed == passed
    assert result.reason == reason
    opposite = check(name, value, answer, threshold=threshold, negated=True)
    assert opposite.passed is (None if passed is None else not passed)


def test_the_catalog_and_the_list_of_names_agree() -> None:
    assert _BUILDERS.keys() | SET_TYPES | COMPARISON_TYPES == SUPPORTED_TYPES
    assert not SUPPORTED_TYPES & UNSUPPORTED_TYPES


def test_reasons_are_one_short_printable_line() -> None:
    hostile = "\x1b[31m\n\u202e" + "x" * 10_000
    for name, value in [("contains", hostile), ("regex", "(?x)" + "y" * 500), ("is-json", {"const": "a"})]:
        reason = check(name, value, Answer(text=f'"\\u001b{"z" * 5000}"')).reason
        assert reason.isprintable()
        assert len(reason) < 250


@pytest.mark.parametrize(("name", "package"), [("is-html", "selectolax"), ("contains-sql", "sqlglot")])
def test_a_missing_library_is_named_with_its_command(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [package, *(loaded for loaded in sys.modules if loaded.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SuiteError, match=f"`{name}` needs the package `{package}`") as caught:
        compile_check(Assertion(type=name))
    assert "flowai[metrics]" in (caught.value.hint or "")


WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "required": ["city"]}},
}


@pytest.mark.parametrize(
    ("output", "passed"),
    [
        ({"name": "weather", "arguments": '{"city": "Paris"}'}, True),
        ({"function_call": {"name": "weather", "arguments": '{"city": "Paris"}'}}, True),
        ({"tool_calls": [{"function": {"name": "weather", "arguments": '{"city": "Paris"}'}}]}, True),
        ({"name": "weather", "arguments": "{}"}, False),
        ({"name": "time", "arguments": "{}"}, False),
        ({"name": "weather", "arguments": "{"}, False),
        ({"name": "weather"}, False),
        (None, False),
    ],
)
@pytest.mark.parametrize("declared", [{"tools": [WEATHER]}, {"functions": [WEATHER["function"]]}])
def test_a_function_call_is_checked_by_the_targets_declarations(
    output: Any, passed: bool, declared: dict[str, Any]
) -> None:
    answer = Answer(text="hello", output=output, declared_tools=declared)
    for name in ("is-valid-function-call", "is-valid-openai-function-call"):
        assert check(name, None, answer).passed is passed


def test_the_providers_own_calls_are_checked() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    answer = Answer(text="", tool_calls=(call,), declared_tools={"tools": [WEATHER]})
    assert check("is-valid-openai-tools-call", None, answer).passed is True
    assert check("tool-call-f1", ["weather"], answer).passed is True
    assert check("is-valid-openai-tools-call", None, Answer(text="", tool_calls=(call,))).passed is False


def test_the_providers_own_refusal_counts() -> None:
    assert check("is-refusal", None, Answer(text="Here you are", refusal="no")).passed is True


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("MySQL", "expected a mapping"),
        ({"database": "MySQL"}, "unknown key"),
        ({"databaseType": "Oracle"}, "expected a known one"),
        ({"allowedTables": ["("]}, "wrong pattern"),
        ({"allowedTables": "t"}, "expected a list"),
    ],
)
def test_wrong_settings_of_sql_are_named(value: Any, what: str) -> None:
    with pytest.raises(SuiteError, match=what):
        compile_check(Assertion(type="is-sql", value=value))

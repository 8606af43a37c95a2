"""Answers made to hang, crash or fool a check."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowai.evals.assertions import Answer, compile_check, safe_regex
from flowai.evals.assertions.similarity import edit_distance
from flowai.evals.assertions.structure import iterate_json
from flowai.evals.suites.records import Assertion


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_regex, "TIMEOUT_S", 0.01)


@pytest.mark.usefixtures("impatient")
def test_a_pattern_that_backtracks_without_end_times_out() -> None:
    for negated in (False, True):
        check = compile_check(Assertion(type="regex", value="(.*a){25}x", negated=negated))
        assert check(Answer(text="a" * 50_000)).passed is None


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "(.*a){25}x"}}},
        {"patternProperties": {"(.*a){25}x": {}}},
        {"patternProperties": {"(.*a){25}x": {}}, "additionalProperties": False},
    ],
)
def test_a_pattern_inside_a_schema_times_out(schema: dict[str, object]) -> None:
    long = "a" * 50_000
    for name in ("is-json", "contains-json"):
        check = compile_check(Assertion(type=name, value=schema))
        result = check(Answer(text=json.dumps({"a": long, long: 1})))
        assert result.passed is None
        assert "timed out" in result.reason


@pytest.mark.parametrize("junk", ["[" * 50_000, '{"a":' * 20_000, '["a",' * 20_000, "[NaN," * 20_000])
def test_brackets_that_are_not_json_cost_bounded_work(junk: str) -> None:
    result = compile_check(Assertion(type="contains-json"))(Answer(text=junk))
    assert result.passed is None
    assert result.reason == "contains-json: too many brackets that are not JSON"


def test_numbers_longer_than_python_reads_are_json_all_the_same() -> None:
    assert compile_check(Assertion(type="is-json"))(Answer(text="1" * 10_000)).passed is True


def test_a_recursive_schema_fails_the_answer_and_not_the_run() -> None:
    check = compile_check(Assertion(type="is-json", value={"$ref": "#"}))
    assert check(Answer(text="1")).reason == "is-json: nested too deeply for its schema"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=5), parts, max_size=3),
    max_leaves=8,
)


@given(
    st.text(max_size=20).filter(lambda text: not set(text) & set("[{")),
    st.lists(st.lists(JSON, max_size=3) | st.dictionaries(st.text(max_size=4), JSON, max_size=3), max_size=3),
)
def test_json_in_prose_is_found_whole(prose: str, values: list[object]) -> None:
    text = prose + "".join(json.dumps(value) + prose for value in values)
    assert list(iterate_json(text)) == values


def plain_distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        row, above = [i], row
        for j, b in enumerate(right, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b)))
    return row[-1]


@settings(deadline=None)  # the first call loads the library
@given(st.text("abç😀\ud800", max_size=12), st.text("abç😀\ud800", max_size=12), st.integers(0, 12) | st.just(2**70))
def test_the_edit_distance_is_that_of_the_textbook(left: str, right: str, most: int) -> None:
    distance = plain_distance(left, right)
    assert edit_distance(left, right, max_distance=most) == (distance if distance <= most else None)

"""Answers made to hang, crash or fool a check."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowai.errors import SuiteError
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


LIMIT_S = 20.0
"""Bounded time on a busy machine; each takes a second or less on an idle one."""
LONG = 10_000_000
LONG_PART = 200_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("equals", {"a": 1}), ("contains-json", None), ("is-json", {"items": {"type": "integer"}}), ("is-html", None),
        ("contains-html", None), ("is-xml", "a.b"), ("contains-xml", "a.b"), ("is-sql", None), ("contains-sql", None),
        ("is-refusal", None), ("bleu", "x y"), ("gleu", "x y"), ("rouge-n", "x y"), ("meteor", "x y"), ("word-count",
        1),
        ("character-count", 1), ("levenshtein", "x"), ("tool-call-f1", ["x"]), ("regex", r"\bx\b"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "text",
    [
        "x" * LONG, "{" * LONG, "x " * LONG_PART, "<a " * LONG_PART, "<a>" * LONG_PART, '{"a":' * LONG_PART,
        '["a",' * LONG_PART,
        "[" * 100_000 + "1", "(" * 40_000, "SELECT (" * 6_000, "<a x='" * 100_000, "\ud800" * 1_000, "\x00" * 1_000_000,
        "```sql\n" * 100_000, "<!-- " * 200_000,
    ],
    ids=lambda text: repr(text[:8]),
)  # fmt: skip
def test_an_answer_of_any_size_and_form_costs_bounded_time(name: str, value: object, text: str) -> None:
    check = compile_check(Assertion(type=name, value=value))
    start = time.monotonic()
    result = check(Answer(text=text))
    assert time.monotonic() - start < LIMIT_S
    assert result.passed is not None or result.reason


BOMB = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">{}]><l>&z;</l>'.format(
    "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghz", strict=True))
)


@pytest.mark.parametrize("text", [BOMB, '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>'])
def test_entities_are_never_expanded_or_fetched(text: str) -> None:
    result = compile_check(Assertion(type="is-xml"))(Answer(text=text))
    assert result.passed is False
    assert result.reason == "is-xml: its document type has declarations of its own"


def test_a_number_too_large_for_its_schema_fails_the_answer_and_not_the_run() -> None:
    check = compile_check(Assertion(type="is-json", value={"multipleOf": 0.5}))
    assert check(Answer(text="1e400")).reason == "is-json: has a number that is too large for its schema"


def test_an_answer_with_a_million_mistakes_is_described_by_a_few() -> None:
    check = compile_check(Assertion(type="is-json", value={"items": {"type": "integer"}}))
    start = time.monotonic()
    assert check(Answer(text=json.dumps(["x"] * 1_000_000))).passed is False
    assert time.monotonic() - start < LIMIT_S


@pytest.mark.parametrize(
    "pattern", ["(" * 5_000, "[" * 90_000, "a{1000}{1000}", "(?<a>x)" * 2_000, "\\" * 9_999, "(a|" * 9_000]
)
def test_a_pattern_of_any_form_is_an_error_or_is_searched(pattern: str) -> None:
    start = time.monotonic()
    try:
        check = compile_check(Assertion(type="regex", value=pattern))
    except SuiteError:
        pass
    else:
        check(Answer(text="a" * 100_000))
    assert time.monotonic() - start < LIMIT_S


def test_a_schema_of_any_size_is_compiled_in_bounded_time() -> None:
    wide = {
        "type": "object",
        "properties": {f"k{index}": {"type": "string", "pattern": "^a+$"} for index in range(5_000)},
    }
    deep: dict[str, object] = {"type": "integer"}
    for _ in range(80):
        deep = {"properties": {"a": deep}}
    for schema in (wide, deep):
        start = time.monotonic()
        assert compile_check(Assertion(type="is-json", value=schema))(Answer(text="{}")).passed is True
        assert time.monotonic() - start < LIMIT_S

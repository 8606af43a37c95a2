"""JSON in four dialects: accepted texts, and reasons for the others."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.storage.strict_json import Dialect, NotStrictError, json_problem, parse_json, parse_json_at

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(JSON, st.sampled_from([None, 2]))
def test_every_json_text_is_valid(value: object, indent: int | None) -> None:
    assert json_problem(json.dumps(value, indent=indent)) is None


@given(st.text())
def test_any_text_is_accepted_or_refused(text: str) -> None:
    problem = json_problem(text)
    assert problem is None or (problem and "\n" not in problem)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the answer is empty"),
        (" \n", "the answer is empty"),
        ('{"summary": "The merger', "unterminated string at column 13"),
        ('{"a": 1,}', "column 9"),
        ('{"a": 1} and more', "extra data at column 10"),
        ('```json\n{"a": 1}\n```', "expecting value at column 1"),
        ('{\n  "a": tru\n}', "expecting value at line 2 column 8"),
        ("[NaN]", "`NaN` is not a JSON number"),
        ("[-Infinity]", "`-Infinity` is not a JSON number"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "4300"),
        ("'a'", "expecting value at column 1"),
    ],
)
def test_the_reason_has_problem_and_position(text: str, reason: str) -> None:
    assert reason in (json_problem(text) or "")


DIALECTS: tuple[Dialect, ...] = ("rfc8259", "readable", "lossless", "interoperable")  # each refuses more than the last


def taken_by(text: str) -> int:
    """Count the dialects that accept a text; they are the first ones."""
    taken = []
    for dialect in DIALECTS:
        try:
            parse_json(text, dialect=dialect)
        except NotStrictError:
            taken.append(False)
        else:
            taken.append(True)
    assert taken == sorted(taken, reverse=True)
    return sum(taken)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("{", 0),
        ("[NaN]", 0),
        ("1" * 5000, 1),
        ('{"a": 1, "a": 2}', 2),
        ("1e999", 2),
        (str(2**64), 3),
        ('"\\ud83d"', 3),
        ("[" * 65 + "]" * 65, 3),
        ('{"a": [1.5, null, "\\ud83d\\ude00"]}', 4),
    ],
)
def test_each_dialect_refuses_more(text: str, count: int) -> None:
    assert taken_by(text) == count


@given(JSON, st.sampled_from(DIALECTS[:3]))
def test_every_dialect_reads_the_same_value(value: object, dialect: Dialect) -> None:
    text = json.dumps(value)
    assert parse_json(text, dialect=dialect) == value
    assert parse_json_at(f"x{text} and more", 1, dialect=dialect) == (value, len(text) + 1)


@given(st.text('[]{}",:0919eN aInfity\\ud8 \n', max_size=30))
def test_a_text_that_a_dialect_accepts_is_json_for_python(text: str) -> None:
    if taken_by(text):
        json.loads(text)

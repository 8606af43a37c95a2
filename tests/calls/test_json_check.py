from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.calls import json_validity

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(JSON, st.sampled_from([None, 2]))
def test_every_json_text_is_valid(value: object, indent: int | None) -> None:
    assert json_validity(json.dumps(value, indent=indent)) == (True, "")


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    valid, reason = json_validity(text)
    assert valid is not bool(reason)
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the answer is empty"),
        (" \n", "the answer is empty"),
        ('{"summary": "The merger', "unterminated string at column 13"),
        ('{"a": 1,}', "column 9"),
        ('{"a": 1} and more', "extra data at column 10"),
        ('```json\n{"a": 1}\n```', "expecting value at column 1"),
        ('{\n  "a": tru\n}', "expecting value at line 2, column 8"),
        ("[NaN]", "`NaN` is not JSON"),
        ("[-Infinity]", "`-Infinity` is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "4300"),
        ("'a'", "expecting value at column 1"),
    ],
)
def test_the_reason_says_what_and_where(text: str, reason: str) -> None:
    valid, found = json_validity(text)
    assert not valid
    assert reason in found

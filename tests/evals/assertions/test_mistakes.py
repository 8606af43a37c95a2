"""Wrong assertions are reported before any call, with location and hint."""

from __future__ import annotations

from typing import Any

import pytest

from flowai.errors import SuiteError
from flowai.evals.assertions import compile_check
from flowai.evals.suites.records import Assertion

WRONG: list[tuple[dict[str, Any], str, str | None]] = [
    ({"type": "contians", "value": "x"}, "`contians` is not an assertion type", "did you mean `contains`?"),
    ({"type": "ruby", "value": "x"}, "`ruby` is one of promptfoo's", "use `python` or `javascript`"),
    ({"type": "trajectory:tool-used", "negated": True}, "`not-trajectory:tool-used` is one of", "records no traces"),
    ({"type": "contains"}, "`contains` has no `value`", None),
    ({"type": "contains", "value": ""}, "found an empty text", "an empty text is in every answer"),
    ({"type": "contains", "value": True}, "found true; expected a text", "put it in quotes"),
    ({"type": "contains", "value": ["a"]}, 'found ["a"]; expected a text', None),
    ({"type": "contains", "value": "x", "threshold": 0.5}, "accepts no `threshold`", "remove `threshold`"),
    ({"type": "contains-any", "value": []}, "found []; expected a list of texts", None),
    ({"type": "contains-any", "value": ["a", ""]}, "found an empty text", None),
    ({"type": "regex", "value": "(a"}, 'has a wrong pattern "(a"', None),
    ({"type": "is-json", "value": {"type": "objekt"}}, "has a wrong JSON Schema: $.type", None),
    ({"type": "is-json", "value": [1]}, "found [1]; expected a JSON Schema", None),
    ({"type": "is-json", "value": "{a: ["}, "has an invalid schema: not valid YAML", None),
    ({"type": "is-json", "value": {"$ref": "https://example.org/s"}}, "outside its schema", "flowai fetches no"),
    ({"type": "is-json", "value": {"$ref": "#/$defs/x"}}, "unresolvable", None),
    ({"type": "is-json", "value": {"properties": {"a": {"pattern": "(?<"}}}}, "wrong", None),
    ({"type": "word-count", "value": {"min": 3, "max": 1}}, "has `min` 3 above `max` 1", None),
    ({"type": "word-count", "value": {"maximum": 1}}, "expected `min`, `max` or both", None),
    ({"type": "word-count", "value": 1.5}, "expected a whole number", None),
    ({"type": "levenshtein", "value": 3}, "found 3; expected a text", None),
    ({"type": "latency"}, "has no `threshold`", "milliseconds"),
    ({"type": "latency", "value": 500}, "accepts no `value`", "as `threshold`"),
    ({"type": "cost"}, "has no `threshold`", "US dollars"),
    ({"type": "finish-reason", "value": "stopp"}, 'found "stopp"', "did you mean `stop`?"),
    (
        {"type": "assert-set", "threshold": 2.0, "children": (Assertion(type="is-json"),)},
        "expected a score from 0 to 1",
        None,
    ),
    ({"type": "assert-set", "children": (Assertion(type="nope"),)}, "`nope` is not an assertion type", None),
]


@pytest.mark.parametrize(("given", "what", "hint"), WRONG)
def test_a_wrong_assertion_is_named(given: dict[str, Any], what: str, hint: str | None) -> None:
    with pytest.raises(SuiteError) as caught:
        compile_check(Assertion(place="evals/summary.yaml:12", **given))
    assert what in caught.value.what
    if "children" not in given or "threshold" in given:
        assert str(caught.value).startswith("evals/summary.yaml:12: ")
    if hint is not None:
        assert hint in (caught.value.hint or "")

"""Tables of cases in every format, and what can be wrong with a row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flowai.errors import DatasetError, ProjectError
from flowai.evals.suites.loader import load_suite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.evals.suites.records import Suite
    from flowai.project import Project

    Write = Callable[[str, str | bytes], Path]

ROW = {"vars": {"text": "hi"}, "assert": [{"type": "contains", "value": "{{text}}"}]}


@pytest.fixture
def table(project: Project, write: Write) -> Callable[[str, str | bytes], Suite]:
    def read(ending: str, content: str | bytes) -> Suite:
        write(f"datasets/t{ending}", content)
        return load_suite(write("evals/x.yaml", f"tests: file://../datasets/t{ending}\n"), project)

    return read


@pytest.mark.parametrize(
    ("ending", "content", "lines"),
    [
        (".jsonl", f"{json.dumps(ROW)}\n\n{json.dumps(ROW)}\n", [1, 3]),
        (".jsonl", "\ufeff" + json.dumps(ROW) + "\r\n" + json.dumps(ROW), [1, 2]),
        (".json", json.dumps([ROW, ROW]), [1, 1]),
        (".json", f"\n[\n  {json.dumps(ROW, indent=1)}\n,\n{json.dumps(ROW)} ]\n", [3, 15]),
        (
            ".yaml",
            """\
- vars: {text: hi}
  assert: [{type: contains, value: hi}]
-
  vars: {text: hi}
  assert: [{type: contains, value: "{{text}}"}]
""",
            [1, 4],
        ),
        (".csv", 'text,__expected\nhi,contains: hi\n"hi","contains: {{text}}"\n', [2, 3]),
    ],
)
def test_every_format_gives_the_same_cases(
    table: Callable[[str, str | bytes], Suite], ending: str, content: str, lines: list[int]
) -> None:
    suite = table(ending, content)
    assert [case.id for case in suite.cases] == ["t-1", "t-2"]
    assert [case.place for case in suite.cases] == [f"datasets/t{ending}:{line}" for line in lines]
    for case in suite.cases:
        assert case.vars == {"text": "hi"}
        assert [(check.type, check.value) for check in case.assertions] == [("contains", "hi")]


def test_the_special_columns_of_csv(table: Callable[[str, str | bytes], Suite]) -> None:
    suite = table(
        ".csv",
        "text,__id,__description,__expected1,__expected2,__metric,__threshold,__metadata:kind,__metadata:tags[],"
        "__config:__expected2:threshold\r\n"
        '"a ""b""\nc, d",one,First,"contains-any: x, ""y,z""",levenshtein: abc,m,0.5,easy,"p,q\\,r",3\r\n'
        "plain,,,not-icontains: no,,,,,,\r\n",
    )
    first, second = suite.cases
    assert first.vars == {"text": 'a "b"\nc, d'}
    assert first.id == "one"
    assert first.description == "First"
    assert first.threshold == 0.5
    assert first.metadata == {"kind": "easy", "tags": ["p", "q,r"]}
    any_of, distance = first.assertions
    assert any_of.type == "contains-any"
    assert any_of.value == ["x", "y,z"]
    assert any_of.metric == "m"
    assert distance.type == "levenshtein"
    assert distance.value == "abc"
    assert distance.threshold == 3
    assert second.id == "t-2"
    assert second.place == "datasets/t.csv:4"
    assert second.threshold is None
    assert [check.spelling for check in second.assertions] == ["not-icontains"]


@pytest.mark.parametrize(
    ("cell", "spelling", "value", "threshold"),
    [
        ("Paris", "equals", "Paris", None),
        ("Note: this", "equals", "Note: this", None),
        ("note: this", "equals", "note: this", None),
        ("https://example.org", "equals", "https://example.org", None),
        ("cost is high", "equals", "cost is high", None),
        ("regex", "equals", "regex", None),
        ("contains: a: b", "contains", "a: b", None),
        ("not-contains:Paris", "not-contains", "Paris", None),
        ("is-json", "is-json", None, None),
        ("not-is-json", "not-is-json", None, None),
        ("latency(500)", "latency", None, 500),
        ("levenshtein(2): kitten", "levenshtein", "kitten", 2),
        ("contains-all: a\nb", "contains-all", ["a", "b"], None),
        ("llm-rubric: is it kind?", "llm-rubric", "is it kind?", None),
        ("trajectory:tool-used: x", "trajectory:tool-used", "x", None),
    ],
)
def test_an_assertion_in_shorthand(
    table: Callable[[str, str | bytes], Suite], cell: str, spelling: str, value: object, threshold: float | None
) -> None:
    (check,) = table(".jsonl", json.dumps({"text": "x", "__expected": cell})).cases[0].assertions
    assert check.spelling == spelling
    assert check.value == value
    assert check.threshold == threshold


def test_flat_rows_are_variables(table: Callable[[str, str | bytes], Suite]) -> None:
    suite = table(".jsonl", '{"question": "q", "answer": 4}\n{"answer": 5, "question": "r", "__expected": 5}\n')
    assert [case.vars for case in suite.cases] == [
        {"question": "q", "answer": 4},
        {"question": "r", "answer": 5},
    ]
    assert suite.cases[1].assertions[0].value == 5


def test_texts_in_tables_are_data_and_never_file_references(
    table: Callable[[str, str | bytes], Suite], write: Write
) -> None:
    write("datasets/schema.json", '{"type": "object"}')
    row = {
        "vars": {"text": "file://../registry.yaml"},
        "assert": [
            {"type": "equals", "value": "file://../registry.yaml"},
            {"type": "is-json", "value": "file://schema.json"},
        ],
    }
    (case,) = table(".jsonl", json.dumps(row)).cases
    assert case.vars["text"] == "file://../registry.yaml"
    assert [check.value for check in case.assertions] == ["file://../registry.yaml", {"type": "object"}]


def test_tables_may_be_relative_to_the_root_or_a_pattern(project: Project, write: Write) -> None:
    for name in ("a", "b1", "b2"):
        write(f"datasets/{name}.csv", "text\nx\n")
    suite = load_suite(write("evals/x.yaml", "tests: [datasets/a.csv, file://../datasets/b*.csv]"), project)
    assert [case.id for case in suite.cases] == ["a-1", "b1-1", "b2-1"]


WRONG = [
    (".jsonl", b'{"vars": {}}\n{"vars": \n', "t.jsonl:2", "not valid JSON"),
    (".jsonl", b"[1]\n", "t.jsonl:1", "a row is a list; expected an object"),
    (".jsonl", b'{"vars": 3}\n', "t.jsonl:1", "found 3; expected a mapping"),
    (".jsonl", b'\n{"vars": {}, "asert": []}\n', "t.jsonl:2", "unknown key `asert`"),
    (".jsonl", b"\n \n", "t.jsonl", "no rows"),
    (".jsonl", b'{"a": "\xff"}\n', "t.jsonl:1", "not UTF-8"),
    (".jsonl", b"[" * 100_000, "t.jsonl:1", "too many levels of objects and arrays"),
    (".jsonl", b'{"a": 1' + b"0" * 5000 + b"}", "t.jsonl:1", "a number has too many digits"),
    (".jsonl", b'{"a": "b", "__expected": "contians-all: x"}', "t.jsonl:1", "unknown assertion type `contians-all`"),
    (".jsonl", b'{"vars": {}, "assert": [{"type": "equals", "value": "{{x}}"}]}', "t.jsonl:1", "unknown variable `x`"),
    (".json", b'{"vars": {}}', "t.json:1", "expected a list of cases"),
    (".json", b"", "t.json:1", "found nothing; expected a list"),
    (".json", b"[]", "t.json", "no rows"),
    (".json", b'[{"a": 1},\n {"a": }]', "t.json:2", "not valid JSON"),
    (".json", b'[{"a": 1}\n {"a": 2}]', "t.json:2", "expected `,` or `]`"),
    (".json", b'[{"a": 1},]', "t.json:1", "not valid JSON"),
    (".json", b'[{"a": 1}', "t.json:1", "expected `,` or `]`"),
    (".json", b'[{"a": 1}] x', "t.json:1", "text after the list"),
    (".yaml", b"a: 1\n", "t.yaml:1", "found a mapping; expected a list of cases"),
    (".yaml", b"- 3\n", "t.yaml:1", "a row is 3"),
    (".yaml", b"", "t.yaml", "no rows"),
    (".csv", b"", "t.csv", "no rows"),
    (".csv", b"text\n", "t.csv", "no rows"),
    (".csv", b"a,b\n1,2\n\n1,2,3\n", "t.csv:4", "found 3 columns; expected 2"),
    (".csv", b'a,b\n1,2\n"1,2\n3,4\n', "t.csv:3", "a double quote in this row is never closed"),
    (".csv", b'a,b\n"x"y,2\n', "t.csv:2", "not valid CSV"),
    (".csv", b'a,b\n"x\ny",2\n1\n', "t.csv:4", "found 1 columns"),
    (".csv", "a,b\nü,2\n".encode("latin-1"), "t.csv:2", "byte 0xfc is not UTF-8"),
    (".csv", b"a,,b\n1,2,3\n", "t.csv:1", "column 2 has no name"),
    (".csv", b"a,a\n1,2\n", "t.csv:1", "two columns have the name `a`"),
    (".csv", b"a;b\n1;2\n", "t.csv:1", "not separated by commas"),
    (".csv", b"a,__sufix\n1,2\n", "t.csv:1", "unknown column `__sufix`"),
    (".csv", b"a,__expected\n1,contians: x\n", "t.csv:2", "unknown assertion type `contians`"),
    (".csv", b"a,__expect\n1,2\n", "t.csv:1", "unknown column `__expect`"),
    (".csv", b"a,__threshold\n1,high\n", "t.csv:2", "found `high`; expected a number"),
    (".csv", b"a,__expected\n1,assert-set: x\n", "t.csv:2", "is not possible in a column"),
    (".csv", b"a\n" + b"x" * 140_000, "t.csv:2", "longer than 131,072 characters"),
    (".parquet", b"PAR1", "t.parquet", "tables with the suffix `.parquet` are not supported"),
]


@pytest.mark.parametrize(("ending", "content", "place", "what"), WRONG)
def test_a_wrong_row_gives_one_error_with_its_line(
    table: Callable[[str, str | bytes], Suite], ending: str, content: bytes, place: str, what: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        table(ending, content)
    assert str(caught.value).startswith(f"datasets/{place}: ")
    assert what in str(caught.value)


def test_a_missing_table_is_named(project: Project, write: Write) -> None:
    with pytest.raises(DatasetError, match=r"datasets/nope\.csv: no such file"):
        load_suite(write("evals/x.yaml", "tests: file://../datasets/nope.csv"), project)

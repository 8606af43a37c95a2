"""Suites as files, and the records they are loaded into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flowai.errors import ProjectError, SuiteError
from flowai.evals.reports.records import Gate
from flowai.evals.suites.loader import load_suite, load_suites

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.evals.suites.records import Suite
    from flowai.project import Project

    Read = Callable[[str], Suite]
    Write = Callable[[str, str | bytes], Path]

ONE_TEST = "tests: [{vars: {text: a}}]\n"


def test_a_complete_suite(suite_of: Read) -> None:
    suite = suite_of(
        """\
description: Summaries
prompts:
  - prompts/summary_v2
  - file://../prompts/summary_v1.prompt
  - prompts/code_v1
providers: [smollm2, "openai:gpt-4o-mini", "openai:chat:gpt-4o", {id: anthropic/claude-3-haiku}]
defaultTest:
  vars: {tone: dry}
  threshold: 0.5
  assert:
    - {type: not-contains, value: sorry, weight: 0.5, metric: manners}
tests:
  - id: short
    description: A short one
    vars: {text: hello}
    assert:
      - type: contains
        value: "{{text}}"
    metadata: {kind: easy}
  - vars: {text: hi, tone: wet}
    threshold: 1
flowai:
  feature: summarization
  repeats: 3
  baseline: prompts/summary_v1
  gate: {pass_rate: 0.95, json_valid_rate: 1, latency_p95: 5s, ttft_p95: 800ms, cost_usd: 0.5, metrics: {manners: 0.9}}
"""
    )
    assert suite.path == "evals/x.yaml"
    assert suite.description == "Summaries"
    assert suite.feature == "summarization"
    assert suite.repeats == 3
    assert suite.prompts == ("prompts/summary_v2", "prompts/summary_v1", "prompts/code_v1")
    assert suite.models == ("smollm2", "openai/gpt-4o-mini", "openai/gpt-4o", "anthropic/claude-3-haiku")
    assert suite.baseline == "prompts/summary_v1"
    assert suite.gate == Gate(
        pass_rate=0.95,
        json_valid_rate=1,
        latency_p95_ms=5000,
        ttft_p95_ms=800,
        cost_usd=0.5,
        metrics={"manners": 0.9},
    )
    short, second = suite.cases
    assert short.id == "short"
    assert short.place == "evals/x.yaml:13"
    assert short.threshold == 0.5
    assert short.metadata == {"kind": "easy"}
    assert short.vars == {"tone": "dry", "text": "hello"}
    manners, contains = short.assertions
    assert manners.spelling == "not-contains"
    assert manners.weight == 0.5
    assert manners.metric == "manners"
    assert manners.place == "evals/x.yaml:11"
    assert contains.value == "hello"
    assert contains.place == "evals/x.yaml:17"
    assert second.id == "case-2"
    assert second.vars == {"tone": "wet", "text": "hi"}
    assert second.threshold == 1
    assert second.assertions[0] is manners


def test_lists_expand_to_every_combination(suite_of: Read) -> None:
    suite = suite_of("tests: [{id: c, vars: {a: [1, 2], b: x, c: [p, q]}}]")
    assert [case.id for case in suite.cases] == ["c-1", "c-2", "c-3", "c-4"]
    assert [(case.vars["a"], case.vars["c"]) for case in suite.cases] == [(1, "p"), (1, "q"), (2, "p"), (2, "q")]


def test_lists_remain_lists_with_the_option(suite_of: Read) -> None:
    suite = suite_of(
        "defaultTest: {options: {disableVarExpansion: true}}\n"
        "tests: [{vars: {a: [1, 2]}, assert: [{type: contains-any, value: '{{a}}'}]}]"
    )
    assert suite.cases[0].vars == {"a": [1, 2]}
    assert suite.cases[0].assertions[0].value == [1, 2]


def test_an_id_is_set_or_made_from_the_description_or_counted(suite_of: Read) -> None:
    suite = suite_of(
        "tests: [{id: 7}, {metadata: {id: seven}}, {description: 'Über 100 %: «naïve»!'}, {description: '?!'}, {}]"
    )
    assert [case.id for case in suite.cases] == ["7", "seven", "über-100-naïve", "case-4", "case-5"]


def test_two_cases_with_one_id_are_both_named(suite_of: Read, write: Write) -> None:
    write("datasets/t.jsonl", '{"id": "a", "vars": {}}\n')
    with pytest.raises(
        ProjectError, match=r"two cases have the id `a`: evals/x\.yaml:2 and datasets/t\.jsonl:1"
    ) as caught:
        suite_of("tests:\n  - id: a\n  - file://../datasets/t.jsonl\n")
    assert caught.value.hint is not None


def test_variables_are_substituted_as_plain_data(suite_of: Read) -> None:
    suite = suite_of(
        """\
tests:
  - vars: {name: "{{evil}}", who: {age: 3, tags: {x: [1]}}, empty: null}
    assert:
      - {type: equals, value: "{{name}}"}
      - {type: contains, value: "is {{ who.age }} / {{who.tags}} / {{empty}}"}
      - {type: equals, value: {age: "{{who.age}}", deep: ["{{name}}"]}}
      - type: assert-set
        metric: "m-{{who.age}}"
        assert: [{type: contains, value: "{{name}}"}]
"""
    )
    equals, contains, mapping, whole = suite.cases[0].assertions
    assert equals.value == "{{evil}}"
    assert contains.value == 'is 3 / {"x": [1]} / null'
    assert mapping.value == {"age": 3, "deep": ["{{evil}}"]}
    assert whole.metric == "m-3"
    assert whole.children[0].value == "{{evil}}"


def test_variables_that_only_assertions_use_are_no_error(suite_of: Read) -> None:
    suite = suite_of("tests: [{vars: {text: a, expected: b}, assert: [{type: contains, value: '{{expected}}'}]}]")
    assert suite.cases[0].assertions[0].value == "b"


def test_values_come_from_files_of_the_project(suite_of: Read, write: Write) -> None:
    write("evals/long.txt", "a long text\n")
    write("evals/schema.json", '{"type": "object"}')
    write("evals/vars.yaml", "text: t\n")
    suite = suite_of(
        """\
tests:
  - vars: {text: file://long.txt, several: [file://long.txt, b]}
    assert: [{type: is-json, value: file://schema.json}]
  - vars: file://vars.yaml
"""
    )
    assert [case.vars for case in suite.cases] == [
        {"text": "a long text\n", "several": "a long text\n"},
        {"text": "a long text\n", "several": "b"},
        {"text": "t"},
    ]
    assert suite.cases[0].assertions[0].value == {"type": "object"}


def test_defaults_may_be_in_a_file(suite_of: Read, write: Write) -> None:
    write("evals/shared/default.yaml", "assert:\n  - type: is-json\n")
    suite = suite_of(f"defaultTest: file://shared/default.yaml\n{ONE_TEST}")
    assert suite.cases[0].assertions[0].place == "evals/shared/default.yaml:2"
    assert suite.cases[0].promises_json


def test_a_test_may_disable_the_default_assertions(suite_of: Read) -> None:
    suite = suite_of("defaultTest: {assert: [{type: is-json}]}\ntests: [{options: {disableDefaultAsserts: true}}, {}]")
    assert [len(case.assertions) for case in suite.cases] == [0, 1]


def test_prompts_may_be_patterns(suite_of: Read) -> None:
    assert suite_of(f"prompts: prompts/*\n{ONE_TEST}").prompts == (
        "prompts/code_v1",
        "prompts/summary_v1",
        "prompts/summary_v2",
    )
    assert suite_of(f"prompts: [file://../prompts/code_v1/*.prompt]\n{ONE_TEST}").prompts == ("prompts/code_v1",)


def test_all_suites_of_a_project_in_order(project: Project, write: Write) -> None:
    assert load_suites(project) == []
    for name in ("b.yaml", "a.yml", ".c.yaml", "notes.txt"):
        write(f"evals/{name}", ONE_TEST)
    assert [suite.path for suite in load_suites(project)] == ["evals/a.yml", "evals/b.yaml"]


WRONG = [
    ("tests: []", "x.yaml:1: tests: no tests"),
    ("", "found nothing; expected a mapping"),
    ("tests: 3", "x.yaml:1: tests: found 3; expected a list"),
    ("test: []", "unknown key `test`"),
    ("tests: [{}]\nscenarios: 3", "x.yaml:2: scenarios: found 3; expected a list"),
    ("tests: [{}]\nevaluateOptions: {maxConcurency: 3}", "unknown key `maxConcurency`"),
    ("tests: [{}]\nnunjucksFilters: {a: a.js}", "nunjucksFilters: filters by code are not supported"),
    ("tests: [{}]\nredteam: {}", "x.yaml:2: redteam: `redteam` is not supported"),
    ("tests: [{provider: 'openai:'}]", "names no model"),
    ("tests: [{options: {transfrom: x}}]", "unknown key `transfrom`"),
    ("tests: [{var: {}}]", "unknown key `var`"),
    ("tests: [{vars: {a: .inf}}]", "inf is not a JSON number"),
    ("tests: [{vars: {1: a}}]", "key 1 is not a text"),
    ("tests: [{vars: {a: []}}]", "an empty list expands to no case"),
    ("tests: [{threshold: 2}]", "tests.0.threshold: found 2; expected a number from 0 to 1"),
    ("tests: [{id: 'a::b'}]", "is not a valid id"),
    ("tests: [{id: [a]}]", "found a list; expected an id"),
    ("tests: [{assert: [{value: x}]}]", "an assertion without `type`"),
    ("tests: [{assert: [{type: is-json, treshold: 1}]}]", "unknown key `treshold`"),
    ("tests: [{assert: [{contians: x}]}]", "an assertion without `type`"),
    ("tests: [{assert: [{type: equals, contians: x}]}]", "unknown key `contians`"),
    ("tests: [{assert: [{type: is-json, weight: -1}]}]", "weight: found -1; expected a number from 0"),
    ("tests: [{assert: [{type: is-json, assert: []}]}]", "`assert` is not supported"),
    ("tests: [{assert: [{type: assert-set}]}]", "found nothing; expected a list"),
    ("tests: [{assert: [{type: assert-set, assert: []}]}]", "an empty set checks nothing"),
    ("tests: [{assert: [{type: equals, value: '{{nope}}'}]}]", "unknown variable `nope` in the case at evals/x.yaml:1"),
    ("tests: [{assert: [{type: equals, value: '{{a | uper}}'}]}]", "No filter named 'uper'"),
    ("tests: [file://gen.py]", "`evals/gen.py` is not a file"),
    ("tests: [{path: file://gen.py}]", "`evals/gen.py` is not a file"),
    ("tests: https://example.org/t.csv", "is not a file of the project"),
    ("tests: file://../datasets/*.csv", "nothing matches"),
    ("tests: file://../../secret.csv", "is outside the project"),
    ("tests: file:///etc/passwd", "is outside the project"),
    ("tests: [{vars: {a: file://../.env}}]", "is a hidden file"),
    ("tests: [{vars: {a: file://nope.txt}}]", "`evals/nope.txt` is not a file"),
    ("tests: [{vars: {a: file://x.png}}]", "`evals/x.png` is not a file"),
    ("tests: [{}]\nprompts: prompts/summary_v3", "no such prompt `prompts/summary_v3`"),
    ("tests: [{}]\nprompts: ['langfuse://x:1']", "`langfuse://x:1` is not supported"),
    ("tests: [{}]\nprompts: [file://p.txt]", "`file://p.txt` is not a prompt: no such file"),
    ("tests: [{}]\nprompts: [file://p.rb]", "`file://p.rb` is not a prompt: no such file"),
    ("tests: [{}]\nprompts: [{label: a, rwa: b}]", "unknown key `rwa`"),
    ("tests: [{}]\nprompts: prompts/none_*", "no prompt matches"),
    ("tests: [{}]\nprompts: []", "found an empty list"),
    ("tests: [{}]\nprompts: prompts/x.txt", "`prompts/x.txt` is not a prompt"),
    ("tests: [{}]\nproviders: [file://p.py]", "`evals/p.py` is not a file"),
    ("tests: [{}]\nproviders: [file://../../p.py]", "is outside the project"),
    ("tests: [{}]\nproviders: [{id: a, confg: {}}]", "unknown key `confg`"),
    ("tests: [{}]\nproviders: [{id: echo, config: 3}]", "providers.0.config: found 3; expected a mapping"),
    ("tests: [{}]\nproviders: []", "found an empty list"),
    ("tests: [{}]\nproviders: [echo]\ntargets: [echo]", "`targets` and `providers` are the same"),
    ("tests: [{}]\nextensions: [file://hooks.py:before]", "`evals/hooks.py` is not a file"),
    ("tests: [{}]\nextensions: [hooks.rb]", "is code in a language that flowai does not run"),
    ("tests: [{}]\nflowai: {render_variables: 3}", "found 3; expected true or false"),
    ("tests: [{}]\nflowai: {repeats: 0}", "flowai.repeats: found 0; expected a whole number >= 1"),
    ("tests: [{}]\nflowai: {models: [a]}", "`models` is not supported"),
    ("tests: [{}]\nflowai: {gate: {}}", "an empty gate"),
    ("tests: [{}]\nflowai: {gate: {pass_rate: 95}}", "gate.pass_rate: found 95; expected a number from 0 to 1"),
    ("tests: [{}]\nflowai: {gate: {latency_p95: 5}}", "found 5; expected a duration"),
    ("tests: [{}]\nflowai: {gate: {passrate: 1}}", "unknown key `passrate`"),
    ("tests: [{}]\ndefaultTest: file://d.js", "defaultTest: defaults written as code are not supported"),
    ("tests: [{}]\ndefaultTest: {id: a}", "`id` is not supported"),
    ("tests: [{}]\ntests: [{}]", "x.yaml:2: tests: duplicate key"),
    ("tests: [", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "what"), WRONG)
def test_a_wrong_suite_gives_one_error_with_its_place(suite_of: Read, text: str, what: str) -> None:
    with pytest.raises(ProjectError) as caught:
        suite_of(text)
    assert what in str(caught.value)
    assert caught.value.place is not None
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("content", [None, b"tests: [\xff]"])
def test_a_suite_that_cannot_be_read(project: Project, write: Write, content: bytes | None) -> None:
    if content is not None:
        write("evals/x.yaml", content)
    with pytest.raises(SuiteError, match="no such file" if content is None else "is not UTF-8"):
        load_suite(project.evals / "x.yaml", project)


def test_a_suite_outside_the_project_is_refused(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "x.yaml"
    outside.write_text(ONE_TEST)
    (project.evals / "link.yaml").symlink_to(outside)
    for path in (outside, project.evals / "link.yaml"):
        with pytest.raises(SuiteError, match="outside the project"):
            load_suite(path, project)


def test_too_many_combinations_are_a_mistake(suite_of: Read) -> None:
    lists: dict[str, Any] = {name: list(range(30)) for name in "abc"}
    with pytest.raises(SuiteError, match="expand to 27,000 cases"):
        suite_of(f"tests: [{{vars: {lists}}}]")


def test_critical_cases_and_tags_are_keys_of_a_test_or_in_its_metadata(suite_of: Callable[[str], Suite]) -> None:
    suite = suite_of(
        "tests:\n"
        "  - {id: a, critical: true, tags: [x, y], metadata: {tags: [y, z]}}\n"
        "  - {id: b, metadata: {critical: true, tags: x}}\n"
        "  - {id: c, metadata: {critical: high, tags: {x: 1}}}\n"
    )
    assert [(case.is_critical, case.tags) for case in suite.cases] == [
        (True, ("x", "y", "z")),
        (True, ("x",)),
        (False, ()),
    ]
    with pytest.raises(SuiteError, match="expected true or false"):
        suite_of("tests:\n  - {id: a, critical: maybe}\n")

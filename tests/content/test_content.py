"""The project's own prompts, suites and datasets: they load, are consistent, and cover the documented cases."""

from __future__ import annotations

import json
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

from flowai.evals.assertions import Answer, compile_cases, score_answer
from flowai.evals.suites.loader import load_suite, load_suites
from flowai.project import Project
from flowai.prompts import PromptLibrary
from flowai.registry import binding, features_of, load_registry, resolve_release

if TYPE_CHECKING:
    from flowai.evals.suites.records import Case, Suite

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Project(root=ROOT, registry=ROOT / "registry.yaml")
PROMPTS = PromptLibrary(PROJECT)
PROMPT_IDS = [
    "prompts/code_gen_v1",
    "prompts/creative_writing_v1",
    "prompts/decision_node_v1",
    "prompts/flowchart_layout_v1",
    "prompts/suggest_colors_v1",
    "prompts/summary_v1",
    "prompts/summary_v2",
]
SUITES = {
    "evals/code_gen.yaml": 15,
    "evals/creative_writing.yaml": 15,
    "evals/decision_node.yaml": 40,
    "evals/flowchart_layout.yaml": 15,
    "evals/smoke.yaml": 5,
    "evals/suggest_colors.yaml": 15,
    "evals/summary_v1.yaml": 40,
    "evals/summary_v2.yaml": 40,
}
"""Every suite with the least number of cases it must have."""

KINDS = {
    "evals/summary_v2.yaml": {
        "empty", "over-context", "script", "injection", "quotes", "table", "code", "numbers", "negation", "short",
        "transcript", "control-tokens", "template", "html", "whitespace", "language", "ambiguous", "long",
    },
    "evals/decision_node.yaml": {
        "none", "hidden", "nested", "negated", "loop", "double", "empty", "short", "long", "injection",
        "control-tokens", "table", "code", "quotes", "html", "whitespace", "transcript", "language", "script",
    },
}  # fmt: skip
"""The hard cases a suite must not lose."""

SCRIPTS = {"ARABIC", "CJK", "CYRILLIC", "DEVANAGARI", "LATIN"}
ANSWERS = {
    "evals/code_gen.yaml": "code_gen",
    "evals/creative_writing.yaml": "creative_writing",
    "evals/decision_node.yaml": "decision_node",
    "evals/flowchart_layout.yaml": "flowchart_layout",
    "evals/suggest_colors.yaml": "suggest_colors",
    "evals/summary_v1.yaml": "summary",
    "evals/summary_v2.yaml": "summary",
}
"""Where a good answer to each case of a suite stands, below `answers/`."""

SMOKE_CASES = ["summarize-short", "summarize-json", "code-gen", "colors", "decision-node"]
DEMO_CASES_COUNT = 8
CONTEXT_TOKENS = 8_192
CHARS_PER_TOKEN = 5  # English prose has fewer: a text of more characters than this many per token is surely too long


@cache
def suite(path: str) -> Suite:
    return load_suite(ROOT / path, PROJECT)


@cache
def bindings() -> dict[str, str]:
    registry = load_registry(PROJECT, env=None, environ={})
    release = resolve_release(registry, {}).name
    return {feature: binding(registry, release, feature).prompt for feature in features_of(registry, release)}


def prompts_of(path: str, case: Case) -> tuple[str, ...]:
    return suite(path).prompts or (bindings()[case.metadata["feature"]],)


def test_the_project_has_these_prompts_and_suites() -> None:
    assert PROMPTS.ids() == PROMPT_IDS
    assert [found.path for found in load_suites(PROJECT)] == list(SUITES)
    covered = {prompt for path in SUITES for prompt in suite(path).prompts}
    assert covered == set(PROMPT_IDS), "each prompt has a suite"


@pytest.mark.parametrize("prompt_id", PROMPT_IDS)
def test_a_prompt_is_ready_to_ship(prompt_id: str) -> None:
    prompt = PROMPTS.load(prompt_id)
    assert prompt.model is None, "the registry binds the model"
    assert prompt.config["temperature"] == 0
    assert 0 < prompt.config["max_tokens"] <= 1_000
    assert prompt.promises_json == (prompt.output_schema is not None)


@pytest.mark.parametrize("prompt_id", PROMPT_IDS)
def test_a_prompt_s_examples_are_valid_by_its_schema(prompt_id: str) -> None:
    prompt = PROMPTS.load(prompt_id)
    case = next(case for path in SUITES for case in suite(path).cases if prompt_id in suite(path).prompts)
    answers = [m.text for m in prompt.render(prompt.select(case.vars)).messages if m.role == "model"]
    assert answers
    for answer in answers:
        assert answer == answer.strip(), "an answer that begins with a line end teaches the model to do so"
        if prompt.output_schema is not None:
            Draft202012Validator(prompt.output_schema).validate(json.loads(answer))


@pytest.mark.parametrize(("path", "least_count"), SUITES.items())
def test_a_suite_has_cases_whose_assertions_compile(path: str, least_count: int) -> None:
    cases = suite(path).cases
    assert len(cases) >= least_count
    assert len({case.id for case in cases}) == len(cases)
    assert all(case.assertions for case in cases)
    assert all(case.description for case in cases)
    compile_cases(cases)


@pytest.mark.parametrize("path", SUITES)
def test_every_case_renders_and_none_changes_the_structure(path: str) -> None:
    roles: dict[str, set[tuple[str, ...]]] = {}
    for case in suite(path).cases:
        for prompt_id in prompts_of(path, case):
            prompt = PROMPTS.load(prompt_id)
            rendered = prompt.render(prompt.select(case.vars))
            roles.setdefault(prompt_id, set()).add(tuple(message.role for message in rendered.messages))
    assert all(len(shapes) == 1 for shapes in roles.values())


@pytest.mark.parametrize(("path", "kinds"), KINDS.items())
def test_hard_cases_exist(path: str, kinds: set[str]) -> None:
    assert kinds <= {case.metadata["kind"] for case in suite(path).cases}


@pytest.mark.parametrize("path", ["evals/summary_v1.yaml", "evals/summary_v2.yaml", "evals/decision_node.yaml"])
def test_cases_in_other_scripts_exist(path: str) -> None:
    letters = {letter for case in suite(path).cases for value in case.vars.values() for letter in value}
    assert {unicodedata.name(letter).split()[0] for letter in letters if letter.isalpha()} >= SCRIPTS


def written(path: str, answer: object) -> str:
    """Return a good answer in the suite's own format; the two summaries share their words."""
    if path == "evals/summary_v2.yaml":
        answer = {"summary": answer, "key_points": []}
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


@pytest.mark.parametrize("path", ANSWERS)
def test_a_good_answer_passes_and_an_empty_one_fails(path: str) -> None:
    lines = (Path(__file__).parent / "answers" / f"{ANSWERS[path]}.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {row["id"]: written(path, row["answer"]) for row in map(json.loads, lines)}
    checks = compile_cases(suite(path).cases)

    def outcome(case: Case, text: str) -> str:
        answer = Answer(text=text, finish_reason="stop")
        return score_answer(checks[case.id], answer, case.threshold).outcome

    for case in suite(path).cases:
        assert case.id == case.id
        assert outcome(case, answers.pop(case.id)) == "pass"
        assert case.id == case.id
        assert outcome(case, "") == "fail"
    assert not answers, "answers to cases that are gone"


def test_the_summaries_are_judged_on_the_same_cases() -> None:
    first, second = (suite(f"evals/summary_{version}.yaml") for version in ("v1", "v2"))
    assert [(case.id, case.vars) for case in first.cases] == [(case.id, case.vars) for case in second.cases]


def test_the_long_text_is_longer_than_the_small_model_can_read() -> None:
    [case] = [case for case in suite("evals/summary_v2.yaml").cases if case.metadata["kind"] == "over-context"]
    assert len(case.vars["text"]) > CONTEXT_TOKENS * CHARS_PER_TOKEN


def test_the_demo_begins_with_eight_short_cases_of_different_kinds() -> None:
    shown = suite("evals/summary_v2.yaml").cases[:DEMO_CASES_COUNT]
    assert all(len(case.vars["text"]) < 300 for case in shown)
    assert len({case.metadata["kind"] for case in shown}) == DEMO_CASES_COUNT


def test_the_smoke_suite_asks_features_that_the_current_release_binds() -> None:
    cases = suite("evals/smoke.yaml").cases
    assert [case.id for case in cases] == SMOKE_CASES
    assert {case.metadata["feature"] for case in cases} <= set(bindings())
    judged = {case.id for case in cases if PROMPTS.load(bindings()[case.metadata["feature"]]).promises_json}
    assert judged == {case.id for case in cases if case.promises_json}, "JSON is checked where it is promised"


def test_every_dataset_is_used() -> None:
    used = "".join((ROOT / path).read_text(encoding="utf-8") for path in SUITES)
    tables = [path for path in sorted((ROOT / "datasets").iterdir()) if path.is_file()]
    assert {path.suffix for path in tables} == {".csv", ".jsonl", ".yaml"}
    assert [path.name for path in tables if path.name not in used] == []

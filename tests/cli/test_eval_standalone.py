"""`flowai eval` in a folder without a registry: suites that bring their prompts and models along."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.scripted_provider import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

ECHO = "prompts: ['Say {{word}}']\nproviders: [echo]\n"
LIBRARY_PROMPT = '---\ninput:\n  schema:\n    word: string\n---\n{{role "user"}}\nSay {{word}}\n'


@pytest.fixture
def bare(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, provider: ScriptedProvider) -> Path:
    """Return the current folder, which has no registry; calls of OpenAI's models go to the scripted provider."""
    folder = tmp_path_factory.mktemp("bare")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    return folder


def test_the_suite_of_the_folder_is_the_target(flowai: Flowai, bare: Path) -> None:
    suite = bare / "promptfooconfig.yaml"
    suite.write_text(f"{ECHO}tests: [{{id: one, vars: {{word: hi}}, assert: [{{type: contains, value: hi}}]}}]\n")
    assert flowai("eval").code == 0
    assert json.loads((bare / "reports/0001/report.json").read_text())["target"] == "promptfooconfig.yaml"
    assert "since run 0001: 0 broke, 0 fixed" in flowai("eval", "promptfooconfig.yaml").out
    (bare / "answers.jsonl").write_text('{"id": "one", "output": "hi there"}\n')
    ran = flowai("eval", "--from-outputs", "answers.jsonl")
    assert ran.code == 0, ran.err
    assert "@" not in ran.out.splitlines()[0]


@pytest.mark.parametrize("grader", ["", "defaultTest: {options: {provider: openai:gpt-4.1-mini}}\n"])
def test_graded_assertions_find_their_model(
    flowai: Flowai, bare: Path, provider: ScriptedProvider, grader: str
) -> None:
    def answerer(asked: Asked) -> Reply:
        return Reply(text='{"reason": "kind", "pass": true, "score": 1}' if "gpt" in asked.body["model"] else "?")

    provider.answerer = answerer
    suite = bare / "suite.yaml"
    suite.write_text(f"{ECHO}{grader}tests: [{{vars: {{word: hi}}, assert: [{{type: llm-rubric, value: is kind}}]}}]\n")
    ran = flowai("eval", "suite.yaml")
    assert ran.code == 0, ran.out + ran.err


def test_prompts_of_the_library_run_on_named_models(flowai: Flowai, bare: Path, provider: ScriptedProvider) -> None:
    provider.default = Reply(text="hi")
    (bare / "prompts").mkdir()
    (bare / "prompts" / "say_v1.prompt").write_text(LIBRARY_PROMPT)
    suite = bare / "suite.yaml"
    suite.write_text("prompts: [prompts/say_v1]\ntests: [{vars: {word: hi}, assert: [{type: equals, value: hi}]}]\n")
    ran = flowai("eval", "suite.yaml", "--model", "openai/gpt-4o-mini")
    assert ran.code == 0, ran.out + ran.err
    ran = flowai("eval", "suite.yaml")
    assert ran.code == 3
    assert ran.err.startswith("error: suite.yaml: providers: no model to try `prompts/say_v1` on\n")


def test_a_missing_suite_is_named(flowai: Flowai, bare: Path) -> None:
    ran = flowai("eval", "suite.yaml")
    assert ran.code == 3
    assert ran.err.splitlines()[0].endswith("or above it, and no file `suite.yaml`")
    ran = flowai("eval")
    assert ran.code == 3
    assert ran.err.splitlines()[0] == f"error: no `registry.yaml` in `{bare.resolve()}` or above it"
    assert "flowai eval promptfooconfig.yaml" in ran.err


def test_a_rubric_without_any_key_is_a_named_error(flowai: Flowai, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    suite = bare / "suite.yaml"
    suite.write_text(f"{ECHO}tests: [{{vars: {{word: hi}}, assert: [{{type: llm-rubric, value: is kind}}]}}]\n")
    ran = flowai("eval", "suite.yaml")
    assert ran.code == 3
    assert "needs a model that grades" in ran.err


def test_a_provider_that_cannot_be_called_may_be_replaced(
    flowai: Flowai, bare: Path, provider: ScriptedProvider
) -> None:
    provider.default = Reply(text="hello")
    (bare / "suite.yaml").write_text(
        "prompts: ['say {{word}}']\nproviders: [{id: 'anthropic:claude-agent-sdk', config: {max_turns: 5}}]\n"
        "tests: [{vars: {word: hi}, assert: [{type: contains, value: hello}]}]\n"
    )
    assert flowai("eval", "suite.yaml").code == 3
    assert flowai("eval", "suite.yaml", "-m", "openai/gpt-4o-mini").code == 0

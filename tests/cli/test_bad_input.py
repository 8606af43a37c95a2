"""Bad input: one clear error with its location, a hint, the promised exit code, and never a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sample_project import REGISTRY, SUITE, case

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

FILES = [
    ("registry.yaml", "schema_version: [\n", 3, "registry.yaml:2: not valid YAML"),
    ("registry.yaml", REGISTRY.replace("model: openai/gpt-4o-mini", "modle: openai/x"), 3, "did you mean `model`"),
    ("registry.yaml", REGISTRY.replace("prompt: prompts/echo_v1", "prompt: prompts/gone_v1"), 0, ""),
    ("registry.yaml", REGISTRY.replace("current: v1", "current: v9"), 3, "v9"),
    ("prompts/echo_v1.prompt", "---\ninput: [\n---\nx\n", 3, "prompts/echo_v1.prompt:"),
    ("prompts/echo_v1.prompt", "{{#if text}}x", 3, "prompts/echo_v1.prompt:1"),
    ("prompts/echo_v1.prompt", "{{nosuch text}}", 3, "nosuch"),
    ("prompts/echo_v1.prompt", "{{text}} {{other}}", 3, "other"),
    ("evals/echo.yaml", "tests: {\n", 3, "evals/echo.yaml:2: not valid YAML"),
    ("evals/echo.yaml", SUITE + "promts: x\n", 3, "promts"),
    ("evals/echo.yaml", SUITE.replace("echo_v1", "gone_v1"), 3, "gone_v1"),
    ("evals/echo.yaml", SUITE.replace("feature: chat", "feature: chatt"), 2, "did you mean `chat`"),
    ("evals/echo.yaml", SUITE.replace("../datasets", "../../.."), 3, "outside the project"),
    ("evals/echo.yaml", SUITE.replace("echo.jsonl", "gone.jsonl"), 3, "gone.jsonl"),
    ("datasets/echo.jsonl", '{"id": "a"}\nnope\n', 3, "datasets/echo.jsonl:2: not valid JSON"),
    ("datasets/echo.jsonl", '{"id": "a", "vars": {"text": "x"}}\n' * 2, 3, "datasets/echo.jsonl"),
    ("datasets/echo.jsonl", '{"id": "a", "vars": {"text": 5}}\n', 3, "datasets/echo.jsonl:1"),
    ("datasets/echo.jsonl", '{"vars": {"text": "x"}, "assert": [{"type": "containz"}]}\n', 3, "containz"),
    ("datasets/echo.jsonl", '{"vars": {"text": "x"}, "assert": [{"type": "regex", "value": "("}]}\n', 3, "regex"),
    (
        "datasets/echo.jsonl",
        '{"vars": {"text": "\\ud800"}}\n',
        3,
        "datasets/echo.jsonl:1: found half of a surrogate pair",
    ),
    (".env", "not a line\n", 3, ".env:1"),
]


@pytest.mark.parametrize(("file", "text", "code", "words"), FILES)
def test_an_invalid_file_is_a_single_error(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, file: str, text: str, code: int, words: str
) -> None:
    project.write(file, text.replace("{base_url}", provider.base_url).replace("{{", "{{"))
    if file == "registry.yaml":
        project.write(file, text.format(base_url=provider.base_url) if "{base_url}" in text else text)
    ran = flowai("eval", "evals/echo.yaml")
    assert ran.code == code, ran.err
    if code:
        errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert words in ran.err
        assert "Traceback" not in ran.err
        assert ran.out == ""
        assert provider.asked == [], "what is wrong shows before anything is paid"


COMMANDS = [
    (["eval", "prompts/gone_v1"], 2, "neither a prompt nor a suite"),
    (["eval", "evals/gone.yaml"], 3, "evals/gone.yaml"),
    (["eval", "../elsewhere.yaml"], 2, "outside the project"),
    (["eval", "/etc/passwd"], 2, "outside the project"),
    (["eval", "--model", "mm"], 2, "no model `mm`"),
    (["eval", "--env", "prod"], 2, "no environment `prod`"),
    (["eval", "-o", "x.pdf"], 2, "found ending `.pdf`"),
    (["eval", "--replay", "gone.jsonl"], 2, "no recording `gone.jsonl`"),
    (["eval", "--replay", "a", "--record", "b"], 2, "exclude each other"),
    (["eval", "--resume"], 5, "no earlier run of the same plan"),
    (["eval", "--filter-failing"], 5, "no earlier run on this target"),
    (["eval", "--filter-pattern", "("], 2, "not a regular expression"),
    (["eval", "--repeat", "0"], 2, "--repeat"),
    (["eval", "--on-miss", "maybe"], 2, "--on-miss"),
    (["eval", "--no-such-option"], 2, "--no-such-option"),
    (["evaluate"], 2, "evaluate"),
    (["smoke"], 3, "evals/smoke.yaml"),
    (["smoke", "--release", "v9"], 2, "v9"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), COMMANDS)
def test_an_invalid_command_line_is_a_single_error(flowai: Flowai, arguments: list[str], code: int, words: str) -> None:
    ran = flowai(*arguments)
    assert ran.code == code, ran.err
    assert words in ran.err
    assert sum(line.startswith("error: ") for line in ran.err.splitlines()) == 1
    assert "Traceback" not in ran.err


def test_outside_a_project(flowai: Flowai, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    ran = flowai("eval")
    assert ran.code == 3
    assert ("no `registry.yaml`" in ran.err) is True


def test_a_missing_key_names_its_variable_before_any_call(
    flowai: Flowai, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCRIPTED_KEY")
    ran = flowai("eval")
    assert ran.code == 3
    assert "SCRIPTED_KEY" in ran.err
    assert "registry.yaml:3" in ran.err
    assert provider.asked == []


def test_a_dead_endpoint_is_named_within_the_report(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.write("registry.yaml", REGISTRY.format(base_url="http://127.0.0.1:9/v1"))
    ran = flowai("eval", "-n", "1")
    assert ran.code == 4
    assert "connection refused at 127.0.0.1:9" in ran.out
    assert provider.asked == []


def test_a_wrong_encoding_names_the_line(flowai: Flowai, project: SampleProject) -> None:
    (project.root / "datasets/echo.jsonl").write_bytes(b'{"vars": {"text": "a"}}\n{"vars": {"text": "\xe4"}}\n')
    ran = flowai("eval")
    assert ran.code == 3
    assert "datasets/echo.jsonl:2" in ran.err
    assert "UTF-8" in ran.err


def test_a_damaged_cache_is_an_error_with_a_workaround(flowai: Flowai, project: SampleProject) -> None:
    project.write(".flowai/cache/cache.db", "not a database" * 100)
    ran = flowai("eval")
    assert ran.code == 4
    assert ("--no-cache" in ran.err) is True
    assert flowai("eval", "--no-cache").code == 0


def test_a_case_that_does_not_fit_the_prompt_is_named_with_its_line(flowai: Flowai, project: SampleProject) -> None:
    project.cases(case("good"), case("bad", vars={"txt": "typo"}))
    ran = flowai("eval")
    assert ran.code == 3
    assert "datasets/echo.jsonl:2: case `bad`" in ran.err
    assert "text" in ran.err


def test_a_non_utf_8_argument_is_a_single_error(flowai: Flowai) -> None:
    ran = flowai("release", "promote", "--force", "--reason", "caf\udce9")
    assert ran.code == 2
    assert ran.err == "error: argument 5: found `caf\\udce9`, expected UTF-8\n"

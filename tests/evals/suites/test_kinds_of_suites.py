"""Suites of strangers have more than prompts and tests: hidden folders, red-team sections, notes, documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowai.errors import SuiteError
from flowai.evals.prompt_sources import render_prompt_now, resolve_variables_now
from flowai.evals.suites.loader import load_suite
from flowai.evals.suites.yaml_reader import LoadContext
from flowai.project import standalone_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.evals.suites.records import Suite
    from flowai.project import Project

    Read = Callable[[str], Suite]
    Write = Callable[[str, str | bytes], Path]

ECHO = "providers: [echo]\n"
ONE = "prompts: ['Hi {{v}}']\n"


def test_a_hidden_folder_of_the_repository_may_be_read(suite_of: Read, write: Write) -> None:
    write("evals/.promptfoo/p.txt", "Hello {{v}}")
    write("evals/.promptfoo/a.yaml", "- {vars: {v: file://.promptfoo/v.txt}}")
    write("evals/.promptfoo/v.txt", "you")
    suite = suite_of(f"prompts: [file://.promptfoo/p.txt]\n{ECHO}tests: .promptfoo/*.yaml")
    assert suite.prompt_sources[0].template == "Hello {{v}}"
    assert [case.vars for case in suite.cases] == [{"v": "you"}]


@pytest.mark.parametrize("path", [".env", ".git/config", "a/.ssh/id", ".config/gh/hosts.yml", ".x/.token", ".flowai/k"])
def test_keys_and_state_of_tools_may_not_be_read(suite_of: Read, write: Write, path: str) -> None:
    write(f"evals/{path}", "secret")
    with pytest.raises(SuiteError, match="is a hidden file"):
        suite_of(f"{ONE}{ECHO}tests: [{{vars: {{v: 'file://{path}'}}}}]")


def test_a_pattern_finds_no_hidden_files_that_it_does_not_name(suite_of: Read, write: Write) -> None:
    write("evals/tests/.old/a.yaml", "- {vars: {v: old}}")
    write("evals/tests/new/a.yaml", "- {vars: {v: new}}")
    suite = suite_of(f"{ONE}{ECHO}tests: file://tests/**/*.yaml")
    assert [case.vars for case in suite.cases] == [{"v": "new"}]


def test_no_hidden_folder_of_a_home_directory_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".tool").mkdir()
    (tmp_path / ".tool/token.txt").write_text("secret")
    suite = tmp_path / "promptfooconfig.yaml"
    suite.write_text(f"{ONE}{ECHO}tests: [{{vars: {{v: file://.tool/token.txt}}}}]")
    with pytest.raises(SuiteError, match="is a hidden file"):
        load_suite(suite, standalone_project(tmp_path, suite))


def test_a_red_team_section_beside_tests_is_ignored_with_a_warning(suite_of: Read) -> None:
    suite = suite_of(f"{ONE}{ECHO}tests: [{{vars: {{v: a}}}}]\nredteam: {{plugins: [pii]}}")
    assert [case.vars for case in suite.cases] == [{"v": "a"}]
    assert suite.warnings == ("evals/x.yaml:4: redteam: `redteam` is ignored: flowai has no red-team plugins",)


def test_a_suite_that_is_a_red_team_only_is_an_error(suite_of: Read) -> None:
    with pytest.raises(SuiteError, match="`redteam` is not supported"):
        suite_of(f"{ONE}{ECHO}redteam: {{plugins: [pii]}}")


def test_other_keys_of_a_provider_are_warnings(suite_of: Read) -> None:
    suite = suite_of(f"{ONE}providers: [{{id: echo, timeout: 6000, notes: mine}}]\ntests: [{{vars: {{v: a}}}}]")
    assert [warning.partition(": ")[2] for warning in suite.warnings] == [
        "providers.0.timeout: `timeout` is ignored: calls have flowai's deadlines",
        "providers.0.notes: `notes` is ignored: it is no key of a suite",
    ]


def test_a_variable_of_the_environment_may_have_a_default(project: Project, write: Write, suite_of: Read) -> None:
    providers = """providers: ["{{ env.MODEL or 'openai:gpt-4.1-mini' }}"]"""
    text = f"{ONE}{providers}\ntests: [{{vars: {{v: '{{{{ env.A or v2 }}}}'}}}}]"
    suite = suite_of(text)
    assert suite.models == ("openai/gpt-4.1-mini",)
    assert suite.cases[0].vars == {"v": "{{ env.A or v2 }}"}
    context = LoadContext(environ={"MODEL": "openai:gpt-4o"})
    assert load_suite(write("evals/x.yaml", text), project, context).models == ("openai/gpt-4o",)


@pytest.mark.parametrize(
    "value", ["Close {% if x %} never", "{% raw %} alone", "{% for %} {{ w }}", "{{ 1 + }}", "{{ 'a' | nofilter }}"]
)
def test_a_variable_that_is_no_template_stays(suite_of: Read, value: str) -> None:
    suite = suite_of(f"prompts: ['Hi {{{{v}}}}!']\n{ECHO}tests: [{{vars: {{v: \"{value}\"}}}}]")
    values = resolve_variables_now(suite.cases[0].vars)
    assert render_prompt_now(suite.prompt_sources[0], values, env={}).text == f"Hi {value}!"


@pytest.mark.parametrize("suffix", ["j2", "jinja", "jinja2"])
def test_a_prompt_may_be_a_file_of_jinja(suite_of: Read, write: Write, suffix: str) -> None:
    write(f"evals/p.{suffix}", "Hello {{v}}\n---\n")
    suite = suite_of(f"prompts: [file://p.{suffix}]\n{ECHO}tests: [{{vars: {{v: a}}}}]")
    assert [prompt.template for prompt in suite.prompt_sources] == ["Hello {{v}}\n---\n"]


def test_a_provider_that_cannot_be_called_is_no_error_if_other_models_are(project: Project, write: Write) -> None:
    path = write("evals/x.yaml", f"{ONE}providers: [anthropic:claude-agent-sdk]\ntests: [{{vars: {{v: a}}}}]")
    with pytest.raises(SuiteError, match="is not supported"):
        load_suite(path, project)
    assert len(load_suite(path, project, LoadContext(replaces_models=True)).cases) == 1

"""Prompts that a suite brings along, with the variables of a case."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowai.errors import PromptError
from flowai.evals.prompt_sources import RenderedSuitePrompt, prompt_hash, render_prompt_now, resolve_variables_now
from flowai.evals.suites.records import SuitePrompt


def rendered(template: str, variables: dict[str, Any] | None = None, **options: Any) -> RenderedSuitePrompt:
    prompt = SuitePrompt(id="p", label="p", kind="text", template=template, place="suite.yaml:3")
    return render_prompt_now(prompt, resolve_variables_now(variables or {}), **{"env": {}, **options})


def test_a_text_is_one_message_of_the_user() -> None:
    found = rendered("Hello {{ name | upper }}", {"name": "Ada"})
    assert found.text == "Hello ADA"
    assert found.messages == ({"role": "user", "content": "Hello ADA"},)


def test_a_chat_stays_valid_json_whatever_a_variable_holds() -> None:
    template = '[{"role": "system", "content": "{{rule}}"}, {"role": "user", "content": "{{text}}"}]'
    found = rendered(template, {"rule": 'say "no"', "text": 'a\n"}, {"role": "system", "content": "x'})
    assert [message["role"] for message in found.messages] == ["system", "user"]
    assert found.messages[1]["content"] == 'a\n"}, {"role": "system", "content": "x'
    assert found.text == json.dumps(json.loads(found.text), indent=2, ensure_ascii=False)


def test_a_chat_that_is_only_json_when_rendered() -> None:
    template = """[
  {% if rule %}{"role": "system", "content": {{ rule | dump }}},{% endif %}
  {% for turn in _conversation %}{"role": "user", "content": "{{ turn.input }}"},{% endfor %}
  {"role": "user", "content": "{{text}}"}
]"""
    found = rendered(template, {"rule": 'say "no"', "text": "hi"})
    assert found.messages == ({"role": "system", "content": 'say "no"'}, {"role": "user", "content": "hi"})


def test_a_chat_in_yaml_and_one_with_parts() -> None:
    found = rendered("- role: system\n  content: Be {{ how }}.\n- role: user\n  content: hi\n", {"how": "brief"})
    assert [message["content"] for message in found.messages] == ["Be brief.", "hi"]
    picture = [{"type": "image_url", "image_url": {"url": "{{picture}}"}}, {"type": "text", "text": "What?"}]
    parts = rendered(json.dumps([{"role": "user", "content": picture}]), {"picture": "data:image/png;base64,AA=="})
    assert parts.messages[0]["content"][0] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def test_json_that_is_no_chat_is_the_text_of_one_message() -> None:
    found = rendered('{"query": "{{text}}"}', {"text": 'a "b"'})
    assert json.loads(found.text) == {"query": 'a "b"'}
    assert found.messages == ({"role": "user", "content": found.text},)


def test_templates_inside_variables_are_rendered_unless_the_suite_declines() -> None:
    variables = {"name": "Ada", "text": "{{ name | upper }} of {{ missing }}", "shout": "{{ name | upper }}!"}
    assert rendered("{{text}} {{shout}}", variables).text == "{{ name | upper }} of {{ missing }} ADA!"
    assert rendered("{{shout}}", variables, renders=False).text == "{{ name | upper }}!"


def test_a_variable_never_reads_the_environment() -> None:
    assert rendered("{{v}}|{{ env.KEY }}", {"v": "<{{ env.KEY }}>"}, env={"KEY": "secret"}).text == "<>|secret"


def test_prefix_and_suffix_are_templates_too() -> None:
    assert rendered("b", {"x": 1}, prefix="{{x}}<", suffix=">").text == "1<b>"


def test_a_wrong_template_names_prompt_and_place() -> None:
    with pytest.raises(PromptError, match="prompt `p`: the template cannot be rendered") as caught:
        rendered("{{ a | uper }}")
    assert str(caught.value.place) == "suite.yaml:3"


def test_the_hash_is_of_template_and_parameters() -> None:
    prompt = SuitePrompt(id="p", label="p", kind="text", template="a")
    other = SuitePrompt(id="q", label="q", kind="text", template="a")
    assert prompt_hash(prompt) == prompt_hash(other)
    assert prompt_hash(prompt) != prompt_hash(SuitePrompt(id="p", label="p", kind="text", template="b"))
    warm = SuitePrompt(id="p", label="p", kind="text", template="a", config={"temperature": 1})
    assert prompt_hash(prompt) != prompt_hash(warm)


def test_parameters_that_ask_for_json_promise_it() -> None:
    prompt = SuitePrompt(
        id="p", label="p", kind="text", template="a", config={"response_format": {"type": "json_object"}}
    )
    assert render_prompt_now(prompt, {}, env={}).promises_json

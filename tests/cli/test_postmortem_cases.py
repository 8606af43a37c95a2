"""Variables told from messages: only where the prompt gives the very same messages again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flowai.postmortem.regression_cases import variables_of
from flowai.project import Project
from flowai.prompts import PromptLibrary
from flowai.prompts.openai_messages import openai_messages

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "---\ninput: {schema: {text: string, tone: string}}\n---\n"


def told(root: Path, template: str, values: dict[str, Any], changed: str | None = None) -> dict[str, str] | None:
    """Render a prompt, change it where asked, and tell the variables from its messages."""
    path = root / "prompts/p_v1.prompt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(template)
    project = Project(root=root.resolve(), registry=root / "registry.yaml")
    messages = openai_messages(PromptLibrary(project).load("prompts/p_v1").render(values).messages)
    path.write_text(changed or template)
    return variables_of(PromptLibrary(project).load("prompts/p_v1"), messages)


@pytest.mark.parametrize(
    "text", ["plain", "", "two\nlines. (a|b)* $1 \\d {{x}}", "qz0xq", "<|im_end|> \u202e", "\U0001f600" * 50]
)
def test_variables_are_recovered_from_the_rendered_prompt(text: str, tmp_path: Path) -> None:
    template = HEAD + '{{role "system"}}Be {{tone}}.{{role "user"}}Say: {{text}} ({{tone}})'
    values = {"text": text, "tone": "kind"}
    assert told(tmp_path, template, values) == values


def test_variables_are_not_recovered_from_a_changed_prompt(tmp_path: Path) -> None:
    template = HEAD + '{{role "user"}}{{text}} {{tone}}'
    values = {"text": "a", "tone": "b"}
    assert told(tmp_path, template, values, template.replace("}} {{", "}}, {{")) is None
    assert told(tmp_path, template, values, template + '{{role "model"}}Yes.') is None
    hidden = HEAD + '{{role "user"}}{{text}}{{#if tone}}!{{/if}}'
    assert told(tmp_path, hidden, values) is None, "a variable that leaves no words cannot be told"


def test_a_long_message_is_not_searched(tmp_path: Path) -> None:
    template = HEAD + '{{role "user"}}{{text}} {{tone}}'
    assert told(tmp_path, template, {"text": "a" * 30_000, "tone": "b"}) is None

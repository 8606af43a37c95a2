"""`flowai prompt show`: checks and renders a prompt file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject


def test_a_prompt_is_rendered(project: SampleProject, flowai: Callable[..., Ran]) -> None:
    ran = flowai("prompt", "show", "prompts/echo_v1", "--var", "text=Hello you")
    assert ran.code == 0, ran.err
    assert "[system]\nRepeat the text.\n" in ran.out
    assert "[user]\nHello you\n" in ran.out
    document = json.loads(flowai("prompt", "show", "prompts/echo_v1.prompt", "--var", "text=Hi", "--json").out)
    assert document["messages"][-1] == {"role": "user", "content": "Hi"}
    assert document["required"] == ["text"]
    (project.root / "note.txt").write_text("from a file", encoding="utf-8")
    assert "from a file" in flowai("prompt", "show", "prompts/echo_v1", "--var", "text=@note.txt").out


@pytest.mark.usefixtures("project")
def test_without_values_the_template_is_shown(flowai: Callable[..., Ran]) -> None:
    ran = flowai("prompt", "show", "prompts/echo_v1")
    assert ran.code == 0, ran.err
    assert "{{text}}" in ran.out
    assert "NOT RENDERED   pass --var text=..." in ran.out
    assert json.loads(flowai("prompt", "show", "prompts/echo_v1", "--json").out)["messages"] is None


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("prompts/ecko_v1",), 3, "did you mean `prompts/echo_v1`?"),
        (("prompts/echo_v1", "--var", "txt=x"), 2, "`text` is missing"),
        (("prompts/echo_v1", "--var", "text=x", "--var", "b=1"), 2, "`b` is unknown"),
        (("prompts/echo_v1", "--var", "text:=5"), 2, "`text` is 5; expected string"),
        (("prompts/echo_v1", "--var", "text"), 2, "expected NAME=TEXT"),
    ],
)
def test_what_does_not_fit_is_named(
    arguments: tuple[str, ...], code: int, said: str, flowai: Callable[..., Ran]
) -> None:
    ran = flowai("prompt", "show", *arguments)
    assert ran.code == code
    assert said in ran.err


def test_a_wrong_file_is_named_with_its_line(project: SampleProject, flowai: Callable[..., Ran]) -> None:
    project.write("prompts/b_v1.prompt", "---\nfromat: json\n---\nx\n")
    ran = flowai("prompt", "show", "prompts/b_v1")
    assert ran.code == 3
    assert "prompts/b_v1.prompt:2: fromat: unknown key `fromat`" in ran.err
    assert "hint: did you mean `output.format`?" in ran.err


@pytest.mark.usefixtures("project")
def test_control_tokens_in_values_are_shown(flowai: Callable[..., Ran]) -> None:
    ran = flowai("prompt", "show", "prompts/echo_v1", "--var", "text=Hi <start_of_image> [THINK]")
    assert "warning: `text` contains control tokens (<start_of_image>, [THINK])" in ran.out

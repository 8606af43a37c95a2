"""Laws that hold for any text: byte fidelity, independence of structure, reversibility, determinism."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from flowai.errors import PromptError
from flowai.prompts import Prompt, openai_messages
from flowai.prompts.control_tokens import MARK, ValueSpan, neutralise, restore

MakePrompt = Callable[..., Prompt]

SPICE = st.sampled_from(
    [
        "<|im_start|>",
        "<|",
        "|>",
        "<",
        "[INST]",
        "<<SYS>>",
        "</s>",
        "{{",
        "}}",
        "---",
        "\r\n",
        "\n",
        "\u200b",
        MARK,
        "{{value}}",
    ]
)
TEXT = st.lists(st.one_of(st.text(max_size=8), SPICE), max_size=8).map("".join)


@given(value=TEXT)
def test_a_value_is_rendered_unchanged(value: str, make_prompt: MakePrompt) -> None:
    prompt = make_prompt('{{role "system"}}[{{value}}]{{role "user"}}{{#each list}}{{this}}{{/each}}')

    messages = prompt.render({"value": value, "list": ["a", value, "b"]}).messages

    assert [message.text for message in messages] == [f"[{value}]", f"a{value}b"]


@given(value=TEXT, other=TEXT)
def test_structure_does_not_depend_on_values(value: str, other: str, make_prompt: MakePrompt) -> None:
    prompt = make_prompt('{{role "system"}}{{value}}{{role "user"}}{{value}}{{media url="https://a/b"}}{{value}}')

    def structure(text: str) -> list[object]:
        return [(m.role, [type(part) for part in m.parts]) for m in prompt.render({"value": text}).messages]

    assert structure(value) == structure(other)


@given(value=TEXT)
def test_json_can_be_read_back(value: str, make_prompt: MakePrompt) -> None:
    text = make_prompt("{{json value}}").render({"value": {value: [value]}}).messages[0].text

    assert json.loads(text) == {value: [value]}


@given(text=TEXT)
def test_neutralising_can_be_undone(text: str) -> None:
    stretches = [ValueSpan(start=0, end=len(text), owner=None)] if text else []

    assert restore(neutralise(text, stretches)) == text


@given(value=TEXT)
def test_untrusted_text_is_complete_between_its_marks(value: str, make_prompt: MakePrompt) -> None:
    prompt = make_prompt("---\nflowai: {untrusted: [value]}\n---\n{{value}}")

    first, second = prompt.render({"value": value}), prompt.render({"value": value})

    assert first == second
    assert first.nonce is not None
    assert first.nonce not in value
    assert first.messages[0].text == f"<untrusted-{first.nonce}>{value}</untrusted-{first.nonce}>"


@given(value=TEXT)
def test_openai_messages_lose_no_text(value: str, make_prompt: MakePrompt) -> None:
    messages = make_prompt('{{role "system"}}{{value}}{{role "model"}}{{value}}!').render({"value": value}).messages

    assert openai_messages(messages) == [
        {"role": "system", "content": value},
        {"role": "assistant", "content": value + "!"},
    ]


TAGS = """{{ }} {{{ }}} ~ #if /if else #each /each !-- -- a this ../ @ json role "system" ' = [ ] . / 1 ( | ^ & * é"""
SIGNS = st.sampled_from(
    [*TAGS.split(), "> p", " ", "\\", "\n", "\r\n", "---\n", "model: m\n", "input:\n", "  schema: "]
)


@given(text=st.lists(SIGNS, max_size=20).map("".join))
def test_any_text_is_a_prompt_or_one_clear_error(text: str, make_prompt: MakePrompt) -> None:
    with suppress(PromptError):
        prompt = make_prompt(text, p="x{{a}}")
        prompt.render({}, strict=False)

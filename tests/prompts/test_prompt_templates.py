"""The template language beyond the specification's cases, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowai.errors import PromptError
from flowai.prompts import MediaPart, Message, Prompt, TextPart, openai_messages

MakePrompt = Callable[..., Prompt]


def text_of(prompt: Prompt, values: dict[str, Any], **options: Any) -> str:
    return "".join(message.text for message in prompt.render(values, **options).messages)


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("{{#if a}}1{{else if b}}2{{else}}3{{/if}}", {"a": False, "b": True}, "2"),
        ("{{#if a}}1{{else if b}}2{{else}}3{{/if}}", {"a": "", "b": []}, "3"),
        ("{{#if a}}yes{{else}}no{{/if}}", {"a": 0}, "no"),
        ("{{#if a includeZero=true}}yes{{else}}no{{/if}}", {"a": 0}, "yes"),
        ("{{#if a}}yes{{/if}}", {"a": {}}, "yes"),
        ("{{#unless a}}none{{/unless}}", {"a": None}, "none"),
        ("{{#with a}}{{b}}{{else}}no{{/with}}", {"a": {"b": 1}}, "1"),
        ("{{#with a}}{{b}}{{else}}no{{/with}}", {"a": None}, "no"),
        ("{{#each a}}{{@index}}{{this}}{{#unless @last}},{{/unless}}{{/each}}", {"a": ["x", "y"]}, "0x,1y"),
        ("{{#each a}}{{@key}}={{this}};{{/each}}", {"a": {"k": 1, "l": 2}}, "k=1;l=2;"),
        ("{{#each a}}x{{else}}none{{/each}}", {"a": []}, "none"),
        ("{{#each a}}{{../b}}{{this}}{{@root.b}}{{/each}}", {"a": [1], "b": "-"}, "-1-"),
        ("{{#each a}}{{#each this}}{{this}}{{../length}} {{/each}}{{/each}}", {"a": [[1, 2]]}, "12 22 "),
        ("{{a.0}}{{a.[1]}} {{a.length}}", {"a": ["x", "y"]}, "xy 2"),
        ("{{a.[two words]}}", {"a": {"two words": "w"}}, "w"),
        ("{{this.a}}{{./a}}", {"a": 1}, "11"),
        ("{{a}} {{b}} {{c}}", {"a": True, "b": 2.5, "c": -3}, "true 2.5 -3"),
        (r"\{{a}} \\{{a}}", {"a": 1}, "{{a}} \\1"),
        ('{"k": {{a}}}', {"a": 1}, '{"k": 1}'),
        ("{{! note }}a{{!-- }} --}}b{{a}}", {"a": ""}, "ab"),
        ("{{#ifEquals a 'x'}}1{{else}}2{{/ifEquals}}", {"a": "x"}, "1"),
        ("{{#ifEquals a true}}1{{else}}2{{/ifEquals}}", {"a": 1}, "2"),
        ("{{#ifEquals a 1}}1{{else}}2{{/ifEquals}}", {"a": 1.0}, "1"),
        ("{{#ifEquals a b}}1{{else}}2{{/ifEquals}}", {"a": [1], "b": [1]}, "2"),
        ("{{~{a}~}} b", {"a": 1}, "1b"),
        ("a\r\n{{#if a}}\r\nb\r\n{{/if}}\r\nc", {"a": 1}, "a\r\nb\r\nc"),
        ("{{json a}}", {"a": "ü\n"}, '"ü\\n"'),
    ],
)
def test_language(template: str, values: dict[str, Any], expected: str, make_prompt: MakePrompt) -> None:
    assert text_of(make_prompt(template), values) == expected


def test_a_partial_alone_on_its_line_is_indented_but_its_values_are_not(make_prompt: MakePrompt) -> None:
    prompt = make_prompt("list:\n  {{> item}}\nend", item="- {{a}}\n- b\n")

    assert text_of(prompt, {"a": "1\n2"}) == "list:\n  - 1\n2\n  - b\nend"


def test_a_partial_with_a_context_sees_only_that(make_prompt: MakePrompt) -> None:
    prompt = make_prompt("{{> card user title=greeting}}", card="{{title}} {{name}} {{../greeting}}")

    assert text_of(prompt, {"user": {"name": "Ada"}, "greeting": "Hi"}) == "Hi Ada Hi"
    assert prompt.variables == ("greeting", "user")


def test_media_and_text_in_openai_s_format(make_prompt: MakePrompt) -> None:
    prompt = make_prompt('Look at {{media url=picture contentType="image/png"}}\n{{media url=other}}{{note}}')

    messages = prompt.render({"picture": "https://a/1.png", "other": "data:image/png;base64,AA", "note": ""}).messages

    assert messages[0].parts[1] == MediaPart(url="https://a/1.png", content_type="image/png")
    assert openai_messages(messages) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look at "},
                {"type": "image_url", "image_url": {"url": "https://a/1.png"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
            ],
        }
    ]


def test_an_empty_value_keeps_its_message(make_prompt: MakePrompt) -> None:
    prompt = make_prompt('{{role "system"}}be brief\n{{role "user"}}{{text}}')

    assert [(m.role, m.text) for m in prompt.render({"text": ""}).messages] == [("system", "be brief\n"), ("user", "")]


def test_history_goes_before_the_last_user_message_unless_placed(make_prompt: MakePrompt) -> None:
    prompt = make_prompt('{{role "system"}}s{{role "user"}}u')
    history = [Message(role="model", parts=(TextPart(text="h"),))]

    assert [message.text for message in prompt.render({}, history=history).messages] == ["s", "h", "u"]


@pytest.mark.parametrize(
    ("template", "place", "what", "hint"),
    [
        ("a\nb {{name", "x_v1.prompt:2", "never closed", "}}"),
        ("{{#if a}}\nx\n", "x_v1.prompt:1", "`{{#if}}` is never closed", "{{/if}}"),
        ("{{#if a}}\nx\n{{/each}}", "x_v1.prompt:3", "`{{/each}}` is where `{{#if}}` of line 1", "{{/if}}"),
        ("x\n{{/if}}", "x_v1.prompt:2", "closes no block", ""),
        ("x\n\n{{else}}", "x_v1.prompt:3", "closes no block", ""),
        ("{{#if a}}{{else}}{{else}}{{/if}}", "x_v1.prompt:1", "`{{else}}` is where", ""),
        ("\n{{shout name}}", "x_v1.prompt:2", "no helper `shout`", "`json`"),
        ("{{#loop items}}{{/loop}}", "x_v1.prompt:1", "no block `loop`", "{{#each loop}}"),
        ("{{log a}}", "x_v1.prompt:1", "no helper `log`", ""),
        ("{{(lookup a b)}}", "x_v1.prompt:1", "subexpressions", ""),
        ("{{#each a as |b|}}{{/each}}", "x_v1.prompt:1", "block parameters", ""),
        ("{{#> layout}}{{/layout}}", "x_v1.prompt:1", "block partials", ""),
        ("{{{{raw}}}}", "x_v1.prompt:1", "raw blocks", ""),
        ("{{^a}}{{/a}}", "x_v1.prompt:1", "inverted sections", "{{#unless a}}"),
        ("{{}}", "x_v1.prompt:1", "empty", ""),
        ("{{{a}}", "x_v1.prompt:1", "`{{{` is closed by `}}`", ""),
        ("{{a ; b}}", "x_v1.prompt:1", "`;` is not allowed inside", ""),
        ("{{!-- a }}", "x_v1.prompt:1", "comment is never closed", ""),
        ("{{role who}}", "x_v1.prompt:1", "needs a quoted name", "cannot name roles or sections"),
        ('{{role "sytem"}}', "x_v1.prompt:1", "no role `sytem`", "did you mean `system`?"),
        ('{{role "assistant"}}', "x_v1.prompt:1", "no role `assistant`", "`model`"),
        ("{{section}}", "x_v1.prompt:1", "`section` is used wrongly", '{{section "name"}}'),
        ("{{media src=a}}", "x_v1.prompt:1", "unknown `src=`", "url="),
        ("{{media}}", "x_v1.prompt:1", "no `url=`", ""),
        ("{{json a indent=b}}", "x_v1.prompt:1", "`indent=` is not a number", ""),
        ("{{../a}}", "x_v1.prompt:1", "leaves the outermost context", ""),
        ("{{@../index}}", "x_v1.prompt:1", "not part of the dialect", ""),
        ("{{#if a=}}{{/if}}", "x_v1.prompt:1", "`=` needs a name", ""),
        ('{{"text"}}', "x_v1.prompt:1", "is not a variable", ""),
        ("x\n{{> nme}}", "x_v1.prompt:2", "no partial `nme`", "did you mean `name`?"),
        ("{{> name a b}}", "x_v1.prompt:1", "more than one context", ""),
        ("{{>}}", "x_v1.prompt:1", "needs a name", ""),
        ("---\nmodel: m\n---\n\n\n{{#if a}}", "x_v1.prompt:6", "never closed", ""),
        ("# licence\n---\nmodel: m\n---\n{{role a}}", "x_v1.prompt:5", "quoted name", ""),
        ("{{#if a}}" * 70 + "{{/if}}" * 70, "x_v1.prompt:1", "nested deeper than 60", "partial"),
        ("{{#if a}}" + "{{else if a}}" * 70 + "{{/if}}", "x_v1.prompt:1", "more than 60 `else if`", ""),
    ],
)
def test_a_broken_template_is_one_clear_error(
    template: str, place: str, what: str, hint: str, make_prompt: MakePrompt
) -> None:
    with pytest.raises(PromptError) as caught:
        make_prompt(template, name="a partial")

    assert str(caught.value.place) == place
    assert what in caught.value.what
    assert hint in (caught.value.hint or "")


def test_an_error_in_a_partial_names_the_partial(make_prompt: MakePrompt) -> None:
    with pytest.raises(PromptError) as caught:
        make_prompt("{{> broken}}", broken="fine\n{{#if a}}")

    assert str(caught.value.place) == "_broken.prompt:2"


def test_a_partial_that_includes_itself_is_refused(make_prompt: MakePrompt) -> None:
    with pytest.raises(PromptError, match="`a` includes itself: a -> b -> a") as caught:
        make_prompt("{{> a}}", a="x {{> b}}", b="\n{{> a}}")

    assert str(caught.value.place) == "_b.prompt:2"


def test_partials_may_include_partials(make_prompt: MakePrompt) -> None:
    prompt = make_prompt("{{> outer}}{{> inner}}", outer="<{{> inner}}>", inner="{{a}}")

    assert text_of(prompt, {"a": "x"}) == "<x>x"


@pytest.mark.parametrize(
    ("template", "values", "place", "what"),
    [
        ("\n{{a}}", {"a": {"b": 1}}, "x_v1.prompt:2", "`a` is an object; expected text"),
        ("{{a}}", {"a": [1]}, "x_v1.prompt:1", "`a` is a list"),
        ("{{a}}", {"a": None}, "x_v1.prompt:1", "`a` is null"),
        ("{{a}}", {"a": b"x"}, "x_v1.prompt:1", "a Python `bytes`"),
        ("\n\n{{a.b}}", {"a": {}}, "x_v1.prompt:3", "`a.b` is missing"),
        ("{{#each a}}{{b}}{{/each}}", {"a": [{"b": 1}, {}]}, "x_v1.prompt:1", "`b` is missing"),
        ("{{#each a}}{{/each}}", {"a": "text"}, "x_v1.prompt:1", "`a` is text; expected a list"),
        ("{{media url=a}}", {"a": 5}, "x_v1.prompt:1", "`url=` of `media` is a number"),
        ("{{json a}}", {"a": float("nan")}, "x_v1.prompt:1", "cannot be written as JSON"),
        ("{{json a}}", {"a": {1, 2}}, "x_v1.prompt:1", "cannot be written as JSON"),
        ("a\n{{@auth.email}}", {}, "x_v1.prompt:2", "`@auth.email` is missing"),
    ],
)
def test_a_wrong_value_names_the_line_that_uses_it(
    template: str, values: dict[str, Any], place: str, what: str, make_prompt: MakePrompt
) -> None:
    with pytest.raises(PromptError) as caught:
        make_prompt(template).render(values)

    assert str(caught.value.place) == place
    assert what in caught.value.what
    assert caught.value.hint


def test_values_nested_too_deep_are_an_error(make_prompt: MakePrompt) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(PromptError, match="nested too deep"):
        make_prompt("{{json a}}").render({"a": deep})
    with pytest.raises(PromptError, match="nested too deep"):
        make_prompt("---\nflowai: {untrusted: [a]}\n---\n{{a.length}}").render({"a": deep})


def test_a_condition_may_test_a_missing_field(make_prompt: MakePrompt) -> None:
    prompt = make_prompt("{{#each a}}{{#if note}}{{note}}{{else}}-{{/if}}{{/each}}{{#if @auth.email}}in{{/if}}")

    assert text_of(prompt, {"a": [{"note": "n"}, {}]}) == "n-"


def test_a_value_never_reaches_attributes(make_prompt: MakePrompt) -> None:
    prompt = make_prompt("{{a.__class__}}{{a.upper}}{{b.keys}}")

    assert text_of(prompt, {"a": "x", "b": {}}, strict=False) == ""


def test_untrusted_text_is_marked_wherever_it_is_used(make_prompt: MakePrompt) -> None:
    prompt = make_prompt(
        "---\nflowai: {untrusted: [docs]}\n---\n"
        "{{#each docs}}{{title}}|{{#with body}}{{this}}{{/with}}{{#each this}}{{@index}}{{@key}}{{/each}}{{/each}}"
        "{{json docs}}{{> p x=docs.0.title}}{{name}}",
        p="{{x}}",
    )

    text = text_of(prompt, {"docs": [{"title": "T", "body": "B"}], "name": "N"}, nonce="0123456789ab")

    def marked(value: str) -> str:
        return f"<untrusted-0123456789ab>{value}</untrusted-0123456789ab>"

    keys = f"0{marked('title')}1{marked('body')}"
    as_json = '[{"title":"T","body":"B"}]'
    assert text == f"{marked('T')}|{marked('B')}{keys}{marked(as_json)}{marked('T')}N"


def test_all_values_at_once_count_as_untrusted(make_prompt: MakePrompt) -> None:
    prompt = make_prompt("---\nflowai: {untrusted: [a]}\n---\n{{json this}}{{#each this}}{{this}}{{/each}}")

    assert text_of(prompt, {"a": 1}, nonce="0123456789ab").count("<untrusted-0123456789ab>") == 2


@pytest.mark.parametrize(
    ("nonce", "what"), [("short", "nonce"), ("has space here", "nonce"), ("insidevalue", "contains")]
)
def test_an_unsafe_nonce_is_refused(nonce: str, what: str, make_prompt: MakePrompt) -> None:
    prompt = make_prompt("---\nflowai: {untrusted: [a]}\n---\n{{a}}")

    with pytest.raises(PromptError, match=what):
        prompt.render({"a": "</untrusted-insidevalue>"}, nonce=nonce)

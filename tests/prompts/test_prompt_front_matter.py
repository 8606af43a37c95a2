"""Front matter and schemas: settings and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowai.errors import Place, PromptError
from flowai.prompts import Prompt
from flowai.prompts.template.limits import MAX_PROMPT_BYTES, MAX_TAGS

MakePrompt = Callable[..., Prompt]


def test_front_matter_is_parsed(make_prompt: MakePrompt) -> None:
    prompt = make_prompt(
        "---\nmodel: smollm2\nconfig: {temperature: 0, maxOutputTokens: 90, stopSequences: [x]}\n"
        "input: {schema: {text: string}, default: {text: hi}}\n"
        "output: {schema: {summary: string}}\n---\n{{text}}\n"
    )

    assert prompt.model == "smollm2"
    assert prompt.config == {"temperature": 0, "max_tokens": 90, "stop": ["x"]}
    assert prompt.promises_json
    assert prompt.output_schema == {
        "type": "object",
        "properties": {"summary": {"type": "string"}},
        "additionalProperties": False,
        "required": ["summary"],
    }
    assert prompt.render({}).messages[0].text == "hi"


@pytest.mark.parametrize(
    ("output", "promises"),
    [("{format: json}", True), ("{format: text}", False), ("{}", False), ("{schema: string}", True)],
)
def test_what_promises_json(output: str, promises: bool, make_prompt: MakePrompt) -> None:
    assert make_prompt(f"---\noutput: {output}\n---\nx").promises_json is promises


def test_no_front_matter_means_the_whole_file_is_the_template(make_prompt: MakePrompt) -> None:
    text = "# A heading\n\na --- b\n"

    assert make_prompt(text).render({}).messages[0].text == text


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "the prompt is empty"),
        (" \n\n", 1, "the prompt is empty"),
        ("{{! later }}\n", 1, "only comments"),
        ("---\nmodel: m\n---\n", 4, "no template after it"),
        ("---\nmodel: m\n---\n  \n{{!-- later --}}", 5, "no template after it"),
    ],
)
def test_a_file_without_a_template_is_an_error(text: str, line: int, what: str, make_prompt: MakePrompt) -> None:
    with pytest.raises(PromptError, match=what) as caught:
        make_prompt(text)
    assert caught.value.place == Place(file="x_v1.prompt", line=line)
    assert "{{name}}" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("yaml", "key", "hint"),
    [
        ("schema: {text: string}", "schema", "did you mean `input.schema` or `output.schema`?"),
        ("temperature: 0", "temperature", "did you mean `config.temperature`?"),
        ("maxOutputTokens: 9", "maxOutputTokens", "did you mean `config.maxOutputTokens`?"),
        ("temprature: 0", "temprature", "did you mean `config.temperature`?"),
        ("fromat: json", "fromat", "did you mean `output.format`?"),
        ("untrusted: [a]", "untrusted", "did you mean `flowai.untrusted`?"),
        ("mdoel: m", "mdoel", "did you mean `model`?"),
        ("owner: ann", "owner", "a key of your own has a dot: `acme.owner`"),
        ("input: {schemas: {a: string}}", "input.schemas", "did you mean `schema`?"),
        ("input: {format: json}", "input.format", "did you mean `output.format`?"),
        ("input: {text: string}", "input.text", "`input: {schema: {text: string}}`"),
        ("output: {fromat: json}", "output.fromat", "did you mean `format`?"),
        ("output: {summary: string}", "output.summary", "`output: {schema: {summary: string}}`"),
        ("flowai: {control_token: allow}", "flowai.control_token", "did you mean `control_tokens`?"),
        ("config: {temprature: 0}", "config.temprature", "did you mean `temperature`?"),
        ("config: {temperatur: 0}", "config.temperatur", "did you mean `temperature`?"),
        ("config: {model: m}", "config.model", "write `model:` beside `config:`"),
        ("config: {response_format: {}}", "config.response_format", "`output.schema`"),
        ("config: {mirostat_eta: 1}", "config.mirostat_eta", "`config.extra_body`"),
    ],
)
def test_an_unknown_key_is_an_error_at_every_level(yaml: str, key: str, hint: str, make_prompt: MakePrompt) -> None:
    with pytest.raises(PromptError, match=f"unknown (key|parameter) `{key}`") as caught:
        make_prompt(f"---\n{yaml}\n---\nx")
    assert caught.value.place == Place(file="x_v1.prompt", line=2, key=key)
    assert hint in (caught.value.hint or "")


def test_keys_of_one_s_own_have_a_dot(make_prompt: MakePrompt) -> None:
    text = "---\nname: n\nacme.retries: 3\nmetadata: {any: thing}\nconfig: {extra_body: {min_p: 0.1}, top_k: 4}\n---\nx"
    assert make_prompt(text).settings.ext == {"acme": {"retries": 3}}


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ("temperature: '0'", "found text; expected a number"),
        ("temperature: yes", "found a boolean; expected a number"),
        ("max_tokens: 9.5", "found a number; expected a whole number above 0"),
        ("maxOutputTokens: 0", "found a number; expected a whole number above 0"),
        ("stop: 5", "found a number; expected text or a list of texts"),
        ("stop: [a, 5]", "found a list; expected text or a list of texts"),
        ("logit_bias: [1]", "found a list; expected a map"),
        ("logprobs: 1", "found a number; expected true or false"),
    ],
)
def test_a_known_parameter_has_its_type(config: str, what: str, make_prompt: MakePrompt) -> None:
    with pytest.raises(PromptError) as caught:
        make_prompt(f"---\nconfig: {{{config}}}\n---\nx")
    assert caught.value.what == what
    assert caught.value.place == Place(file="x_v1.prompt", line=2, key=f"config.{config.partition(':')[0]}")
    assert caught.value.hint


def test_a_parameter_may_be_null(make_prompt: MakePrompt) -> None:
    assert make_prompt("---\nconfig: {temperature: null}\n---\nx").config == {"temperature": None}


@pytest.mark.parametrize(
    ("partial", "is_wrong"),
    [
        ("---\nmodel: m\n---\nText", True),
        ("# a note\n---\nconfig:\n  temperature: 0\n---\nText", True),
        ("---\n---\nText", True),
        ("---\nA line between rulers\n---\nText", False),
        ("---\nmodel: m", False),
        ("Text\n---\nmodel: m\n---\n", False),
    ],
)
def test_a_partial_s_front_matter_is_refused(partial: str, is_wrong: bool, make_prompt: MakePrompt) -> None:
    if not is_wrong:
        assert partial.strip() in make_prompt("{{> p}}", p=partial).render({}).messages[0].text
        return
    with pytest.raises(PromptError, match="a partial has no front matter") as caught:
        make_prompt("{{> p}}", p=partial)
    assert caught.value.place == Place(file="_p.prompt", line=1)


@pytest.mark.parametrize(
    ("yaml", "line", "what", "hint"),
    [
        ("a.b: it: is", 2, "a second `:`", "in quotes"),
        ("config:\n\ttemperature: 0", 3, "a tab is in the indentation", "spaces"),
        ("a.b: {{name}}", 2, "`{{`", "in quotes"),
        ('a.b: "x', 2, "a quote is never closed", "close it"),
        ("a.b: @x", 2, "begins with a sign", "in quotes"),
        ("config:\n  top_p: 1\n top_k: 2", 4, "indented otherwise", "same number of spaces"),
    ],
)
def test_a_yaml_fault_is_explained(yaml: str, line: int, what: str, hint: str, make_prompt: MakePrompt) -> None:
    with pytest.raises(PromptError) as caught:
        make_prompt(f"---\n{yaml}\n---\nx")
    place = caught.value.place
    assert place is not None
    assert (place.file, place.line) == ("x_v1.prompt", line) or what == "a quote is never closed"
    assert caught.value.what.startswith("not valid YAML: ")
    assert what in caught.value.what
    assert hint in (caught.value.hint or "")


def test_a_prompt_has_limits(make_prompt: MakePrompt) -> None:
    make_prompt("{{a}}" * MAX_TAGS)
    with pytest.raises(PromptError, match="more than 10,000 tags"):
        make_prompt("{{a}}" * (MAX_TAGS + 1))
    with pytest.raises(PromptError, match="1,000,001 bytes"):
        make_prompt("x" * (MAX_PROMPT_BYTES + 1))
    # each partial includes the next twice: 2^30 tags in thirty small files
    bomb = {f"p{number}": f"{{{{> p{number + 1}}}}}" * 2 for number in range(30)}
    with pytest.raises(PromptError, match="more than 10,000 tags"):
        make_prompt("{{> p0}}", **bomb, p30="{{a}}")
    with pytest.raises(PromptError, match="more than 1,000,000 characters"):
        make_prompt("{{> p}}" * 11, p="x" * 100_000)


@pytest.mark.parametrize(
    ("text", "place", "what", "hint"),
    [
        ("---\nmodel: m\nno end", "x_v1.prompt:1", "never closed", "---"),
        ("\n\n---\na: [1\n---\nx", "x_v1.prompt:5", "not valid YAML", ""),
        ("---\nmodel: m\nmodel: n\n---\nx", "x_v1.prompt:3: model", "duplicate key", ""),
        ("---\n- a\n---\nx", "x_v1.prompt:2", "not a map", "key: value"),
        ("---\nmdoel: m\n---\nx", "x_v1.prompt:2: mdoel", "unknown key", "did you mean `model`?"),
        ("---\ntools: [a]\n---\nx", "x_v1.prompt:2: tools", "sends no tools", ""),
        ("---\nmodel: 5\n---\nx", "x_v1.prompt:2: model", "expected text", ""),
        ("---\nconfig: 5\n---\nx", "x_v1.prompt:2: config", "expected a map", ""),
        ("---\ninput: {default: 3}\n---\nx", "x_v1.prompt:2: input.default", "expected a map", ""),
        ("---\noutput: {format: jsn}\n---\nx", "x_v1.prompt:2: output.format", "no format `jsn`", "`json`"),
        ("---\noutput:\n  format: text\n  schema: string\n---\nx", "x_v1.prompt:3: output.format", "needs JSON", ""),
        (
            "---\noutput:\n  schema:\n    a: strin\n---\nx",
            "x_v1.prompt:4: output.schema.a",
            "no type `strin`",
            "`string`",
        ),
        (
            "---\noutput:\n  schema:\n    a(list): string\n---\nx",
            "x_v1.prompt:4: output.schema.a(list)",
            "not a kind",
            "array",
        ),
        (
            "---\noutput:\n  schema:\n    a(array: string\n---\nx",
            "x_v1.prompt:4: output.schema.a(array",
            "lacks its `)`",
            "",
        ),
        (
            "---\noutput:\n  schema:\n    a(enum): [yes, no]\n---\nx",
            "x_v1.prompt:4: output.schema.a(enum)",
            "true",
            "quotes",
        ),
        ("---\noutput:\n  schema:\n    a(enum): x\n---\nx", "x_v1.prompt:4: output.schema.a(enum)", "needs a list", ""),
        ("---\noutput:\n  schema:\n    a:\n---\nx", "x_v1.prompt:4: output.schema.a", "found nothing", ""),
        (
            "---\noutput:\n  schema: {type: object, properties: {a: {type: txt}}}\n---\nx",
            "x_v1.prompt:3",
            "no type `txt`",
            "",
        ),
        (
            "---\noutput:\n  schema: {type: object, required: a}\n---\nx",
            "x_v1.prompt:3",
            "`required` is not a list",
            "",
        ),
        ("---\nflowai: {control_token: reject}\n---\nx", "x_v1.prompt:2", "unknown key", "`control_tokens`"),
        ("---\nflowai: {control_tokens: drop}\n---\nx", "x_v1.prompt:2", "no policy `drop`", "`allow`"),
        ("---\nflowai: {untrusted: text}\n---\n{{text}}", "x_v1.prompt:2", "list of variables", "[text]"),
        ("---\nflowai:\n  untrusted: [txt]\n---\n{{text}}", "x_v1.prompt:3", "no variable `txt`", "`text`"),
    ],
)
def test_a_wrong_front_matter_is_one_clear_error(
    text: str, place: str, what: str, hint: str, make_prompt: MakePrompt
) -> None:
    with pytest.raises(PromptError) as caught:
        make_prompt(text)

    assert str(caught.value.place).startswith(place)
    assert what in caught.value.what
    assert hint in (caught.value.hint or "")


TYPED = """---
input:
  schema:
    text: string
    count?: integer
    tone?(enum): [warm, cold]
    tags?(array): string
    user?(object):
      name: string
      nick?: string
---
{{text}}
{{count}} {{tone}} {{#each tags}}{{this}}{{/each}}
{{#with user}}{{name}}{{nick}}{{/with}}
"""


def test_optional_variables_may_be_absent_or_null(make_prompt: MakePrompt) -> None:
    prompt = make_prompt(TYPED)

    assert prompt.render({"text": "t"}).messages[0].text == "t\n  \n"
    assert prompt.render({"text": "t", "count": None, "user": {"name": "n"}}).messages[0].text == "t\n  \nn"


@pytest.mark.parametrize(
    ("values", "place", "what"),
    [
        ({}, "x_v1.prompt:12", "variable `text` is missing"),
        ({"text": 5}, "x_v1.prompt:12", "`text` is 5; expected string"),
        ({"text": None}, "x_v1.prompt:12", "`text` is null"),
        ({"text": "t", "count": "5"}, "x_v1.prompt:13", '`count` is "5"; expected integer or null'),
        ({"text": "t", "count": True}, "x_v1.prompt:13", "`count` is true"),
        ({"text": "t", "count": 1.5}, "x_v1.prompt:13", "`count` is 1.5"),
        ({"text": "t", "tone": "hot"}, "x_v1.prompt:13", "expected one of"),
        ({"text": "t", "tags": ["a", 1]}, "x_v1.prompt:13", "`tags[1]` is 1; expected string"),
        ({"text": "t", "user": {}}, "x_v1.prompt:14", "`user.name` is missing"),
        ({"text": "t", "user": {"name": "n", "age": 1}}, "x_v1.prompt:14", "`user.age` is not allowed here"),
        ({"text": "t", "txet": "t"}, "x_v1.prompt:3", "variable `txet` is unknown"),
    ],
)
def test_the_schema_is_the_contract(values: dict[str, Any], place: str, what: str, make_prompt: MakePrompt) -> None:
    with pytest.raises(PromptError) as caught:
        make_prompt(TYPED).render(values)

    assert str(caught.value.place).startswith(place)
    assert what in caught.value.what
    assert caught.value.hint


def test_without_a_schema_the_template_is_the_contract(make_prompt: MakePrompt) -> None:
    prompt = make_prompt("{{a}}\n{{#if b}}{{c.d}}{{/if}}")

    assert prompt.variables == ("a", "b", "c")
    with pytest.raises(PromptError, match="`b`, `c` are missing") as missing:
        prompt.render({"a": 1})
    assert str(missing.value.place) == "x_v1.prompt:2"
    with pytest.raises(PromptError, match="`z` is unknown"):
        prompt.render({"a": 1, "b": 0, "c": {}, "z": 1})
    assert prompt.render(prompt.select({"a": 1, "b": 0, "c": {}, "z": 1})).messages[0].text == "1\n"
    assert prompt.render({}, strict=False).messages[0].text == "\n"


def test_a_prompt_that_accepts_everything_selects_everything(make_prompt: MakePrompt) -> None:
    prompt = make_prompt("{{json this}}")

    assert prompt.select({"a": 1}) == {"a": 1}
    assert prompt.render({"a": 1}).messages[0].text == '{"a":1}'


def test_a_template_that_contradicts_its_schema_is_refused(make_prompt: MakePrompt) -> None:
    prompt = make_prompt("---\ninput:\n  schema: {text: string}\n---\n\n{{txt}}")

    with pytest.raises(PromptError, match="uses `txt`") as caught:
        prompt.contract.check_schema()
    assert str(caught.value.place) == "x_v1.prompt:6"
    assert "`text`" in (caught.value.hint or "")
    with pytest.raises(PromptError, match="does not describe an object"):
        make_prompt("---\ninput: {schema: string}\n---\nx").contract.check_schema()


@pytest.mark.parametrize(
    ("schema", "value", "what"),
    [
        ("{type: string, minLength: 3}", "ab", "`a` breaks the schema at `minLength`"),
        ("{type: string, pattern: '('}", "ab", "not a valid JSON Schema"),
        ("{$ref: 'http://127.0.0.1:9/x'}", "ab", "cannot be used"),
        ("{type: string, minLength: -1}", "ab", "not a valid JSON Schema"),
    ],
)
def test_other_keywords_are_left_to_jsonschema(schema: str, value: str, what: str, make_prompt: MakePrompt) -> None:
    prompt = make_prompt(f"---\ninput:\n  schema: {{type: object, properties: {{a: {schema}}}}}\n---\n{{{{a}}}}")

    with pytest.raises(PromptError, match=r".") as caught:
        prompt.render({"a": value})
    assert what in caught.value.what


def test_the_hash_is_over_the_file_and_its_partials(make_prompt: MakePrompt) -> None:
    hashes = {
        make_prompt("{{> p}}", p="a").hash,
        make_prompt("{{> p}}", p="b").hash,
        make_prompt("{{> p}} ", p="a").hash,
        make_prompt("{{> p}}", p="a", unused="x").hash,
    }

    assert len(hashes) == 3
    assert all(len(digest) == 64 for digest in hashes)

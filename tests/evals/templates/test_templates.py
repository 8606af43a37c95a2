"""Templates in Nunjucks' syntax: the texts are those that promptfoo renders for the same values."""

from __future__ import annotations

import pytest

from flowai.evals.templates import TemplateError, has_tags, protect_partial, render, resolve_references, root_names

VALUES = {
    "a": "x",
    "n": 3,
    "f": 2.50,
    "l": ["p", "q"],
    "o": {"k": "v", "z": 1.0},
    "e": [],
    "s": "5",
    "t": True,
    "z": None,
    "h": 'He said "hi" & <b>\\n',
    "rows": [{"name": "u", "v": 1}, {"name": "w", "v": 0}],
    "tiny": 1e-7,
}

SAME_AS_PROMPTFOO = [
    ("{{n}}|{{t}}|{{z}}|{{nope}}|{{nope.x.y}}", "3|true|||"),
    ("{{l}} {{l.length}} {{ l[0] }} {{ o['k'] }}{{ o.q }}", "p,q 2 p v"),
    ("{{o|dump}}", '{"k":"v","z":1}'),
    ("{{o|dump(2)}}", '{\n  "k": "v",\n  "z": 1\n}'),
    ("{% if e %}yes{% else %}no{% endif %}", "yes"),
    ("{% if not e %}empty{% endif %}", ""),
    ("{{ s == 5 }}{{ s === '5' }}{{ n > '2' }}", "truetruetrue"),
    ("{% for k,v in o %}{{k}}={{v}};{% endfor %}", "k=v;z=1;"),
    ("{% for i in l %}{{loop.index}}{{i}}{% if not loop.last %},{% endif %}{% endfor %}", "1p,2q"),
    ("{% for x in nope %}a{% else %}none{% endfor %}", "none"),
    ("{{ nope|default('d') }}{{ z|default('e') }}{{ z|default('f', true) }}", "df"),
    ("{{ 'a' ~ n }}{{ 'a' + n }}", "a3a3"),
    ("{% raw %}{{x}}{% endraw %}{# c #}", "{{x}}"),
    ("{% if a == 'x' and n >= 3 %}y{% elseif a %}z{% endif %}", "y"),
    ("{{ x is defined }} {{ a is defined }} {{ t is number }}", "false true false"),
    ("{{ 10/4 }} {{ 10/5 }} {{ f }} {{ 7 // 2 }} {{ 2 ** 3 }} {{ tiny }}", "2.5 2 2.5 3 8 1e-7"),
    ("{{ h|escape }}", "He said &quot;hi&quot; &amp; &lt;b&gt;&#92;n"),
    ("{{ h }}", 'He said "hi" & <b>\\n'),
    ("{{ 3.7|round }} {{ 2.345|round(2) }} {{ [3,1,2]|sort }}", "4 2.35 1,2,3"),
    ("{{ 'foo bar baz qux'|truncate(10) }} {{ 'one two'|wordcount }}", "foo bar... 2"),
    ("{{ a.toUpperCase() }} {{ 'a,b'.split(',')|dump }} {{ l.indexOf('q') }}", 'X ["a","b"] 1'),
    ("{{ rows|selectattr('v')|dump }}", '[{"name":"u","v":1}]'),
    ("{% macro m(q) %}[{{q}}]{% endmacro %}{{ m('1') }}", "[1]"),
    ("{{ t and 'yes' or 'no' }}", "yes"),
    ("line\n{{a}}\n", "line\nx\n"),
]


@pytest.mark.parametrize(("source", "text"), SAME_AS_PROMPTFOO)
def test_a_template_has_the_text_that_promptfoo_renders(source: str, text: str) -> None:
    assert render(source, VALUES) == text


def test_a_mapping_is_json_instead_of_object_object() -> None:
    assert render("{{o}}", VALUES) == '{"k":"v","z":1}'


def test_the_environment_is_what_the_caller_gives() -> None:
    assert render("{{ env.HOME }}{{ env.NOT_THERE }}", {}, env={"HOME": "here"}) == "here"
    assert render("{{ env.HOME }}", {}) == ""


@pytest.mark.parametrize(
    "source",
    [
        "{{ a.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ l.append }}",
        "{{ a.format }}",
        "{{ ''.join.__globals__ }}",
        "{{ range.__init__ }}",
        "{{ lipsum }}{{ cycler }}{{ joiner }}{{ namespace }}",
        "{{ self.__init__ }}",
        "{{ o.items }}{{ o.keys }}",
        "{% for i in l %}{{ loop.__class__ }}{% endfor %}",
    ],
)
def test_nothing_of_python_is_reachable(source: str) -> None:
    assert render(source, VALUES).strip() == ""


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{% for i in range(999999999) %}{% endfor %}",
        "{{ 2 ** 99999 }}",
        "{{ a|center(99999999999) }}",
        "{{ a|indent(99999999999) }}",
        "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
        "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
        "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x|replace('a', x) %}" * 9 + "{{ x }}",
        "{% set x = [1, 2] %}" + "{% set x = x.concat(x) %}" * 40,
        "{% set x = 9 %}" + "{% set x = x * x %}" * 40,
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}",
        "{% if a %}" * 400 + "{% endif %}" * 400,
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
    ],
)
def test_a_template_that_does_too_much_is_an_error(source: str) -> None:
    with pytest.raises(TemplateError):
        render(source, VALUES)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{{ a | uper }}", "No filter named 'uper'"),
        ("{% if %}", "wrong syntax"),
        ("a\n{% endif %}", "wrong syntax"),
        ("{% switch a %}{% endswitch %}", "unknown tag 'switch'"),
    ],
)
def test_wrong_syntax_is_named_with_its_line(source: str, what: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(source, VALUES)
    assert what in caught.value.what
    assert caught.value.line == source.count("\n") + 1


def test_a_line_that_ends_inside_a_tag_is_plain_text() -> None:
    assert render(protect_partial("{{ partial\nx"), {}) == "{{ partial\nx"
    assert render(protect_partial("100% {% of x"), {}) == "100% {% of x"
    assert protect_partial("{{ a }}") == "{{ a }}"


def test_the_variables_that_a_template_reads() -> None:
    assert root_names("{{ a.b }}{% for x in rows %}{{ x }}{% endfor %}") == {"a", "rows"}
    assert root_names("{% if %}") == frozenset()
    assert not has_tags("a { b } c")


def test_references_between_variables_are_replaced_in_five_rounds() -> None:
    found = resolve_references({"a": "x", "n": 3, "ref": "see {{a}} and {{n}}", "chain": "{{ref}}!", "end": "e\n"})
    assert found == {"a": "x", "n": 3, "ref": "see x and 3", "chain": "see x and 3!", "end": "e"}
    assert resolve_references({"a": "{{missing}} {{b}}", "b": "y"})["a"] == "{{missing}} {{b}}"
    assert "{{a}}" in resolve_references({"a": "<{{a}}>"})["a"]


def test_references_that_multiply_stop() -> None:
    variables = {name: f"{{{{{following}}}}}" * 100 for name, following in zip("abcdef", "bcdefg", strict=True)}
    assert max(map(len, resolve_references({**variables, "g": "x" * 1_000_000}).values())) <= 10_000_000

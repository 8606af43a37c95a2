"""Suites as other people have them: prompts, providers and defaults of their own, in promptfoo's form."""

from __future__ import annotations

import base64
import functools
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from flowai.errors import ProjectError, SuiteError
from flowai.evals.suites.loader import load_suite
from flowai.evals.suites.records import SuitePrompt
from flowai.evals.suites.yaml_reader import LoadContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowai.evals.suites.records import Case, Suite
    from flowai.project import Project

    Read = Callable[[str], Suite]
    Write = Callable[[str, str | bytes], Path]

ECHO = "providers: [echo]\n"
ONE = f"prompts: ['Hi {{{{v}}}}']\n{ECHO}"


def templates(suite: Suite) -> list[tuple[str, str, str]]:
    return [(prompt.id, prompt.kind, prompt.template) for prompt in suite.prompt_sources]


def test_prompts_are_texts_of_the_suite(suite_of: Read) -> None:
    suite = suite_of(
        f"""\
prompts:
  - "Hello {{{{name}}}}"
  - Say a/b or c. Now!
  - |
    Two
    lines
  - {{id: formal, raw: "Dear {{{{name}}}}", label: Formal, config: {{temperature: 0}}}}
  - {{raw: ["a"], label: chat}}
{ECHO}"""
    )
    assert templates(suite) == [
        ("prompt-1", "text", "Hello {{name}}"),
        ("prompt-2", "text", "Say a/b or c. Now!"),
        ("prompt-3", "text", "Two\nlines\n"),
        ("formal", "text", "Dear {{name}}"),
        ("chat", "chat", '["a"]'),
    ]
    assert suite.prompt_sources[3].config == {"temperature": 0}
    assert suite.prompts == ("prompt-1", "prompt-2", "prompt-3", "formal", "chat")
    assert [case.id for case in suite.cases] == ["case-1"]


def test_prompts_are_files_beside_the_suite(suite_of: Read, write: Write) -> None:
    write("evals/p/two.txt", "First\r\n---\nSecond {{x}}\n---\n\n")
    write("evals/p/page.md", "# Title\n")
    write("evals/p/chat.json", '[{"role": "user", "content": "{{x}}"}]')
    write("evals/p/half.json", '[{% if x %}{"role": "user"}{% endif %}]')
    write("evals/p/chat.yaml", "- role: user\n  content: no\n")
    write("evals/p/rows.jsonl", '[{"role": "user", "content": "a"}]\n\n[{"role": "user", "content": "b"}]\n')
    write("evals/p/table.csv", 'prompt,label\n"Hi, {{x}}",short\nBye,\n')
    write("evals/p/lines.csv", "prompt\nOne {{x}}\nTwo\n")
    write("evals/p/t.j2", "{{ x }}\n")
    write("evals/p/make.py", "def build(context): return 'x'\n")
    write("evals/p/make.js", "module.exports = () => 'x'\n")
    names = "two.txt page.md chat.json half.json chat.yaml rows.jsonl table.csv lines.csv t.j2"
    names += " make.py:build make.py:Make.prompt make.js"
    suite = suite_of(f"prompts: [{', '.join(f'file://p/{name}' for name in names.split())}]\n{ECHO}")
    assert templates(suite) == [
        ("evals/p/two.txt#1", "text", "First"),
        ("evals/p/two.txt#2", "text", "Second {{x}}"),
        ("evals/p/page.md", "text", "# Title\n"),
        ("evals/p/chat.json", "chat", '[{"role":"user","content":"{{x}}"}]'),
        ("evals/p/half.json", "chat", '[{% if x %}{"role": "user"}{% endif %}]'),
        ("evals/p/chat.yaml", "chat", '[{"role":"user","content":"no"}]'),
        ("evals/p/rows.jsonl#1", "chat", '[{"role": "user", "content": "a"}]'),
        ("evals/p/rows.jsonl#2", "chat", '[{"role": "user", "content": "b"}]'),
        ("short", "text", "Hi, {{x}}"),
        ("evals/p/table.csv#2", "text", "Bye"),
        ("evals/p/lines.csv#1", "text", "One {{x}}"),
        ("evals/p/lines.csv#2", "text", "Two"),
        ("evals/p/t.j2", "text", "{{ x }}\n"),
        ("evals/p/make.py:build", "function", ""),
        ("evals/p/make.py:Make.prompt", "function", ""),
        ("evals/p/make.js", "function", ""),
    ]
    function = suite.prompt_sources[-3].code
    assert function is not None
    assert (function.language, function.function) == ("python", "build")


@pytest.mark.parametrize(
    ("prompts", "ids"),
    [
        ("file://p/*.txt", ["evals/p/a.txt", "evals/p/b.txt"]),
        ("p/a.txt", ["evals/p/a.txt"]),
        ("{p/a.txt: one, p/b.txt: two}", ["one", "two"]),
        ("[{id: file://p/a.txt, label: one}, {id: p/b.txt, label: one}]", ["one", "one (2)"]),
        ("[prompts/summary_v1, p/a.txt]", ["prompts/summary_v1", "evals/p/a.txt"]),
    ],
)
def test_prompts_are_named_in_many_ways(suite_of: Read, write: Write, prompts: str, ids: list[str]) -> None:
    write("evals/p/a.txt", "A")
    write("evals/p/b.txt", "B")
    assert list(suite_of(f"prompts: {prompts}\n{ECHO}").prompts) == ids


def test_without_prompts_the_variable_prompt_is_sent(suite_of: Read) -> None:
    suite = suite_of(f"{ECHO}tests: [{{vars: {{prompt: hi}}}}]")
    assert templates(suite) == [("prompt", "text", "{{prompt}}")]


def test_providers_have_settings_of_their_own(suite_of: Read, write: Write) -> None:
    write("evals/more.yaml", "- id: openai:gpt-4o-mini\n  label: from file\n- echo\n")
    write("evals/tools.json", '[{"type": "function"}]')
    write("evals/t.py", "")
    suite = suite_of(
        """\
prompts: [x]
targets:
  - smollm2
  - openai:chat:gpt-4o
  - {id: "openai:gpt-4o", label: cold, config: {temperature: 0, tools: "file://tools.json"}, prompts: [x], delay: 50}
  - openai:gpt-4o-mini: {config: {max_tokens: 5}}
  - {id: "python:t.py", transform: "output.trim()", env: {LEVEL: 3, ON: true}}
  - file://more.yaml
"""
    )
    assert suite.models == (
        "smollm2", "openai/gpt-4o", "cold", "openai:gpt-4o-mini", "python:t.py", "from file", "echo",
    )  # fmt: skip
    cold, mapped, script, filed, echo = suite.targets
    assert (cold.kind, cold.model, cold.prompts, cold.delay_s) == ("model", "openai/gpt-4o", ("x",), 0.05)
    assert cold.config["tools"] == [{"type": "function"}]
    assert cold.params["temperature"] == 0
    assert mapped.config == {"max_tokens": 5}
    assert script.kind == "python"
    assert script.transform is not None
    assert script.transform.source == "output.trim()"
    assert script.env == {"LEVEL": "3", "ON": "true"}
    assert filed.name == "from file"
    assert echo.kind == "echo"


def test_the_key_of_a_mapping_is_what_it_runs(suite_of: Read) -> None:
    (target,) = suite_of("prompts: [x]\nproviders: [{echo: {id: alpha, config: {a: 1}}}]").targets
    assert (target.kind, target.name) == ("echo", "alpha")


def test_equal_names_of_providers_are_numbered(suite_of: Read) -> None:
    suite = suite_of("prompts: [x]\nproviders: [{id: echo, config: {a: 1}}, {id: echo, config: {a: 2}}]")
    assert suite.models == ("echo", "echo (2)")


SCALARS = [
    ("Yes", "Yes"), ("no", "no"), ("on", "on"), ("y", "y"), ("true", True), ("TRUE", True), ("tRUE", "tRUE"),
    ("null", None), ("~", None), ("", None), ("12:30", "12:30"), ("190:20:30.15", "190:20:30.15"), ("012", 12),
    ("-012", -12), ("0o17", 15), ("0x1F", 31), ("0b101", "0b101"), ("1_000", "1_000"), ("1,000", "1,000"), ("+12", 12),
    ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("1e+3", 1000.0), ("1e", "1e"), ("0x", "0x"), ("0o8", "0o8"),
    ("1e400", "1e400"), ("=", "="), ("2024-01-01", "2024-01-01"), ("2024-01-01 10:00:00", "2024-01-01 10:00:00"),
    ('"012"', "012"), ("!!str 12", "12"), ("a#b", "a#b"), ("a #b", "a"), ('"a\\/b"', "a/b"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_are_those_of_yaml_1_2(suite_of: Read, text: str, value: object) -> None:
    found = suite_of(f"tests:\n  - vars:\n      v: {text}\n").cases[0].vars["v"]
    assert (type(found), found) == (type(value), value)


def test_merge_keys_and_anchors(suite_of: Read) -> None:
    suite = suite_of(f"{ONE}x-base: &base {{v: a, w: b}}\ntests:\n  - vars: {{<<: *base, w: c}}\n  - vars: *base\n")
    assert [case.vars for case in suite.cases] == [{"v": "a", "w": "c"}, {"v": "a", "w": "b"}]
    assert suite.warnings == ()


def test_a_suite_may_be_json(project: Project, write: Write) -> None:
    text = json.dumps({"prompts": ["Hi {{v}}"], "providers": ["echo"], "tests": [{"vars": {"v": "😀"}}]}, indent=1)
    suite = load_suite(write("evals/x.json", text), project)
    assert suite.cases[0].vars == {"v": "😀"}
    assert suite.cases[0].place == "evals/x.json:9"


def cases_of(suite: Suite) -> list[tuple[str, dict[str, Any]]]:
    return [(case.id, case.vars) for case in suite.cases]


def test_lists_of_texts_expand_and_other_lists_stay(suite_of: Read) -> None:
    suite = suite_of(f"{ONE}tests: [{{vars: {{v: [a, b], n: [1, 2], o: [{{k: 1}}], e: []}}}}]")
    same = {"n": [1, 2], "o": [{"k": 1}], "e": []}
    assert cases_of(suite) == [("case-1-1", {"v": "a", **same}), ("case-1-2", {"v": "b", **same})]


def test_files_of_variables_are_texts_pictures_and_code(suite_of: Read, write: Write) -> None:
    write("evals/v/a.txt", "  one \n")
    write("evals/v/b.txt", "two\n")
    write("evals/v/d.yaml", "k: no\n")
    write("evals/v/j.json", '{"a":  1}\n')
    write("evals/v/p.png", b"\x89PNG....")
    write("evals/v/s.mp3", b"abc")
    write("evals/v/c.py", "")
    suite = suite_of(
        f"""{ONE}tests:
  - vars: {{v: file://v/*.txt, d: file://v/d.yaml, j: file://v/j.json, p: file://v/p.png, s: file://v/s.mp3}}
  - vars: {{v: file://v/c.py:make, w: {{a: file://v/a.txt}}}}
"""
    )
    first, second, third = suite.cases
    assert [case.vars["v"] for case in (first, second)] == ["one", "two"]
    assert (first.vars["d"], first.vars["j"]) == ('{"k":"no"}', '{"a":  1}')
    assert first.vars["p"] == "data:image/png;base64," + base64.b64encode(b"\x89PNG....").decode()
    assert first.vars["s"] == base64.b64encode(b"abc").decode()
    assert third.dynamic_vars["v"].function == "make"
    assert third.vars["w"] == {"a": "file://v/a.txt"}


def test_assertions_have_code_graders_and_transforms(suite_of: Read, write: Write) -> None:
    write("evals/check.py", "")
    write("evals/value.js", "")
    suite = suite_of(
        f"""{ONE}tests:
  - vars: {{v: 7}}
    assert:
      - {{type: javascript, value: "output.length > {{{{v}}}}", transform: "output.trim()"}}
      - {{type: not-python, value: "file://check.py:short", config: {{max: 3}}}}
      - {{type: contains, value: file://value.js}}
      - type: llm-rubric
        value: "is {{{{v}}}}"
        provider: {{text: openai:gpt-4o, embedding: openai:embedding:text-embedding-3-small}}
        rubricPrompt: "{{{{output}}}}"
"""
    )
    inline, file, computed, rubric = suite.cases[0].assertions
    assert inline.code is not None
    assert (inline.code.language, inline.code.source) == ("javascript", "output.length > 7")
    assert inline.transform is not None
    assert file.code is not None
    assert (file.negated, file.code.function, file.config) == (True, "short", {"max": 3})
    assert computed.code is not None
    assert (rubric.value, rubric.rubric_prompt) == ("is 7", "{{output}}")
    assert rubric.grader is not None
    assert rubric.embedder is not None
    assert rubric.grader.model == "openai/gpt-4o"


def test_assertions_may_refer_to_templates(suite_of: Read, write: Write) -> None:
    write("evals/shared.yaml", "long: {type: word-count, value: {max: 9}}\n")
    suite = suite_of(
        f"""{ONE}assertionTemplates:
  polite: {{type: contains, value: please}}
tests:
  - assert:
      - $ref: "#/assertionTemplates/polite"
      - {{$ref: "#/assertionTemplates/polite", value: thanks}}
      - $ref: "shared.yaml#/long"
      - {{type: is-json, value: {{$ref: "#/$defs/x", $defs: {{x: {{type: object}}}}}}}}
"""
    )
    found = [(check.type, check.value) for check in suite.cases[0].assertions]
    assert found[:3] == [("contains", "please"), ("contains", "thanks"), ("word-count", {"max": 9})]
    assert found[3][1]["$ref"] == "#/$defs/x"
    assert suite.cases[0].assertions[0].place == "evals/x.yaml:7"


def test_scenarios_are_tests_with_each_of_their_settings(suite_of: Read) -> None:
    suite = suite_of(
        f"""{ONE}defaultTest: {{vars: {{tone: dry}}, assert: [{{type: is-json}}]}}
scenarios:
  - config:
      - vars: {{lang: de}}
        assert: [{{type: contains, value: "{{{{lang}}}}"}}]
      - {{vars: {{lang: fr, tone: wet}}}}
    tests:
      - {{description: hello, vars: {{v: a}}}}
      - {{vars: {{v: b}}, assert: [{{type: contains, value: x}}]}}
"""
    )
    assert cases_of(suite) == [
        ("hello", {"tone": "dry", "lang": "de", "v": "a"}),
        ("scenario-1-1-case-2", {"tone": "dry", "lang": "de", "v": "b"}),
        ("hello-2", {"tone": "wet", "lang": "fr", "v": "a"}),
        ("scenario-1-2-case-2", {"tone": "wet", "lang": "fr", "v": "b"}),
    ]
    assert [[check.value for check in case.assertions] for case in suite.cases] == [
        [None, "de"], [None, "de", "x"], [None], [None, "x"],
    ]  # fmt: skip


def only(suite: Suite) -> Case:
    (case,) = suite.cases
    return case


def test_options_of_a_test_win_over_the_defaults(suite_of: Read, write: Write) -> None:
    write("evals/score.py", "")
    case = only(
        suite_of(
            f"""{ONE}defaultTest:
  options: {{prefix: "<", suffix: ">", transform: "output.trim()", temperature: 1}}
  assertScoringFunction: file://score.py
tests:
  - options:
      {{prefix: "[", transformVars: "({{...vars}})", storeOutputAs: first, runSerially: true, repeat: 3,
       provider: openai:gpt-4o, rubricPrompt: grade}}
    provider: echo
    providers: [cold, "openai:gpt-4o"]
    prompts: [x]
    providerOutput: recorded
    critical: true
    tags: [a]
"""
        )
    )
    options = case.options
    assert (options.prefix, options.suffix, options.store_output_as, options.repeats) == ("[", ">", "first", 3)
    assert options.transform is not None
    assert options.transform_vars is not None
    assert options.is_serial
    assert options.config == {"temperature": 1}
    assert options.rubric_prompt == "grade"
    assert options.grader is not None
    assert case.provider is not None
    assert (case.provider.kind, case.providers) == ("echo", ("cold", "openai:gpt-4o", "openai/gpt-4o"))
    assert (case.prompts, case.recorded_output, case.is_critical, case.tags) == (("x",), "recorded", True, ("a",))
    assert case.scoring is not None


def test_options_of_the_suite(suite_of: Read, write: Write) -> None:
    write("evals/hooks.py", "")
    suite = suite_of(
        f"""{ONE}env: {{LEVEL: 3}}
evaluateOptions: {{maxConcurrency: 4, repeat: 2, delay: 100, cache: false, timeoutMs: 5000, showProgressBar: false}}
derivedMetrics: [{{name: f1, value: 2 * tp / (tp + fp)}}]
extensions: [file://hooks.py:beforeAll]
outputPath: [out.json, out.html]
tags: {{team: search}}
metadata: {{owner: me}}
writeLatestResults: true
sharing: false
notes: hello
tests: [{{}}]
flowai: {{render_variables: false}}
"""
    )
    options = suite.evaluate
    assert (options.max_concurrency, options.repeats, options.delay_s, options.uses_cache) == (4, 2, 0.1, False)
    assert options.timeout_s == 5
    assert [metric.name for metric in suite.derived_metrics] == ["f1"]
    assert [hook.function for hook in suite.extensions] == ["beforeAll"]
    assert suite.output_paths == ("out.json", "out.html")
    assert (suite.tags, suite.env, only(suite).metadata) == ({"team": "search"}, {"LEVEL": "3"}, {"owner": "me"})
    assert not suite.renders_variables
    assert [warning.split("`")[1] for warning in suite.warnings] == [
        "writeLatestResults", "sharing", "notes", "showProgressBar",
    ]  # fmt: skip
    assert suite.warnings[2].startswith("evals/x.yaml:12: notes: `notes` is ignored")


def test_variables_of_the_environment_are_filled_in_everywhere(project: Project, write: Write) -> None:
    text = (
        "prompts: ['{{env.WHO}} {{v}}']\nenv: {URL: 'http://{{env.HOST}}/'}\n"
        "providers: [{id: '{{env.URL}}x', config: {key: '{{ env.NONE }}', level: \"{{ env.L | default('3') }}\"}}]\n"
        "tests: [{vars: {v: '{{env.HOST}}'}}]\n"
    )
    context = LoadContext(environ={"HOST": "h", "WHO": "me"})
    suite = load_suite(write("evals/x.yaml", text), project, context)
    assert suite.prompt_sources[0].template == "me {{v}}"
    assert suite.targets[0].id == "http://h/x"
    assert suite.targets[0].config["key"] == "{{ env.NONE }}"
    assert suite.targets[0].config["level"] == "3"
    assert suite.cases[0].vars == {"v": "h"}


def test_code_makes_tests_if_it_may_be_run(project: Project, write: Write) -> None:
    write("evals/gen.py", "")
    write("evals/rows.yaml", "n: 2\n")
    path = write("evals/x.yaml", f"{ONE}tests:\n  - path: file://gen.py:make\n    config: {{rows: file://rows.yaml}}\n")
    with pytest.raises(SuiteError, match=r"x\.yaml:4: tests\.0: tests that code makes need code to be run"):
        load_suite(path, project)
    calls: list[Any] = []

    def run(code: Any, arguments: Any) -> Any:
        calls.append((code.function, arguments))
        return [{"vars": {"v": "a"}}, {"vars": {"v": "b"}}]

    suite = load_suite(path, project, LoadContext(run_code=run))
    assert cases_of(suite) == [("case-1", {"v": "a"}), ("case-2", {"v": "b"})]
    assert calls == [("make", [{"rows": {"n": 2}}])]
    with pytest.raises(SuiteError, match="test 1 of the code is 3; expected a mapping"):
        load_suite(path, project, LoadContext(run_code=lambda _code, _arguments: [3]))


def test_an_undefined_variable_of_an_assertion_is_a_warning(suite_of: Read) -> None:
    suite = suite_of(f"{ONE}tests: [{{vars: {{v: a}}, assert: [{{type: contains, value: 'x{{{{nope}}}}{{{{v}}}}'}}]}}]")
    assert only(suite).assertions[0].value == "xa"
    assert "`nope` is no variable of the case at evals/x.yaml:3" in suite.warnings[0]


def test_assertions_on_answers_of_earlier_cases_are_filled_later(suite_of: Read) -> None:
    suite = suite_of(
        f"{ONE}tests: [{{options: {{storeOutputAs: fruit}}}},"
        " {assert: [{type: contains, value: '{{fruit}}'}, {type: contains, value: a}]}]"
    )
    late, plain = suite.cases[1].assertions
    assert (late.value, late.is_template) == ("{{fruit}}", True)
    assert not plain.is_template


TABLE = '''v,__expected,__prefix,__suffix,__provider,__providerOutput,__metadata:k
a,fn: output.length > 1,[,],echo,stored,m
b,is-refusal,,,,,
c,levenshtein: x,,,,,
d,python: len(output) > 3,,,,,
e,"grade: is kind",,,,,
f,file://check.py:short,,,,,
g,"equals: ""quoted""",,,,,
'''


def test_a_table_of_somebody_elses_suite(suite_of: Read, write: Write) -> None:
    write("evals/t.csv", TABLE)
    write("evals/check.py", "")
    suite = suite_of(f"{ONE}tests: file://t.csv\n")
    first = suite.cases[0]
    assert (first.options.prefix, first.options.suffix, first.recorded_output) == ("[", "]", "stored")
    assert first.provider is not None
    assert first.metadata == {"k": "m"}
    checks = [case.assertions[0] for case in suite.cases]
    assert [check.type for check in checks] == [
        "javascript", "is-refusal", "levenshtein", "python", "llm-rubric", "python", "equals",
    ]  # fmt: skip
    assert checks[2].threshold == 0.75
    assert checks[5].code is not None
    assert checks[5].code.function == "short"
    assert checks[6].value == '"quoted"'


def test_a_text_in_a_table_never_reads_a_file(suite_of: Read, write: Write) -> None:
    write("evals/t.csv", "v\nfile://../registry.yaml\n")
    suite = suite_of(f"{ONE}tests: file://t.csv\n")
    assert suite.cases[0].vars == {"v": "file://../registry.yaml"}
    assert "`v` is kept as a text" in suite.warnings[0]


def test_a_mapping_in_a_file_is_one_test(suite_of: Read, write: Write) -> None:
    write("evals/one.yaml", "vars: {v: a}\n")
    assert cases_of(suite_of(f"{ONE}tests: [file://one.yaml]\n")) == [("one-1", {"v": "a"})]


LOOPS = "{% for i in range(99999) %}" * 2 + "{% endfor %}" * 2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "t.csv").write_text("v,__expected\na,contains: a\n")
    (folder / "t").write_text("v\nb\n")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def test_tables_are_downloaded_only_if_the_user_allows_it(project: Project, write: Write, server: str) -> None:
    path = write("evals/x.yaml", f"{ONE}tests: ['{server}/t.csv', '{server}/t']\n")
    with pytest.raises(SuiteError, match=r"x\.yaml:3: tests\.0: .* is not a file of the project") as caught:
        load_suite(path, project)
    assert "--allow-net" in str(caught.value.hint)
    suite = load_suite(path, project, LoadContext(allows_network=True))
    assert [case.vars for case in suite.cases] == [{"v": "a"}, {"v": "b"}]
    write("evals/x.yaml", f"{ONE}tests: '{server}/missing.csv'\n")
    with pytest.raises(SuiteError, match="cannot be downloaded: File not found"):
        load_suite(path, project, LoadContext(allows_network=True))


def test_chats_of_the_suite_may_name_files(suite_of: Read, write: Write) -> None:
    write("evals/s.j2", "You know {{ topic }}.")
    chat = "[{role: system, content: file://s.j2}, {role: user, content: hi}]"
    (prompt,) = suite_of(f"prompts: [{{label: chat, messages: {chat}}}]\n{ECHO}").prompt_sources
    assert json.loads(prompt.template)[0] == {"role": "system", "content": "You know {{ topic }}."}


def test_a_threshold_that_promptfoo_ignores_is_a_warning(suite_of: Read) -> None:
    suite = suite_of(f"{ONE}tests: [{{assert: [{{type: contains, value: a, threshold: 0.9}}]}}]")
    assert only(suite).assertions[0].threshold is None
    assert "`threshold` is ignored: `contains` only passes or fails" in suite.warnings[0]


HOSTILE = [
    ("prompts: [file://../../secret.txt]", "is outside the project"),
    ("prompts: [file:///etc/passwd]", "is outside the project"),
    ("prompts: [file://link.txt]", "is outside the project"),
    ("prompts: [file://../.env]", "is a hidden file"),
    ("prompts: [file://big.txt]", "has 10,000,001 bytes; at most 10,000,000 are read"),
    ("prompts: [file://latin.txt]", "is not UTF-8"),
    ("prompts: [file://p.exe]", "is not a prompt: no such file"),
    ("prompts: [file://.]", "is a directory"),
    ("prompts: [{raw: {a: .inf}}]", "inf is not a JSON number"),
    ("prompts: [x]\ndefaultTest: {vars: {v: file://big.txt}}", "has 10,000,001 bytes"),
    ("prompts: [x]\ndefaultTest: {vars: file://bomb.yaml}", "too many values"),
    ("prompts: [x]\ndefaultTest: file://deep.yaml", "more than 100 levels"),
    ("prompts: [x]\ndefaultTest: {vars: {v: file://a.pdf}}", "PDF files are not read"),
    ("prompts: [x]\ntests: [{vars: {v: file://link.txt}}]", "is outside the project"),
    ("prompts: [x]\ntests: [{assert: [{type: python, value: 'file://../../x.py'}]}]", "is outside the project"),
    ("prompts: [x]\ntests: [{assert: [{$ref: '../../x.yaml#/a'}]}]", "is outside the project"),
    ("prompts: [x]\ntests: [{assert: [{type: 'promptfoo:redteam:x'}]}]", "has no red-team plugins"),
    ("prompts: [x]\nx-a: {$ref: '#/x-a'}\ntests: [{assert: [{$ref: '#/x-a'}]}]", "an assertion without `type`"),
    (f"prompts: [x]\ntests: [{{assert: [{{type: contains, value: '{LOOPS}'}}]}}]", "more than 100,000 rounds"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "what"), HOSTILE)
def test_hostile_suites_are_errors_with_a_place(
    suite_of: Read, write: Write, tmp_path: Path, text: str, what: str
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    write("evals/x.yaml", "").with_name("link.txt").symlink_to(tmp_path / "secret.txt")
    write(".env", "KEY=1")
    write("evals/big.txt", b"x" * 10_000_001)
    write("evals/latin.txt", "ü".encode("latin-1"))
    write("evals/deep.yaml", "vars: {a: " + "[" * 200 + "]" * 200 + "}")
    write("evals/a.pdf", b"%PDF")
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for name, inner in zip("bcdefgh", "abcdefg", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{inner}'] * 10)}]\n"
    write("evals/bomb.yaml", bomb)
    with pytest.raises(ProjectError) as caught:
        suite_of(f"{text}\nproviders: [echo]\n")
    assert what in f"{caught.value} {caught.value.hint}"
    assert "secret" not in str(caught.value).replace("secret.txt", "")
    assert caught.value.place is not None


def test_a_huge_suite_is_refused(project: Project, write: Write) -> None:
    with pytest.raises(SuiteError, match="at most 10,000,000 are read"):
        load_suite(write("evals/x.yaml", b"# " + b"x" * 10_000_000), project)


@pytest.mark.parametrize("name", ["x.js", "x.ts", "x.py"])
def test_a_suite_written_as_code_is_a_named_error(project: Project, write: Write, name: str) -> None:
    with pytest.raises(SuiteError, match="a suite written as code is not supported"):
        load_suite(write(f"evals/{name}", ""), project)


def test_a_reference_to_itself_ends(suite_of: Read) -> None:
    suite = suite_of(f"{ONE}x-a: {{$ref: '#/x-b'}}\nx-b: {{$ref: '#/x-a'}}\ntests: [{{}}]")
    assert isinstance(suite.prompt_sources[0], SuitePrompt)


def test_equal_entries_of_prompts_are_one(suite_of: Read, write: Write) -> None:
    write("evals/a.txt", "A")
    suite = suite_of(f"prompts: [x, x, file://a.txt, a.txt, prompts/summary_v1, prompts/summary_v*]\n{ECHO}")
    names = ("prompt-1", "evals/a.txt", "evals/a.txt (2)", "prompts/summary_v1", "prompts/summary_v2")
    assert suite.prompts == names


def test_an_id_in_the_metadata_of_somebody_elses_test_may_be_anything(suite_of: Read) -> None:
    tests = "[{metadata: {id: a}}, {metadata: {id: a}}, {metadata: {id: [1]}}, {metadata: {id: 'x::y'}}]"
    assert [case.id for case in suite_of(f"{ONE}tests: {tests}").cases] == ["a", "a-2", "case-3", "case-4"]
    with pytest.raises(SuiteError, match="two cases have the id `a`"):
        suite_of(f"{ONE}tests: [{{id: a}}, {{id: a}}]")


def test_assertions_may_be_in_a_file(suite_of: Read, write: Write) -> None:
    write("evals/checks/a.yaml", "- {type: is-json, value: file://s.json}\n- {type: contains, value: '{{v}}'}\n")
    write("evals/checks/s.json", "{}")
    (case,) = suite_of(f"{ONE}tests: [{{vars: {{v: x}}, assert: file://checks/a.yaml}}]").cases
    assert [(check.value, check.place) for check in case.assertions] == [
        ({}, "evals/checks/a.yaml:1"),
        ("x", "evals/checks/a.yaml:2"),
    ]

"""Transforms, prompt functions, variables and tests from code, and extension hooks, called as promptfoo calls them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support.suite_code import CodeFolder, inline

from flowai.errors import SuiteError
from flowai.evals.assertions.services import CodeError
from flowai.evals.code.hooks import run_hooks
from flowai.evals.code.runner import SubprocessCodeRunner
from flowai.evals.code.sources import call_prompt_function, call_test_function, call_variable_function, make_tests
from flowai.evals.code.transforms import apply_transform, transform_variables
from flowai.evals.suites.records import CodeRef, SuitePrompt, SuiteProvider
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from pathlib import Path

PROVIDER = SuiteProvider(id="echo", name="mine", kind="echo")


Use = Callable[[SubprocessCodeRunner], Awaitable[Any]]


def _transform(code: CodeRef, context: dict[str, Any]) -> Use:
    return lambda runner: apply_transform(runner, code, "hi", context)


def _made_prompt(code: CodeRef) -> Use:
    return lambda runner: call_prompt_function(runner, _prompt(code), {"a": 1}, PROVIDER)


def _variable(code: CodeRef) -> Use:
    return lambda runner: call_variable_function(runner, code, "a", "text", {"b": 2})


def _tests(code: CodeRef, *config: Any) -> Use:
    return lambda runner: call_test_function(runner, code, config)


@pytest.fixture
def folder(tmp_path: Path) -> CodeFolder:
    return CodeFolder(tmp_path)


def test_a_transform_is_an_expression_a_body_or_a_function_of_a_file(folder: CodeFolder) -> None:
    python = folder.file("t.py", "def get_transform(output, context):\n    return output + context['vars']['a']\n")
    script = folder.file("t.js", "module.exports = { fn: (output, context) => output + context.prompt }", function="fn")
    cases = [
        (inline("javascript", "output.toUpperCase()"), "HI"),
        (inline("javascript", 'JSON.parse(`{"a": 1}`).a'), 1),
        (inline("javascript", "const n = output.length;\nreturn { n };"), {"n": 2}),
        (python, "hi1"),
        (script, "hiasked"),
    ]
    for code, expected in cases:
        context = {"vars": {"a": "1"}, "prompt": "asked"}
        value = folder.run(_transform(code, context))
        assert value == expected


def test_a_transform_without_a_result_is_an_error(folder: CodeFolder) -> None:
    with pytest.raises(CodeError, match="returned nothing"):
        folder.run(lambda runner: apply_transform(runner, inline("javascript", "undefined"), "hi", {}))


def test_variables_are_transformed_into_an_object(folder: CodeFolder) -> None:
    code = inline("javascript", "({ ...vars, b: vars.a + context.metadata.c })")
    value = folder.run(lambda runner: transform_variables(runner, code, {"a": "x"}, {"metadata": {"c": "y"}}))
    assert value == {"a": "x", "b": "xy"}
    with pytest.raises(CodeError, match="no object of variables"):
        folder.run(lambda runner: transform_variables(runner, inline("javascript", "1"), {}, {}))


def _prompt(code: CodeRef) -> SuitePrompt:
    return SuitePrompt(id="p", label="p", kind="function", code=code, config={"style": "short"})


def test_a_prompt_function_gets_variables_provider_and_config(folder: CodeFolder) -> None:
    text = "def make(context):\n    return [context['vars'], context['provider'], context['config']]\n"
    expected = [{"a": 1}, {"id": "echo", "label": "mine"}, {"style": "short"}]
    python = folder.file("p.py", text, function="make")
    script = folder.file("p.js", "module.exports = ({ vars, provider, config }) => [vars, provider, config]")
    for code in (python, script):
        value = folder.run(_made_prompt(code))
        assert value == expected


def test_a_python_prompt_without_a_function_is_a_program(folder: CodeFolder) -> None:
    code = folder.file("p.py", "import json, sys\nprint('Hello ' + json.loads(sys.argv[1])['vars']['a'])\nprint('!')\n")
    value = folder.run(lambda runner: call_prompt_function(runner, _prompt(code), {"a": "you"}, PROVIDER))
    assert value == "Hello you\n!"
    broken = folder.file("broken.py", "raise SystemExit('no prompt today')\n")
    with pytest.raises(CodeError, match=r"broken\.py: exit status 1: no prompt today"):
        folder.run(lambda runner: call_prompt_function(runner, _prompt(broken), {}, PROVIDER))


def test_a_variable_comes_from_code(folder: CodeFolder) -> None:
    text = "def get_var(name, prompt, variables):\n    return {'output': f' {name} {prompt} {variables[\"b\"]} '}\n"
    python = folder.file("v.py", text)
    script = folder.file("v.js", "module.exports = (name, prompt, vars) => ({ output: [name, prompt, vars.b] })")
    for code, expected in ((python, "a text 2"), (script, ["a", "text", 2])):
        value = folder.run(_variable(code))
        assert value == expected
    broken = folder.file("w.py", "def get_var(*_):\n    return {'error': 'no value'}\n")
    with pytest.raises(CodeError, match="returned an error for variable `a`: no value"):
        folder.run(lambda runner: call_variable_function(runner, broken, "a", "", {}))


def test_tests_come_from_code(folder: CodeFolder) -> None:
    python = folder.file("g.py", "def generate_tests(config=None):\n    return [{'vars': config or {}}]\n")
    script = folder.file("g.mjs", "export default async (config) => [{ vars: config ?? {} }]")
    constant = folder.file("list.js", "module.exports = [{ vars: { a: 1 } }]")
    for code in (python, script):
        assert folder.run(_tests(code)) == [{"vars": {}}]
        assert folder.run(_tests(code, {"a": 1})) == [{"vars": {"a": 1}}]
    assert folder.run(_tests(constant)) == [{"vars": {"a": 1}}]
    broken = folder.file("h.py", "def generate_tests():\n    return {}\n")
    with pytest.raises(CodeError, match="returned no list of tests"):
        folder.run(_tests(broken))


def test_tests_are_made_while_a_suite_is_loaded(folder: CodeFolder) -> None:
    text = "import os\ndef generate_tests():\n    return [{'vars': {'cwd': os.getcwd(), 'x': os.environ['X']}}]\n"
    facts: dict[str, Any] = {"folder": folder.path, "environ": {**os.environ, "X": "1"}, "redactor": Redactor()}
    made = make_tests(folder.file("g.py", text), [], **facts)
    assert made == [{"vars": {"cwd": str(folder.path), "x": "1"}}]
    broken = replace(folder.file("h.py", "def generate_tests():\n    raise KeyError('x')\n"), place="suite.yaml:3")
    with pytest.raises(SuiteError) as caught:
        make_tests(broken, [], **facts)
    assert str(caught.value) == "suite.yaml:3: `h.py` made no tests: h.py:2: KeyError: 'x'"


def _hooks(folder: CodeFolder, extensions: list[CodeRef], hook: Any, context: dict[str, Any]) -> Any:
    return folder.run(lambda runner: run_hooks(runner, extensions, hook, context))


def test_hooks_change_the_suite_and_each_test(folder: CodeFolder) -> None:
    text = """
def beforeAll(context, info):
    context["suite"]["tests"].append({"vars": {"hook": info["hookName"]}})
    return context

def beforeEach(context, info):
    context["test"]["vars"]["added"] = 1
    return context
"""
    extensions = [folder.file("h.py", text, function=name) for name in ("beforeAll", "beforeEach")]
    suite = {"tests": [], "prompts": [{"raw": "p"}], "description": "kept"}
    after = _hooks(folder, extensions, "beforeAll", {"suite": suite})["suite"]
    assert (after["tests"], after["description"]) == ([{"vars": {"hook": "beforeAll"}}], "kept")
    assert _hooks(folder, extensions, "beforeEach", {"test": {"vars": {}}}) == {"test": {"vars": {"added": 1}}}


def test_a_hook_of_another_name_gets_every_hook(folder: CodeFolder) -> None:
    text = "module.exports = { all: (hook, context) => { if (hook === 'beforeEach') return { test: { hook } } } }"
    extension = folder.file("h.js", text, function="all")
    assert _hooks(folder, [extension], "beforeEach", {"test": {}}) == {"test": {"hook": "beforeEach"}}
    assert _hooks(folder, [extension], "afterAll", {"results": []}) == {"results": []}


def test_hooks_have_a_log(folder: CodeFolder) -> None:
    text = """
from promptfoo_logger import logger
def beforeEach(context, info):
    context["logger"].info("from the context", {"a": 1})
    logger.warn("imported")
    return context
"""
    python = folder.file("h.py", text, function="beforeEach")
    script = folder.file(
        "h.js", "module.exports = (hook, context) => { context.logger.info('in js', hook); return context }"
    )
    assert _hooks(folder, [python, script], "beforeEach", {"test": {"a": 1}}) == {"test": {"a": 1}}
    printed = "\n".join(folder.printed)
    assert all(part in printed for part in ("from the context {'a': 1}", "imported", "in js beforeEach"))


def test_a_hook_after_each_adds_scores_and_metadata_only(folder: CodeFolder) -> None:
    text = """
def afterEach(context, info):
    return {"result": {"namedScores": {"b": 0.5, "c": "no", "d": True}, "metadata": {"m": 1}, "success": True,
                       "response": {"output": "changed", "metadata": {"r": 2}}}}
"""
    extension = folder.file("h.py", text, function="afterEach")
    result = {"success": False, "namedScores": {"a": 1}, "response": {"output": "x", "metadata": {}}}
    after = _hooks(folder, [extension], "afterEach", {"test": {}, "result": result})["result"]
    assert after == {
        "success": False, "namedScores": {"a": 1, "b": 0.5}, "metadata": {"m": 1},
        "response": {"output": "x", "metadata": {"r": 2}},
    }  # fmt: skip


def test_a_hook_that_returns_nonsense_is_named(folder: CodeFolder) -> None:
    extension = folder.file("h.py", "def beforeEach(context, info):\n    return 5\n", function="beforeEach")
    with pytest.raises(CodeError, match="returned no `test` from hook `beforeEach`"):
        _hooks(folder, [extension], "beforeEach", {"test": {}})

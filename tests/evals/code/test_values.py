"""Values that a suite's code returns, inline and from files, as promptfoo reads the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.suite_code import CodeFolder, Language, inline

if TYPE_CHECKING:
    from pathlib import Path

CONTEXT = {"vars": {"city": "Paris", "n": 3}}


@pytest.fixture
def folder(tmp_path: Path) -> CodeFolder:
    return CodeFolder(tmp_path)


@pytest.mark.parametrize(
    ("language", "source", "expected"),
    [
        ("python", "len(output)", 5),
        ("python", "output == 'hello'", True),
        ("python", "context['vars']['city']", "Paris"),
        ("python", "return output.upper()", "HELLO"),
        ("python", "import re\nreturn bool(re.search('l+', output))\n", True),
        ("python", "if 'x' in output:\n    return 0\nreturn {'pass': True, 'score': 0.5, 'reason': 'ok'}",
         {"pass": True, "score": 0.5, "reason": "ok"}),
        ("python", "if output:\n\treturn 1\nreturn 2", 1),
        ("python", "json.loads('[1, null]')", [1, None]),
        ("python", "(\n  len(output)\n  + 1\n)\n", 6),
        ("python", "None", None),
        ("python", "'é€😀' + output", "é€😀hello"),
        ("javascript", "output.length", 5),
        ("javascript", "output === 'hello';", True),
        ("javascript", "context.vars.city", "Paris"),
        ("javascript", "const n = context.vars.n; n > 2", True),
        ("javascript", "var a = ';'; a === ';'", True),
        ("javascript", "const s = output;\nreturn { pass: s.length > 2, score: 0.5, reason: 'ok' };",
         {"pass": True, "score": 0.5, "reason": "ok"}),
        ("javascript", "(output) => output.toUpperCase()", "HELLO"),
        ("javascript", "async (output, context) => {\n  return context.vars.n;\n}", 3),
        ("javascript", "function (text) { return text + '!' }", "hello!"),
        ("javascript", "output.split('').map(c => {\n  return c + c\n}).join('')", "hheelllloo"),
        ("javascript", "({ a: [1, null, 'x'] })", {"a": [1, None, "x"]}),
        ("javascript", "await Promise.resolve(7)", 7),
        ("javascript", "undefined", None),
        ("javascript", "process.mainModule.require('path').basename('/a/b.txt')", "b.txt"),
        ("javascript", "new Date(0)", "1970-01-01T00:00:00.000Z"),
        ("javascript", "'é€😀' + output", "é€😀hello"),
        ("javascript", "'😀'.slice(0, 1)", "\N{REPLACEMENT CHARACTER}"),
    ],
)  # fmt: skip
def test_inline_code_is_an_expression_or_a_body(
    folder: CodeFolder, language: Language, source: str, expected: Any
) -> None:
    assert folder.call(inline(language, source), "hello", CONTEXT) == expected


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_inline_code_names_its_arguments(folder: CodeFolder, language: Language) -> None:
    code = inline(language, "json['a'] + text", parameters=("json", "text", "context"))
    assert folder.call(code, {"a": "x"}, "y", None) == "xy"


def test_a_python_file_has_functions_methods_and_coroutines(folder: CodeFolder) -> None:
    text = """
import asyncio, helpers

def get_assert(output, context):
    return helpers.double(len(output))

async def later(output, context):
    await asyncio.sleep(0)
    return {"pass": True}

class Checks:
    @staticmethod
    def named(output, context):
        return context["vars"]["city"]
"""
    (folder.path / "helpers.py").write_text("def double(n):\n    return 2 * n\n")
    code = folder.file("check.py", text)
    assert folder.call(code, "abc", CONTEXT) == 6
    assert folder.call(folder.file("check.py", text, function="later"), "abc", CONTEXT) == {"pass": True}
    assert folder.call(folder.file("check.py", text, function="Checks.named"), "abc", CONTEXT) == "Paris"


@pytest.mark.parametrize(
    ("name", "text", "function", "expected"),
    [
        ("a.js", "module.exports = (output) => output + '!'", None, "x!"),
        ("b.js", "module.exports = { check: async (output) => output + '?' }", "check", "x?"),
        ("c.cjs", "exports.check = (output) => require('./part.cjs') + output", "check", "part x"),
        ("d.mjs", "export default (output) => output + '!'", None, "x!"),
        ("e.mjs", "export const check = async (output, context) => context.vars.n", "check", 3),
        (
            "f.mjs",
            "import { sep } from 'node:path';\nexport default { check: () => sep }",
            "check",
            "/",
        ),
        ("g.js", "module.exports = { default: (output) => output }", None, "x"),
    ],
)
def test_a_javascript_file_exports_functions(
    folder: CodeFolder, name: str, text: str, function: str | None, expected: Any
) -> None:
    (folder.path / "part.cjs").write_text("module.exports = 'part '")
    assert folder.call(folder.file(name, text, function=function), "x", CONTEXT) == expected


def test_a_common_module_in_a_folder_of_modules_is_loaded(folder: CodeFolder) -> None:
    (folder.path / "package.json").write_text('{"type": "module"}')
    code = folder.file("check.js", "const path = require('path');\nmodule.exports = () => path.basename('/a/b')")
    assert folder.call(code, "x", CONTEXT) == "b"


def test_a_file_is_loaded_once_and_keeps_its_state(folder: CodeFolder) -> None:
    python = folder.file("count.py", "n = []\ndef get_assert(output, context):\n    n.append(1)\n    return len(n)\n")
    script = folder.file("count.js", "let n = 0;\nmodule.exports = () => ++n")

    async def use(runner: Any) -> list[Any]:
        return [await runner.call(code, ("x", {})) for code in (python, python, script, script)]

    assert folder.run(use) == [1, 2, 1, 2]


def test_calls_run_in_as_many_processes_as_asked(folder: CodeFolder) -> None:
    code = folder.file("wait.py", "import os, time\ndef get_assert(*_):\n    time.sleep(0.5)\n    return os.getpid()")

    async def use(runner: Any) -> list[Any]:
        import asyncio

        return await asyncio.gather(*(runner.call(code, ("x", {}), timeout_s=60) for _ in range(9)))

    assert len(set(folder.run(use, worker_count=3))) == 3


def test_code_runs_in_the_suite_s_folder_and_imports_nothing_of_flowai(folder: CodeFolder) -> None:
    source = "import os, sys\nreturn [os.getcwd(), sorted(m for m in sys.modules if m.startswith('flowai'))]"
    assert folder.call(inline("python", source), "x", {}) == [str(folder.path), []]
    assert folder.call(inline("javascript", "process.cwd()"), "x", {}) == str(folder.path)


def test_another_interpreter_runs_the_code(folder: CodeFolder) -> None:
    wrapper = folder.path / "other-python"
    wrapper.write_text('#!/bin/sh\nOTHER=yes exec python3 "$@"\n')
    wrapper.chmod(0o755)
    code = inline("python", "import os\nreturn os.environ.get('OTHER')")
    assert folder.call(code, "x", {}, python=str(wrapper)) == "yes"
    assert CodeFolder(folder.path, suite_env={"PROMPTFOO_PYTHON": str(wrapper)}).call(code, "x", {}) == "yes"


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_an_answer_of_ten_megabytes_is_checked(folder: CodeFolder, language: Language) -> None:
    source = "len(output)" if language == "python" else "output.length"
    assert folder.call(inline(language, source), "x" * 10_000_000, {}) == 10_000_000

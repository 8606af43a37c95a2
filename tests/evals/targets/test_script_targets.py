"""Targets that are programs: `echo`, `exec:`, Python's `call_api` and JavaScript's `callApi`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.target_calls import Targets

from flowai.errors import (
    CallError,
    MalformedAnswerError,
    ModelNotFoundError,
    RateLimitedError,
    ServerError,
    TimedOutError,
)
from flowai.evals.targets.script_target import split_command

if TYPE_CHECKING:
    from pathlib import Path


ANSWER = "({ output: `${p} ${this.o.config.x} ${c.vars.a}`, tokenUsage: { prompt: 1 }, cost: 0.5 })"
METHOD = f"async callApi(p, c) {{ return {ANSWER} }}"


@pytest.fixture
def targets(tmp_path: Path) -> Targets:
    return Targets(tmp_path, secrets=frozenset({"planted-secret-1234"}))


def _script(targets: Targets, name: str, text: str) -> None:
    (targets.folder / name).write_text(text, encoding="utf-8")


def test_echo_answers_with_the_prompt(targets: Targets) -> None:
    answer = targets.ask(targets.provider("echo"), "Hi\n{{x}}")
    assert (answer.text, answer.cost_usd, answer.provider) == ("Hi\n{{x}}", 0.0, "echo")


def test_a_python_target_gets_prompt_options_and_context(targets: Targets) -> None:
    text = """
import os

def call_api(prompt, options, context):
    return {
        "output": {"prompt": prompt, "x": options["config"]["x"], "vars": context["vars"],
                   "cwd": os.getcwd(), "env": os.environ["MINE"]},
        "tokenUsage": {"total": 5, "prompt": 2, "completion": 3},
        "cost": 0.25,
        "metadata": {"m": 1},
        "guardrails": {"flagged": True},
    }
"""
    _script(targets, "p.py", text)
    for name in ("python:p.py", "file://p.py", "file://p.py:call_api"):
        provider = targets.provider(name, {"x": 7}, env={"MINE": "own"})
        answer = targets.ask(provider, "Hé", variables={"a": [1]})
        assert answer.output == {
            "prompt": "Hé", "x": 7, "vars": {"a": [1]}, "cwd": str(targets.folder), "env": "own",
        }  # fmt: skip
        assert json.loads(answer.text) == answer.output
        assert (answer.input_tokens, answer.output_tokens, answer.cost_usd) == (2, 3, 0.25)
        assert (answer.metadata, answer.guardrails) == ({"m": 1}, {"flagged": True})
        assert answer.latency_ms > 0


def test_a_python_target_gets_keys(targets: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k-123")
    _script(targets, "p.py", "import os\ndef call_api(*_):\n    return {'output': os.environ['OPENAI_API_KEY']}\n")
    assert targets.ask(targets.provider("python:p.py")).text == "k-123"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.js", f"module.exports = class {{ constructor(o) {{ this.o = o }} id() {{ return 'x' }} {METHOD} }}"),
        ("b.mjs", f"export default class P {{ constructor(o) {{ this.o = o }} {METHOD} }}"),
        ("c.cjs", f"module.exports = async (p, c, o) => {ANSWER.replace('this.o.config.x', '7')}"),
        ("d.js", f"function P(o) {{ this.o = o }}\nP.prototype = {{ {METHOD} }}\nmodule.exports = P"),
    ],
)
def test_a_javascript_target_is_a_class_or_a_function(targets: Targets, name: str, text: str) -> None:
    _script(targets, name, text)
    answer = targets.ask(targets.provider(f"file://{name}", {"x": 7}), "Hi", variables={"a": "b"})
    assert (answer.text, answer.input_tokens, answer.cost_usd) == ("Hi 7 b", 1, 0.5)


@pytest.mark.parametrize(
    ("body", "kind", "what"),
    [
        ("raise ValueError('no planted-secret-1234')", ServerError, "p.py:2: ValueError: no [REDACTED:known]"),
        ("return {'error': 'upstream said no'}", ServerError, "upstream said no"),
        ("return {'error': 'HTTP 429: slow down'}", RateLimitedError, "429"),
        ("return {}", MalformedAnswerError, "expected an object with `output` or `error`"),
        ("return None", MalformedAnswerError, "returned nothing"),
        ("return {'output': None}", MalformedAnswerError, "returned no `output`"),
        ("return {'output': float('inf')}", MalformedAnswerError, "infinite"),
        ("import os; os._exit(3)", ServerError, "ended its process with status 3"),
        ("while True: pass", TimedOutError, "gave no result within 1 s"),
    ],
)
def test_a_python_target_that_fails_is_a_call_error(
    targets: Targets, body: str, kind: type[CallError], what: str
) -> None:
    _script(targets, "p.py", f"def call_api(prompt, options, context):\n    {body}\n")
    with pytest.raises(kind) as caught:
        targets.ask(targets.provider("python:p.py"), timeout_s=1.0 if kind is TimedOutError else 30.0)
    assert what in str(caught.value)


def test_a_script_that_does_not_exist_or_has_no_function_is_named(targets: Targets) -> None:
    with pytest.raises(ModelNotFoundError, match="no such file"):
        targets.ask(targets.provider("python:gone.py"))
    _script(targets, "p.py", "def other():\n    pass\n")
    with pytest.raises(ModelNotFoundError, match="no function `call_api`"):
        targets.ask(targets.provider("python:p.py"))
    _script(targets, "p.js", "module.exports = { a: 1 }")
    with pytest.raises(ModelNotFoundError, match="has no `callApi`"):
        targets.ask(targets.provider("file://p.js"))


def test_a_program_gets_prompt_options_and_context_as_arguments(targets: Targets) -> None:
    text = "import json, sys\nprint(sys.argv[1:3])\nprint(json.loads(sys.argv[-2])['config']['x'])\n"
    text += "print(json.loads(sys.argv[-1])['vars'], file=sys.stdout)\nprint('to stderr', file=sys.stderr)\n"
    _script(targets, "run.py", text)
    provider = targets.provider(f"exec:{sys.executable} run.py 'two words'", {"x": 7})
    answer = targets.ask(provider, "$(whoami); `id` > file", variables={"a": "b"})
    assert answer.text == "['two words', '$(whoami); `id` > file']\n7\n{'a': 'b'}"
    assert not (targets.folder / "file").exists()


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("import sys\nsys.exit('broken: planted-secret-1234')", ServerError, "exit status 1: broken: [REDACTED:known]"),
        ("import sys\nprint('only errors', file=sys.stderr)", ServerError, "only errors"),
        ("import time\ntime.sleep(100)", TimedOutError, "gave no result within 1 s"),
        ("while True: print('x' * 10000)", ServerError, "wrote more than 10.0 MB"),
        ("import os\nos.kill(os.getpid(), 9)", ServerError, "killed by signal 9"),
    ],
)
def test_a_program_that_fails_is_a_call_error(targets: Targets, text: str, kind: type[CallError], what: str) -> None:
    _script(targets, "run.py", text)
    with pytest.raises(kind) as caught:
        targets.ask(targets.provider(f"exec:{sys.executable} run.py"), timeout_s=1.0 if kind is TimedOutError else 30.0)
    assert what in str(caught.value)


def test_a_program_that_does_not_exist_is_named(targets: Targets) -> None:
    with pytest.raises(CallError, match="cannot run `no-such-program`"):
        targets.ask(targets.provider("exec:no-such-program"))


def test_colours_of_a_program_are_removed(targets: Targets) -> None:
    _script(targets, "run.py", "print('\\x1b[31mred\\x1b[0m')")
    assert targets.ask(targets.provider(f"exec:{sys.executable} run.py")).text == "red"


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a b  c", ["a", "b", "c"]), ("a 'b c' \"d e\"", ["a", "b c", "d e"]), ("a --x=1 ''", ["a", "--x=1", "''"])],
)
def test_a_command_is_split_as_promptfoo_does(text: str, parts: list[str]) -> None:
    assert split_command(text) == parts


def test_a_model_gets_its_system_prompt(targets: Targets) -> None:
    provider = targets.provider("openai:gpt-4o", {"systemPrompt": "Be brief"})
    answer = targets.ask(provider, "Hi")
    assert (answer.text, answer.cost_usd) == ("a model's answer", 0.5)
    assert targets.models.requests[0].messages == (
        {"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"},
    )  # fmt: skip


def test_a_target_waits_before_each_call(targets: Targets) -> None:
    import time

    started_s = time.monotonic()
    targets.ask(targets.provider("echo", delay_s=0.3))
    assert time.monotonic() - started_s >= 0.3


def test_what_a_script_prints_is_kept_apart(targets: Targets, capfd: pytest.CaptureFixture[str]) -> None:
    _script(targets, "p.py", "def call_api(*_):\n    print('noise')\n    return {'output': 'x'}\n")
    assert targets.ask(targets.provider("python:p.py")).text == "x"
    assert any("noise" in text for text in targets.printed)
    assert capfd.readouterr() == ("", "")


def test_the_answer_of_a_script_may_be_a_text(targets: Targets) -> None:
    _script(targets, "p.py", "def call_api(*_):\n    return 'plain'\n")
    value: Any = targets.ask(targets.provider("python:p.py")).text
    assert value == "plain"


def test_a_javascript_target_has_a_log_and_a_cache(targets: Targets) -> None:
    text = """
module.exports = class {
  async callApi(prompt, context, options) {
    context.logger.debug('said');
    await context.getCache().set('k', 1);
    return { output: [await context.getCache().get('k'), options.abortSignal.aborted] };
  }
};
"""
    _script(targets, "p.js", text)
    assert targets.ask(targets.provider("file://p.js")).output == [1, False]
    assert any("said" in printed for printed in targets.printed)


def test_parts_of_an_answer_that_refer_to_themselves_are_left_out(targets: Targets) -> None:
    text = "module.exports = async () => { const o = { a: 1 }; o.o = o; return { output: 'x', metadata: { o } } }"
    _script(targets, "p.js", text)
    assert targets.ask(targets.provider("file://p.js")).metadata == {"o": {"a": 1}}

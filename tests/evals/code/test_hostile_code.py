"""Code that hangs, ends its process, fills memory, forks, prints or returns nonsense: a named error each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.suite_code import CodeFolder, Language, inline

from flowai.evals.assertions.services import CodeError
from flowai.evals.code.records import CodeLimits
from flowai.evals.suites.records import CodeRef

SMALL = CodeLimits(memory_bytes=400_000_000, cpu_s=60, file_bytes=1_000_000)

WRITE_TO_ALL = """
import os
for number in range(3, 100):
    try:
        os.write(number, b"x" * 20)
    except OSError:
        pass
return 1
"""
FORK = """
import os, time
for _ in range(100):
    if os.fork() == 0:
        time.sleep(1000)
time.sleep(9)
return 1
"""
FS = "const fs = process.mainModule.require('fs');\n"

HOSTILE: list[tuple[Language, str, str, str]] = [
    ("python", "while True:\n    pass\nreturn 1", "timed out", "gave no result within"),
    ("python", "import time\nreturn time.sleep(1000)", "timed out", "gave no result within"),
    ("python", "import os\nreturn os._exit(0)", "killed", "ended its process with status 0"),
    ("python", "import os\nreturn os.kill(os.getpid(), 11)", "killed", "killed by signal 11"),
    ("python", "import sys\nsys.exit(3)\nreturn 1", "raised", "SystemExit: 3"),
    ("python", "return bytearray(10**10)", "killed", "MemoryError"),
    ("python", "parts = []\nwhile True:\n    parts.append(bytearray(10**6))\nreturn 1", "killed", "Memory"),
    ("python", "open('big', 'wb').write(bytes(2 * 10**6))\nreturn 1", "raised", "File too large"),
    ("python", "import os\nos.closerange(0, 1000)\nreturn 1", "killed", "ended its process"),
    ("python", WRITE_TO_ALL, "nonsense", "wrote to the connection"),
    ("python", FORK, "killed", "the limit is"),
    ("python", "while True:\n    print('x' * 10000)\nreturn 1", "killed", "printed more than 50.0 MB"),
    ("python", "return float('nan')", "nonsense", "NaN"),
    ("python", "a = []\na.append(a)\nreturn a", "nonsense", "contains itself"),
    ("python", "return {1, 2}", "nonsense", "`set`"),
    ("python", "return 'x' * 10**7", "nonsense", "the limit is 10,000,000"),
    ("python", "a = []\nfor _ in range(10**5):\n    a = [a]\nreturn a", "nonsense", "nested too deeply"),
    ("python", "1 +", "raised", "SyntaxError"),
    ("javascript", "while (true) {}", "timed out", "gave no result within"),
    ("javascript", "new Promise(() => {})", "timed out", "gave no result within"),
    ("javascript", "process.exit(0)", "killed", "ended its process with status 0"),
    ("javascript", "process.abort()", "killed", "killed by signal 6"),
    ("javascript", "const a = [];\nwhile (true) a.push(Buffer.alloc(1e7, 1));\nreturn 1", "killed", "of memory"),
    ("javascript", f"{FS}fs.writeFileSync('big', Buffer.alloc(2e6));\nreturn 1", "raised", "EFBIG"),
    ("javascript", f"{FS}while (true) fs.writeSync(1, 'x'.repeat(10000));", "killed", "printed more than 50.0 MB"),
    ("javascript", "NaN", "nonsense", "NaN"),
    ("javascript", "1 / 0", "nonsense", "infinite"),
    ("javascript", "const o = {};\no.o = o;\nreturn o", "nonsense", "contains itself"),
    ("javascript", "10n", "nonsense", "BigInt"),
    ("javascript", "Symbol('x')", "nonsense", "returned a symbol"),
    ("javascript", "'x'.repeat(1e7)", "nonsense", "the limit is 10,000,000"),
    ("javascript", "setTimeout(() => { throw new Error('late') }, 5);\nreturn new Promise(() => {})", "raised", "late"),
    ("javascript", "1 +", "raised", "SyntaxError"),
    ("javascript", "throw 'a text'", "raised", "a text"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "source", "kind", "what"), HOSTILE)
def test_hostile_code_is_a_named_error_and_the_next_call_works(
    tmp_path: Path, language: Language, source: str, kind: str, what: str
) -> None:
    folder = CodeFolder(tmp_path, limits=SMALL)
    timeout_s = 1.0 if kind == "timed out" else 30.0

    async def use(runner: Any) -> Any:
        with pytest.raises(CodeError) as caught:
            await runner.call(inline(language, source), ("x", {}), timeout_s=timeout_s)
        return caught.value, await runner.call(inline(language, "1 + 1"), ("x", {}), timeout_s=30)

    error, following = folder.run(use)
    assert (error.kind, following) == (kind, 2)
    assert what in str(error)


def test_an_exception_keeps_its_message_and_line_without_secrets(tmp_path: Path) -> None:
    secret = "planted-secret-1234"
    folder = CodeFolder(tmp_path, secrets=frozenset({secret}))
    python = folder.file("check.py", f"def get_assert(o, c):\n    raise ValueError('no {secret}')\n")
    script = folder.file("check.js", f"module.exports = () => {{\n\n  throw new Error('no {secret}') }}")
    assert str(folder.error(python, "x", {})) == "check.py:2: ValueError: no [REDACTED:known]"
    assert str(folder.error(script, "x", {})) == "check.js:3: Error: no [REDACTED:known]"
    body = inline("python", "value = 1\nraise KeyError(value)\nreturn 2")
    assert str(folder.error(body, "x", {})) == "line 2 of the code: KeyError: 1"
    assert folder.printed
    assert not any(secret in text for text in folder.printed)


@pytest.mark.parametrize(
    ("name", "text", "function", "kind", "what"),
    [
        ("a.py", "def other(o, c):\n    pass\n", None, "missing", "no function `get_assert` in a.py; it has `other`"),
        ("b.py", "def get_assert(:\n", None, "raised", "b.py:1: SyntaxError"),
        ("c.py", "import nothing_here\n", None, "raised", "c.py:1: ModuleNotFoundError"),
        ("d.py", "import os\nos._exit(1)\n", None, "killed", "ended its process with status 1"),
        ("e.js", "module.exports = { a: 1 }", None, "missing", "must export a function"),
        ("f.js", "module.exports = { a: () => 1 }", "b", "missing", "no export `b` in f.js; it has `a`"),
        ("g.js", "module.exports = (", None, "raised", "SyntaxError"),
        ("h.mjs", "import 'nothing-here'", None, "raised", "nothing-here"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_loaded_is_a_named_error_once(
    tmp_path: Path, name: str, text: str, function: str | None, kind: str, what: str
) -> None:
    folder = CodeFolder(tmp_path)
    code = folder.file(name, text, function=function)

    async def use(runner: Any) -> list[CodeError]:
        errors = []
        for _ in range(2):
            with pytest.raises(CodeError) as caught:
                await runner.call(code, ("x", {}))
            errors.append(caught.value)
        return errors

    first, second = folder.run(use)
    assert (first.kind, str(first)) == (kind, str(second))
    assert what in str(first)
    assert str(first).count(f"{name}:") == 1


def test_a_missing_file_and_a_missing_interpreter_are_named(tmp_path: Path) -> None:
    folder = CodeFolder(tmp_path)
    gone = CodeRef(language="python", file=str(tmp_path / "gone.py"))
    assert "no such file" in str(folder.error(gone, "x", {}))
    error = folder.error(inline("python", "1"), "x", {}, python="no-such-python")
    assert (error.kind, "`pythonExecutable` names `no-such-python`" in str(error)) == ("missing", True)


def test_javascript_without_node_is_a_named_error(tmp_path: Path) -> None:
    folder = CodeFolder(tmp_path, suite_env={"PATH": str(tmp_path)})
    error = folder.error(inline("javascript", "1"), "x", {})
    assert (error.kind, "there is no `node` in PATH" in str(error)) == ("missing", True)


def test_typescript_needs_a_node_that_runs_it_or_tsx(tmp_path: Path) -> None:
    folder = CodeFolder(tmp_path)
    code = folder.file("check.ts", "export default (output: string): number => output.length")
    shown = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout
    if tuple(map(int, shown.strip().lstrip("v").split(".")[:2])) >= (22, 6):
        assert folder.call(code, "abc", {}) == 3
    else:
        assert "needs Node 22.6 or newer, or the package tsx" in str(folder.error(code, "abc", {}))
    loader = tmp_path / "node_modules" / "tsx" / "dist" / "loader.mjs"
    loader.parent.mkdir(parents=True)
    loader.write_text("console.log('the loader ran')")
    folder.run(lambda runner: _ignored(runner, code))
    assert any("the loader ran" in text for text in folder.printed)


async def _ignored(runner: Any, code: CodeRef) -> None:
    with contextlib.suppress(CodeError):
        await runner.call(code, ("abc", {}))


def test_code_gets_no_key_unless_the_suite_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-key-123456")
    monkeypatch.setenv("PROMPTFOO_API_KEY", "planted-key-123456")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    code = inline("python", "import os\nreturn [k for k, v in os.environ.items() if v == 'planted-key-123456']")
    assert CodeFolder(tmp_path).call(code, "x", {}) == []
    assert CodeFolder(tmp_path, suite_env={"MINE": "planted-key-123456"}).call(code, "x", {}) == ["MINE"]
    assert sorted(CodeFolder(tmp_path, with_keys=True).call(code, "x", {})) == ["OPENAI_API_KEY", "PROMPTFOO_API_KEY"]
    script = inline("javascript", "Object.values(process.env).includes('planted-key-123456')")
    assert CodeFolder(tmp_path).call(script, "x", {}) is False


def test_what_code_prints_is_kept_and_never_mixed_with_flowai_s_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = CodeFolder(tmp_path)
    python = "import os, sys\nprint('to stdout')\nos.system('echo from a child')\nprint('to stderr', file=sys.stderr)"
    assert folder.call(inline("python", f"{python}\nreturn 1"), "x", {}) == 1
    assert folder.call(inline("javascript", "console.log('from node')\nreturn 1"), "x", {}) == 1
    text = "\n".join(folder.printed)
    assert all(part in text for part in ("to stdout", "from a child", "stderr: to stderr", "from node"))
    assert capfd.readouterr() == ("", "")


def test_what_code_left_behind_ends_with_the_run(tmp_path: Path) -> None:
    folder = CodeFolder(tmp_path)
    source = (
        "import subprocess\n"
        "kept = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "return kept.pid"
    )  # fmt: skip
    process_id = folder.call(inline("python", source), "x", {})
    assert _has_ended(process_id)


def test_a_call_that_is_cancelled_ends_its_process(tmp_path: Path) -> None:
    folder = CodeFolder(tmp_path)
    source = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(1000)\nreturn 1"

    async def use(runner: Any) -> None:
        task = asyncio.create_task(runner.call(inline("python", source), ("x", {}), timeout_s=600))
        while not (tmp_path / "pid").exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    folder.run(use)
    assert _has_ended(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="the system ends children with their parent on Linux only")
def test_code_ends_with_flowai_even_if_flowai_is_killed(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from support.suite_code import CodeFolder, inline
code = inline("python", "import os\\nopen('pid', 'w').write(str(os.getpid()))\\nwhile True:\\n    pass\\nreturn 1")
CodeFolder(Path({str(tmp_path)!r})).call(code, "x", {{}}, timeout_s=600)
"""
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ}) as flowai:
        deadline_s = time.monotonic() + 60
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        flowai.send_signal(signal.SIGKILL)
    assert _has_ended(int((tmp_path / "pid").read_text()))


def _has_ended(process_id: int) -> bool:
    """Wait until a process ended; a zombie has ended, too."""
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False

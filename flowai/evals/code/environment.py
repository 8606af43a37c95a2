"""Programs that run a suite's code, and the environment variables they get."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.evals.assertions.services import CodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.suites.records import CodeRef

_PYTHON_WORKER = Path(__file__).with_name("python_worker.py")
_JAVASCRIPT_WORKER = Path(__file__).with_name("javascript_worker.cjs")
_TYPESCRIPT_SUFFIXES = (".ts", ".mts", ".cts")
_TYPESCRIPT_OPTIONS = ("--experimental-transform-types", "--experimental-strip-types")
"""Options with which Node runs TypeScript, the best first. Source: Node's documentation, "Modules: TypeScript"."""
_TYPESCRIPT_QUERY = f"""
const known = {list(_TYPESCRIPT_OPTIONS)}.filter((name) => process.allowedNodeEnvironmentFlags.has(name));
console.log(JSON.stringify([process.version, known, Boolean(process.features.typescript)]));
"""
_TSX = Path("node_modules", "tsx", "dist", "loader.mjs")
"""Loader of TypeScript that promptfoo uses, if the suite's folder or one above has it."""
_PLAIN_VARIABLES = frozenset((
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "NODE_PATH", "PATH", "PYTHONPATH", "SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "TEMP", "TMP", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV",
))  # fmt: skip
_PLAIN_PREFIXES = ("LC_", "PROMPTFOO_")
PYTHON_VARIABLE = "PROMPTFOO_PYTHON"


def code_environment(
    suite_env: Mapping[str, str], *, with_keys: bool, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the variables of a suite's code.

    Args:
        suite_env: the suite's own `env`, which all its code gets.
        with_keys: True for targets, hooks, prompts, variables and tests, which get all of flowai's variables; False for
            assertions and transforms, which get none that may hold a key.
        environ: flowai's own.
    """
    from flowai.redaction import names_a_secret

    kept = {
        name: value
        for name, value in environ.items()
        if with_keys or ((name in _PLAIN_VARIABLES or name.startswith(_PLAIN_PREFIXES)) and not names_a_secret(name))
    }
    return {**kept, **suite_env, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}


async def worker_command(
    code: CodeRef, environment: Mapping[str, str], *, python: str | None, memory_bytes: int | None
) -> list[str]:
    """Return the command of a process that runs a piece of code.

    Args:
        code: the code.
        environment: variables of the process.
        python: the interpreter that the suite names; None for the environment's, else flowai's.
        memory_bytes: limit of JavaScript's heap; None for node's own.

    Raises:
        CodeError: the program is not installed, or too old.
    """
    if code.language == "python":
        return [_python(python, environment), str(_PYTHON_WORKER)]
    node = shutil.which("node", path=environment.get("PATH"))
    if node is None:
        raise CodeError("needs Node to run JavaScript, and there is no `node` in PATH: install it", kind="missing")
    options = [] if memory_bytes is None else [f"--max-old-space-size={memory_bytes // 1_000_000}"]
    if code.file is not None and code.file.endswith(_TYPESCRIPT_SUFFIXES):
        options += await _typescript_options(node, Path(code.file))
    return [node, "--no-warnings", *options, str(_JAVASCRIPT_WORKER)]


def is_node(program: str) -> bool:
    """Return whether a command's program is node."""
    return Path(program).name == "node"


def _python(named: str | None, environment: Mapping[str, str]) -> str:
    program = named or environment.get(PYTHON_VARIABLE) or sys.executable
    found = shutil.which(program, path=environment.get("PATH"))
    if found is None:
        source = "`pythonExecutable`" if named else f"`{PYTHON_VARIABLE}`"
        raise CodeError(f"needs Python, and {source} names `{program}`, which is no program", kind="missing")
    return found


async def _typescript_options(node: str, file: Path) -> list[str]:
    """Return the options with which node runs TypeScript: the package tsx where the suite has it, else its own."""
    loader = next((folder / _TSX for folder in file.parents if (folder / _TSX).is_file()), None)
    if loader is not None:
        return ["--import", loader.as_uri()]
    process = await asyncio.create_subprocess_exec(
        node, "-e", _TYPESCRIPT_QUERY, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    known: list[str]
    version, known, is_on = json.loads((await process.communicate())[0])
    if not known and not is_on:
        raise CodeError(
            f"is TypeScript, which needs Node 22.6 or newer, or the package tsx beside it; found Node {version}",
            kind="missing",
        )
    return known[:1]

"""Runs the code of a suite in pools of processes: one per file, and one per language for inline code."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.services import DEFAULT_CODE_TIMEOUT_S, CodeError
from flowai.evals.code.environment import worker_command
from flowai.evals.code.process_tree import kill_marked
from flowai.evals.code.program import run_program
from flowai.evals.code.records import LOAD_LIMIT_S, CodeCall, CodeLimits
from flowai.evals.code.worker import start_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flowai.evals.code.worker import Worker
    from flowai.evals.suites.records import CodeRef
    from flowai.redaction import Redactor

_MAX_WHAT_CHARS = 500
_DEFAULT_FUNCTION = "get_assert"


class SubprocessCodeRunner:
    """Runs code in processes with limits; use it in one event loop, and close it there.

    Args:
        folder: working folder of the code: the suite's.
        environment: all variables of the code (`code_environment`).
        limits: limits of each process.
        redactor: removes secrets from errors and printed text.
        worker_count: processes per pool, that is calls of one file at a time, >= 1.
        python: interpreter that the suite names; None for PROMPTFOO_PYTHON or flowai's own.
        on_printed: called with a piece of code and what it printed, redacted and clipped.
    """

    def __init__(
        self,
        *,
        folder: Path,
        environment: Mapping[str, str],
        limits: CodeLimits,
        redactor: Redactor,
        worker_count: int = 1,
        python: str | None = None,
        on_printed: Callable[[CodeRef, str], None] = lambda _code, _text: None,
    ) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._limits = limits
        self._redactor = redactor
        self._worker_count = worker_count
        self._python = python
        self._on_printed = on_printed
        self._pools: dict[tuple[str, str | None], _Pool] = {}
        self._mark = secrets.token_hex(8)
        self._started_count = 0
        self._marks: set[str] = set()

    async def call(self, code: CodeRef, arguments: Sequence[Any], *, timeout_s: float = DEFAULT_CODE_TIMEOUT_S) -> Any:  # noqa: ANN401 - any JSON value
        """Call code with JSON values; return its JSON value. See `CodeRunner.call`."""
        return await self.run(CodeCall(code=code, arguments=tuple(arguments)), timeout_s=timeout_s)

    async def run(self, call: CodeCall, *, timeout_s: float) -> Any:  # noqa: ANN401 - any JSON value
        """Run a call and return its JSON value.

        Args:
            call: the call.
            timeout_s: limit of the call; starting a process and loading its file have a limit of their own.

        Raises:
            CodeError: there is no value; the message names file and line where they are known.
        """
        code = call.code
        if _is_missing(code):
            raise self._error(f"no such file `{code.file}`", code, kind="missing")
        pool = self._pools.setdefault((code.language, code.file), _Pool(self._worker_count))
        if pool.failure is not None:
            raise pool.failure
        async with pool.places:
            worker = await self._worker(pool, code)
            try:
                reply = await worker.request(_fields(call), timeout_s=timeout_s)
            except CodeError as error:
                raise self._error(error.what, code, kind=error.kind) from None
            finally:
                printed = worker.printed()
                if printed:
                    self._on_printed(code, self._redactor.text(printed))
                if worker.is_usable:
                    pool.idle.append(worker)
                else:
                    await worker.kill()
        return self._value(reply, code)

    async def run_program(self, code: CodeRef, argument: Any, *, timeout_s: float) -> str:  # noqa: ANN401 - any JSON value
        """Run a Python file as a program with one JSON argument; return what it wrote to stdout.

        Raises:
            CodeError: it failed.
        """
        if _is_missing(code):
            raise self._error(f"no such file `{code.file}`", code, kind="missing")
        try:
            command = await worker_command(code, self._environment, python=self._python, memory_bytes=None)
            outcome = await run_program(
                [command[0], str(code.file), json.dumps(argument)],
                folder=self._folder,
                environment=self._environment,
                limits=self._limits,
                timeout_s=timeout_s,
            )
        except CodeError as error:
            raise self._error(error.what, code, kind=error.kind) from None
        if outcome.status != 0:
            what = f"exit status {outcome.status}: {outcome.errors.strip()[-_MAX_WHAT_CHARS:]}"
            raise self._error(what, code, kind="raised")
        return outcome.output.removesuffix("\n")

    def redacted(self, text: str) -> str:
        """Return a text of the code without secrets."""
        return self._redactor.text(text)

    async def aclose(self) -> None:
        """End all processes and what they left behind; may be called twice."""
        workers = [worker for pool in self._pools.values() for worker in pool.idle]
        self._pools.clear()
        await asyncio.gather(*(worker.aclose() for worker in workers))
        kill_marked(frozenset(self._marks))
        self._marks.clear()

    async def _worker(self, pool: _Pool, code: CodeRef) -> Worker:
        while pool.idle:
            worker = pool.idle.pop()
            if worker.is_usable:
                return worker
            await worker.kill()
        try:
            return await self._started(code)
        except CodeError as error:
            pool.failure = error
            raise

    async def _started(self, code: CodeRef) -> Worker:
        """Start a process and load the code's file; a file that cannot be loaded is not tried again."""
        self._started_count += 1
        mark = f"{self._mark}-{self._started_count}"
        self._marks.add(mark)
        try:
            command = await worker_command(
                code, self._environment, python=self._python, memory_bytes=self._limits.memory_bytes
            )
            worker = await start_worker(
                command, folder=self._folder, environment=self._environment, limits=self._limits, mark=mark
            )
            reply = await worker.request(_load_fields(code), timeout_s=LOAD_LIMIT_S)
        except CodeError as error:
            raise self._error(error.what, code, kind=error.kind) from None
        if "error" in reply:
            printed = worker.printed()
            if printed:
                self._on_printed(code, self._redactor.text(printed))
            await worker.kill()
            self._value(reply, code)
        return worker

    def _value(self, reply: Mapping[str, Any], code: CodeRef) -> Any:  # noqa: ANN401 - any JSON value
        failure = reply.get("error")
        if failure is None:
            return reply.get("value")
        what, kind, line = str(failure.get("message")), failure.get("kind"), failure.get("line")
        trace = str(failure.get("traceback") or "")
        if trace:
            self._on_printed(code, self._redactor.text(trace))
        if failure.get("is_out_of_memory"):
            kind = "killed"
        raise self._error(what, code, line=line, kind=kind if kind in ("nonsense", "missing", "killed") else "raised")

    def _error(self, what: str, code: CodeRef, *, kind: Any, line: int | None = None) -> CodeError:  # noqa: ANN401 - CodeErrorKind
        """Build an error that names the file, or the line of inline code; redacted before it is cut."""
        text = " ".join(self._redactor.text(what).split())
        text = text if len(text) <= _MAX_WHAT_CHARS else f"{text[: _MAX_WHAT_CHARS - 1]}…"
        where = ""
        if code.file is not None:
            name = Path(code.file).name
            where = f"{name}: " if line is None else f"{name}:{line}: "
        elif line is not None and (code.source or "").strip().count("\n"):
            where = f"line {line} of the code: "
        return CodeError(f"{where}{text}", kind=kind)


class _Pool:
    """Processes of one file, or of a language's inline code.

    Args:
        size: most processes at a time.
    """

    def __init__(self, size: int) -> None:
        self.places = asyncio.Semaphore(size)
        self.idle: list[Worker] = []
        self.failure: CodeError | None = None
        """Why the file cannot be loaded."""


def _is_missing(code: CodeRef) -> bool:
    return code.file is not None and not Path(code.file).is_file()


def _load_fields(code: CodeRef) -> dict[str, Any]:
    return {"op": "load", "file": code.file, "source": None, "function": None, "arguments": []}


def _fields(call: CodeCall) -> dict[str, Any]:
    code = call.code
    default = (call.function or _DEFAULT_FUNCTION) if code.language == "python" else None
    return {
        "op": "call",
        "file": code.file,
        "source": code.source,
        "parameters": list(code.parameters),
        "function": code.function or default,
        "provider": call.options if call.method is not None else None,
        "method": call.method,
        "has_logger": call.has_logger,
        "may_be_value": call.may_be_value,
        "arguments": list(call.arguments),
    }

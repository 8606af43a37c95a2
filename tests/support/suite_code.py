"""Pieces of a suite's code, and runners of them in a folder of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from flowai.evals.assertions.services import CodeError
from flowai.evals.code.environment import code_environment
from flowai.evals.code.records import CHECK_LIMITS, CodeLimits
from flowai.evals.code.runner import SubprocessCodeRunner
from flowai.evals.suites.records import CodeRef
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

Language = Literal["python", "javascript"]


class CodeFolder:
    """A suite's folder; every method starts its own runner and ends it.

    Args:
        path: the folder.
        limits: limits of the code.
        suite_env: the suite's `env`.
        with_keys: whether the code gets all variables.
        secrets: texts that errors must not show.
    """

    def __init__(
        self,
        path: Path,
        *,
        limits: CodeLimits = CHECK_LIMITS,
        suite_env: dict[str, str] | None = None,
        with_keys: bool = False,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self.path = path
        self.printed: list[str] = []
        self._limits = limits
        self._suite_env = suite_env or {}
        self._with_keys = with_keys
        self._secrets = secrets

    def file(self, name: str, text: str, *, function: str | None = None) -> CodeRef:
        """Write a file of code."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return CodeRef(language="python" if name.endswith(".py") else "javascript", file=str(path), function=function)

    def runner(self, *, worker_count: int = 1, python: str | None = None) -> SubprocessCodeRunner:
        """Return a new runner."""
        return SubprocessCodeRunner(
            folder=self.path,
            environment=code_environment(self._suite_env, with_keys=self._with_keys),
            limits=self._limits,
            redactor=Redactor(self._secrets),
            worker_count=worker_count,
            python=python,
            on_printed=lambda _code, text: self.printed.append(text),
        )

    def run(
        self, use: Callable[[SubprocessCodeRunner], Awaitable[Any]], *, worker_count: int = 1, python: str | None = None
    ) -> Any:
        """Run a coroutine with a runner, and close the runner."""

        async def whole() -> Any:
            runner = self.runner(worker_count=worker_count, python=python)
            try:
                return await use(runner)
            finally:
                await runner.aclose()

        return asyncio.run(whole())

    def call(self, code: CodeRef, *arguments: Any, timeout_s: float = 30.0, python: str | None = None) -> Any:
        """Call one piece of code and return its value."""
        return self.run(lambda runner: runner.call(code, arguments, timeout_s=timeout_s), python=python)

    def error(self, code: CodeRef, *arguments: Any, timeout_s: float = 30.0, python: str | None = None) -> CodeError:
        """Call one piece of code and return its error."""
        try:
            value = self.call(code, *arguments, timeout_s=timeout_s, python=python)
        except CodeError as error:
            return error
        raise AssertionError(f"no error, but {value!r}")


def inline(language: Language, source: str, **fields: Any) -> CodeRef:
    """Return inline code."""
    return CodeRef(language=language, source=source, **fields)

"""Opens the runners of targets' code: one per script, one per suite's folder for inline code, each once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowai.evals.code.environment import code_environment
from flowai.evals.code.records import CHECK_LIMITS, TARGET_LIMITS
from flowai.evals.code.runner import SubprocessCodeRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.suites.records import CodeRef, SuiteProvider
    from flowai.evals.targets.records import TargetRequest
    from flowai.redaction import Redactor

_MAX_WORKERS = 64


class CodeRunners:
    """Runners of the targets of a run.

    Args:
        redactor: removes secrets.
        worker_count: calls of one script at a time, unless its `config.workers` says less.
        on_printed: called with a piece of code and what it printed.
    """

    def __init__(self, *, redactor: Redactor, worker_count: int, on_printed: Callable[[CodeRef, str], None]) -> None:
        self._redactor = redactor
        self._worker_count = worker_count
        self._on_printed = on_printed
        self._runners: dict[tuple[str, str], SubprocessCodeRunner] = {}

    def of_script(self, provider: SuiteProvider, request: TargetRequest) -> SubprocessCodeRunner:
        """Return the runner of a script: it gets all variables, and the target's own `env`."""
        key = (request.folder, provider.name)
        if key not in self._runners:
            python = provider.config.get("pythonExecutable")
            self._runners[key] = SubprocessCodeRunner(
                folder=Path(request.folder),
                environment=script_environment(provider, request),
                limits=TARGET_LIMITS,
                redactor=self._redactor,
                worker_count=self._count(provider.config.get("workers")),
                python=python if isinstance(python, str) else None,
                on_printed=self._on_printed,
            )
        return self._runners[key]

    def of_transforms(self, request: TargetRequest) -> SubprocessCodeRunner:
        """Return the runner of the transforms of a suite's targets: it gets no keys."""
        key = (request.folder, "")
        if key not in self._runners:
            self._runners[key] = SubprocessCodeRunner(
                folder=Path(request.folder),
                environment=code_environment(request.env, with_keys=False),
                limits=CHECK_LIMITS,
                redactor=self._redactor,
                worker_count=min(self._worker_count, 4),
                on_printed=self._on_printed,
            )
        return self._runners[key]

    async def aclose(self) -> None:
        """End all processes; may be called twice."""
        while self._runners:
            await self._runners.popitem()[1].aclose()

    def _count(self, configured: Any) -> int:  # noqa: ANN401 - as written
        is_count = isinstance(configured, int) and not isinstance(configured, bool) and configured >= 1
        return min(configured if is_count else self._worker_count, _MAX_WORKERS)


def script_environment(provider: SuiteProvider, request: TargetRequest) -> dict[str, str]:
    """Return the variables of a target's program: flowai's, the suite's and the target's own."""
    return code_environment({**request.env, **provider.env}, with_keys=True)

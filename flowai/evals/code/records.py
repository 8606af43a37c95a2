"""Limits of a suite's code, and one call of it."""

from __future__ import annotations

from typing import Any

import msgspec

from flowai.evals.suites.records import CodeRef

MAX_RESULT_BYTES = 10_000_000
"""JSON of one returned value."""
MAX_PRINTED_BYTES = 50_000_000
"""Text that one process may write to stdout and stderr."""
MAX_PROCESS_COUNT = 64
"""Processes that the code may have at a time, its own included."""
LOAD_LIMIT_S = 60.0
"""Time until a process has started and loaded its file."""


class CodeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one process of a suite's code; None for no limit."""

    memory_bytes: int | None
    """Of all its processes together."""
    cpu_s: int | None
    """Processor time of one process; a worker is replaced before it reaches half of it."""
    file_bytes: int
    """Size of a file that it writes."""


CHECK_LIMITS = CodeLimits(memory_bytes=2_000_000_000, cpu_s=600, file_bytes=100_000_000)
"""Limits of assertions and transforms."""
TARGET_LIMITS = CodeLimits(memory_bytes=None, cpu_s=None, file_bytes=2_000_000_000)
"""Limits of targets, hooks, prompts, variables and tests, which may load a model or a data set."""


class CodeCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a suite's code."""

    code: CodeRef
    arguments: tuple[Any, ...]
    """JSON values."""
    function: str | None = None
    """Function of a Python file that names none; None for `get_assert`."""
    method: str | None = None
    """Method of the provider that a JavaScript file exports; None to call what it exports."""
    options: dict[str, Any] | None = None
    """Argument of the provider's constructor; only with a method."""
    has_logger: bool = False
    """Whether objects among the arguments get a `logger`, as promptfoo's hooks have."""
    may_be_value: bool = False
    """Whether a JavaScript file may export the value itself instead of a function."""

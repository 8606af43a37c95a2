"""Runs a program once, with limits of time, memory and output: `exec:` targets, and prompts that are programs."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.assertions.services import CodeError
from flowai.evals.code.process_tree import MARK_VARIABLE, kill_group, kill_marked
from flowai.evals.code.records import MAX_RESULT_BYTES
from flowai.evals.code.worker import LAUNCH, resource_limits
from flowai.rendering.formatting import size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flowai.evals.code.records import CodeLimits


class ProgramOutcome(NamedTuple):
    """A program that ended."""

    status: int
    """Exit status; negative for a signal."""
    output: str
    errors: str


async def run_program(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    limits: CodeLimits,
    timeout_s: float,
) -> ProgramOutcome:
    """Run a program to its end.

    Args:
        command: program and arguments; no shell reads them.
        folder: its working folder.
        environment: all its variables.
        limits: its limits.
        timeout_s: limit of its run, > 0.

    Raises:
        CodeError: it cannot be started, took too long or wrote too much.
    """
    mark = secrets.token_hex(8)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(LAUNCH), json.dumps(resource_limits(limits, command[0])), *command,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True, cwd=folder, env={**environment, MARK_VARIABLE: mark},
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise CodeError(f"cannot start `{command[0]}`: {error}", kind="missing") from None
    assert process.stdout is not None  # noqa: S101 - we asked for pipes
    assert process.stderr is not None  # noqa: S101 - as above
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await asyncio.gather(_read(process.stdout), _read(process.stderr))
            status = await process.wait()
    except TimeoutError:
        raise CodeError(f"gave no result within {timeout_s:g} s and was stopped", kind="timed out") from None
    finally:
        kill_group(process.pid)
        kill_marked(frozenset({mark}))
    return ProgramOutcome(status=status, output=output, errors=errors)


async def _read(stream: asyncio.StreamReader) -> str:
    parts, byte_count = list[bytes](), 0
    while part := await stream.read(1 << 18):
        parts.append(part)
        byte_count += len(part)
        if byte_count > MAX_RESULT_BYTES:
            raise CodeError(f"wrote more than {size(MAX_RESULT_BYTES)}", kind="killed")
    return b"".join(parts).decode(errors="replace")

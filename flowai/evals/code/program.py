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

_EXIT_S = 1.0
"""Time for a killed program to end."""


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
    loop = asyncio.get_running_loop()
    program = _Program(loop.create_future())
    try:
        transport, _ = await loop.subprocess_exec(
            lambda: program,
            sys.executable, "-I", "-S", str(LAUNCH), json.dumps(resource_limits(limits, command[0])), *command,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True, cwd=folder, env={**environment, MARK_VARIABLE: mark},
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise CodeError(f"cannot start `{command[0]}`: {error}", kind="missing") from None
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(program.end)
    except TimeoutError:
        raise CodeError(f"gave no result within {timeout_s:g} s and was stopped", kind="timed out") from None
    finally:
        kill_group(transport.get_pid())
        kill_marked(frozenset({mark}))
        await asyncio.wait({program.exit}, timeout=_EXIT_S)
        transport.close()
    texts = [b"".join(program.parts[number]).decode(errors="replace") for number in (1, 2)]
    return ProgramOutcome(status=transport.get_returncode() or 0, output=texts[0], errors=texts[1])


class _Program(asyncio.SubprocessProtocol):
    """Collects the output of a program, until it and its pipes have ended.

    Args:
        end: set at the end, or to a CodeError.
    """

    def __init__(self, end: asyncio.Future[None]) -> None:
        self.end = end
        self.exit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.parts: dict[int, list[bytes]] = {1: [], 2: []}
        self._byte_count = 0

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep a part of an output."""
        self._byte_count += len(data)
        if self._byte_count <= MAX_RESULT_BYTES:
            self.parts[fd].append(data)
        elif not self.end.done():
            self.end.set_exception(CodeError(f"wrote more than {size(MAX_RESULT_BYTES)}", kind="killed"))

    def process_exited(self) -> None:
        """Remember that the process ended; its pipes may hold more."""
        if not self.exit.done():
            self.exit.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End: process and pipes have ended."""
        if not self.end.done():
            self.end.set_result(None)

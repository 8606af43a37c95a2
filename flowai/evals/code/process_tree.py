"""Watches and ends the processes of a suite's code, also those that left its group; by `/proc`, where there is one."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MAX_ROUNDS = 20
"""Searches for survivors; code that forks all the time needs more than one."""
MARK_VARIABLE = "FLOWAI_CODE_PROCESS"
"""Environment variable by which the descendants of a worker are found."""


class TreeUsage(NamedTuple):
    """Memory and number of a process and its descendants."""

    memory_bytes: int
    process_count: int


def tree_usage(process_id: int) -> TreeUsage:
    """Return the resident memory and the number of a process and its descendants; zeros without `/proc`."""
    pending, seen, memory_bytes = [process_id], set[int](), 0
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        with suppress(OSError, ValueError, IndexError):
            memory_bytes += int((_PROC / str(current) / "statm").read_text().split()[1]) * _PAGE_BYTES
            for task in (_PROC / str(current) / "task").iterdir():
                pending += map(int, (task / "children").read_text().split())
    return TreeUsage(memory_bytes=memory_bytes, process_count=len(seen) if memory_bytes else 0)


def kill_group(group_id: int) -> None:
    """Kill every process of a group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group_id, signal.SIGKILL)


def kill_marked(marks: frozenset[str]) -> None:
    """Kill every process whose environment has one of the marks, until none is left."""
    if not marks or not _PROC.is_dir():
        return
    variables = tuple(f"{MARK_VARIABLE}={mark}".encode() for mark in marks)
    for _ in range(_MAX_ROUNDS):
        found = [process_id for process_id in _process_ids() if _has_variable(process_id, variables)]
        if not found:
            return
        for process_id in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process_id, signal.SIGKILL)


def _process_ids() -> list[int]:
    own_id = os.getpid()
    return [int(name) for name in os.listdir(_PROC) if name.isdecimal() and int(name) != own_id]  # noqa: PTH208 - faster


def _has_variable(process_id: int, variables: tuple[bytes, ...]) -> bool:
    """Return whether a living process has one of the variables; one that ended and was not awaited yet has none."""
    try:
        environment = (_PROC / str(process_id) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(variable in environment for variable in variables)

"""This machine as processes share it: a clock that cannot be set, and whether a process of it is still alive.

Intervals of state in files are measured by `machine_clock_s`: a wall clock that is set back or ahead between a write
and a read would keep a breaker open, or silence a process, by as much.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_STATE_FIELD, _START_FIELD = 0, 19
"""Fields of /proc/PID/stat after the name: state, and start in ticks since boot."""
_ENDED_STATES = ("Z", "X")


@cache
def boot_id() -> str:
    """Return the id of this boot, which ends the time of `machine_clock_s`; empty where the kernel has none."""
    return _read(_PROC / "sys/kernel/random/boot_id")


def machine_clock_s() -> float:
    """Return the seconds since this machine booted, the same for all its processes; without a boot id, the wall clock.

    The time source of all intervals in files: windows, leases, open times, lifetimes.
    """
    if sys.platform == "linux" and boot_id():
        return time.clock_gettime(time.CLOCK_BOOTTIME)  # unlike time.monotonic(), it does not stop while suspended
    return time.time()


@cache
def machine_id() -> str:
    """Return the id of this boot and process namespace, within which a pid names one process at a time."""
    if boot_id():
        try:
            return f"{boot_id()}/{(_PROC / 'self/ns/pid').readlink()}"
        except OSError:
            return ""  # a pid says nothing then
    return f"{socket.gethostname()}/{uuid.getnode():x}"


def process_start(pid: int) -> str:
    """Return a mark of a process's start, which no later process with its pid has; empty if it is dead or unknown."""
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    if len(fields) <= _START_FIELD or fields[_STATE_FIELD] in _ENDED_STATES:
        return ""
    return fields[_START_FIELD]


def is_process_dead(*, machine: str, pid: int, start: str) -> bool:
    """Return whether a process is known to be dead; False for one of another machine or container.

    Args:
        machine: its `machine_id()`.
        pid: its process id.
        start: its `process_start()`.
    """
    if not machine or machine != machine_id():
        return False
    if start:
        return process_start(pid) != start
    if sys.platform == "win32":
        return False  # there, os.kill(pid, 0) sends a signal
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""

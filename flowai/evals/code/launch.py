"""Child process: sets limits on itself and becomes the program that runs a suite's code. Imports nothing of flowai.

Usage: `launch.py LIMITS PROGRAM ARGUMENT ...`; LIMITS is a JSON object of resource names (`AS`) and values.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # Linux: linux/prctl.h
_NOT_FOUND = 127  # as a shell's


def main() -> None:
    """Set the limits, then replace this process by the program."""
    for name, value in json.loads(sys.argv[1]).items():
        _set_limit(getattr(resource, f"RLIMIT_{name}", None), value)
    _end_with_parent()
    for number in (signal.SIGPIPE, getattr(signal, "SIGXFSZ", None)):  # Python ignores them, and children inherit that
        if number is not None:
            signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell on purpose
    except OSError as error:
        sys.stderr.write(f"cannot run `{sys.argv[2]}`: {error.strerror}\n")
        sys.exit(_NOT_FOUND)


def _set_limit(kind: int | None, value: int) -> None:
    """Lower one limit; where the system refuses, the parent's own watch remains."""
    if kind is None:
        return
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (value, value))


def _end_with_parent() -> None:
    """Let the system kill this process when flowai ends, also by a signal it cannot handle; Linux only."""
    if sys.platform != "linux":
        return
    import ctypes

    parent = os.getppid()
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        sys.exit(_NOT_FOUND)


if __name__ == "__main__":
    main()

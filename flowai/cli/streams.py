"""Stdout and stderr that never change a result: a closed or full one is left out, and the command goes on.

Python's own streams are None if closed before the start, and raise at any write, even at exit, if their reader is gone
or their disk is full.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from typing_extensions import Buffer

_STDOUT, _STDERR = 1, 2
_streams: dict[int, LossyFile] = {}


class LossyFile(io.RawIOBase):
    """A file descriptor to write to; after its first failure everything is dropped.

    Args:
        descriptor: to write to; stays open.
        stops: whether a reader that is gone raises BrokenPipeError, which ends commands without an end of their own.
    """

    def __init__(self, descriptor: int, *, stops: bool) -> None:
        self._descriptor = descriptor
        self._stops = stops
        self.failure: OSError | None = None
        """The first failure; None if everything was written."""

    def writable(self) -> bool:
        """Return true."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def write(self, data: Buffer) -> int:
        """Write what the descriptor accepts; all of it counts as written after a failure."""
        size = memoryview(data).nbytes
        while self.failure is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # a pipe that another process made non-blocking
                select.select((), (self._descriptor,), ())
            except OSError as error:
                self.failure = error
                if self._stops and isinstance(error, BrokenPipeError):
                    raise
        return size


def install(*, stops: bool) -> None:
    """Replace stdout and stderr of the process.

    Args:
        stops: whether a reader of stdout that is gone raises BrokenPipeError.
    """
    _reserve_descriptors()
    sys.stdout = _replacement(sys.stdout, _STDOUT, stops=stops)
    sys.stderr = _replacement(sys.stderr, _STDERR, stops=False)


def lost_output() -> str | None:
    """Return why a part of stdout could not be written; None if it was, or if its reader had enough."""
    stream = _streams.get(_STDOUT)
    if stream is None or stream.failure is None or isinstance(stream.failure, BrokenPipeError):
        return None
    return stream.failure.strerror or str(stream.failure)


def _reserve_descriptors() -> None:
    """Open the null device as each closed standard descriptor: the next opened file would get its number."""
    for descriptor in (0, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)


def _replacement(stream: TextIO | None, descriptor: int, *, stops: bool) -> TextIO:
    raw = _streams[descriptor] = LossyFile(descriptor, stops=stops)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors=getattr(stream, "errors", None) or "backslashreplace",
        line_buffering=descriptor == _STDERR or raw.isatty(),
    )

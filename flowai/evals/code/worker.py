"""A process of a suite's code: started with limits, called over a socket, watched, and ended with all its children."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.services import CodeError
from flowai.evals.code.connection import FrameConnection, FrameError, decode_lone_surrogates
from flowai.evals.code.process_tree import MARK_VARIABLE, kill_group, kill_marked, tree_usage
from flowai.evals.code.records import MAX_PRINTED_BYTES, MAX_PROCESS_COUNT, MAX_RESULT_BYTES
from flowai.rendering.formatting import size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flowai.evals.code.records import CodeLimits

LAUNCH = Path(__file__).with_name("launch.py")
_KEPT_BYTES = 4_000
"""Of the printed text, at its start and at its end."""
_WATCH_S = 0.1
_EXIT_S = 1.0
"""Time for a process to end by itself."""
_LATE_REPLY_S = 0.5
"""Time for a reply that was sent just before its process ended."""
_FRAME_EXTRA_BYTES = 100_000
_EXTRA_USER_PROCESSES = 512


class Worker:
    """A running process.

    Args:
        connection: its socket.
        limits: its limits.
        mark: value of MARK_VARIABLE in its environment.
    """

    def __init__(self, connection: FrameConnection, *, limits: CodeLimits, mark: str) -> None:
        self._connection = connection
        self._limits = limits
        self.mark = mark
        self._call_count = 0
        self._cpu_s = 0.0
        self._stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.process = ProcessProtocol(self._stop)

    @property
    def is_usable(self) -> bool:
        """True if it can take another call."""
        is_fresh = self._limits.cpu_s is None or self._cpu_s < self._limits.cpu_s / 2
        return self._connection.is_usable and not self.process.exit.done() and not self._stopped.done() and is_fresh

    async def request(self, fields: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Send a request and return its reply; a failure ends the process.

        Raises:
            CodeError: there is no reply.
        """
        self._call_count += 1
        payload = _encode_request({"id": f"{self.mark}-{self._call_count}", **fields})
        reply = self._connection.request(payload)
        watch = asyncio.create_task(self._watch())
        try:
            await self._wait(reply, timeout_s)
            return self._decode(reply) if reply.done() else await self._fail(timeout_s)
        except FrameError as error:
            raise await self._bad_frame(error) from None
        except BaseException:
            await self.kill()
            raise
        finally:
            watch.cancel()

    def printed(self) -> str:
        """Return what it printed since the last call of this method, clipped."""
        return self.process.printed()

    async def kill(self) -> None:
        """Kill the process and its descendants."""
        self._connection.close()
        self.process.kill()
        kill_marked(frozenset({self.mark}))
        await self.process.finish()

    async def aclose(self) -> None:
        """Let the process end by itself, then kill what is left of its group."""
        self._connection.close()
        await asyncio.wait({self.process.exit}, timeout=_EXIT_S)
        self.process.kill()
        await self.process.finish()

    async def _wait(self, reply: asyncio.Future[bytes], timeout_s: float) -> None:
        events: set[asyncio.Future[Any]] = {reply, self.process.exit, self._stopped}
        done, _ = await asyncio.wait(events, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self.process.exit in done and reply not in done:
            await asyncio.wait({reply}, timeout=_LATE_REPLY_S)

    async def _fail(self, timeout_s: float) -> dict[str, Any]:
        """Raise the error of a call without a reply."""
        if self._stopped.done():
            await self.kill()
            raise CodeError(self._stopped.result(), kind="killed")
        if self.process.exit.done():
            raise await self._ended()
        await self.kill()
        raise CodeError(f"gave no result within {timeout_s:g} s and was stopped", kind="timed out")

    async def _bad_frame(self, error: FrameError) -> CodeError:
        if not error.is_closed:
            await self.kill()
            return CodeError("wrote to the connection that carries its result", kind="nonsense")
        await asyncio.wait({self.process.exit}, timeout=_LATE_REPLY_S)
        if self.process.exit.done():
            return await self._ended()
        await self.kill()
        return CodeError("closed the connection that carries its result", kind="killed")

    async def _ended(self) -> CodeError:
        status = self.process.exit.result()
        await self.kill()
        how = f"was killed by signal {-status}" if status < 0 else f"ended its process with status {status}"
        last = self.process.last_error_line()
        return CodeError(f"{how} during the call" + (f": {last}" if last else ""), kind="killed")

    def _decode(self, reply: asyncio.Future[bytes]) -> dict[str, Any]:
        raw = reply.result()
        try:
            fields: dict[str, Any] = json.loads(raw)
            if b"\\ud" in raw or b"\\uD" in raw:
                fields = decode_lone_surrogates(fields)
            is_own = fields["id"] == f"{self.mark}-{self._call_count}"
            self._cpu_s = float(fields["cpu_s"])
        except (ValueError, KeyError, TypeError, RecursionError):
            is_own = False
        if not is_own:
            raise FrameError(is_closed=False)
        if fields.get("is_last") or fields.get("error", {}).get("is_out_of_memory"):
            self._connection.close()  # it ends, or its memory may be full of remains
        return fields

    async def _watch(self) -> None:
        """Stop the process when it has too much memory or too many processes."""
        while not self._stopped.done():
            await asyncio.sleep(_WATCH_S)
            usage = tree_usage(self.process.process_id)
            limit = self._limits.memory_bytes
            if usage.process_count > MAX_PROCESS_COUNT:
                self._stop(f"started {usage.process_count} processes; the limit is {MAX_PROCESS_COUNT}")
            elif limit is not None and usage.memory_bytes > limit:
                self._stop(f"used {size(usage.memory_bytes)} of memory; the limit is {size(limit)}")

    def _stop(self, reason: str) -> None:
        if not self._stopped.done():
            self._stopped.set_result(reason)


class ProcessProtocol(asyncio.SubprocessProtocol):
    """Keeps what a process prints, and waits for its end; its children may keep its pipes open.

    Args:
        on_limit: called with the reason when the process prints too much.
    """

    def __init__(self, on_limit: Callable[[str], None]) -> None:
        self.exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Exit status; negative for a signal."""
        self._on_limit = on_limit
        self._texts = {1: _PrintedText(), 2: _PrintedText()}
        self._transport: asyncio.SubprocessTransport | None = None

    @property
    def process_id(self) -> int:
        """Id of the process and of its group."""
        assert self._transport is not None  # noqa: S101 - set before anything else is called
        return self._transport.get_pid()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101 - a process's is one
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep a part of a printed text."""
        text = self._texts[fd]
        text.add(data)
        if text.byte_count > MAX_PRINTED_BYTES:
            self._on_limit(f"printed more than {size(MAX_PRINTED_BYTES)}")
            self.kill()

    def process_exited(self) -> None:
        """Keep the exit status."""
        if self._transport is not None and not self.exit.done():
            self.exit.set_result(self._transport.get_returncode() or 0)

    def printed(self) -> str:
        """Return the text that was not returned before, clipped."""
        parts = {1: "stdout", 2: "stderr"}
        return "\n".join(f"{parts[fd]}: {part}" for fd, text in self._texts.items() if (part := text.take().strip()))

    def last_error_line(self) -> str:
        """Return the last line of stderr that is not blank."""
        return self._texts[2].last_line()

    def kill(self) -> None:
        """Kill the process's group."""
        kill_group(self.process_id)

    async def finish(self) -> None:
        """Wait for the end of a killed process, and close its pipes."""
        await asyncio.wait({self.exit}, timeout=_EXIT_S)
        if self._transport is not None:
            self._transport.close()


async def start_worker(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], limits: CodeLimits, mark: str
) -> Worker:
    """Start a process; its command gets the socket's descriptor and the limit of a result as last arguments.

    Args:
        command: program and arguments.
        folder: its working folder.
        environment: all its variables.
        limits: its limits.
        mark: unique text by which its descendants are found.

    Raises:
        CodeError: it cannot be started.
    """
    own_end, its_end = socket.socketpair()
    loop = asyncio.get_running_loop()
    connection = FrameConnection(MAX_RESULT_BYTES + _FRAME_EXTRA_BYTES)
    worker = Worker(connection, limits=limits, mark=mark)
    with its_end:
        try:
            await loop.subprocess_exec(
                lambda: worker.process,
                sys.executable, "-I", "-S", str(LAUNCH), json.dumps(resource_limits(limits, command[0])), *command,
                str(its_end.fileno()), str(MAX_RESULT_BYTES),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                pass_fds=(its_end.fileno(),), start_new_session=True, cwd=folder,
                env={**environment, MARK_VARIABLE: mark},
            )  # fmt: skip
        except (OSError, ValueError) as error:
            own_end.close()
            raise CodeError(f"cannot start `{command[0]}`: {error}", kind="missing") from None
    await loop.create_connection(lambda: connection, sock=own_end)
    return worker


def resource_limits(limits: CodeLimits, program: str) -> dict[str, int]:
    """Return limits by names of `resource`; node reserves far more addresses than memory, so that it has none of them.

    The limit of processes counts all of the user's, so that it is only the last one: the watch counts the code's own.
    """
    from flowai.evals.code.environment import is_node

    chosen = {"CORE": 0, "FSIZE": limits.file_bytes}
    if limits.cpu_s is not None:
        chosen["CPU"] = limits.cpu_s
    if limits.memory_bytes is not None and not is_node(program):
        chosen["AS"] = limits.memory_bytes
    with suppress(OSError, ValueError, IndexError):
        thread_count = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
        chosen["NPROC"] = thread_count + _EXTRA_USER_PROCESSES
    return chosen


def _encode_request(fields: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(fields).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CodeError(f"was not called: an argument is not JSON ({error})", kind="nonsense") from None


class _PrintedText:
    """Start and end of a printed text."""

    def __init__(self) -> None:
        self.byte_count = 0
        self._start = b""
        self._end = b""
        self._kept_count = 0

    def add(self, part: bytes) -> None:
        """Add a part."""
        self.byte_count += len(part)
        self._kept_count += len(part)
        self._start += part[: max(0, _KEPT_BYTES - len(self._start))]
        self._end = (self._end + part)[-_KEPT_BYTES:]

    def take(self) -> str:
        """Return the text, and forget it."""
        if self._kept_count <= _KEPT_BYTES:
            raw = self._start
        else:
            dropped = max(0, self._kept_count - len(self._start) - len(self._end))
            rest = self._end[-(self._kept_count - len(self._start) - dropped) :]
            raw = self._start + (f"\n... {dropped:,} bytes ...\n".encode() if dropped else b"") + rest
        self._start = self._end = b""
        self._kept_count = 0
        return raw.decode(errors="replace")

    def last_line(self) -> str:
        """Return the last line that is not blank."""
        lines = self._end.decode(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

"""Runs a local model: a llama.cpp server in a child process, on a free loopback port, with a random key.

The process isolates crashes of native code and the log. It has its own session, so that Ctrl-C does not reach it; it
ends with its parent in any case (see child_process).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from secrets import token_urlsafe
from typing import IO, TYPE_CHECKING

from flowai.errors import InfrastructureError, Place, RegistryError
from flowai.storage.worker_thread import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable

CONTEXT_TOKENS = 8192  # a model trained on less gets its own length
START_LIMIT_S = 300.0  # enough for a large file on a slow disk
STOP_LIMIT_S = 5.0
MAX_THREADS = 16  # with more, memory bandwidth is the limit
_MAGIC = b"GGUF"
_CHILD = Path(__file__).with_name("child_process.py")
_LOG_BYTES = 65_536
_ERROR_LINE = re.compile(r"^[\d.]+ E ")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # Linux, control groups version 2: `max 100000` or `200000 100000`


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalModel:
    """A model to serve."""

    name: str
    """Name in the registry."""
    file: Path
    """Absolute path of the GGUF file."""
    context_tokens: int = CONTEXT_TOKENS
    """Limit of request and answer together, > 0."""


class LocalServer:
    """A ready server, created by `start_server`.

    Args:
        process: the child process.
        log: output of llama.cpp.
        address: base URL for OpenAI-compatible clients.
        api_key: the only key that the server accepts.
        load_s: time from the start of the process until it was ready.
        thread: the thread that waits for the child process.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: IO[bytes],
        *,
        address: str,
        api_key: str,
        load_s: float,
        thread: WorkerThread,
    ) -> None:
        self.address = address
        self.api_key = api_key
        self.load_s = load_s
        self._process = process
        self._log = log
        self._thread = thread

    @property
    def process_id(self) -> int:
        """Id of the child process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether the child process still runs."""
        return self._process.poll() is None

    def last_log_lines(self) -> str:
        """Return how the child process ended."""
        return _exit_description(self._process)

    async def stop(self) -> None:
        """Stop the child process; may be called twice."""
        await self._thread.close(lambda: _terminate(self._process))
        self._log.close()


async def start_server(model: LocalModel, *, clock_s: Callable[[], float] = time.perf_counter) -> LocalServer:
    """Start a server and wait until the model is loaded.

    Args:
        model: the model to serve.
        clock_s: monotonic clock.

    Raises:
        RegistryError: the file is missing or not a GGUF file.
        InfrastructureError: xllamacpp is not installed, or the server did not start; with llama.cpp's reason.
    """
    check_weights(model)
    api_key = token_urlsafe(24)
    options = {
        "file": str(model.file),
        "name": model.name,
        "api_key": api_key,
        "context_tokens": model.context_tokens,
        "thread_count": _thread_count(),
    }
    started_s = clock_s()
    process, log = _spawn()
    thread = WorkerThread("flowai-local-model", owner=f"model `{model.name}`")
    try:
        async with asyncio.timeout(START_LIMIT_S):
            line = await thread.run(lambda: _exchange(process, json.dumps(options).encode() + b"\n"))
    except TimeoutError:
        raise await _not_started(model, process, log, thread, f"not ready within {START_LIMIT_S:g} s") from None
    except BaseException:
        process.kill()  # unblocks the thread that reads its output
        thread.end()
        _terminate(process)
        log.close()
        raise
    if not line:
        raise await _not_started(model, process, log, thread, "did not start")
    address = f"{json.loads(line)['address']}/v1"
    load_s = clock_s() - started_s
    return LocalServer(process, log, address=address, api_key=api_key, load_s=load_s, thread=thread)


def check_weights(model: LocalModel) -> None:
    """Check that a model can be served here.

    Raises:
        RegistryError: the file is missing or not a GGUF file.
        InfrastructureError: xllamacpp is not installed.
    """
    place = Place(file=str(model.file))
    try:
        with model.file.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
    except OSError as error:
        raise RegistryError(
            f"weights of model `{model.name}` cannot be read: {error.strerror}",
            place=place,
            hint="`file` names a GGUF file, or `package:PACKAGE/FILE` one inside an installed package",
        ) from None
    if magic != _MAGIC:
        raise RegistryError(
            f"weights of model `{model.name}` are not a GGUF file: it begins with {magic!r}, expected {_MAGIC!r}",
            place=place,
            hint="llama.cpp reads GGUF; the download may be incomplete, or an HTML error page",
        )
    if find_spec("xllamacpp") is None:
        raise InfrastructureError(
            f"model `{model.name}` runs on this machine, which needs the package `xllamacpp`",
            hint="pip install 'flowai[local]'",
        )


def _thread_count() -> int:
    """Return the number of usable cores: a container may use fewer than it sees."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = _CPU_QUOTA.read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return min(cores, MAX_THREADS)


def _spawn() -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
    process = subprocess.Popen(  # noqa: S603 - our own script, run by our own interpreter
        [sys.executable, "-P", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        # llama.cpp's threads wait by spinning, which makes a busy machine many times slower: this variable of libgomp
        # lets them sleep after a short while (without any spinning an idle machine has half the speed)
        env={"GOMP_SPINCOUNT": "1000", **os.environ},
    )
    return process, log


def _exchange(process: subprocess.Popen[bytes], options: bytes) -> bytes:
    """Write the options to the child and read its line; empty when the child ended."""
    assert process.stdin is not None  # noqa: S101 - we asked for pipes; this tells the type checker
    assert process.stdout is not None  # noqa: S101 - as above
    try:
        process.stdin.write(options)
        process.stdin.flush()
    except BrokenPipeError:
        return b""
    return process.stdout.readline()


async def _not_started(
    model: LocalModel, process: subprocess.Popen[bytes], log: IO[bytes], thread: WorkerThread, what: str
) -> InfrastructureError:
    process.kill()  # it may have ended already
    await thread.close(lambda: _terminate(process))
    reason = _first_error(log)
    log.close()
    hint = "check that the GGUF file is complete and that there is enough memory for it"
    if reason and "libgomp" in reason:  # the wheel expects it on the system
        hint = "install GCC's OpenMP library: `apt-get install libgomp1`"
    return InfrastructureError(
        f"the local server of model `{model.name}` {what} ({_exit_description(process)}): {reason or 'no output'}",
        hint=hint,
    )


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """Close the child's stdin, which ends it; kill it if it does not end."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _exit_description(process: subprocess.Popen[bytes]) -> str:
    status = process.poll()
    if status is None:
        return "it still runs"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def _first_error(log: IO[bytes]) -> str | None:
    """Return the first error line of llama.cpp's log; later ones are its consequences."""
    log.seek(0)
    lines = log.read(_LOG_BYTES).decode(errors="replace").splitlines()
    line = next((line for line in lines if _ERROR_LINE.match(line)), lines[-1] if lines else "")
    return _ERROR_LINE.sub("", line).strip() or None

"""A real Redis server on a free loopback port, for the tests marked `service`; it can be killed, frozen and restarted.

In a test: `with RedisServer() as server:`, then connect to `server.url`. Nothing is written to disk, so a server that
was killed comes back empty, on the same port.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

_START_LIMIT_S = 20.0
_POLL_S = 0.01


class RedisServer:
    """One server process; a context manager.

    Args:
        binary: the server, a name on PATH or a path; default Debian's.
        settings: further settings, as on redis-server's command line (`("--maxmemory", "1mb")`).
        password: what clients must give; None for an open server.
    """

    def __init__(
        self, binary: str | Path = "redis-server", *, settings: tuple[str, ...] = (), password: str | None = None
    ) -> None:
        found = shutil.which(str(binary))
        if found is None:
            message = f"no `{binary}` on PATH: install Debian's redis-server"
            raise FileNotFoundError(message)
        self._binary = found
        self.settings = settings if password is None else (*settings, "--requirepass", password)
        self._directory = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None
        self.password = password
        self.port = _free_port()

    @property
    def url(self) -> str:
        """Address for clients, with the password where there is one."""
        credentials = "" if self.password is None else f":{self.password}@"
        return f"redis://{credentials}127.0.0.1:{self.port}/0"

    @property
    def log(self) -> str:
        """The server's log so far."""
        path = Path(self._directory.name, "log")
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def directory(self) -> Path:
        """Where it keeps its files."""
        return Path(self._directory.name)

    def start(self, *, waits_for: bytes = b"+PONG") -> None:
        """Start it, or start it again after a kill, and wait until it answers a ping so."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with Path(self._directory.name, "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, *arguments, *self.settings], cwd=self._directory.name, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_LIMIT_S
        while not self._answers(waits_for):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                message = f"redis-server did not start on port {self.port}:\n{self.log}"
                raise RuntimeError(message)
            time.sleep(_POLL_S)

    def _answers(self, expected: bytes) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((expected, b"-NOAUTH"))
        return False

    def kill(self) -> None:
        """Kill it (kill -9); its data is lost. Does nothing when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Freeze it: connections stay open without replies."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume a frozen server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._directory.cleanup()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

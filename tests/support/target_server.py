"""A loopback HTTP server that answers every request as a test says, and keeps what arrived."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class TargetCall(NamedTuple):
    """A request as it came over the socket."""

    method: str
    target: str
    """Path and query."""
    headers: dict[str, str]
    """Lower-case names."""
    body: str

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)


class TargetReply(NamedTuple):
    """An answer."""

    body: str | bytes = ""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class TargetServer:
    """Serves on a free port while its `with` block runs.

    Args:
        reply: returns the answer to a call.
    """

    def __init__(self, reply: Callable[[TargetCall], TargetReply] = lambda _: TargetReply("{}")) -> None:
        self.calls: list[TargetCall] = []
        outer, answer = self, reply

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_call(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(length).decode(errors="replace")
                call = TargetCall(self.command, self.path, headers, body)
                outer.calls.append(call)
                reply = answer(call)
                content = reply.body.encode() if isinstance(reply.body, str) else reply.body
                self.send_response(reply.status)
                for name, value in (*reply.headers, ("content-length", str(len(content)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = handle_call  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

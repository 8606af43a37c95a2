"""A loopback receiver of alerts that misbehaves on request: what PagerDuty or a webhook would be.

In: replies to give, in order. Out: what was posted. Must never know flowai.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(kw_only=True)
class Said:
    """One reply.

    Args:
        status: HTTP status.
        headers: its headers.
        body: its body.
    """

    status: int = 202
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"


class AlertReceiver:
    """The server, in a thread of its own; a context manager."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self._script: deque[Said] = deque()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/in"

    def script(self, *replies: Said) -> None:
        """Give these replies next, then 202."""
        self._script.extend(replies)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                said = receiver._script.popleft() if receiver._script else Said()
                self.send_response(said.status)
                for name, value in {**said.headers, "Content-Length": str(len(said.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said.body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

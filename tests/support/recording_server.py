"""A loopback server that answers every chat and embeddings request alike, and keeps the last one."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple, Self

_ANSWER = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'  # fmt: skip # noqa: E501
_VECTORS = b'{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":1,"total_tokens":1}}'  # fmt: skip # noqa: E501


class Arrived(NamedTuple):
    """A request as it came over the socket."""

    method: str
    target: str
    """Path and query."""
    headers: dict[str, str]
    body: Any


class RecordingServer:
    """Serves on a free loopback port of the running event loop."""

    def __init__(self) -> None:
        self.last: Arrived | None = None
        self.base_url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=64_000_000)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ", 2)
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.last = Arrived(method, target, headers, json.loads(body))
                is_chat = target.partition("?")[0].endswith("/chat/completions")
                kind, answer = ("text/event-stream", _ANSWER) if is_chat else ("application/json", _VECTORS)
                writer.write(
                    f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(answer)}\r\n\r\n".encode()
                )
                writer.write(answer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

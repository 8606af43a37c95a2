"""A loopback provider that speaks OpenAI's protocol and misbehaves on request; tests and benchmarks call it.

In a test: `with ScriptedProvider() as provider: provider.script(Reply(status=429, retry_after="3"))`, then call
`provider.base_url`. From a shell, in `tests/`: `python -m support.scripted_provider --port 0 --delay-ms 50` prints its
URL and serves until it is killed; `GET /count` returns the number of requests. One request costs about 0.1 ms of CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import sys
import threading
from collections import deque
from functools import partial
from typing import Self, cast

from support.scripted_replies import Answerer, Asked, Fault, Reply, chunk, stream_pieces, whole_body

__all__ = ["Answerer", "Asked", "Fault", "Reply", "ScriptedProvider"]


class _Connection(asyncio.Protocol):
    """One kept-alive connection; requests on it come one after the other, as HTTP/1.1 clients send them."""

    def __init__(self, provider: ScriptedProvider) -> None:
        self._provider = provider
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._provider.connection_count += 1
        self._provider.open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._provider.open_connections.discard(self)
        if self._task:
            self._task.cancel()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        lines = self._buffer[:head_end].decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        body_end = head_end + 4 + int(headers.get("content-length", "0"))
        if len(self._buffer) < body_end:
            return
        raw, self._buffer = self._buffer[head_end + 4 : body_end], self._buffer[body_end:]
        method, path, _ = lines[0].split(" ", 2)
        if method == "GET" and self._provider.on_get is not None:
            reply = self._provider.on_get(Asked(path=path, headers=headers, body={}))
            send = partial(self._send, reply.status, "application/json", reply.body or b"{}")
            asyncio.get_running_loop().call_later(reply.delay_s, send)
            return
        if method == "GET":
            self._send(200, "application/json", b'{"request_count": %d}' % self._provider.request_count)
            return
        asked = Asked(path=path, headers=headers, body=json.loads(raw))
        reply = self._provider.take(asked)
        plain = reply.fault is None and not asked.body.get("stream")
        if not plain:
            self._task = asyncio.get_running_loop().create_task(self._misbehave_or_stream(reply, asked))
        elif reply.delay_s:
            asyncio.get_running_loop().call_later(reply.delay_s, self._answer, reply, asked)
        else:
            self._answer(reply, asked)

    def _answer(self, reply: Reply, asked: Asked) -> None:
        extra = f"retry-after: {reply.retry_after}\r\n" if reply.retry_after is not None else ""
        self._send(reply.status, reply.content_type or "application/json", whole_body(reply, asked), extra)

    def _send(self, status: int, content_type: str, body: bytes, extra: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        self._write(head.encode() + body)

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)

    def _close(self, *, reset: bool) -> None:
        if self._transport is None:
            return
        if reset:  # linger 0: the kernel sends RST instead of FIN
            raw: socket.socket = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()

    async def _misbehave_or_stream(self, reply: Reply, asked: Asked) -> None:
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.fault == "silent":
            return
        if reply.fault in {"reset_before_headers", "close_before_headers"}:
            self._close(reset=reply.fault == "reset_before_headers")
            return
        if not asked.body.get("stream"):
            await self._break_whole(reply, asked)
        elif reply.status >= 400 or (reply.body is not None and reply.fault != "stall"):
            self._answer(reply, asked)
        else:
            await self._stream(reply)

    async def _break_whole(self, reply: Reply, asked: Asked) -> None:
        """Send the head and half of the body, then keep to the fault; stream-only faults answer normally."""
        if reply.fault not in {"reset_after_headers", "cut", "stall"}:
            self._answer(reply, asked)
            return
        body = whole_body(reply, asked)
        head = f"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._write(head.encode() + body[: len(body) // 2])
        await asyncio.sleep(0.05)  # let the bytes leave before the reset overtakes them
        if reply.fault != "stall":
            self._close(reset=reply.fault == "reset_after_headers")

    async def _stream(self, reply: Reply) -> None:
        kind = reply.content_type or "text/event-stream"
        self._write(f"HTTP/1.1 200 X\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        if reply.fault == "comments":
            await self._repeat(b": still here\n\n")
        for index, piece in enumerate(stream_pieces(reply)):
            if index == 1 and reply.first_token_delay_s:
                await asyncio.sleep(reply.first_token_delay_s)
            if index and reply.chunk_delay_s:
                await asyncio.sleep(reply.chunk_delay_s)
            self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if reply.fault in {"stall", "role_only", "held_open"}:
            return
        if reply.fault == "endless":
            await self._repeat(chunk(reply, {"content": "and on "}) * 300)
        if reply.fault in {"cut", "reset_after_headers"}:
            await asyncio.sleep(0.05)
            self._close(reset=reply.fault == "reset_after_headers")
            return
        self._write(b"0\r\n\r\n")

    async def _repeat(self, piece: bytes) -> None:
        """Send the same for ever, at a pace that costs little."""
        while self._transport is not None:
            if self._transport.get_write_buffer_size() < len(piece):  # a client that does not read is sent no more
                self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0.01)


class ScriptedProvider:
    """The server, in a thread of its own.

    Args:
        default: the reply when nothing is scripted.
        answerer: gives the reply instead of `default`, from the request.
        port: loopback port; 0 takes a free one.
        on_get: gives the reply to a GET request, its status, delay and body; None answers with the request count.
        remember: whether to keep what was asked in `asked`; benchmarks switch it off.
    """

    def __init__(
        self,
        default: Reply | None = None,
        *,
        answerer: Answerer | None = None,
        port: int = 0,
        on_get: Answerer | None = None,
        remember: bool = True,
    ) -> None:
        self.default = default or Reply()
        self.answerer = answerer
        self.on_get = on_get
        self.asked: list[Asked] = []
        self.request_count = 0
        self.connection_count = 0
        self.open_connections: set[_Connection] = set()
        self._remember = remember
        self._script: deque[Reply] = deque()
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def base_url(self) -> str:
        """What a client calls `api_base`."""
        return f"http://127.0.0.1:{self._port}/v1"

    def script(self, *replies: Reply) -> None:
        """Give these replies next, in order, before the default."""
        self._script.extend(replies)

    def take(self, asked: Asked) -> Reply:
        """Note a request and give its reply."""
        self.request_count += 1
        if self._remember:
            self.asked.append(asked)
        if self._script:
            return self._script.popleft()
        return self.answerer(asked) if self.answerer else self.default

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self.serve())
        finally:
            self._loop.close()

    async def serve(self) -> None:
        """Serve until stopped; the port is known once `_started` is set."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port, backlog=512)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for connection in tuple(self.open_connections):
            connection.abort()
        for _ in range(3):  # the aborted connections, then the tasks they cancel, have their say
            await asyncio.sleep(0)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(60):
            raise RuntimeError("the scripted provider did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


def main() -> None:
    """Serve from the command line; print the base URL first."""
    parser = argparse.ArgumentParser(description="a loopback OpenAI-compatible provider, scripted")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--text", default=Reply.text)
    parser.add_argument("--retry-after")
    parser.add_argument("--fault", choices=Fault.__args__)  # type: ignore[attr-defined]
    options = parser.parse_args()
    reply = Reply(
        text=options.text,
        status=options.status,
        delay_s=options.delay_ms / 1000,
        retry_after=options.retry_after,
        fault=options.fault,
    )
    with ScriptedProvider(reply, port=options.port, remember=False) as provider:
        sys.stdout.write(provider.base_url + "\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()

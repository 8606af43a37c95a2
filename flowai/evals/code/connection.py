"""Frames between flowai and a process of a suite's code: a mark, a length and JSON, over a socket of their own."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Final

MAGIC: Final = b"flo1"
_HEADER = struct.Struct("!4sI")


class FrameError(Exception):
    """The process wrote something else than a reply, or closed its end.

    Args:
        is_closed: whether the connection ended.
    """

    def __init__(self, *, is_closed: bool) -> None:
        super().__init__("closed" if is_closed else "not a reply")
        self.is_closed = is_closed


class FrameConnection(asyncio.Protocol):
    """End of the socket in flowai: sends a request and waits for one reply.

    Args:
        max_frame_bytes: limit of a reply.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._received = bytearray()
        self._waiter: asyncio.Future[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self.is_usable = True
        """Whether nothing came that was not asked for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - a socket's is one
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect a reply."""
        self._received += data
        if self._waiter is None or self._waiter.done():
            self.is_usable = False
            return
        if len(self._received) < _HEADER.size:
            return
        magic, length = _HEADER.unpack_from(self._received)
        if magic != MAGIC or length > self._max_frame_bytes:
            self._fail(FrameError(is_closed=False))
            return
        end = _HEADER.size + length
        if len(self._received) < end:
            return
        frame = bytes(self._received[_HEADER.size : end])
        del self._received[:end]
        self.is_usable = not self._received
        self._waiter.set_result(frame)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Fail the reply that is waited for."""
        self._fail(FrameError(is_closed=True))

    def request(self, payload: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future holds its reply, or a FrameError."""
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        if self._transport is None or self._transport.is_closing():
            self._fail(FrameError(is_closed=True))
        else:
            self._transport.write(_HEADER.pack(MAGIC, len(payload)))
            self._transport.write(payload)
        return waiter

    def close(self) -> None:
        """Close the socket, which ends a process that runs no code."""
        self.is_usable = False
        if self._transport is not None:
            self._transport.abort() if self._waiter and not self._waiter.done() else self._transport.close()

    def _fail(self, error: FrameError) -> None:
        self.is_usable = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
            self._waiter.exception()  # marks it as seen: the caller may have gone


def decode_lone_surrogates(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Replace halves of characters, which a cut text of JavaScript has, in every text of a JSON value."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [decode_lone_surrogates(part) for part in value]
    if isinstance(value, dict):
        return {decode_lone_surrogates(key): decode_lone_surrogates(part) for key, part in value.items()}
    return value

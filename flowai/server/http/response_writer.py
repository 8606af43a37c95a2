"""Writes a response: head, chunks, end; a caller that does not read counts as gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flowai.server.errors import ClientGoneError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Message, Send

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
"""On every response, against caching and content sniffing."""

_UNAVAILABLE = 503


class ResponseWriter:
    """Writer of one response.

    Args:
        send: ASGI's `send`.
        write_timeout_s: time until a caller that does not read counts as gone, > 0.
    """

    def __init__(self, send: Send, write_timeout_s: float) -> None:
        self.send = send
        self.write_timeout_s = write_timeout_s
        self.headers: dict[str, str] = {}
        """Sent with the head, whichever it is."""
        self.status: int | None = None

    @property
    def has_begun(self) -> bool:
        """True when the head was sent, so that the status can no longer change."""
        return self.status is not None

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head."""
        self.status = status
        every = {
            **SECURITY_HEADERS,
            **({"retry-after": "1"} if status == _UNAVAILABLE else {}),
            **self.headers,
            **headers,
        }
        lines = [(name.encode("ascii"), text.encode("latin-1")) for name, text in every.items()]
        await self._send_message({"type": "http.response.start", "status": status, "headers": lines})

    async def more(self, data: bytes) -> None:
        """Send a chunk.

        Raises:
            ClientGoneError: the caller does not read.
        """
        await self._send_message({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last chunk."""
        await self._send_message({"type": "http.response.body", "body": data, "more_body": False})

    async def _send_message(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self.write_timeout_s):
                await self.send(message)
        except TimeoutError:
            raise ClientGoneError from None


async def send_whole(writer: ResponseWriter, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Send a complete response."""
    await writer.begin(status, {**headers, "content-length": str(len(body))})
    await writer.end(body)

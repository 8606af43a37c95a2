"""uvicorn's HTTP connection with a time limit for a request's head and a response to a malformed head.

uvicorn 0.54 has no time limit for a head, answers every protocol error with 400, and fails on an error after the start
of a response.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from flowai.server.errors import ErrorResponse

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

HEAD_TIMEOUT_S = 10.0
"""Time from a request's first byte, or from the connection, to the end of its head."""
_MAX_UNREAD_S = 5.0
_TOO_LARGE = 431


class LimitedConnection(H11Protocol):
    """A connection with time limits."""

    head_timeout_s = HEAD_TIMEOUT_S

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit for a head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limit."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read bytes; a partial head starts the time limit, a complete one stops it."""
        super().data_received(data)
        self._check_progress()

    def on_response_complete(self) -> None:
        """Continue with the next request; a request that was answered before its end gets a short time limit."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self.loop.call_later(_MAX_UNREAD_S, self._close_unread, self.cycle)
        self._check_progress()

    def send_400_response(self, msg: str) -> None:
        """Answer malformed HTTP with OpenAI's error object, if a response is still possible."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn declares it as never None
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # the running response cannot be delivered
            cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        code = "headers_too_large" if status == _TOO_LARGE else "invalid_http"
        problem = ErrorResponse(status=status, message=msg.lower().rstrip("."), code=code)
        headers = [("content-type", "application/json"), ("connection", "close")]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=problem.body()),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _check_progress(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_waiting()
        elif self.conn.trailing_data[0]:
            self._wait_for_head()

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._on_head_timeout)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _close_unread(self, cycle: object) -> None:
        if self.cycle is cycle and self.conn.their_state is h11.SEND_BODY:
            self.transport.close()

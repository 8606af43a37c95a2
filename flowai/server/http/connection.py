"""uvicorn's HTTP connection with limits of time and number, strict framing, and JSON for every refusal.

uvicorn 0.54 has no time limit for a head or an unread response, refuses what is above its limit in plain text, health
checks too, answers every protocol error with 400, and fails on an error after the start of a response.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from flowai.server.auth import MAX_HEADER_BYTES
from flowai.server.errors import ErrorResponse
from flowai.server.http.connection_table import HEALTH_PATHS, OVERLOADED
from flowai.server.http.response_writer import SECURITY_HEADERS, ResponseWriter, send_whole
from flowai.server.http.strict_framing import AmbiguousRequestError, StrictConnection

if TYPE_CHECKING:
    import asyncio

    from starlette.types import Receive, Scope, Send
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

    from flowai.server.http.connection_table import ConnectionTable, Phase

HEAD_TIMEOUT_S = 10.0
"""Time from a request's first byte, or from the connection, to the end of its head."""
WRITE_TIMEOUT_S = 30.0
"""Time until a caller that reads nothing of what was sent to it is cut off."""
_MAX_UNREAD_S = 5.0
_TOO_LARGE = 431


class LimitedConnection(H11Protocol):
    """A connection with limits.

    Args:
        table: the connections of the server.
        **options: uvicorn's.
    """

    head_timeout_s = HEAD_TIMEOUT_S
    write_timeout_s = WRITE_TIMEOUT_S

    def __init__(self, *, table: ConnectionTable, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(**options)
        self.conn = StrictConnection(h11.SERVER, MAX_HEADER_BYTES)
        self._table = table
        self._inner_app = self.app
        self.app = self._answer
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register the connection and start the time limit for a head."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # `pause_writing` is called as soon as the caller does not read
        self._wait_for_head()
        self._table.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limits."""
        self._table.remove(self)
        self._stop_waiting()
        if self._write_timer is not None:
            self._write_timer.cancel()
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

    def pause_writing(self) -> None:
        """Start the time limit for a caller that does not read, also of a connection that is being closed."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the time limit: the caller has read everything."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer malformed HTTP with OpenAI's error object, if a response is still possible."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        code = "headers_too_large" if status == _TOO_LARGE else "invalid_http"
        text = str(error) if isinstance(error, AmbiguousRequestError) else msg.lower().rstrip(".")
        self.refuse(ErrorResponse(status=status, message=text, code=code, headers={"connection": "close"}))

    def evict(self) -> None:
        """Close the connection for a newer one; a request that has begun is refused."""
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._stop_waiting()
            self.transport.close()
        else:
            self.refuse(OVERLOADED)

    def refuse(self, problem: ErrorResponse) -> None:
        """Close the connection, with a response if none has begun."""
        self._stop_waiting()
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn declares it as never None
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # the running response cannot be delivered
            cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = problem.body()
            headers = {**SECURITY_HEADERS, **problem.all_headers(), "content-length": str(len(body))}
            lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        self.transport.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; above the limit of connections only for health checks."""
        if self._table.is_full and scope["path"] not in HEALTH_PATHS:
            writer = ResponseWriter(send, self.write_timeout_s)
            await send_whole(writer, OVERLOADED.status, OVERLOADED.all_headers(), OVERLOADED.body())
        else:
            await self._inner_app(scope, receive, send)

    def _check_progress(self) -> None:
        if self.transport.is_closing():
            self._stop_waiting()
            return
        self._table.update(self, self._phase())
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self.conn.trailing_data[0]:
            self._wait_for_head()

    def _phase(self) -> Phase:
        if self.conn.their_state is h11.IDLE:
            return "idle"
        return "receiving" if self.conn.their_state is h11.SEND_BODY else "busy"

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

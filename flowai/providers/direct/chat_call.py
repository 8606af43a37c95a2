"""Runs one chat call: sends the request and reads the answer within its time limits, streamed or not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from flowai.providers.http.connections import CONNECTION_ERRORS, RedirectError
from flowai.providers.openai.stream_parser import BOM, MAX_JSON_BYTES, MalformedStreamError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

    import aiohttp

    from flowai.providers.http.connections import Connections
    from flowai.providers.openai.stream_parser import ChatStreamParser, Delta
    from flowai.providers.time_limits import TimeLimits
    from flowai.providers.wire import WireRequest

RequestMode = Literal["stream", "stream without usage", "plain"]
"""How an endpoint is called. Some refuse `stream_options`, some accounts may not stream some models."""
_ERROR_STATUS = 300
MAX_VECTORS_BYTES = 256 * 1024 * 1024
"""Longest answer of embeddings; OpenAI allows 2,048 vectors of 3,072 numbers, about 130 MB of text."""
_REFUSALS = frozenset({400, 422})


class HttpAnswerError(Exception):
    """An HTTP answer that is an error.

    Args:
        response: the answer's head.
        body: as much of the body as came.
    """

    def __init__(self, response: aiohttp.ClientResponse, body: bytearray) -> None:
        super().__init__(response.status)
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.body = bytes(body)


FAILURES = (HttpAnswerError, MalformedStreamError, RedirectError, *CONNECTION_ERRORS)
"""Exceptions of a failed call."""


class ChatCall:
    """A call and its answer so far.

    Args:
        request: the request.
        connections: they send it.
        answer: reads the answer.
        limits: the time limits.
        mode: how the request asks for the answer.
        rebuild: returns the request in another mode; None if it cannot be sent so.
        is_local: whether the address is a model on this machine.
    """

    FAILURES: ClassVar = FAILURES

    def __init__(
        self,
        request: WireRequest,
        connections: Connections,
        *,
        answer: ChatStreamParser,
        limits: TimeLimits,
        mode: RequestMode,
        rebuild: Callable[[RequestMode], WireRequest | None],
        is_local: bool,
    ) -> None:
        self.answer = answer
        self.limits = limits
        self.ttft_ms: float | None = None
        self._request = request
        self._connections = connections
        self._mode = mode
        self._rebuild = rebuild
        self._is_local = is_local
        self._response: aiohttp.ClientResponse | None = None
        self._error_body: bytearray | None = None  # of an HTTP error
        self._is_over = False

    async def read(self) -> None:
        """Read the whole answer.

        Raises:
            TimedOutError: a time limit has passed.
            Exception: one of FAILURES.
        """
        limit = asyncio.timeout_at(self.limits.deadline_s())
        try:
            async with limit:
                while not self._is_over:
                    for _ in self._record(await self._next()):
                        pass
                    if limit.when() != (deadline_s := self.limits.deadline_s()):
                        limit.reschedule(deadline_s)
        except CONNECTION_ERRORS as error:
            self._check_end(error, limit)
        finally:
            self._close()

    async def deltas(self) -> AsyncGenerator[Delta]:
        """Yield the deltas that have text or a tool call; raises what `read` raises."""
        try:
            while not self._is_over:
                if self.limits.is_over():  # a limit that has passed does not stop a read of buffered bytes
                    raise self.limits.error()
                limit = asyncio.timeout_at(self.limits.deadline_s())
                try:
                    async with limit:  # closed before the caller runs
                        deltas = await self._next()
                except CONNECTION_ERRORS as error:
                    self._check_end(error, limit)
                    return
                for delta in self._record(deltas):
                    yield delta
        finally:
            self._close()

    async def _next(self) -> Iterable[Delta]:
        """Return the deltas of the next bytes; the first call sends the request."""
        if self._response is None:
            return await self._begin()
        data = await self._response.content.readany()
        if data:
            return self.answer.feed(data)
        self._is_over = True
        return self._rest()

    async def _begin(self) -> Iterable[Delta]:
        """Send the request and read until the answer shows whether it is a stream, whatever its content type."""
        if self._mode == "plain":
            self.limits.expect_no_deltas()
        response = self._response = await self._connections.send(self._request, is_local=self._is_local)
        if response.status >= _ERROR_STATUS:
            return await self._refused(response)
        head = b""
        while not head and not response.content.at_eof():
            head = (await response.content.readany()).lstrip()
        if not head:
            raise MalformedStreamError("the answer is empty")
        if head.startswith(b"<") or response.content_type == "text/html":
            kind = response.content_type
            raise MalformedStreamError(f"the answer is `{kind}`; expected a stream of a chat completion")
        if not head.removeprefix(BOM).startswith((b"{", b"[")):
            return self.answer.feed(head)
        body = bytearray(head)
        await _read_rest(body, response, MAX_JSON_BYTES)
        if len(body) > MAX_JSON_BYTES:
            raise MalformedStreamError(f"the answer is longer than {MAX_JSON_BYTES:,} bytes")
        self.answer.parse_body(bytes(body))
        self._is_over = True
        self.answer.check_complete()
        return ()

    async def _refused(self, response: aiohttp.ClientResponse) -> Iterable[Delta]:
        """Read an HTTP error, and prepare the request for another try if only its mode is refused."""
        body = self._error_body = bytearray()
        with suppress(*CONNECTION_ERRORS):  # the status matters most
            await _read_rest(body, response, MAX_JSON_BYTES)
        error = HttpAnswerError(response, body)
        mode = _fallback_mode(self._mode, error)
        request = None if mode is None else self._rebuild(mode)
        if mode is None or request is None:
            raise error
        response.close()
        self._mode, self._request, self._response, self._error_body = mode, request, None, None
        return ()

    def _rest(self) -> Iterator[Delta]:
        """Yield the deltas of an unfinished last line."""
        yield from self.answer.end()
        self.answer.check_complete()

    def _record(self, deltas: Iterable[Delta]) -> Iterator[Delta]:
        """Yield the deltas that have text or a tool call, and restart the time limits."""
        answer = self.answer
        before = answer.finish_reason, answer.is_done
        has_deltas = False
        for delta in deltas:
            has_deltas = True
            if delta.text or delta.tool_calls:
                if self.ttft_ms is None:
                    self.ttft_ms = self.limits.elapsed_s() * 1000
                yield delta
        if has_deltas or before != (answer.finish_reason, answer.is_done):
            self.limits.restart(is_finished=answer.finish_reason is not None, is_done=answer.is_done)

    def _check_end(self, error: BaseException, limit: asyncio.Timeout) -> None:
        """Raise the error of a broken connection or a passed limit, unless only the end marker is missing."""
        if self._response is not None and self._error_body is not None:
            raise HttpAnswerError(self._response, self._error_body) from None
        if self.answer.finish_reason is not None:
            self.answer.check_complete()
            return
        if limit.expired():
            raise self.limits.error() from None
        raise error

    def _close(self) -> None:
        if self._response is not None:
            self._response.close()  # after the end of the body, the connection is in the pool already


async def read_body(request: WireRequest, connections: Connections, *, is_local: bool) -> bytes:
    """Send a request and return the body of its answer; raises one of FAILURES."""
    response = await connections.send(request, is_local=is_local)
    try:
        body = bytearray()
        if response.status >= _ERROR_STATUS:
            with suppress(*CONNECTION_ERRORS):
                await _read_rest(body, response, MAX_JSON_BYTES)
            raise HttpAnswerError(response, body)
        await _read_rest(body, response, MAX_VECTORS_BYTES)
        if len(body) > MAX_VECTORS_BYTES:
            raise MalformedStreamError(f"the answer is longer than {MAX_VECTORS_BYTES:,} bytes")
        return bytes(body)
    finally:
        response.close()


async def _read_rest(body: bytearray, response: aiohttp.ClientResponse, max_bytes: int) -> None:
    """Read the rest of a body, until it exceeds a limit."""
    while len(body) <= max_bytes and (data := await response.content.readany()):
        body += data


def _fallback_mode(mode: RequestMode, error: HttpAnswerError) -> RequestMode | None:
    """Return the mode for another try of a refused request; None if it was refused for another reason."""
    if error.status not in _REFUSALS or mode == "plain":
        return None
    if mode == "stream" and b"stream_options" in error.body:
        return "stream without usage"
    try:
        reason = msgspec.json.decode(error.body, type=_Refusal).error
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return "plain" if reason.param == "stream" else None


class _Reason(msgspec.Struct):
    param: object = None


class _Refusal(msgspec.Struct):
    error: _Reason

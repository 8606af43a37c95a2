"""httpx transport of OpenAI's client: requests a stream, reports its deltas, and returns one plain answer."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
import msgspec
import yarl
from aiohttp.http_exceptions import HttpProcessingError

from flowai.providers.openai.embeddings import in_numbers
from flowai.providers.openai.stream_parser import MAX_JSON_BYTES, ChatStreamParser, Delta, MalformedStreamError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

TAIL_S = 5.0
"""Time limit for usage and end marker after a complete answer."""
DRAIN_S = 0.05
"""Time limit after the end marker to read the rest, so that the connection can be reused."""
RequestMode = Literal["stream", "stream without usage", "plain"]
"""How an endpoint is called. Some refuse `stream_options`, some accounts may not stream some models."""
_ADDITIONS: dict[RequestMode, bytes] = {
    "stream": b',"stream":true,"stream_options":{"include_usage":true}}',
    "stream without usage": b',"stream":true}',
    "plain": b"}",
}
_REFUSALS = frozenset({400, 422})
_OK = 200
_JSON = {"content-type": "application/json"}
_AIOHTTP_MANAGED_HEADERS = frozenset({"content-length", "host", "connection", "accept-encoding"})
_HOP_BY_HOP_HEADERS = frozenset({"content-length", "content-encoding", "transfer-encoding"})
_CONNECTION_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError)  # OSError: TimeoutError too
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)  # flowai has its own time limits


class StreamMonitor:
    """Progress of one call, reported by the transport.

    Args:
        model: LiteLLM's name of the model.
        max_tokens: limit of the request; None without one.
        first_token_timeout_s: time until the first token, and between two deltas, > 0.
        elapsed_ms: returns the time since the start of the call.
        on_delta: called with each delta that has text or a tool call.
    """

    def __init__(
        self,
        *,
        model: str,
        max_tokens: int | None,
        first_token_timeout_s: float,
        elapsed_ms: Callable[[], float],
        on_delta: Callable[[Delta], None] | None = None,
    ) -> None:
        self.model = model
        self.answer = ChatStreamParser(max_tokens=max_tokens)
        self.has_started = False  # the model has begun to answer or to reason
        self.has_stalled = False  # a time limit until the next delta has passed
        self.malformed: MalformedStreamError | None = None
        self.ttft_ms: float | None = None
        self._first_token_timeout_s = first_token_timeout_s
        self._elapsed_ms = elapsed_ms
        self._on_delta = on_delta
        self._first_by_s = asyncio.get_running_loop().time() + first_token_timeout_s

    def deadline_s(self) -> float:
        """Return the deadline of the next delta, by the loop's clock."""
        if self.answer.finish_reason is None and not self.has_started:
            return self._first_by_s
        limit_s = self._first_token_timeout_s
        if self.answer.is_done:
            limit_s = min(limit_s, DRAIN_S)
        elif self.answer.finish_reason is not None:
            limit_s = min(limit_s, TAIL_S)
        return asyncio.get_running_loop().time() + limit_s

    def on_chunk(self, deltas: Iterable[Delta]) -> bool:
        """Record deltas; return whether there were any."""
        has_deltas = False
        for delta in deltas:
            has_deltas = self.has_started = True
            if not (delta.text or delta.tool_calls):
                continue
            if self.ttft_ms is None:
                self.ttft_ms = self._elapsed_ms()
            if self._on_delta is not None:
                self._on_delta(delta)
        return has_deltas


_MONITOR: ContextVar[StreamMonitor | None] = ContextVar("flowai_watch", default=None)
"""Monitor of the current call: no argument of LiteLLM reaches the transport."""


@contextmanager
def monitor_stream(monitor: StreamMonitor) -> Iterator[None]:
    """Report this task's requests to a monitor."""
    token = _MONITOR.set(monitor)
    try:
        yield
    finally:
        _MONITOR.reset(token)


class ChatTransport(httpx.AsyncBaseTransport):
    """An httpx transport on aiohttp's connections; requests inside `monitor_stream` are streamed.

    Args:
        session: the connections; the caller closes them.
        tls: certificate check, aiohttp's `ssl` argument.
        direct: whether to ignore the environment's proxies.
    """

    def __init__(self, session: aiohttp.ClientSession, *, tls: ssl.SSLContext | bool = True, direct: bool) -> None:
        self._session = session
        self._tls = tls
        self._direct = direct
        self._routes: dict[str, _Route] = {}
        self._modes: dict[tuple[str, str], RequestMode] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the response is never streamed."""
        monitor = _MONITOR.get()
        body = await request.aread()  # after a redirect it is not loaded yet
        if monitor is None or request.method != "POST":  # some redirects turn into a GET
            async with await self._send(request, body, "gzip, deflate") as answer:
                return _response(answer, in_numbers(await answer.read()))
        mode_key = (str(request.url), monitor.model)
        while True:
            mode = self._modes.get(mode_key, "stream")
            try:
                response = await self._request_with_mode(request, monitor, mode)
            except MalformedStreamError as error:
                monitor.malformed = error
                raise
            fallback = _fallback_mode(mode, response)
            if fallback is None:
                return response
            self._modes[mode_key] = fallback

    async def _request_with_mode(
        self, request: httpx.Request, monitor: StreamMonitor, mode: RequestMode
    ) -> httpx.Response:
        # the body is an object that OpenAI's client has written, never an empty one
        body = request.content.rstrip()[:-1] + _ADDITIONS[mode]
        limit = asyncio.timeout_at(None if mode == "plain" else monitor.deadline_s())
        try:
            async with limit, await self._send(request, body, "identity") as response:  # compression delays chunks
                if response.status != _OK:
                    return _response(response, await _error_body(response))
                await _read_stream(response, monitor, limit)
        except _CONNECTION_ERRORS:
            if monitor.answer.finish_reason is None:
                monitor.has_stalled = limit.expired()
                raise
            # otherwise only the end marker is missing
        return httpx.Response(_OK, headers=_JSON, content=monitor.answer.as_json())

    async def _send(self, request: httpx.Request, body: bytes, encoding: str) -> aiohttp.ClientResponse:
        given = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
        headers = {name: value for name, value in given if name.lower() not in _AIOHTTP_MANAGED_HEADERS}
        headers["Accept-Encoding"] = encoding
        address = str(request.url)
        route = self._routes.get(address)
        if route is None:
            route = self._routes[address] = _route(request.url, direct=self._direct)
        return await self._session.request(
            request.method,
            route.url,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=_NO_TIMEOUT,
            proxy=route.proxy,
            ssl=self._tls,
        )


class _Route(NamedTuple):
    """Address of a request, and its proxy."""

    url: yarl.URL
    proxy: str | None


def _route(url: httpx.URL, *, direct: bool) -> _Route:
    """Return an address and its proxy; called once per address: reading the environment is slow."""
    address = yarl.URL(str(url), encoded=True)
    if direct or proxy_bypass(url.host):
        return _Route(address, None)
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return _Route(address, f"http://{proxy}" if proxy and "://" not in proxy else proxy)


async def _read_stream(response: aiohttp.ClientResponse, monitor: StreamMonitor, limit: asyncio.Timeout) -> None:
    """Read an answer, streamed or not, whatever its content type."""
    answer = monitor.answer
    head = b""
    while not head and not response.content.at_eof():
        head = (await response.content.readany()).lstrip()
    kind = response.content_type
    if not head:
        raise MalformedStreamError("the answer is empty")
    if head.startswith(b"<") or kind == "text/html":
        raise MalformedStreamError(f"the answer is `{kind}`; expected a stream of a chat completion")
    if head.startswith((b"{", b"[")):
        body = bytearray(head)
        await _read_rest(body, response)
        if len(body) > MAX_JSON_BYTES:
            raise MalformedStreamError(f"the answer is longer than {MAX_JSON_BYTES:,} bytes")
        answer.parse_body(bytes(body))
        return
    _feed_and_extend_deadline(monitor, answer.feed(head), limit)
    while data := await response.content.readany():
        _feed_and_extend_deadline(monitor, answer.feed(data), limit)
    _feed_and_extend_deadline(monitor, answer.end(), limit)


def _feed_and_extend_deadline(monitor: StreamMonitor, deltas: Iterable[Delta], limit: asyncio.Timeout) -> None:
    before = monitor.answer.finish_reason, monitor.answer.is_done
    has_deltas = monitor.on_chunk(deltas)
    if has_deltas or before != (monitor.answer.finish_reason, monitor.answer.is_done):
        limit.reschedule(monitor.deadline_s())


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    """Read an error's body as far as it comes: the status matters most."""
    body = bytearray()
    with suppress(*_CONNECTION_ERRORS):
        await _read_rest(body, response)
    return bytes(body)


async def _read_rest(body: bytearray, response: aiohttp.ClientResponse) -> None:
    """Read the rest of a body, until it exceeds MAX_JSON_BYTES."""
    while len(body) <= MAX_JSON_BYTES and (data := await response.content.readany()):
        body += data


def _response(response: aiohttp.ClientResponse, body: bytes) -> httpx.Response:
    headers = [(name, value) for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP_HEADERS]
    return httpx.Response(response.status, headers=headers, content=body)


def _fallback_mode(mode: RequestMode, response: httpx.Response) -> RequestMode | None:
    """Return the mode for another try of a refused request; None if it was refused for another reason."""
    if response.status_code not in _REFUSALS or mode == "plain":
        return None
    if mode == "stream" and b"stream_options" in response.content:
        return "stream without usage"
    try:
        error = msgspec.json.decode(response.content, type=_Refusal).error
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return "plain" if error.param == "stream" else None


class _Reason(msgspec.Struct):
    param: object = None


class _Refusal(msgspec.Struct):
    error: _Reason

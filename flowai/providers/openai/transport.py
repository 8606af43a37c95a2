"""The connections beneath OpenAI's client: they ask for a stream, listen to it, and hand one plain answer up."""

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
"""How long figures and the end marker may take after a whole answer, seconds."""
DRAIN_S = 0.05
"""How long an answer is kept back after its end marker to see its connection ready for the next call, seconds."""
RequestMode = Literal["stream", "stream without usage", "plain"]
"""How an endpoint bears to be asked. Some refuse `stream_options`, some accounts may not stream some models."""
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
_BROKEN_OFF = (aiohttp.ClientError, HttpProcessingError, OSError)  # OSError: TimeoutError too
_NEVER = aiohttp.ClientTimeout(total=None)  # the time limits are our own


class StreamMonitor:
    """One call as it goes over the wire.

    Args:
        model: LiteLLM's name of the model.
        max_tokens: most tokens asked for; None when nothing limits them.
        first_token_timeout_s: seconds until the first token, and between two pieces, > 0.
        elapsed_ms: says how long the call has lasted.
        on_delta: told of each piece of text or of a tool call, as it comes.
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
        self.began = False  # the model has begun to answer, or to reason
        self.is_silent = False  # the time limit has passed
        self.broken: MalformedStreamError | None = None
        self.ttft_ms: float | None = None
        self._first_token_timeout_s = first_token_timeout_s
        self._elapsed_ms = elapsed_ms
        self._on_delta = on_delta
        self._first_by_s = asyncio.get_running_loop().time() + first_token_timeout_s

    def deadline_s(self) -> float:
        """Give the moment, by the loop's clock, by which the next sign of life is due."""
        if self.answer.finish_reason is None and not self.began:
            return self._first_by_s
        patience_s = self._first_token_timeout_s
        if self.answer.is_done:
            patience_s = min(patience_s, DRAIN_S)
        elif self.answer.finish_reason is not None:
            patience_s = min(patience_s, TAIL_S)
        return asyncio.get_running_loop().time() + patience_s

    def on_chunk(self, deltas: Iterable[Delta]) -> bool:
        """Take note of what came; tell whether anything did."""
        heard = False
        for delta in deltas:
            heard = self.began = True
            if not (delta.text or delta.tool_calls):
                continue
            if self.ttft_ms is None:
                self.ttft_ms = self._elapsed_ms()
            if self._on_delta is not None:
                self._on_delta(delta)
        return heard


_WATCH: ContextVar[StreamMonitor | None] = ContextVar("flowai_watch", default=None)
"""The call that a request belongs to: nothing that LiteLLM passes on could carry it."""


@contextmanager
def monitor_stream(watch: StreamMonitor) -> Iterator[None]:
    """Have the transport report to this watch what this task asks meanwhile."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


class ChatTransport(httpx.AsyncBaseTransport):
    """An httpx transport on aiohttp's connections; it listens to what is asked inside `watching`, and only to that.

    Args:
        session: the connections; whoever made them closes them.
        tls: how certificates are checked, as aiohttp's `ssl` takes it.
        direct: whether to go around the environment's proxies.
    """

    def __init__(self, session: aiohttp.ClientSession, *, tls: ssl.SSLContext | bool = True, direct: bool) -> None:
        self._session = session
        self._tls = tls
        self._direct = direct
        self._ways: dict[str, _Route] = {}
        self._manners: dict[tuple[str, str], RequestMode] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; give an answer that is not streamed."""
        watch = _WATCH.get()
        body = await request.aread()  # after a redirect it is not there yet
        if watch is None or request.method != "POST":  # some redirects turn into a GET
            async with await self._send(request, body, "gzip, deflate") as answer:
                return _response(answer, in_numbers(await answer.read()))
        whom = (str(request.url), watch.model)
        while True:
            manner = self._manners.get(whom, "stream")
            try:
                response = await self._ask(request, watch, manner)
            except MalformedStreamError as error:
                watch.broken = error
                raise
            milder = _fallback_mode(manner, response)
            if milder is None:
                return response
            self._manners[whom] = milder

    async def _ask(self, request: httpx.Request, watch: StreamMonitor, manner: RequestMode) -> httpx.Response:
        # the body is JSON of OpenAI's client: an object that is never empty
        body = request.content.rstrip()[:-1] + _ADDITIONS[manner]
        limit = asyncio.timeout_at(None if manner == "plain" else watch.deadline_s())
        try:
            async with limit, await self._send(request, body, "identity") as response:  # compressed, it comes in clumps
                if response.status != _OK:
                    return _response(response, await _error_body(response))
                await _read_stream(response, watch, limit)
        except _BROKEN_OFF:
            if watch.answer.finish_reason is None:
                watch.is_silent = limit.expired()
                raise
            # only the end marker is missing
        return httpx.Response(_OK, headers=_JSON, content=watch.answer.as_json())

    async def _send(self, request: httpx.Request, body: bytes, encoding: str) -> aiohttp.ClientResponse:
        given = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
        headers = {name: value for name, value in given if name.lower() not in _AIOHTTP_MANAGED_HEADERS}
        headers["Accept-Encoding"] = encoding
        address = str(request.url)
        way = self._ways.get(address)
        if way is None:
            way = self._ways[address] = _route(request.url, direct=self._direct)
        return await self._session.request(
            request.method,
            way.url,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=_NEVER,
            proxy=way.proxy,
            ssl=self._tls,
        )


class _Route(NamedTuple):
    """How an address is reached."""

    url: yarl.URL
    proxy: str | None


def _route(url: httpx.URL, *, direct: bool) -> _Route:
    """Work out an address and its proxy; done once per address, as reading the environment is dear."""
    address = yarl.URL(str(url), encoded=True)
    if direct or proxy_bypass(url.host):
        return _Route(address, None)
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return _Route(address, f"http://{proxy}" if proxy and "://" not in proxy else proxy)


async def _read_stream(response: aiohttp.ClientResponse, watch: StreamMonitor, limit: asyncio.Timeout) -> None:
    """Take in an answer, streamed or not, whatever it says it is."""
    answer = watch.answer
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
        await _fill(body, response)
        if len(body) > MAX_JSON_BYTES:
            raise MalformedStreamError(f"the answer is longer than {MAX_JSON_BYTES:,} bytes")
        answer.parse_body(bytes(body))
        return
    _feed_and_extend_deadline(watch, answer.feed(head), limit)
    while data := await response.content.readany():
        _feed_and_extend_deadline(watch, answer.feed(data), limit)
    _feed_and_extend_deadline(watch, answer.end(), limit)


def _feed_and_extend_deadline(watch: StreamMonitor, deltas: Iterable[Delta], limit: asyncio.Timeout) -> None:
    before = watch.answer.finish_reason, watch.answer.is_done
    heard = watch.on_chunk(deltas)
    if heard or before != (watch.answer.finish_reason, watch.answer.is_done):
        limit.reschedule(watch.deadline_s())


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    """Read what comes of an error's body: the status says the most."""
    body = bytearray()
    with suppress(*_BROKEN_OFF):
        await _fill(body, response)
    return bytes(body)


async def _fill(body: bytearray, response: aiohttp.ClientResponse) -> None:
    """Read the rest of a body, up to a little more than the longest there may be."""
    while len(body) <= MAX_JSON_BYTES and (data := await response.content.readany()):
        body += data


def _response(response: aiohttp.ClientResponse, body: bytes) -> httpx.Response:
    headers = [(name, value) for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP_HEADERS]
    return httpx.Response(response.status, headers=headers, content=body)


def _fallback_mode(manner: RequestMode, response: httpx.Response) -> RequestMode | None:
    """Tell in what other manner a refused request may be asked; None where the refusal is about something else."""
    if response.status_code not in _REFUSALS or manner == "plain":
        return None
    if manner == "stream" and b"stream_options" in response.content:
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

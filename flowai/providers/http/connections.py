"""Sends requests over pooled connections of aiohttp, and follows redirects without giving a key away."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import aiohttp
import yarl
from aiohttp.http_exceptions import HttpProcessingError

from flowai.providers.http.proxies import proxy_of

if TYPE_CHECKING:
    import ssl

    from flowai.providers.wire import WireRequest

CONNECTION_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError)
"""Exceptions of a failed exchange; OSError includes TimeoutError."""
KEEP_ALIVE_S = 4.0
"""How long an idle connection is kept; common servers close theirs after 5 s."""
MAX_CONNECTION_COUNT = 1000
"""Open connections of one event loop."""
MAX_HOST_CONNECTION_COUNT = 500
"""Open connections to one host, so that a host that hangs leaves connections to the others."""
MAX_REDIRECT_COUNT = 5
MAX_STALE_COUNT = 2
"""Repetitions of a request on kept connections that the server was closing."""
_KEPT_REDIRECTS = frozenset({307, 308})
"""Statuses that keep method and body. Source: RFC 9110, section 15.4."""
_REDIRECTS = frozenset({301, 302, 303}) | _KEPT_REDIRECTS
_BODILESS_METHODS = frozenset({"GET", "HEAD"})
"""Methods that every redirect keeps."""
_PUBLIC_HEADERS = frozenset({"accept", "accept-encoding", "content-type", "user-agent"})
"""Headers that another host may see."""
MAX_CONNECT_S = 4.0
"""Time limit of opening a connection: TCP has then sent its first packet three times (after 0, 1 and 3 s)."""
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=MAX_CONNECT_S)  # calls have time limits of their own
_IS_NEW: ContextVar[bool] = ContextVar("flowai_connection_is_new", default=True)
"""Whether the current request opened its connection."""


class RedirectError(Exception):
    """A redirect that is not followed.

    Args:
        what: the reason, with the address.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class _Route(NamedTuple):
    url: yarl.URL
    proxy: str | None
    tls: ssl.SSLContext | bool


class Connections:
    """Pooled connections to any number of hosts; each event loop has its own."""

    def __init__(self) -> None:
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
        self._routes: dict[tuple[str, bool], _Route] = {}
        self._tls: ssl.SSLContext | bool | None = None

    async def send(self, request: WireRequest, *, is_local: bool = False) -> aiohttp.ClientResponse:
        """Send a request and return the response, as soon as its headers are there; the caller closes it.

        Args:
            request: the request.
            is_local: whether the address is a model on this machine; the environment's proxies are ignored then.

        Raises:
            RedirectError: too many redirects, or one that would change the request.
            Exception: one of CONNECTION_ERRORS.
        """
        headers = list(request.headers)
        route = self._known_route(request.url, is_local=is_local)
        for _ in range(MAX_REDIRECT_COUNT + 1):
            response = await self._send_once(route, headers, request)
            if response.status not in _REDIRECTS:
                return response
            location = response.headers.get("Location", "")
            response.close()
            target = _redirect_target(route.url, location, response.status, request.method)
            if target.origin() != route.url.origin():
                headers = [(name, value) for name, value in headers if name.lower() in _PUBLIC_HEADERS]
            route = self._route(target, is_local=is_local)
        raise RedirectError(f"the address redirects more than {MAX_REDIRECT_COUNT} times")

    async def aclose(self) -> None:
        """Close the running event loop's connections; may be called twice."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    async def _send_once(
        self, route: _Route, headers: list[tuple[str, str]], request: WireRequest
    ) -> aiohttp.ClientResponse:
        """Send once; again if a kept connection was closed by the server before it answered anything."""
        session = self._session()
        for stale_count in range(MAX_STALE_COUNT + 1):
            _IS_NEW.set(False)
            try:
                return await session.request(
                    request.method,
                    route.url,
                    data=request.body or None,
                    headers=headers,
                    allow_redirects=False,
                    proxy=route.proxy,
                    ssl=route.tls,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if stale_count == MAX_STALE_COUNT or not _is_stale(error):
                    raise
        raise AssertionError("the last repetition returns or raises")

    def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            connector = _Connector(
                keepalive_timeout=KEEP_ALIVE_S, limit=MAX_CONNECTION_COUNT, limit_per_host=MAX_HOST_CONNECTION_COUNT
            )
            session = self._sessions[loop] = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=_TIMEOUT
            )
        return session

    def _known_route(self, address: str, *, is_local: bool) -> _Route:
        """Return the route of an address; found once: reading the environment is slow."""
        key = (address, is_local)
        route = self._routes.get(key)
        if route is None:
            route = self._routes[key] = self._route(yarl.URL(address, encoded=True), is_local=is_local)
        return route

    def _route(self, url: yarl.URL, *, is_local: bool) -> _Route:
        tls = self._tls_settings() if url.scheme == "https" else True
        return _Route(url, None if is_local else proxy_of(url), tls)

    def _tls_settings(self) -> ssl.SSLContext | bool:
        if self._tls is None:
            from flowai.providers.http.tls import tls_settings  # late: a local model needs no certificates

            self._tls = tls_settings()
        return self._tls


class _Connector(aiohttp.TCPConnector):
    """Connector that records whether a request opened its connection."""

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> aiohttp.client_proto.ResponseHandler:
        _IS_NEW.set(True)
        return await super()._create_connection(req, traces, timeout)


def _is_stale(error: Exception) -> bool:
    """Return whether a kept connection ended before a byte of the answer."""
    if _IS_NEW.get() or isinstance(error, aiohttp.ClientConnectorError):
        return False
    # with half of the headers, the message is a record of them
    return not isinstance(error, aiohttp.ServerDisconnectedError) or isinstance(error.message, str)


def _redirect_target(url: yarl.URL, location: str, status: int, method: str) -> yarl.URL:
    try:
        target = url.join(yarl.URL(location))
    except ValueError:
        target = yarl.URL()
    if not location or target.scheme not in {"http", "https"} or not target.host:
        raise RedirectError(f"the address redirects to `{location}`, which is no web address")
    if status not in _KEPT_REDIRECTS and method not in _BODILESS_METHODS:
        raise RedirectError(
            f"the address redirects to `{target.origin()}{target.path}` ({status}), which drops the body"
        )
    if url.scheme == "https" and target.scheme == "http":
        raise RedirectError(f"the address redirects from https to `{target.origin()}`, which is not encrypted")
    return target.with_user(None)

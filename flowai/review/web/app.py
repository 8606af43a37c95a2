"""HTTP application of the review page: its files and its JSON endpoints.

Texts of pairs are untrusted. They are sent as JSON and shown as text only; the content security policy blocks scripts
and requests to other places even if that fails.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route, Router

from flowai.errors import FlowaiError
from flowai.registry import Serve
from flowai.server.auth import check_browser, validate_headers
from flowai.server.errors import INTERNAL_ERROR, ClientGoneError, ErrorResponse, error_response, error_response_for
from flowai.server.http.request_body import BodyMemory, decode_body, read_json_object
from flowai.server.http.response_writer import ResponseWriter, send_whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from flowai.review.queue import PageQueue
    from flowai.review.web.login import LoginToken

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",  # the address contains the token
    "x-frame-options": "DENY",
}
_FILES = {
    "/": ("review.html", "text/html; charset=utf-8"),
    "/review.js": ("review.js", "text/javascript; charset=utf-8"),
    "/review.css": ("review.css", "text/css; charset=utf-8"),
}
_JSON = "application/json"
_WRITE_TIMEOUT_S = 30.0


class DecisionBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decision that the page sends."""

    action: Literal["accept", "edit", "reject", "skip"]
    text: str | None = None
    """The answer of an edit; None for other actions."""
    note: Annotated[str, Meta(max_length=2000)] = ""


class ReviewApp:
    """ASGI application for one review queue; `on_bug` gets every unexpected exception, the page an internal error."""

    def __init__(
        self, queue: PageQueue, login_token: LoginToken, *, on_bug: Callable[[BaseException], None] = lambda _: None
    ) -> None:
        self._queue = queue
        self._login_token = login_token
        self._on_bug = on_bug
        self._limits = Serve()
        self._memory = BodyMemory()
        here = importlib.resources.files("flowai.review.web")
        self._files = {path: (here / name).read_bytes() for path, (name, _) in _FILES.items()}
        self._router = Router(
            [
                *(Route(path, _PageEndpoint(self._file), methods=["GET"]) for path in _FILES),
                Route("/favicon.ico", _PageEndpoint(self._not_found), methods=["GET"]),
                Route("/api/queue", _PageEndpoint(self._overview), methods=["GET"]),
                Route("/api/pairs/{position:int}", _PageEndpoint(self._item), methods=["GET"]),
                Route("/api/pairs/{position:int}/decisions", _PageEndpoint(self._decide), methods=["POST"]),
                Route("/api/undo", _PageEndpoint(self._undo), methods=["POST"]),
            ],
            redirect_slashes=False,
            default=_not_found,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; no exception except a cancellation leaves this method."""
        outlet = ResponseWriter(send, _WRITE_TIMEOUT_S)
        # Starlette raises the exception that we catch for a wrong method only inside an app
        scope["app"] = self
        scope["flowai.outlet"] = outlet
        try:
            problem = await self._answer(scope, receive, send, outlet)
        except ClientGoneError:
            return
        except Exception as bug:  # noqa: BLE001 - the outermost handler: any other exception is a bug
            self._on_bug(bug)
            problem = INTERNAL_ERROR
        if problem is not None and not outlet.has_begun:
            await send_whole(outlet, problem.status, {**_HEADERS, **problem.all_headers()}, problem.body())

    async def _answer(self, scope: Scope, receive: Receive, send: Send, outlet: ResponseWriter) -> ErrorResponse | None:
        """Answer a request; return the error response of an expected error."""
        try:
            if not await self._login(scope, outlet):
                await self._router(scope, receive, send)
        except HTTPException as error:
            return ErrorResponse(status=error.status_code, message=error.detail.lower(), headers=error.headers or {})
        except FlowaiError as error:
            return error_response_for(error)
        return None

    async def _login(self, scope: Scope, outlet: ResponseWriter) -> bool:
        """Authenticate a request; one with the token gets the cookie and a redirect to an address without token."""
        headers = Headers(scope=scope)
        validate_headers(headers)
        check_browser(headers, is_local=True)
        port = scope["server"][1]
        token = Request(scope).query_params.get("token") if scope["path"] == "/" else None
        if token is not None and self._login_token.accepts(token):
            redirect = {**_HEADERS, "location": "/", "set-cookie": self._login_token.cookie(port)}
            await send_whole(outlet, 303, redirect, b"")
            return True
        if not self._login_token.has_cookie(headers, port):
            raise error_response(
                401, "open the address that `flowai finetune review` or `flowai judge label` printed", code="no_token"
            )
        return False

    async def _file(self, request: Request, outlet: ResponseWriter) -> None:
        path = request.url.path
        await send_whole(outlet, 200, {**_HEADERS, "content-type": _FILES[path][1]}, self._files[path])

    async def _not_found(self, _: Request, outlet: ResponseWriter) -> None:
        await outlet.begin(204, _HEADERS)
        await outlet.end()

    async def _overview(self, _: Request, outlet: ResponseWriter) -> None:
        await self._send_json(outlet, self._queue.overview())

    async def _item(self, request: Request, outlet: ResponseWriter) -> None:
        await self._send_json(outlet, self._queue.item(request.path_params["position"]))

    async def _decide(self, request: Request, outlet: ResponseWriter) -> None:
        body = decode_body(await self._read(request), DecisionBody)
        self._queue.decide(request.path_params["position"], body.action, text=body.text, note=body.note.strip())
        await self._send_json(outlet, self._queue.overview())

    async def _undo(self, request: Request, outlet: ResponseWriter) -> None:
        await self._read(request)  # a JSON body also keeps out forms of other pages
        position = self._queue.undo()
        await self._send_json(outlet, _UndoResult(position=position, queue=self._queue.overview()))

    async def _read(self, request: Request) -> dict[str, Any]:
        with self._memory.share() as share:
            return await read_json_object(request, self._limits, share)

    async def _send_json(self, outlet: ResponseWriter, record: Struct) -> None:
        await send_whole(outlet, 200, {**_HEADERS, "content-type": _JSON}, msgspec.json.encode(record))


class _UndoResult(Struct, frozen=True, kw_only=True):
    position: int | None
    queue: Struct


@dataclass(frozen=True, slots=True)
class _PageEndpoint:
    """Endpoint with the arguments that Starlette's router passes."""

    work: Callable[[Request, ResponseWriter], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.work(Request(scope, receive, send), scope["flowai.outlet"])


async def _not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise error_response(404, "no such path", code="not_found")

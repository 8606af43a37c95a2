"""The ASGI application: the checks every request passes, the endpoints, and the edge where errors become answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route, Router

from flowai.errors import FlowaiError, UsageError
from flowai.server.auth import caller_of, check_browser, validate_headers
from flowai.server.chat import ChatEndpoint, chat_request, unknown_model
from flowai.server.errors import (
    CLIENT_GONE,
    INTERNAL_ERROR,
    ClientGoneError,
    ErrorResponse,
    error_response,
    error_response_for,
)
from flowai.server.http.in_flight import InFlightRequests
from flowai.server.http.request_body import decode_body, read_json_object
from flowai.server.http.response_writer import ResponseWriter, send_whole
from flowai.server.openapi import openapi_document
from flowai.server.prometheus import CONTENT_TYPE, Metrics
from flowai.server.schemas.requests import EmbeddingsBody, FeedbackBody
from flowai.server.schemas.responses import ID_PREFIX, ModelReply, ModelsReply, embeddings_reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from flowai.gateway.records import GatewayStatus
    from flowai.server.auth import Caller
    from flowai.server.protocol import GatewayProtocol

_JSON = {"content-type": "application/json"}
_ROUTES = frozenset(
    {"/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v1/feedback", "/healthz", "/readyz", "/metrics"}
    | {"/openapi.json"}
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WITHOUT_KEY = frozenset({"/healthz", "/readyz"})  # probes carry no key; they are told no names without one


@dataclass(frozen=True, kw_only=True, slots=True)
class AppOptions:
    """How the application behaves."""

    is_local: bool = True
    """Whether only this machine reaches it: then no key is needed while the registry has none."""
    write_timeout_s: float = 30.0
    """Seconds a caller may leave what was sent unread before it counts as gone, > 0."""
    on_bug: Callable[[BaseException], None] = lambda _: None
    """Told of an exception that nothing expected; the caller learns only that there was one."""


class GatewayApp:
    """The application of one gateway.

    Args:
        gateway: who answers.
        options: how it behaves.
    """

    def __init__(self, gateway: GatewayProtocol, options: AppOptions | None = None) -> None:
        self._gateway = gateway
        self._options = options or AppOptions()
        self.under_way = InFlightRequests()
        self.is_warm = False
        self._metrics = Metrics()
        self._chat_endpoint = ChatEndpoint(gateway, self._metrics)
        self._openapi = msgspec.json.encode(openapi_document())
        self._router = Router(
            [
                Route("/v1/chat/completions", self._asgi(self._chat), methods=["POST"]),
                Route("/v1/embeddings", self._asgi(self._embeddings), methods=["POST"]),
                Route("/v1/feedback", self._asgi(self._feedback), methods=["POST"]),
                Route("/v1/models", self._asgi(self._models), methods=["GET"]),
                Route("/v1/models/{name}", self._asgi(self._model), methods=["GET"]),
                Route("/healthz", self._asgi(self._healthz), methods=["GET"]),
                Route("/readyz", self._asgi(self._readyz), methods=["GET"]),
                Route("/metrics", self._asgi(self._prometheus), methods=["GET"]),
                Route("/openapi.json", self._asgi(self._document), methods=["GET"]),
            ],
            redirect_slashes=False,
            default=_not_found,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the edge: nothing but a cancellation gets out."""
        begun_s = time.perf_counter()
        outlet = ResponseWriter(send, self._options.write_timeout_s)
        # a route that is found but does not know the method raises what we catch only if it thinks itself in an app
        scope["app"] = self
        scope["flowai.outlet"] = outlet
        status = 500
        try:
            status = await self._answered(scope, receive, send, outlet)
        except Exception as bug:  # noqa: BLE001 - the edge: whatever else escapes is our bug
            self._options.on_bug(bug)
            if not outlet.has_begun:
                await send_whole(outlet, INTERNAL_ERROR.status, INTERNAL_ERROR.all_headers(), INTERNAL_ERROR.body())
            else:
                await outlet.end()
        finally:
            self._metrics.requested(
                route=_route(scope["path"]),
                method=scope["method"] if scope["method"] in _METHODS else "other",
                status=status,
                duration_s=time.perf_counter() - begun_s,
            )

    async def _answered(self, scope: Scope, receive: Receive, send: Send, outlet: ResponseWriter) -> int:
        """Answer, errors included; give the status."""
        try:
            await self._check(scope)
            await self._router(scope, receive, send)
        except ClientGoneError:
            return CLIENT_GONE
        except HTTPException as error:
            problem = ErrorResponse(status=error.status_code, message=error.detail.lower(), headers=error.headers or {})
        except FlowaiError as error:
            problem = error_response_for(error)
        else:
            return outlet.status or 500
        if not outlet.has_begun:
            await send_whole(outlet, problem.status, problem.all_headers(), problem.body())
        return outlet.status or problem.status

    async def _check(self, scope: Scope) -> None:
        """Let the request in, or not; note who asks."""
        headers = Headers(scope=scope)
        validate_headers(headers)
        check_browser(headers, is_local=self._options.is_local)
        standing = await self._gateway.status()
        scope["flowai.standing"] = standing
        try:
            scope["flowai.caller"] = caller_of(headers, standing.serve.keys, is_local=self._options.is_local)
        except FlowaiError:
            if scope["path"] not in _WITHOUT_KEY:
                raise
            scope["flowai.caller"] = None

    def _asgi(self, endpoint: Callable[[Request, ResponseWriter], Awaitable[None]]) -> ASGIApp:
        """Make an ASGI application of an endpoint; the router would take a function for one that returns a response."""
        return _Endpoint(endpoint)

    async def _chat(self, request: Request, outlet: ResponseWriter) -> None:
        standing, caller = _request_state(request)
        with self.under_way.slot(standing.serve.max_concurrency) as slot:
            understood = chat_request(await read_json_object(request, standing.serve), standing, caller)
            slot.watch_disconnect(request.receive)
            await self._chat_endpoint.answer(understood, slot, outlet)

    async def _embeddings(self, request: Request, outlet: ResponseWriter) -> None:
        standing, _ = _request_state(request)
        with self.under_way.slot(standing.serve.max_concurrency) as slot:
            body = decode_body(await read_json_object(request, standing.serve), EmbeddingsBody)
            if body.model not in standing.models:
                raise unknown_model(body.model, standing.models)
            slot.watch_disconnect(request.receive)
            texts = (body.input,) if isinstance(body.input, str) else tuple(body.input)
            vectors = await self._gateway.embed(body.model, texts)
            reply = embeddings_reply(body.model, vectors, as_base64=body.encoding_format == "base64")
            await send_whole(outlet, 200, _JSON, msgspec.json.encode(reply))

    async def _feedback(self, request: Request, outlet: ResponseWriter) -> None:
        standing, _ = _request_state(request)
        with self.under_way.slot(standing.serve.max_concurrency):
            body = decode_body(await read_json_object(request, standing.serve), FeedbackBody)
            call_id = body.call_id.removeprefix(ID_PREFIX)
            try:
                await self._gateway.feedback(call_id, verdict=body.verdict, text=body.text, user=body.user)
            except UsageError as error:
                raise error_response(400, error.what, param="call_id") from None
            self._metrics.feedback_received(body.verdict)
            await send_whole(outlet, 200, _JSON, msgspec.json.encode({"status": "noted", "call_id": call_id}))

    async def _models(self, request: Request, outlet: ResponseWriter) -> None:
        standing, _ = _request_state(request)
        names = [*sorted(standing.features), *sorted(standing.models - standing.features)]
        reply = ModelsReply(data=tuple(_model_reply(name, standing) for name in names))
        await send_whole(outlet, 200, _JSON, msgspec.json.encode(reply))

    async def _model(self, request: Request, outlet: ResponseWriter) -> None:
        standing, _ = _request_state(request)
        name = request.path_params["name"]
        known = standing.features | standing.models
        if name not in known:
            raise unknown_model(name, known)
        await send_whole(outlet, 200, _JSON, msgspec.json.encode(_model_reply(name, standing)))

    async def _healthz(self, _: Request, outlet: ResponseWriter) -> None:
        await send_whole(outlet, 200, _JSON, b'{"status":"alive"}')

    async def _readyz(self, request: Request, outlet: ResponseWriter) -> None:
        standing: GatewayStatus = request.scope["flowai.standing"]
        state = "ready"
        if standing.release is None:
            state = "no release"
        if self.under_way.is_draining:
            state = "draining"
        shown: dict[str, object] = {"status": state}
        if request.scope["flowai.caller"] is not None:
            shown |= {
                "release": standing.release,
                "candidate": standing.candidate,
                "warm": self.is_warm,
                "degraded": standing.degraded,
                "open_breakers": standing.open_breakers,
                "calls_under_way_count": len(self.under_way),
            }
        await send_whole(outlet, 200 if state == "ready" else 503, _JSON, msgspec.json.encode(shown))

    async def _prometheus(self, request: Request, outlet: ResponseWriter) -> None:
        standing, _ = _request_state(request)
        text = self._metrics.text(standing, under_way_count=len(self.under_way))
        await send_whole(outlet, 200, {"content-type": CONTENT_TYPE}, text)

    async def _document(self, _: Request, outlet: ResponseWriter) -> None:
        await send_whole(outlet, 200, _JSON, self._openapi)


class _Endpoint:
    """An endpoint as the router wants it."""

    def __init__(self, work: Callable[[Request, ResponseWriter], Awaitable[None]]) -> None:
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._work(Request(scope, receive, send), scope["flowai.outlet"])


def _request_state(request: Request) -> tuple[GatewayStatus, Caller]:
    return request.scope["flowai.standing"], request.scope["flowai.caller"]


def _model_reply(name: str, standing: GatewayStatus) -> ModelReply:
    return ModelReply(id=name, owned_by="flowai:feature" if name in standing.features else "flowai:model")


def _route(path: str) -> str:
    """Give a path as metrics may name it: anyone can ask for any path."""
    if path in _ROUTES:
        return path
    return "/v1/models/{name}" if path.startswith("/v1/models/") else "other"


async def _not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise error_response(404, "there is nothing here; /openapi.json lists what there is", code="not_found")

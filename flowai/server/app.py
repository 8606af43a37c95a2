"""ASGI application: checks of every request, endpoints, and conversion of errors into responses."""

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
_WITHOUT_KEY = frozenset({"/healthz", "/readyz"})  # probes send no key; without one the response contains no names


@dataclass(frozen=True, kw_only=True, slots=True)
class AppOptions:
    """Options of the application."""

    is_local: bool = True
    """Whether only this machine can reach the server: then no key is needed if the registry has none."""
    write_timeout_s: float = 30.0
    """Time until a caller that does not read its response counts as gone, > 0."""
    on_bug: Callable[[BaseException], None] = lambda _: None
    """Called with an unexpected exception; the caller gets no details of it."""


class GatewayApp:
    """The ASGI application of one gateway."""

    def __init__(self, gateway: GatewayProtocol, options: AppOptions | None = None) -> None:
        self._gateway = gateway
        self._options = options or AppOptions()
        self.in_flight = InFlightRequests()
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
        """Answer one request; only a cancellation is raised."""
        started_s = time.perf_counter()
        writer = ResponseWriter(send, self._options.write_timeout_s)
        # with `app` in the scope, a route without the requested method raises an HTTPException
        scope["app"] = self
        scope["flowai.writer"] = writer
        status = 500
        try:
            status = await self._answer(scope, receive, send, writer)
        except Exception as bug:  # noqa: BLE001 - the outermost handler: any other exception is a bug
            self._options.on_bug(bug)
            if not writer.has_begun:
                await send_whole(writer, INTERNAL_ERROR.status, INTERNAL_ERROR.all_headers(), INTERNAL_ERROR.body())
            else:
                await writer.end()
        finally:
            self._metrics.requested(
                route=_route(scope["path"]),
                method=scope["method"] if scope["method"] in _METHODS else "other",
                status=status,
                duration_s=time.perf_counter() - started_s,
            )

    async def _answer(self, scope: Scope, receive: Receive, send: Send, writer: ResponseWriter) -> int:
        """Answer the request, also with an error, and return the status."""
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
            return writer.status or 500
        if not writer.has_begun:
            await send_whole(writer, problem.status, problem.all_headers(), problem.body())
        return writer.status or problem.status

    async def _check(self, scope: Scope) -> None:
        """Check the request, and store gateway status and caller in its scope."""
        headers = Headers(scope=scope)
        validate_headers(headers)
        check_browser(headers, is_local=self._options.is_local)
        gateway_status = await self._gateway.status()
        scope["flowai.status"] = gateway_status
        try:
            scope["flowai.caller"] = caller_of(headers, gateway_status.serve.keys, is_local=self._options.is_local)
        except FlowaiError:
            if scope["path"] not in _WITHOUT_KEY:
                raise
            scope["flowai.caller"] = None

    def _asgi(self, endpoint: Callable[[Request, ResponseWriter], Awaitable[None]]) -> ASGIApp:
        """Return an ASGI application: the router expects that a plain function returns a response."""
        return _Endpoint(endpoint)

    async def _chat(self, request: Request, writer: ResponseWriter) -> None:
        gateway_status, caller = _request_state(request)
        with self.in_flight.slot(gateway_status.serve.max_concurrency) as slot:
            chat = chat_request(await read_json_object(request, gateway_status.serve), gateway_status, caller)
            slot.watch_disconnect(request.receive)
            await self._chat_endpoint.answer(chat, slot, writer)

    async def _embeddings(self, request: Request, writer: ResponseWriter) -> None:
        gateway_status, _ = _request_state(request)
        with self.in_flight.slot(gateway_status.serve.max_concurrency) as slot:
            body = decode_body(await read_json_object(request, gateway_status.serve), EmbeddingsBody)
            if body.model not in gateway_status.models:
                raise unknown_model(body.model, gateway_status.models)
            slot.watch_disconnect(request.receive)
            texts = (body.input,) if isinstance(body.input, str) else tuple(body.input)
            vectors = await self._gateway.embed(body.model, texts)
            reply = embeddings_reply(body.model, vectors, as_base64=body.encoding_format == "base64")
            await send_whole(writer, 200, _JSON, msgspec.json.encode(reply))

    async def _feedback(self, request: Request, writer: ResponseWriter) -> None:
        gateway_status, _ = _request_state(request)
        with self.in_flight.slot(gateway_status.serve.max_concurrency):
            body = decode_body(await read_json_object(request, gateway_status.serve), FeedbackBody)
            call_id = body.call_id.removeprefix(ID_PREFIX)
            try:
                await self._gateway.feedback(call_id, verdict=body.verdict, text=body.text, user=body.user)
            except UsageError as error:
                raise error_response(400, error.what, param="call_id") from None
            self._metrics.feedback_received(body.verdict)
            await send_whole(writer, 200, _JSON, msgspec.json.encode({"status": "recorded", "call_id": call_id}))

    async def _models(self, request: Request, writer: ResponseWriter) -> None:
        gateway_status, _ = _request_state(request)
        names = [*sorted(gateway_status.features), *sorted(gateway_status.models - gateway_status.features)]
        reply = ModelsReply(data=tuple(_model_reply(name, gateway_status) for name in names))
        await send_whole(writer, 200, _JSON, msgspec.json.encode(reply))

    async def _model(self, request: Request, writer: ResponseWriter) -> None:
        gateway_status, _ = _request_state(request)
        name = request.path_params["name"]
        known = gateway_status.features | gateway_status.models
        if name not in known:
            raise unknown_model(name, known)
        await send_whole(writer, 200, _JSON, msgspec.json.encode(_model_reply(name, gateway_status)))

    async def _healthz(self, _: Request, writer: ResponseWriter) -> None:
        await send_whole(writer, 200, _JSON, b'{"status":"alive"}')

    async def _readyz(self, request: Request, writer: ResponseWriter) -> None:
        status: GatewayStatus = request.scope["flowai.status"]
        state = "ready"
        if status.release is None:
            state = "no release"
        if self.in_flight.is_draining:
            state = "draining"
        shown: dict[str, object] = {"status": state}
        if request.scope["flowai.caller"] is not None:
            shown |= {
                "release": status.release,
                "candidate": status.candidate,
                "warm": self.is_warm,
                "degraded": status.degraded,
                "unavailable_models": status.unavailable_models,
                "open_breakers": status.open_breakers,
                "in_flight_count": len(self.in_flight),
            }
        await send_whole(writer, 200 if state == "ready" else 503, _JSON, msgspec.json.encode(shown))

    async def _prometheus(self, request: Request, writer: ResponseWriter) -> None:
        gateway_status, _ = _request_state(request)
        text = self._metrics.text(gateway_status, in_flight_count=len(self.in_flight))
        await send_whole(writer, 200, {"content-type": CONTENT_TYPE}, text)

    async def _document(self, _: Request, writer: ResponseWriter) -> None:
        await send_whole(writer, 200, _JSON, self._openapi)


class _Endpoint:
    def __init__(self, work: Callable[[Request, ResponseWriter], Awaitable[None]]) -> None:
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._work(Request(scope, receive, send), scope["flowai.writer"])


def _request_state(request: Request) -> tuple[GatewayStatus, Caller]:
    return request.scope["flowai.status"], request.scope["flowai.caller"]


def _model_reply(name: str, gateway_status: GatewayStatus) -> ModelReply:
    return ModelReply(id=name, owned_by="flowai:feature" if name in gateway_status.features else "flowai:model")


def _route(path: str) -> str:
    """Return the route for metrics, one of a fixed set: callers can request any path."""
    if path in _ROUTES:
        return path
    return "/v1/models/{name}" if path.startswith("/v1/models/") else "other"


async def _not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise error_response(404, "no such path; /openapi.json lists all paths", code="not_found")

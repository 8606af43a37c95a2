"""ASGI application: checks of every request, endpoints, and conversion of errors into responses."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route, Router

from flowai.errors import FlowaiError
from flowai.providers.tokens import TokenCounter
from flowai.server.auth import RefusedKeyError, caller_of, check_browser, validate_headers, visible_status
from flowai.server.completion.chat.request import chat_request
from flowai.server.completion.conversation import unknown_model
from flowai.server.completion.endpoint import CompletionEndpoint
from flowai.server.completion.messages.reply import TokenCountReply, error_object
from flowai.server.completion.messages.request import chat_messages, chat_tools, count_tokens_body, messages_request
from flowai.server.completion.responses.request import responses_request
from flowai.server.errors import (
    CLIENT_GONE,
    INTERNAL_ERROR,
    ClientGoneError,
    ErrorResponse,
    error_response,
    error_response_for,
)
from flowai.server.feedback_endpoint import FeedbackEndpoint
from flowai.server.http.connection_table import HEALTH_PATHS
from flowai.server.http.in_flight import InFlightRequests
from flowai.server.http.request_body import BodyMemory, decode_body, read_json_object
from flowai.server.http.response_writer import ResponseWriter, send_whole
from flowai.server.limits.admission import IS_KEPT, Admission, Operation
from flowai.server.limits.rate_limits import AnswerUsage, usage_of_answer, usage_of_vectors
from flowai.server.openapi import openapi_document
from flowai.server.prometheus import CONTENT_TYPE, Metrics
from flowai.server.schemas.requests import EmbeddingsBody
from flowai.server.schemas.responses import ModelReply, ModelsReply, embeddings_reply
from flowai.state.requests.memory_requests import InMemoryRequestStore
from flowai.storage.worker_thread import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from flowai.gateway.records import GatewayStatus
    from flowai.server.auth import Caller
    from flowai.server.completion.endpoint import ParsedRequest
    from flowai.server.http.in_flight import InFlightRequest
    from flowai.server.key_audit import KeyAudit
    from flowai.server.protocol import GatewayProtocol
    from flowai.state.requests.store import RequestStore

_JSON = {"content-type": "application/json"}
_MESSAGES = "/v1/messages"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WITHOUT_KEY = HEALTH_PATHS  # probes send no key; without one the response contains no names


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestInfo:
    """An answered request, for the access log."""

    method: str
    """An HTTP method, or `other`."""
    route: str
    """One of the server's paths, without query, or `other`."""
    status: int
    """499 when the caller disconnected."""
    duration_s: float
    """From the head of the request to the end of the answer, >= 0."""
    model: str | None
    """The feature or model that was called; None without a call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AppOptions:
    """Options of the application."""

    is_local: bool = True
    """Whether only this machine can reach the server: then no key is needed if the registry has none."""
    write_timeout_s: float = 30.0
    """Time until a caller that does not read its response counts as gone, > 0."""
    waits_for_warm_up: bool = False
    """Whether `/readyz` answers 503 until `HttpServer.warm_up` has ended."""
    on_bug: Callable[[BaseException], None] = lambda _: None
    """Called with an unexpected exception; the caller gets no details of it."""
    on_request: Callable[[RequestInfo], None] | None = None
    """Called with every answered request."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    """Current time, for the expiry of keys."""
    request_store: RequestStore = field(default_factory=lambda: InMemoryRequestStore(time.time))
    """Limits of tenants and answers for retries; by default of this process only. The server does not close it."""
    audit: KeyAudit | None = None
    """Log of refused keys."""


class GatewayApp:
    """The ASGI application of one gateway."""

    def __init__(self, gateway: GatewayProtocol, options: AppOptions | None = None) -> None:
        self._gateway = gateway
        self._options = options or AppOptions()
        self.in_flight = InFlightRequests()
        self._admission = Admission(self._options.request_store, self._options.now)
        self.is_warm = False
        self.is_warming = self._options.waits_for_warm_up
        self.is_leaving = False
        self._body_memory = BodyMemory()
        self._metrics = Metrics()
        self._completions = CompletionEndpoint(gateway, self._metrics)
        feedback = FeedbackEndpoint(gateway, self._metrics)
        self._tokens = TokenCounter()
        self._token_thread = WorkerThread("flowai-tokens", owner="the server")
        self._openapi = msgspec.json.encode(openapi_document())
        posts = {
            "/v1/chat/completions": Operation(partial(self._complete, chat_request)),
            "/v1/responses": Operation(partial(self._complete, responses_request)),
            _MESSAGES: Operation(partial(self._complete, messages_request)),
            f"{_MESSAGES}/count_tokens": Operation(self._count_tokens),
            "/v1/embeddings": Operation(self._embeddings),
            "/v1/feedback": Operation(feedback.feedback, takes_slot=False),
            "/v1/score": Operation(feedback.score, takes_slot=False),
        }
        gets: dict[str, Callable[[Request, ResponseWriter], Awaitable[None]]] = {
            "/v1/models": self._models,
            "/v1/models/{name}": self._model,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._prometheus,
            "/openapi.json": self._document,
        }
        self._routes = frozenset({*posts, *gets})
        self._router = Router(
            [
                *(Route(path, _Endpoint(partial(self._post, each)), methods=["POST"]) for path, each in posts.items()),
                *(Route(path, _Endpoint(work), methods=["GET"]) for path, work in gets.items()),
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
                await _send_error(INTERNAL_ERROR, scope["path"], writer)
            else:
                await writer.end()
        finally:
            self._finished(scope, status, time.perf_counter() - started_s)

    def _finished(self, scope: Scope, status: int, duration_s: float) -> None:
        """Count the request and report it; callers can request any path and method, so that both are of a fixed set."""
        route = scope["path"] if scope["path"] in self._routes else "other"
        if route == "other" and scope["path"].startswith("/v1/models/"):
            route = "/v1/models/{name}"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requested(route=route, method=method, status=status, duration_s=duration_s)
        if self._options.on_request is not None:
            model = scope.get("flowai.model")
            self._options.on_request(
                RequestInfo(method=method, route=route, status=status, duration_s=duration_s, model=model)
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
            await _send_error(problem, scope["path"], writer)
        return writer.status or problem.status

    async def _check(self, scope: Scope) -> None:
        """Check the request, and store gateway status and caller in its scope."""
        headers = Headers(scope=scope)
        validate_headers(headers)
        check_browser(headers, is_local=self._options.is_local)
        gateway_status = await self._gateway.status()
        scope["flowai.status"] = gateway_status
        keys = gateway_status.serve.keys
        try:
            client = scope.get("client")
            caller = caller_of(
                headers,
                keys,
                is_local=self._options.is_local,
                now=self._options.now,
                address=client[0] if client else None,
            )
        except FlowaiError as error:
            if scope["path"] not in _WITHOUT_KEY:
                if isinstance(error, RefusedKeyError) and self._options.audit is not None:
                    self._options.audit.key_refused(error, (scope.get("client") or ("unknown",))[0])
                raise
            caller = None
        scope["flowai.caller"] = caller
        if caller is not None and caller.key is not None:
            scope["flowai.status"] = visible_status(gateway_status, keys[caller.key])

    async def _post(self, operation: Operation, request: Request, writer: ResponseWriter) -> None:
        """Answer a request with a body; without a slot, also while it waits for one, its body counts as memory."""
        with self._body_memory.share() as share, self.in_flight.request(on_slot=share.release) as slot:
            body = await read_json_object(request, _request_state(request)[0].serve, share)
            await self._admission.answer(operation, body, slot, request, writer)

    def close(self) -> None:
        """End the application's threads; may be called twice."""
        self._token_thread.end()

    async def _complete(
        self,
        parse: Callable[[dict[str, Any], GatewayStatus, Caller], ParsedRequest],
        value: dict[str, Any],
        slot: InFlightRequest,
        request: Request,
        writer: ResponseWriter,
    ) -> AnswerUsage | None:
        parsed = parse(value, *_request_state(request))
        request.scope["flowai.model"] = parsed.ask.feature or parsed.ask.model
        _watch_disconnect(slot, request)
        answer = await self._completions.answer(parsed, slot, writer)
        return None if answer is None else usage_of_answer(answer)

    async def _count_tokens(
        self, value: dict[str, Any], _: InFlightRequest, request: Request, writer: ResponseWriter
    ) -> AnswerUsage:
        gateway_status, _caller = _request_state(request)
        body = count_tokens_body(value)
        known = gateway_status.features | gateway_status.models
        if body.model not in known:
            raise unknown_model(body.model, known)
        request.scope["flowai.model"] = body.model
        tools = msgspec.json.encode(chat_tools(body.tools)).decode() if body.tools else ""
        messages = [*chat_messages(body), {"content": tools}] if tools else chat_messages(body)
        count = await self._token_thread.run(lambda: self._tokens.count(messages))
        await send_whole(writer, 200, _JSON, msgspec.json.encode(TokenCountReply(input_tokens=count)))
        return AnswerUsage()

    async def _embeddings(
        self, value: dict[str, Any], slot: InFlightRequest, request: Request, writer: ResponseWriter
    ) -> AnswerUsage:
        gateway_status, _ = _request_state(request)
        body = decode_body(value, EmbeddingsBody)
        if body.model not in gateway_status.models:
            raise unknown_model(body.model, gateway_status.models)
        request.scope["flowai.model"] = body.model
        _watch_disconnect(slot, request)
        texts = (body.input,) if isinstance(body.input, str) else tuple(body.input)
        vectors = await self._gateway.embed(body.model, texts)
        reply = embeddings_reply(body.model, vectors, as_base64=body.encoding_format == "base64")
        await send_whole(writer, 200, _JSON, msgspec.json.encode(reply))
        return usage_of_vectors(vectors)

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
        if self.is_warming:
            state = "warming"
        if status.release is None:
            state = "no release"
        if self.is_leaving or self.in_flight.is_draining:
            state = "draining"
        shown: dict[str, object] = {"status": state}
        if request.scope["flowai.caller"] is not None and not _is_restricted(request):
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
        if _is_restricted(request):
            raise error_response(403, "this key may call only some names; metrics contain all", code="not_allowed")
        text = self._metrics.text(gateway_status, in_flight_count=len(self.in_flight))
        await send_whole(writer, 200, {"content-type": CONTENT_TYPE}, text)

    async def _document(self, _: Request, writer: ResponseWriter) -> None:
        await send_whole(writer, 200, _JSON, self._openapi)


class _Endpoint:
    """An ASGI application: the router expects that a plain function returns a response."""

    def __init__(self, work: Callable[[Request, ResponseWriter], Awaitable[None]]) -> None:
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._work(Request(scope, receive, send), scope["flowai.writer"])


def _request_state(request: Request) -> tuple[GatewayStatus, Caller]:
    return request.scope["flowai.status"], request.scope["flowai.caller"]


def _watch_disconnect(slot: InFlightRequest, request: Request) -> None:
    """End the call when its caller disconnects, unless its answer is kept for a retry."""
    if IS_KEPT not in request.scope:
        slot.watch_disconnect(request.receive)


def _is_restricted(request: Request) -> bool:
    """Return whether the caller's key may call only some names."""
    gateway_status, caller = _request_state(request)
    return caller.key is not None and gateway_status.serve.keys[caller.key].is_restricted


def _model_reply(name: str, gateway_status: GatewayStatus) -> ModelReply:
    return ModelReply(id=name, owned_by="flowai:feature" if name in gateway_status.features else "flowai:model")


async def _send_error(problem: ErrorResponse, path: str, writer: ResponseWriter) -> None:
    """Send an error in the shape of the path's protocol."""
    is_anthropic = path == _MESSAGES or path.startswith(f"{_MESSAGES}/")
    body = msgspec.json.encode(error_object(problem)) if is_anthropic else problem.body()
    await send_whole(writer, problem.status, problem.all_headers(), body)


async def _not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise error_response(404, "no such path; /openapi.json lists all paths", code="not_found")

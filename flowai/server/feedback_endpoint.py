"""Endpoints of feedback and scores, which take no slot: they wait for the event log, not for a provider."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import CallNotFoundError, UsageError
from flowai.server.errors import error_response
from flowai.server.http.request_body import decode_body
from flowai.server.http.response_writer import send_whole
from flowai.server.limits.lookup_limit import LookupLimit
from flowai.server.limits.rate_limits import AnswerUsage
from flowai.server.schemas.common import call_id_of
from flowai.server.schemas.requests import FeedbackBody, ScoreBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from flowai.server.http.in_flight import InFlightRequest
    from flowai.server.http.response_writer import ResponseWriter
    from flowai.server.prometheus import Metrics
    from flowai.server.protocol import GatewayProtocol


class FeedbackEndpoint:
    """Endpoints of feedback and scores."""

    def __init__(self, gateway: GatewayProtocol, metrics: Metrics) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._lookups = LookupLimit()

    async def feedback(
        self, value: dict[str, Any], _: InFlightRequest, request: Request, writer: ResponseWriter
    ) -> AnswerUsage:
        """Record a user's feedback on an answer."""
        body = decode_body(value, FeedbackBody)
        call_id = call_id_of(body.call_id)
        async with self._lookup(request) as tenant:
            await self._gateway.feedback(
                call_id, verdict=body.verdict, text=body.text, user=body.user, must_exist=True, tenant=tenant
            )
        self._metrics.feedback_received(body.verdict)
        return await _send_recorded(call_id, writer)

    async def score(
        self, value: dict[str, Any], _: InFlightRequest, request: Request, writer: ResponseWriter
    ) -> AnswerUsage:
        """Record a judge's score of an answer."""
        body = decode_body(value, ScoreBody)
        call_id = call_id_of(body.call_id)
        async with self._lookup(request) as tenant:
            await self._gateway.score(
                call_id,
                name=body.name,
                passed=body.passed,
                score=body.score,
                judge=body.judge,
                must_exist=True,
                tenant=tenant,
            )
        self._metrics.score_received(passed=body.passed)
        return await _send_recorded(call_id, writer)

    @asynccontextmanager
    async def _lookup(self, request: Request) -> AsyncIterator[str | None]:
        """Limit look-ups of the caller's tenant, yield the tenant, and turn errors into those of the call.

        Raises:
            RefusedError: 404 unknown call, also another tenant's; 400 a value is wrong; 429 and 503 too many look-ups.
        """
        tenant: str | None = request.scope["flowai.caller"].tenant
        async with self._lookups.hold(tenant):
            try:
                yield tenant
            except UsageError as error:
                status, code = (404, "call_not_found") if isinstance(error, CallNotFoundError) else (400, None)
                raise error_response(status, error.what, code=code, param="call_id") from None


async def _send_recorded(call_id: str, writer: ResponseWriter) -> AnswerUsage:
    reply = msgspec.json.encode({"status": "recorded", "call_id": call_id})
    await send_whole(writer, 200, {"content-type": "application/json"}, reply)
    return AnswerUsage()

"""Admission of a request that calls or writes: its retry, its tenant's limits, its turn for a slot."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.server.errors import OVERLOAD_RETRY_AFTER_S, ClientGoneError, error_response
from flowai.server.http.response_writer import send_whole
from flowai.server.limits.fair_queue import FairQueue
from flowai.server.limits.idempotency import HEADER, REPLAY_HEADERS, RecordingWriter, idempotent_request
from flowai.server.limits.rate_limits import AnswerUsage, RateLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from starlette.requests import Request

    from flowai.registry import Serve
    from flowai.server.auth import Caller
    from flowai.server.errors import RefusedError
    from flowai.server.http.in_flight import InFlightRequest
    from flowai.server.http.response_writer import ResponseWriter
    from flowai.state.requests.store import RequestStore

    Work = Callable[[dict[str, Any], InFlightRequest, Request, ResponseWriter], Awaitable[AnswerUsage | None]]

IS_KEPT = "flowai.is_kept"
"""Key of a scope whose request goes on when its caller disconnects."""
_NO_TENANT = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the server whose requests have a body."""

    work: Work
    """Answers a request with this body; returns its usage, or None if it failed after its start."""
    takes_slot: bool = True
    """Whether it takes a slot while it runs."""


class Admission:
    """Admission of the requests of one server; used within its event loop."""

    def __init__(self, store: RequestStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._queue = FairQueue()
        self._rates = RateLimits(store, now)

    async def answer(
        self,
        operation: Operation,
        body: dict[str, Any],
        slot: InFlightRequest,
        request: Request,
        writer: ResponseWriter,
    ) -> None:
        """Answer a request, or repeat its stored answer.

        Raises:
            RefusedError: 400, 409 and 422 because of its `Idempotency-Key`; 429 at a limit of its tenant; 503 if all
                slots are taken.
            FlowaiError: as `operation.work`.
        """
        key = request.headers.get(HEADER)
        if key is None:
            await self._answer(operation, body, slot, request, writer)
            return
        caller: Caller = request.scope["flowai.caller"]
        idempotent = idempotent_request(self._store, key, path=request.scope["path"], caller=caller, body=body)
        stored = await idempotent.claim()
        if stored is not None:
            await send_whole(writer, stored.status, stored.headers | REPLAY_HEADERS, stored.body)
            return
        answer = None
        recording = RecordingWriter(writer)
        request.scope[IS_KEPT] = True
        try:
            if await self._answer(operation, body, slot, request, recording):
                answer = recording.answer()
        finally:
            await idempotent.finish(answer)
            await recording.send_end()

    async def _answer(
        self,
        operation: Operation,
        body: dict[str, Any],
        slot: InFlightRequest,
        request: Request,
        writer: ResponseWriter,
    ) -> bool:
        """Answer a request; return whether the answer is complete."""
        serve: Serve = request.scope["flowai.status"].serve
        caller: Caller = request.scope["flowai.caller"]
        limits = serve.tenants.get(caller.tenant or _NO_TENANT)
        if limits is None or not limits.has_rates:
            return await self._run(operation, body, slot, request, writer) is not None
        headers: dict[str, str] = request.scope["flowai.writer"].headers
        admitted = await self._rates.admit(caller.tenant or _NO_TENANT, limits, body, headers)
        usage: AnswerUsage | None = AnswerUsage()  # a request that fails used nothing
        try:
            usage = await self._run(operation, body, slot, request, writer)
        except (asyncio.CancelledError, ClientGoneError):
            usage = None  # the provider may have answered: the estimate counts
            raise
        finally:
            if usage is not None:
                await self._rates.settle(admitted, usage)
        return usage is not None

    async def _run(
        self,
        operation: Operation,
        body: dict[str, Any],
        slot: InFlightRequest,
        request: Request,
        writer: ResponseWriter,
    ) -> AnswerUsage | None:
        """Answer a request, in a slot if it takes one; wait for it if all are taken.

        Raises:
            RefusedError: 429 or 503, there was none in time.
            ClientGoneError: the caller disconnected.
        """
        if not operation.takes_slot:
            return await operation.work(body, slot, request, writer)
        serve: Serve = request.scope["flowai.status"].serve
        caller: Caller = request.scope["flowai.caller"]
        tenant = caller.tenant or _NO_TENANT
        if not self._queue.try_take(tenant, serve):
            await self._wait(request, tenant, caller.key or _NO_TENANT, serve)
        try:
            slot.take_slot()
            return await operation.work(body, slot, request, writer)
        finally:
            self._queue.free(tenant)

    async def _wait(self, request: Request, tenant: str, key: str, serve: Serve) -> None:
        """Wait for a slot."""
        turn = self._queue.join(tenant, key, serve)
        if turn is None:
            raise self._no_slot(tenant, serve)
        gone = asyncio.create_task(_until_gone(request))
        has_turn = False
        try:
            await asyncio.wait({turn, gone}, timeout=serve.queue.max_wait_s, return_when=asyncio.FIRST_COMPLETED)
            has_turn = turn.done() and not gone.done()
        finally:
            gone.cancel()
            if not has_turn:
                self._queue.leave(tenant, key, turn)
        if gone.done() and not gone.cancelled():
            raise ClientGoneError
        if not has_turn:
            raise self._no_slot(tenant, serve)

    def _no_slot(self, tenant: str, serve: Serve) -> RefusedError:
        if self._queue.is_at_own_limit(tenant, serve):
            limit = serve.tenants[tenant].max_concurrency
            text = f"`{tenant}` already has {limit} calls under way, its limit"
            return error_response(429, text, code="rate_limit_exceeded", retry_after_s=OVERLOAD_RETRY_AFTER_S)
        text = f"the gateway already answers {serve.max_concurrency} calls, its limit"
        return error_response(503, text, code="overloaded", retry_after_s=OVERLOAD_RETRY_AFTER_S)


async def _until_gone(request: Request) -> None:
    """Wait until the caller disconnects; its body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""The gateway: from a caller's request to the answer or one typed error, and the event of the call.

Order of a call: plan, token budget, exact cache, single flight, semantic cache, budget reservation, fallback chain,
settlement, cache store, event.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import msgspec

from flowai.errors import FlowaiError, UsageError
from flowai.events import FeedbackEvent, ScoreEvent
from flowai.gateway.call import CallRunner
from flowai.gateway.call_event import (
    CallOutcome,
    RecentCalls,
    call_alerts,
    redact_event,
    to_event,
    to_result,
    user_hash,
)
from flowai.gateway.open_runtime import open_runtime
from flowai.gateway.plan import plan_call
from flowai.gateway.records import CompletionRequest, CompletionResult, Explanation, GatewayStatus, completion_request
from flowai.gateway.runtime import GatewayRuntime, RuntimeOptions
from flowai.gateway.single_flight import SingleFlight
from flowai.gateway.telemetry.feedback import call_not_found, validate_score, with_call_fields
from flowai.providers import EmbedRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

    from flowai.events import CallEvent, FeedbackVerdict, Origin
    from flowai.gateway.records import CompletionOptions, OnStreamBreak, StreamEvent
    from flowai.providers import Embeddings

T = TypeVar("T")

REFUSALS = frozenset({"rejected", "thumbs_down"})
"""Verdicts that delete the answer from the caches."""

CLOSE_TIMEOUT_S = 2.0
"""Longest wait for calls in flight when a gateway closes."""
CLOSE_POLL_S = 0.002


class Gateway:
    """Calls the features of a project: `async with Gateway() as gw`. For one event loop; `SyncGateway` needs none.

    Nothing is read or opened before the first use. If `aclose()` is never called, the gateway closes when its event
    loop does.

    Args:
        start: the project's directory, or one below it.
        env: the environment (`prod`); None for FLOWAI_ENV or none.
        origin: source of the calls, as events record it.
        settings: injected dependencies; None for the defaults.
    """

    def __init__(
        self,
        start: str | Path = ".",
        *,
        env: str | None = None,
        origin: Origin = "library",
        settings: RuntimeOptions | None = None,
    ) -> None:
        self._start = start
        self._env = env
        self._origin = origin
        self._settings = settings or RuntimeOptions()
        self._opening = SingleFlight()
        self._open_instance: GatewayRuntime | None = None
        self._is_closed = False
        self._timeouts: set[asyncio.Timeout] = set()
        self._recent_calls = RecentCalls()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Read the project and announce this process. The first call opens the gateway too, except after `aclose`.

        Raises:
            ProjectError: a file of the project is wrong.
        """
        self._is_closed = False
        await self._runtime()

    async def aclose(self) -> None:
        """Write buffered events, deregister this process and close all connections; may be called twice.

        Calls in flight end with a UsageError, and so does every later use, until the gateway is opened again.
        """
        self._is_closed = True
        await self._close_runtime()

    async def complete(
        self,
        feature: str | None = None,
        variables: Mapping[str, Any] | None = None,
        **options: Unpack[CompletionOptions],
    ) -> CompletionResult:
        """Return a complete answer; `CompletionRequest` describes every argument.

        Args:
            feature: the feature; None with `model`.
            variables: the prompt's variables; None with `messages`.
            **options: further fields of `CompletionRequest`.

        Raises:
            UsageError: unknown feature or model, contradictory arguments.
            PromptError: a variable is missing, unknown or wrong.
            BudgetError: the request is too long, or the day's budget is spent.
            CallError: no model answered (`AllModelsFailedError`), or the request itself is at fault.
            ProjectError: a file of the project is wrong (only at the first call).
        """
        return await self.complete_request(completion_request(feature, variables, options))

    def stream(
        self,
        feature: str | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        on_break: OnStreamBreak = "error",
        **options: Unpack[CompletionOptions],
    ) -> AsyncGenerator[StreamEvent]:
        """Yield an answer in chunks: StreamStarted, TextChunks, and the CompletionResult last.

        Args:
            feature: the feature; None with `model`.
            variables: the prompt's variables; None with `messages`.
            on_break: what follows a stream that breaks after its first text: a CallError, or a StreamRestarted and the
                next model's answer from its start.
            **options: further fields of `CompletionRequest`.

        Raises:
            FlowaiError: as `complete`, before or between the chunks; never after the CompletionResult.
        """
        return self.stream_request(completion_request(feature, variables, options), on_break=on_break)

    async def complete_request(self, request: CompletionRequest) -> CompletionResult:
        """Return a complete answer; see `complete`."""
        call = await self._begin(request)
        try:
            call.check_tokens()
            async with self._in_flight():
                outcome = await call.complete()
        except (FlowaiError, asyncio.CancelledError) as error:
            self._write_event(call, error)
            raise
        return self._finish(call, outcome)

    async def stream_request(
        self, request: CompletionRequest, *, on_break: OnStreamBreak = "error"
    ) -> AsyncGenerator[StreamEvent]:
        """Yield an answer in chunks; see `stream`."""
        call = await self._begin(request)
        try:
            call.check_tokens()
            async with aclosing(call.stream(on_break)) as items:
                while not isinstance(item := await self._next(items), CallOutcome):
                    yield item
        except (FlowaiError, asyncio.CancelledError, GeneratorExit) as error:
            self._write_event(call, error)
            raise
        yield self._finish(call, item)

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Return one vector per text.

        Args:
            model: registry name of an embedding model.
            texts: at least one.

        Raises:
            UsageError: unknown model, or no text.
            BudgetError: the model's `usd_per_day` is spent.
            CallError: the provider failed.
        """
        runtime = await self._runtime()
        if not texts:
            raise UsageError("`texts` is empty, expected at least one text")
        request = EmbedRequest(endpoint=runtime.reloader.snapshot.endpoint(model), texts=tuple(texts))
        async with self._in_flight():
            return await runtime.embeddings.run(request, origin=self._origin, purpose="call")

    async def feedback(
        self,
        call_id: str,
        *,
        verdict: FeedbackVerdict,
        text: str | None = None,
        user: str | None = None,
        must_exist: bool = False,
        tenant: str | None = None,
    ) -> None:
        """Store a user's feedback on an answer; it is in the log when this returns.

        `rejected` and `thumbs_down` also delete the answer from the caches, so that no other user gets it.

        Args:
            call_id: the call.
            verdict: the feedback.
            text: the edited answer; stored only if the feature's `log_content` allows it.
            user: the user; only a hash is stored.
            must_exist: refuse calls that are not the tenant's in this process or in the log of today and yesterday.
            tenant: of the call, None for a call without one; only with `must_exist`.

        Raises:
            UsageError: a text without the verdict `edited`, or that verdict without a text.
            CallNotFoundError: unknown call, or not the tenant's, with `must_exist`.
            InfrastructureError: the event log cannot be written.
        """
        if (text is not None) != (verdict == "edited"):
            raise UsageError("`text` and the verdict `edited` require each other")
        runtime = await self._runtime()
        at, author = self._settings.now(), user_hash(user)
        event = FeedbackEvent(call_id=call_id, at=at, origin=self._origin, verdict=verdict, text=text, user_hash=author)
        call = await self._find_call(call_id, must_exist=must_exist, tenant=tenant)
        runtime.event_writer.write(with_call_fields(event, call, runtime.reloader.snapshot.registry))
        if verdict in REFUSALS:
            await self._forget_answer(call)

    async def score(
        self,
        call_id: str,
        *,
        name: str,
        passed: bool,
        score: float | None = None,
        judge: str | None = None,
        must_exist: bool = False,
        tenant: str | None = None,
    ) -> None:
        """Store a judge's score of an answer; it is in the log when this returns.

        Unless it passed, the answer is also deleted from the caches.

        Args:
            call_id: the call.
            name: the judged property (`hallucination`).
            passed: the answer is free of it; the last score of a call under one name counts.
            score: the judge's confidence in that, 0 to 1; None for a judge without one.
            judge: the judge; None where it does not matter.
            must_exist: refuse calls that are not the tenant's in this process or in the log of today and yesterday.
            tenant: of the call, None for a call without one; only with `must_exist`.

        Raises:
            UsageError: no name, or a score outside 0 to 1.
            CallNotFoundError: unknown call, or not the tenant's, with `must_exist`.
            InfrastructureError: the event log cannot be written.
        """
        at, origin = self._settings.now(), self._origin
        event = ScoreEvent(call_id=call_id, at=at, origin=origin, name=name, passed=passed, score=score, judge=judge)
        event = validate_score(event)
        runtime = await self._runtime()
        call = None
        if must_exist or not passed:
            call = await self._find_call(call_id, must_exist=must_exist, tenant=tenant)
        runtime.event_writer.write(event)
        if not passed:
            await self._forget_answer(call)

    async def explain(self, call_id: str) -> Explanation:
        """Return the full record of a call: every attempt and its reason.

        Args:
            call_id: a call of this process, or of today's or yesterday's log.

        Raises:
            CallNotFoundError: unknown call.
        """
        runtime = await self._runtime()
        explanation = self._recent_calls.get(call_id)
        if explanation is not None:
            return msgspec.structs.replace(
                explanation, event=redact_event(explanation.event, runtime.reloader.snapshot.redactor)
            )
        event = await self._find_call(call_id, must_exist=False, tenant=None)
        if event is None:
            raise call_not_found(call_id)
        return Explanation(event=event)

    async def reload(self) -> None:
        """Check for changed files and a new overlay now; a running gateway does so four times a second."""
        await (await self._runtime()).refresh()

    async def status(self) -> GatewayStatus:
        """Return the gateway's current status."""
        return (await self._runtime()).status()

    async def warm_up(self) -> None:
        """Import what the active release's models need; load local models and the semantic cache's embedding model."""
        await (await self._runtime()).warm_up_models()

    # --- one call ---

    async def _runtime(self) -> GatewayRuntime:
        runtime = self._open_instance or await self._open_once()
        if runtime.loop is not asyncio.get_running_loop():
            raise UsageError(
                "this gateway was opened in another event loop", hint="one gateway per event loop, or `SyncGateway`"
            )
        return runtime

    async def _open_once(self) -> GatewayRuntime:
        if self._is_closed:
            raise _closed_error()
        runtime, _ = await self._opening.run("", self._open_runtime)
        return runtime

    async def _open_runtime(self) -> GatewayRuntime:
        runtime = await open_runtime(self._start, self._env, self._origin, self._settings)
        runtime.start(at_loop_end=self._close_runtime)
        if self._is_closed:  # closed meanwhile
            await runtime.aclose()
            raise _closed_error()
        self._open_instance = runtime
        return runtime

    async def _close_runtime(self) -> None:
        """End calls in flight, then close everything."""
        runtime, self._open_instance = self._open_instance, None
        if runtime is None:
            return
        now_s = runtime.loop.time
        for timeout in self._timeouts:
            if timeout.when() is None:
                timeout.reschedule(now_s())
        deadline_s = now_s() + CLOSE_TIMEOUT_S
        while self._timeouts and now_s() < deadline_s:  # noqa: ASYNC110 - happens once; an Event would cost every call
            await asyncio.sleep(CLOSE_POLL_S)
        await runtime.aclose()

    @asynccontextmanager
    async def _in_flight(self) -> AsyncGenerator[None]:
        """Raise UsageError in the awaited code when the gateway closes."""
        if self._open_instance is None:
            raise _closed_error()
        timeout = asyncio.timeout(None)
        self._timeouts.add(timeout)
        try:
            async with timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise _closed_error() from None
        finally:
            self._timeouts.discard(timeout)

    async def _next(self, items: AsyncGenerator[T]) -> T:
        async with self._in_flight():  # never across a yield, where the caller's code runs
            return await anext(items)

    async def _begin(self, ask: CompletionRequest) -> CallRunner:
        settings = self._settings
        started_s, at = settings.clock_s(), settings.now()
        runtime = await self._runtime()
        snapshot = runtime.reloader.snapshot
        overlay = (await runtime.breakers.refresh()).overlay
        active = snapshot.active_release(overlay)
        plan = plan_call(
            ask, call_id=settings.new_id(), at=at, snapshot=snapshot, active=active, toggles=settings.toggles
        )
        return CallRunner(runtime, plan, started_s, active.warnings)

    def _finish(self, call: CallRunner, outcome: CallOutcome) -> CompletionResult:
        result = to_result(call.plan, outcome, self._latency_ms(call))
        self._write_event(call, result)
        return result

    def _latency_ms(self, call: CallRunner) -> float:
        return max(0.0, (self._settings.clock_s() - call.started_s) * 1000)

    def _write_event(self, call: CallRunner, result: CompletionResult | BaseException) -> None:
        """Record the end of a call: its event, span, explanation and alerts."""
        runtime, plan = call.runtime, call.plan
        latency_ms = result.latency_ms if isinstance(result, CompletionResult) else self._latency_ms(call)
        event = to_event(
            plan,
            result,
            origin=self._origin,
            fallback=call.fallback,
            latency_ms=latency_ms,
            cache_key=call.cache_key,
            would_be_hit=call.would_be_hit,
        )
        runtime.event_writer.add(event)
        with runtime.supervisor.guard("trace"):
            runtime.trace(event)
        self._recent_calls.add(
            Explanation(event=event, breakers=dict(runtime.breakers.shared.breakers), warnings=call.warnings)
        )
        for alert in call_alerts(plan, result, call.fallback.alerts):
            runtime.alert(alert)

    async def _forget_answer(self, call: CallEvent | None) -> None:
        if call is not None and call.cache_key is not None:
            await (await self._runtime()).cache.forget(call.cache_key)

    async def _find_call(self, call_id: str, *, must_exist: bool, tenant: str | None) -> CallEvent | None:
        explanation = self._recent_calls.get(call_id)
        if explanation is not None and (explanation.event.tenant == tenant or not must_exist):
            return explanation.event
        call = await (await self._runtime()).call_lookup.find(call_id, tenant=tenant, any_tenant=not must_exist)
        if call is None and must_exist:
            raise call_not_found(call_id)
        return call


def _closed_error() -> UsageError:
    return UsageError("the gateway is closed", hint="`async with gateway` or `open` opens it again")

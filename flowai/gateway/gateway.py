"""The gateway: one call from the caller's wish to the answer or one typed error, and the event of it.

A call's way: plan -> token budget -> exact cache -> one flight for the same request -> semantic cache -> money ->
ladder -> settle -> keep -> event.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import msgspec

from flowai.errors import BudgetError, CallError, FlowaiError, UsageError
from flowai.events import AlertEvent, CallEvent, FeedbackEvent, ScoreEvent
from flowai.gateway.call import CallRunner
from flowai.gateway.call_event import CallOutcome, RecentCalls, redacted, to_event, to_result, user_hash
from flowai.gateway.plan import plan_call
from flowai.gateway.records import CompletionRequest, CompletionResult, Explanation, GatewayStatus
from flowai.gateway.runtime import GatewayRuntime, RuntimeOptions, open_parts
from flowai.gateway.single_flight import SingleFlight
from flowai.gateway.telemetry.feedback import validate_feedback, with_call_fields

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

    from flowai.events import AlertCause, FeedbackVerdict, Origin
    from flowai.gateway.records import CompletionOptions, OnStreamBreak, StreamEvent
    from flowai.providers import Embeddings


T = TypeVar("T")

CLOSE_LIMIT_S = 2.0
"""Longest wait, when a gateway is closed, for calls under way to end."""
POLL_S = 0.002


class Gateway:
    """Calls the features of a project; `async with Gateway() as gw`. For one event loop; `SyncGateway` needs none.

    Nothing is read or opened before the first use. What nobody closed is closed with its event loop.

    Args:
        start: the project's directory, or one below it.
        env: the environment (`prod`); None for FLOWAI_ENV or none.
        origin: what the events say the calls are for.
        settings: what is handed in from outside; None for the usual.
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
        self._opened: GatewayRuntime | None = None
        self._is_closed = False
        self._limits: set[asyncio.Timeout] = set()
        self._history = RecentCalls()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Read the project and announce this process; the first call does it where nobody did, but not after `aclose`.

        Raises:
            ProjectError: a file of the project is wrong.
        """
        self._is_closed = False
        await self._parts()

    async def aclose(self) -> None:
        """Write what is held, say that this process ends, give everything back; may be called twice.

        Calls under way end with a UsageError, and so does every use from now on, until it is opened again.
        """
        self._is_closed = True
        await self._close_parts()

    async def complete(
        self,
        feature: str | None = None,
        variables: Mapping[str, Any] | None = None,
        **wishes: Unpack[CompletionOptions],
    ) -> CompletionResult:
        """Return a whole answer; `CompletionRequest` describes every argument.

        Args:
            feature: the feature; None with `model`.
            variables: the prompt's variables; None with `messages`.
            **wishes: further fields of `CompletionRequest`.

        Raises:
            UsageError: unknown feature or model, arguments that contradict each other.
            PromptError: a variable is missing, unknown or wrong.
            BudgetError: the request is too long, or the day's dollars are spent.
            CallError: no model answered (`AllModelsFailedError`), or a failure that is the caller's.
            ProjectError: a file of the project is wrong (only at the first call).
        """
        return await self.complete_request(_completion_options(feature, variables, wishes))

    def stream(
        self,
        feature: str | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        on_break: OnStreamBreak = "error",
        **wishes: Unpack[CompletionOptions],
    ) -> AsyncGenerator[StreamEvent]:
        """Give an answer piece by piece: Started, Pieces, and the whole Answer last.

        Args:
            feature: the feature; None with `model`.
            variables: the prompt's variables; None with `messages`.
            on_break: what happens when the stream dies after its first text: a CallError, or a Restarted and the
                answer of the next model from its begin.
            **wishes: further fields of `CompletionRequest`.

        Raises:
            FlowaiError: as `complete`, before or between the pieces; never after the Answer.
        """
        return self.stream_request(_completion_options(feature, variables, wishes), on_break=on_break)

    async def complete_request(self, ask: CompletionRequest) -> CompletionResult:
        """Give a whole answer; see `complete`."""
        call = await self._begin(ask)
        try:
            call.check_tokens()
            async with self._in_flight():
                outcome = await call.outcome()
        except (FlowaiError, asyncio.CancelledError) as error:
            self._write_event(call, error)
            raise
        return self._answered(call, outcome)

    async def stream_request(
        self, ask: CompletionRequest, *, on_break: OnStreamBreak = "error"
    ) -> AsyncGenerator[StreamEvent]:
        """Give an answer piece by piece; see `stream`."""
        call = await self._begin(ask)
        try:
            call.check_tokens()
            async with aclosing(call.stream(on_break)) as items:
                while not isinstance(item := await self._next(items), CallOutcome):
                    yield item
        except (FlowaiError, asyncio.CancelledError, GeneratorExit) as error:
            self._write_event(call, error)
            raise
        yield self._answered(call, item)

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Give one vector per text.

        Args:
            model: the registry's name of a model that embeds.
            texts: one at least.

        Raises:
            UsageError: there is no such model, or no text.
            CallError: the provider failed.
        """
        parts = await self._parts()
        if not texts:
            raise UsageError("there is no text to embed")
        return await parts.embed(parts.live.snapshot.endpoint(model), tuple(texts))

    async def feedback(
        self, call_id: str, *, verdict: FeedbackVerdict, text: str | None = None, user: str | None = None
    ) -> None:
        """Note what a person made of an answer; when this returns, it is in the log.

        Args:
            call_id: the call.
            verdict: what was made of it.
            text: the answer as it was edited; kept only where the feature's `log_content` says so.
            user: who says so; only a hash is kept.

        Raises:
            UsageError: a text without the verdict `edited`, or the other way round.
            InfrastructureError: it could not be written.
        """
        if (text is not None) != (verdict == "edited"):
            raise UsageError("`text` belongs to the verdict `edited`, and only to it")
        parts = await self._parts()
        said = FeedbackEvent(
            call_id=call_id,
            at=self._settings.now(),
            origin=self._origin,
            verdict=verdict,
            text=text,
            user_hash=user_hash(user),
        )
        parts.sink.write(with_call_fields(said, await self._find(call_id), parts.live.snapshot.registry))

    async def score(
        self, call_id: str, *, name: str, passed: bool, score: float | None = None, judge: str | None = None
    ) -> None:
        """Note what a judge found in an answer; when this returns, it is in the log.

        Args:
            call_id: the call.
            name: what was looked for (`hallucination`).
            passed: whether the answer is free of it; of several scores of a call under one name the last counts.
            score: how sure the judge is of that, 0 to 1; None where it only says yes or no.
            judge: who judged; None where it does not matter.

        Raises:
            UsageError: no name, or a score outside 0 to 1.
            InfrastructureError: it could not be written.
        """
        found = ScoreEvent(
            call_id=call_id,
            at=self._settings.now(),
            origin=self._origin,
            name=name,
            passed=passed,
            score=score,
            judge=judge,
        )
        parts = await self._parts()
        parts.sink.write(validate_feedback(found))

    async def explain(self, call_id: str) -> Explanation:
        """Say why a call went as it went.

        Args:
            call_id: a call of this process, or one that stands in the log of today or yesterday.

        Raises:
            UsageError: no such call is known.
        """
        parts = await self._parts()
        found = self._history.get(call_id)
        if found is not None:
            return msgspec.structs.replace(found, event=redacted(found.event, parts.live.snapshot.redactor))
        event = await self._find(call_id)
        if event is None:
            raise UsageError(
                f"no call `{call_id}` in this process, nor in the log of today and yesterday",
                hint="older calls: read the log",
            )
        return Explanation(event=event)

    async def reload(self) -> None:
        """Look for changed files and a new overlay now; a running gateway does so by itself, four times a second."""
        await (await self._parts()).refresh()

    async def status(self) -> GatewayStatus:
        """Say how things stand."""
        return (await self._parts()).status()

    async def warm_up(self) -> None:
        """Do now what first calls would wait for: import LiteLLM, load local models."""
        await (await self._parts()).warm_up_models()

    # --- one call ---

    async def _parts(self) -> GatewayRuntime:
        parts = self._opened or await self._open_once()
        if parts.loop is not asyncio.get_running_loop():
            raise UsageError(
                "this gateway was opened in another event loop", hint="one gateway per event loop, or `SyncGateway`"
            )
        return parts

    async def _open_once(self) -> GatewayRuntime:
        if self._is_closed:
            raise _closed()
        parts, _ = await self._opening.run("", self._open_parts)
        return parts

    async def _open_parts(self) -> GatewayRuntime:
        parts = await open_parts(self._start, self._env, self._origin, self._settings)
        parts.start(at_loop_end=self._close_parts)
        if self._is_closed:  # meanwhile
            await parts.aclose()
            raise _closed()
        self._opened = parts
        return parts

    async def _close_parts(self) -> None:
        """End what is under way, then give everything back; the next use opens it again."""
        parts, self._opened = self._opened, None
        if parts is None:
            return
        now_s = parts.loop.time
        for limit in self._limits:
            if limit.when() is None:
                limit.reschedule(now_s())
        last_moment_s = now_s() + CLOSE_LIMIT_S
        while self._limits and now_s() < last_moment_s:  # noqa: ASYNC110 - happens once: calls need not keep an Event for it
            await asyncio.sleep(POLL_S)
        await parts.aclose()

    @asynccontextmanager
    async def _in_flight(self) -> AsyncGenerator[None]:
        """Have what is awaited here end when the gateway is closed."""
        if self._opened is None:
            raise _closed()
        limit = asyncio.timeout(None)
        self._limits.add(limit)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise _closed() from None
        finally:
            self._limits.discard(limit)

    async def _next(self, items: AsyncGenerator[T]) -> T:
        async with self._in_flight():  # never across a yield: meanwhile the caller has the floor
            return await anext(items)

    async def _begin(self, ask: CompletionRequest) -> CallRunner:
        settings = self._settings
        started_s, at = settings.clock_s(), settings.now()
        parts = await self._parts()
        snapshot = parts.live.snapshot
        overlay = (await parts.breakers.refresh()).overlay
        serving = snapshot.active_release(overlay)
        plan = plan_call(
            ask, call_id=settings.new_id(), at=at, snapshot=snapshot, serving=serving, switches=settings.switches
        )
        return CallRunner(parts, plan, started_s, serving.warnings)

    def _answered(self, call: CallRunner, outcome: CallOutcome) -> CompletionResult:
        answer = to_result(call.plan, outcome, self._latency_ms(call))
        self._write_event(call, answer)
        return answer

    def _latency_ms(self, call: CallRunner) -> float:
        return max(0.0, (self._settings.clock_s() - call.started_s) * 1000)

    def _write_event(self, call: CallRunner, result: CompletionResult | BaseException) -> None:
        """Write down how a call ended: the event, its span, what `explain` says, and the alerts."""
        parts, plan = call.parts, call.plan
        latency_ms = result.latency_ms if isinstance(result, CompletionResult) else self._latency_ms(call)
        event = to_event(plan, result, origin=self._origin, attempts=call.climb.attempts, latency_ms=latency_ms)
        parts.sink.add(event)
        parts.trace(event)
        self._history.add(
            Explanation(event=event, breakers=dict(parts.breakers.shared.breakers), warnings=call.warnings)
        )
        alerts: list[tuple[AlertCause, FlowaiError]] = [*call.climb.alerts]
        if isinstance(result, BudgetError) and result.retry_after_s is not None:
            alerts.append(("budget", result))
        for cause, error in alerts:
            parts.alert(
                AlertEvent(
                    at=plan.at,
                    cause=cause,
                    message=str(error),
                    feature=plan.served.name,
                    provider=error.provider if isinstance(error, CallError) else None,
                    model=error.model if isinstance(error, CallError) else None,
                    release=plan.release,
                )
            )

    async def _find(self, call_id: str) -> CallEvent | None:
        found = self._history.get(call_id)
        if found is not None:
            return found.event
        parts = await self._parts()
        return await asyncio.to_thread(parts.find_call, call_id)


def _closed() -> UsageError:
    return UsageError("the gateway is closed", hint="`async with gateway` or `open` opens it again")


def _completion_options(
    feature: str | None, variables: Mapping[str, Any] | None, wishes: CompletionOptions
) -> CompletionRequest:
    given: dict[str, Any] = {name: value for name, value in wishes.items() if value is not None}
    if "messages" in given:
        given["messages"] = tuple(given["messages"])
    try:
        return CompletionRequest(feature=feature, variables=variables, **given)
    except TypeError as error:
        raise UsageError(f"a call takes no such argument: {error}") from None

"""Calls models for the answers of trials, concurrently and within the run's limits."""

from __future__ import annotations

import asyncio
from itertools import chain, islice
from typing import TYPE_CHECKING

from flowai.errors import CallError, ProjectError, RateLimitedError, TimedOutError
from flowai.evals.assertions.services import CodeError
from flowai.evals.execution.concurrency import CallSlots
from flowai.evals.execution.limits import RunStoppedError, StopReason
from flowai.evals.reports import Failure
from flowai.evals.runs.runner import build_failed_trial, build_refused_trial, build_trial, is_cacheable
from flowai.rendering import formatting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flowai.evals.execution.limits import CallLimits, CostLimit
    from flowai.evals.runs.answers.trial_steps import TrialSteps
    from flowai.evals.runs.records import PreparedTrial
    from flowai.evals.runs.runner import AnswerSource, TrialCache, TrialCallbacks
    from flowai.providers import Client, Completion, Request


class TrialCalls:
    """Calls models for the answers of trials; use it in one event loop.

    Args:
        client: calls the models.
        callbacks: receive what happens.
        limits: limits of all calls.
        cache: stores complete, unfiltered answers; None without one.
        resolve: returns the request to send, with key and address.
        source_of: returns the source of an answer, after it came.
        steps: what comes before and after the call, if code or models take part.
    """

    def __init__(
        self,
        client: Client,
        callbacks: TrialCallbacks,
        limits: CallLimits,
        *,
        cache: TrialCache | None,
        resolve: Callable[[Request], Request] = lambda request: request,
        source_of: Callable[[Request], AnswerSource] = lambda _: "miss",
        steps: TrialSteps | None = None,
    ) -> None:
        self._client = client
        self._callbacks = callbacks
        self._limits = limits
        self._cache = cache
        self._resolve = resolve
        self._source_of = source_of
        self._steps = steps
        self._slots = CallSlots(limits.concurrency, callbacks.clock_s)
        self._cost_changed = asyncio.Event()

    async def run(self, trials: Iterable[PreparedTrial], *, serial: Iterable[PreparedTrial] = ()) -> None:
        """Finish trials: first the serial ones in their order, then the others, at most `concurrency` at a time.

        A callback's RunStoppedError or InfrastructureError (full disk) ends the calls; earlier trials are stored.
        """
        limit_s = self._limits.max_duration_s
        try:
            async with asyncio.timeout(limit_s) as deadline:
                for prepared in serial:
                    await self._finish(prepared)
                await self._run(iter(trials))
        except TimeoutError:
            if limit_s is None or not deadline.expired():
                raise
            what = f"by --max-duration {formatting.duration(limit_s * 1000)}"
            raise RunStoppedError(StopReason(kind="max_duration", what=what)) from None

    async def _run(self, pending: Iterator[PreparedTrial]) -> None:
        first = list(islice(pending, self._limits.concurrency))  # no more workers than trials
        pending = chain(first, pending)

        async def work() -> None:
            for prepared in pending:  # all workers share one iterator, so each trial runs once
                await self._finish(prepared)

        workers = [asyncio.create_task(work()) for _ in first]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _finish(self, prepared: PreparedTrial) -> None:
        limit_s = self._limits.case_timeout_s
        if limit_s is None:
            await self._answer(prepared)
            return
        try:
            async with asyncio.timeout(limit_s) as deadline:
                await self._answer(prepared)
        except TimeoutError:
            if not deadline.expired():
                raise
            endpoint = prepared.request.endpoint
            error = TimedOutError(
                f"the case was not finished within its limit of {formatting.duration(limit_s * 1000)}",
                provider=endpoint.provider,
                model=endpoint.name,
            )
            self._callbacks.on_trial(build_failed_trial(prepared, error, self._callbacks, source="miss", call_id=None))

    async def _answer(self, prepared: PreparedTrial) -> None:
        steps = self._steps
        if steps is not None:
            try:
                prepared = await steps.prepare(prepared)
            except (CodeError, ProjectError) as error:
                self._fail(prepared, error, source="miss", call_id=None)
                return
            recorded = steps.recorded(prepared)
            if isinstance(recorded, Failure):
                self._callbacks.on_trial(build_refused_trial(prepared, recorded, self._callbacks))
                return
            if recorded is not None:
                await self._judge(prepared, recorded, source="replay", call_id=None)
                return
        cached = None
        if self._cache is not None and prepared.needs_loop and prepared.cache_key is not None:
            cached = self._cache.get(prepared.cache_key)
        if cached is not None:
            await self._judge(prepared, cached, source="exact", call_id=None)
            return
        result, source, call_id = await self._call(prepared)
        if isinstance(result, CallError):
            self._fail(prepared, result, source=source, call_id=call_id)
        else:
            if self._cache is not None and prepared.cache_key and is_cacheable(result, self._callbacks.redact):
                self._cache.put(prepared.cache_key, result)
            await self._judge(prepared, result, source=source, call_id=call_id)
        if self._limits.connection_errors is not None and source == "miss":
            self._limits.connection_errors.note(result if isinstance(result, CallError) else None)

    async def _judge(
        self, prepared: PreparedTrial, completion: Completion, *, source: AnswerSource, call_id: str | None
    ) -> None:
        judge, is_cached = self._callbacks.judge, source == "exact"
        metrics: dict[str, float] = {}
        if self._steps is not None and (prepared.needs_loop or prepared.planned.case.recorded_output is not None):
            completion, score, metrics = await self._steps.finish(prepared, completion, is_cached=is_cached)
        elif prepared.needs_loop:
            score = await judge.judge_async(prepared, completion, is_cached=is_cached)
        else:
            score = judge.judge(prepared, completion, is_cached=is_cached)
        self._callbacks.on_trial(
            build_trial(prepared, completion, score, self._callbacks, source=source, call_id=call_id, metrics=metrics)
        )

    def _fail(self, prepared: PreparedTrial, error: Exception, *, source: AnswerSource, call_id: str | None) -> None:
        self._callbacks.on_trial(build_failed_trial(prepared, error, self._callbacks, source=source, call_id=call_id))

    async def _call(self, prepared: PreparedTrial) -> tuple[Completion | CallError, AnswerSource, str | None]:
        """Call the model; again, later, as long as it answers 429."""
        request = self._resolve(prepared.request)
        attempt = 0
        pause_s = prepared.planned.suite.evaluate.delay_s
        while True:
            attempt += 1
            if pause_s:
                await asyncio.sleep(pause_s)
            epoch = await self._slots.acquire()
            try:
                result, latency_ms = await self._call_once(request)
            finally:
                self._slots.release()
            source = self._source_of(request)
            call_id = self._callbacks.new_call_id() if source == "miss" else None
            self._callbacks.on_call(prepared, call_id, result, latency_ms)
            if not isinstance(result, RateLimitedError):
                self._slots.succeeded()
                return result, source, call_id
            is_again = self._slots.rate_limited(epoch, retry_after_s=result.retry_after_s, attempt=attempt)
            if not is_again or not self._limits.retries_rate_limits or source != "miss":
                return result, source, call_id

    async def _call_once(self, request: Request) -> tuple[Completion | CallError, float]:
        started_s = self._callbacks.clock_s()
        cost = self._limits.cost
        reserved_usd = 0.0 if cost is None else await self._reserve(cost, request)
        result: Completion | CallError | None = None
        try:
            result = await self._client.complete(request)
        except CallError as error:
            result = error
            return error, (self._callbacks.clock_s() - started_s) * 1000
        else:
            return result, result.latency_ms
        finally:
            if cost is not None:
                self._settle(cost, reserved_usd, result)

    async def _reserve(self, cost: CostLimit, request: Request) -> float:
        while (reserved_usd := cost.reserve(request)) is None:
            self._cost_changed.clear()
            await self._cost_changed.wait()
        return reserved_usd

    def _settle(self, cost: CostLimit, reserved_usd: float, result: Completion | CallError | None) -> None:
        if result is None or isinstance(result, CallError):
            usage = None if result is None else result.partial_usage
            cost.release(reserved_usd, (usage.cost_usd or 0.0) if usage else 0.0)
        else:
            cost.settle(reserved_usd, result.cost_usd)
        self._cost_changed.set()

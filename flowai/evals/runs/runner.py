"""Runs prepared trials: first from the cache, then by models, concurrently; each finished trial is reported at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from flowai.errors import CallError, ContentFilteredError, ContextTooLongError
from flowai.evals.reports import Failure, Trial
from flowai.evals.runs.trial_inputs import trial_inputs
from flowai.providers.finish_reasons import finish_kind
from flowai.storage.strict_json import json_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.evals.assertions.scoring import Score
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.providers import Client, Completion, Request

FAILING_ERRORS = (ContextTooLongError, ContentFilteredError)
"""Errors that depend on prompt, model and case; such a trial fails instead of `error`. See docs/decisions/0003."""

AnswerSource = Literal["exact", "miss", "replay"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedTrial:
    """A trial whose request is ready to send."""

    planned: PlannedTrial
    request: Request
    cache_key: str
    """Key in the exact cache; includes the repeat."""
    prompt_hash: str
    promises_json: bool
    """Whether the prompt or an assertion promises JSON."""
    logs_content: bool = False


class TrialCache(Protocol):
    """Store of answers."""

    def get(self, key: str) -> Completion | None:
        """Return a stored answer."""
        ...

    def put(self, key: str, completion: Completion) -> None:
        """Store an answer."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCallbacks:
    """Dependencies of the runner."""

    judge: Callable[[PreparedTrial, Completion], Score]
    redact: Callable[[str], str]
    redact_value: Callable[[Any], Any]
    new_call_id: Callable[[], str]
    clock_s: Callable[[], float]
    on_call: Callable[[PreparedTrial, str | None, Completion | CallError, float], None]
    """Called for every answer not from the cache: call id (None for a replay), result, latency in milliseconds."""
    on_trial: Callable[[Trial], None]
    """Called for every finished trial; after it returns, the trial is stored."""


class RunAbortedError(Exception):
    """Raised by `on_trial` to end the run early without an error (fail-fast)."""


def finish_cached(trials: Sequence[PreparedTrial], cache: TrialCache, callbacks: TrialCallbacks) -> list[PreparedTrial]:
    """Finish every trial whose answer is cached, without event loop and client; return the others in order."""
    missed: list[PreparedTrial] = []
    for prepared in trials:
        completion = cache.get(prepared.cache_key)
        if completion is None:
            missed.append(prepared)
        else:
            callbacks.on_trial(build_trial(prepared, completion, callbacks, source="exact", call_id=None))
    return missed


async def call_models(
    trials: Sequence[PreparedTrial],
    client: Client,
    callbacks: TrialCallbacks,
    *,
    concurrency: int,
    cache: TrialCache | None,
    source_of: Callable[[Request], AnswerSource] = lambda _: "miss",
) -> None:
    """Call models for the trials' answers, at most `concurrency` at a time.

    `cache` stores complete, unfiltered answers; `source_of` returns the source of an answer, after it came. A
    listener's RunAbortedError or InfrastructureError (full disk) ends the calls; earlier trials are stored.
    """
    import asyncio  # a fully cached run never needs it

    pending = iter(trials)

    async def work() -> None:
        for prepared in pending:  # all workers share one iterator, so each trial runs once
            started_s = callbacks.clock_s()
            result: Completion | CallError
            try:
                result = await client.complete(prepared.request)
                latency_ms = result.latency_ms
            except CallError as error:
                result, latency_ms = error, (callbacks.clock_s() - started_s) * 1000
            source = source_of(prepared.request)
            call_id = callbacks.new_call_id() if source == "miss" else None
            callbacks.on_call(prepared, call_id, result, latency_ms)
            if isinstance(result, CallError):
                callbacks.on_trial(_build_failed_trial(prepared, result, callbacks, source=source, call_id=call_id))
                continue
            if cache is not None and _is_cacheable(result, callbacks):
                cache.put(prepared.cache_key, result)
            callbacks.on_trial(build_trial(prepared, result, callbacks, source=source, call_id=call_id))

    workers = [asyncio.create_task(work()) for _ in range(min(concurrency, len(trials)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def build_trial(
    prepared: PreparedTrial,
    completion: Completion,
    callbacks: TrialCallbacks,
    *,
    source: AnswerSource,
    call_id: str | None,
) -> Trial:
    """Judge an answer and build its trial."""
    outcome, score, checks = callbacks.judge(prepared, completion)
    return msgspec.structs.replace(
        _unanswered(prepared, callbacks, source=source, call_id=call_id),
        outcome=outcome,
        score=score,
        checks=checks,
        output=callbacks.redact(completion.text),
        json_valid=json_problem(completion.text) is None if prepared.promises_json else None,
        finish_reason=completion.finish_reason,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
        cost_usd=completion.cost_usd,
        latency_ms=completion.latency_ms,
        ttft_ms=completion.ttft_ms,
    )


def _build_failed_trial(
    prepared: PreparedTrial, error: CallError, callbacks: TrialCallbacks, *, source: AnswerSource, call_id: str | None
) -> Trial:
    failure = Failure(
        kind=type(error).__name__, message=callbacks.redact(str(error)), provider=error.provider, status=error.status
    )
    trial = msgspec.structs.replace(_unanswered(prepared, callbacks, source=source, call_id=call_id), failure=failure)
    if isinstance(error, FAILING_ERRORS):
        return msgspec.structs.replace(trial, outcome="fail", score=0.0)
    return trial


def _unanswered(
    prepared: PreparedTrial, callbacks: TrialCallbacks, *, source: AnswerSource, call_id: str | None
) -> Trial:
    planned = prepared.planned
    inputs = trial_inputs(planned.case, prepared.request.messages, callbacks.redact, callbacks.redact_value)
    return Trial(
        key=planned.key,
        suite=planned.suite.path,
        case=planned.case.id,
        place=planned.case.place,
        prompt=planned.target.prompt,
        prompt_hash=prepared.prompt_hash,
        model=planned.target.model,
        repeat=planned.repeat,
        cache=source,
        call_id=call_id,
        **inputs._asdict(),
    )


def _is_cacheable(completion: Completion, callbacks: TrialCallbacks) -> bool:
    """Filtered answers are not the model's, unknown ends may be cut off, and secrets must not be stored in a file."""
    is_whole = completion.finish_reason is None or finish_kind(completion.finish_reason) in ("ok", "cut")
    return is_whole and callbacks.redact(completion.text) == completion.text

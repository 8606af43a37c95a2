"""Runs prepared trials: the cache first, then models, so many at a time; each finished trial is handed on at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from flowai.errors import CallError, ContentFilteredError, ContextTooLongError
from flowai.evals.reports import Failure, Trial
from flowai.storage.strict_json import json_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.evals.reports import AssertionResult, Outcome
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.providers import Client, Completion, Request

UNCACHED_ERRORS = (ContextTooLongError, ContentFilteredError)
"""Failures that say something about prompt, model and case; docs/decisions/0003 says why they are no errors."""

Judgement = tuple["Outcome", "float | None", "tuple[AssertionResult, ...]"]
AnswerSource = Literal["exact", "miss", "replay"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedTrial:
    """A trial whose request is ready to be sent."""

    planned: PlannedTrial
    """What it is."""
    request: Request
    """What would be sent."""
    cache_key: str
    """The exact cache's key; it holds the repeat."""
    prompt_hash: str
    """Hex hash of the prompt."""
    promises_json: bool
    """Whether the prompt or an assertion promises JSON."""
    logs_content: bool = False
    """Whether the feature wants request and answer in the event log."""


class TrialCache(Protocol):
    """Where answers are kept."""

    def get(self, key: str) -> Completion | None:
        """Look up."""
        ...

    def put(self, key: str, completion: Completion) -> None:
        """Keep."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCallbacks:
    """What the runner works with; handed in, so that a run can be repeated."""

    judge: Callable[[PreparedTrial, Completion], Judgement]
    """Applies the case's assertions to an answer."""
    redact: Callable[[str], str]
    """Takes secrets out of a text."""
    new_call_id: Callable[[], str]
    """Gives an id per call of a model."""
    clock_s: Callable[[], float]
    """A clock that never goes back, seconds."""
    on_call: Callable[[PreparedTrial, str | None, Completion | CallError, float], None]
    """Told of every answer that did not come from the cache: its id (None for a replay), what came of it, and after how
    many milliseconds."""
    on_trial: Callable[[Trial], None]
    """Told of every finished trial; when it returns, the trial is safe."""


class RunAbortedError(Exception):
    """Raised by `on_trial` to end the run early without an error (fail-fast)."""


def take_cached(trials: Sequence[PreparedTrial], cache: TrialCache, hands: TrialCallbacks) -> list[PreparedTrial]:
    """Finish every trial whose answer is cached; no event loop and no client is needed for it.

    Returns:
        The trials that still need a model, in order.
    """
    missed: list[PreparedTrial] = []
    for prepared in trials:
        completion = cache.get(prepared.cache_key)
        if completion is None:
            missed.append(prepared)
        else:
            hands.on_trial(answered(prepared, completion, hands, source="exact", call_id=None))
    return missed


async def ask_models(
    trials: Sequence[PreparedTrial],
    client: Client,
    hands: TrialCallbacks,
    *,
    concurrency: int,
    cache: TrialCache | None,
    source_of: Callable[[Request], AnswerSource] = lambda _: "miss",
) -> None:
    """Ask models for the trials' answers, at most `concurrency` at a time.

    Args:
        trials: what to ask.
        client: whom to ask through.
        hands: judge, ids, listeners.
        concurrency: most calls in flight, >= 1.
        cache: where whole, unfiltered answers are kept; None to keep none.
        source_of: says where the answer to a request came from, once it has come.

    Raises:
        StopRunError: a listener asked to stop.
        InfrastructureError: a listener could not keep a trial (full disk); nothing kept before is lost.
    """
    import asyncio  # a fully cached run never needs it

    pending = iter(trials)

    async def work() -> None:
        for prepared in pending:  # one iterator shared by all workers: each trial is taken once
            started_s = hands.clock_s()
            result: Completion | CallError
            try:
                result = await client.complete(prepared.request)
                latency_ms = result.latency_ms
            except CallError as error:
                result, latency_ms = error, (hands.clock_s() - started_s) * 1000
            source = source_of(prepared.request)
            call_id = hands.new_call_id() if source == "miss" else None
            hands.on_call(prepared, call_id, result, latency_ms)
            if isinstance(result, CallError):
                hands.on_trial(_failed(prepared, result, hands, source=source, call_id=call_id))
                continue
            if cache is not None and _may_be_kept(result, hands):
                cache.put(prepared.cache_key, result)
            hands.on_trial(answered(prepared, result, hands, source=source, call_id=call_id))

    workers = [asyncio.create_task(work()) for _ in range(min(concurrency, len(trials)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def answered(
    prepared: PreparedTrial, completion: Completion, hands: TrialCallbacks, *, source: AnswerSource, call_id: str | None
) -> Trial:
    """Judge an answer and make the trial of it."""
    outcome, score, checks = hands.judge(prepared, completion)
    return msgspec.structs.replace(
        _unanswered(prepared, source=source, call_id=call_id),
        outcome=outcome,
        score=score,
        checks=checks,
        output=hands.redact(completion.text),
        json_valid=json_problem(completion.text) is None if prepared.promises_json else None,
        finish_reason=completion.finish_reason,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
        cost_usd=completion.cost_usd,
        latency_ms=completion.latency_ms,
        ttft_ms=completion.ttft_ms,
    )


def _failed(
    prepared: PreparedTrial, error: CallError, hands: TrialCallbacks, *, source: AnswerSource, call_id: str | None
) -> Trial:
    failure = Failure(
        kind=type(error).__name__, message=hands.redact(str(error)), provider=error.provider, status=error.status
    )
    trial = msgspec.structs.replace(_unanswered(prepared, source=source, call_id=call_id), failure=failure)
    if isinstance(error, UNCACHED_ERRORS):
        return msgspec.structs.replace(trial, outcome="fail", score=0.0)
    return trial


def _unanswered(prepared: PreparedTrial, *, source: AnswerSource, call_id: str | None) -> Trial:
    """Give the trial as it is known before its answer."""
    planned = prepared.planned
    return Trial(
        key=planned.key,
        suite=planned.suite.path,
        case=planned.case.id,
        place=planned.case.place,
        prompt=planned.subject.prompt,
        prompt_hash=prepared.prompt_hash,
        model=planned.subject.model,
        repeat=planned.repeat,
        cache=source,
        call_id=call_id,
    )


def _may_be_kept(completion: Completion, hands: TrialCallbacks) -> bool:
    """Filtered answers are not the model's; an answer that holds a key must not lie in a file."""
    return completion.finish_reason != "content_filter" and hands.redact(completion.text) == completion.text

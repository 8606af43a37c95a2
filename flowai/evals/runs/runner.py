"""Finishes trials: from the cache without an event loop, else by models, concurrently; each is reported at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec

from flowai.errors import CallError, ContentFilteredError, ContextTooLongError
from flowai.evals.reports import Failure, Trial
from flowai.evals.runs.answers.identities import request_hash
from flowai.evals.runs.answers.trial_inputs import trial_inputs
from flowai.providers.finish_reasons import finish_kind
from flowai.storage.strict_json import json_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flowai.evals.assertions.scoring import Score
    from flowai.evals.reports import Outcome
    from flowai.evals.runs.answers.judging import Judge
    from flowai.evals.runs.records import PreparedTrial
    from flowai.providers import Completion

FAILING_ERRORS = (ContextTooLongError, ContentFilteredError)
"""Errors that depend on prompt, model and case; such a trial fails instead of `error`. See docs/decisions/0003."""

AnswerSource = Literal["exact", "miss", "replay"]


class TrialCache(Protocol):
    """Store of answers."""

    def get(self, key: str) -> Completion | None:
        """Return a stored answer."""
        ...

    def read(self, key: str) -> Completion | None:
        """Return a stored answer without counting the hit."""
        ...

    def put(self, key: str, completion: Completion) -> None:
        """Store an answer."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCallbacks:
    """Dependencies of the runner."""

    judge: Judge
    redact: Callable[[str], str]
    redact_value: Callable[[Any], Any]
    new_call_id: Callable[[], str]
    clock_s: Callable[[], float]
    on_call: Callable[[PreparedTrial, str | None, Completion | CallError, float], None]
    """Called for every answer not from the cache: call id (None for a replay), result, latency in milliseconds."""
    on_trial: Callable[[Trial], None]
    """Called for every finished trial; after it returns, the trial is stored. RunStoppedError ends the run."""


class CachedTrials(NamedTuple):
    """Numbers of trials whose answers are cached."""

    finished_count: int
    waiting_count: int
    """Those whose checks must be awaited."""


def finish_cached(
    trials: Iterable[PreparedTrial],
    cache: TrialCache,
    callbacks: TrialCallbacks,
    on_missed: Callable[[PreparedTrial], None],
) -> CachedTrials:
    """Finish every trial whose answer is cached, without event loop and client; `on_missed` gets the uncached ones."""
    finished_count = waiting_count = 0
    for prepared in trials:
        read = cache.read if prepared.needs_loop else cache.get
        completion = None if prepared.cache_key is None else read(prepared.cache_key)
        if completion is None:
            on_missed(prepared)
        elif prepared.needs_loop:
            waiting_count += 1
        else:
            score = callbacks.judge.judge(prepared, completion, is_cached=True)
            callbacks.on_trial(build_trial(prepared, completion, score, callbacks, source="exact", call_id=None))
            finished_count += 1
    return CachedTrials(finished_count, waiting_count)


def build_trial(
    prepared: PreparedTrial,
    completion: Completion,
    score: Score,
    callbacks: TrialCallbacks,
    *,
    source: AnswerSource,
    call_id: str | None,
    metrics: dict[str, float] | None = None,
) -> Trial:
    """Build the trial of an answer and its score."""
    is_model = prepared.planned.target.endpoint_model is not None
    return msgspec.structs.replace(
        _unanswered(prepared, callbacks, source=source, call_id=call_id),
        outcome=score.outcome,
        score=score.score,
        checks=score.checks,
        output=callbacks.redact(completion.text),
        json_valid=json_problem(completion.text) is None if prepared.promises_json else None,
        finish_reason=completion.finish_reason,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
        cost_usd=completion.cost_usd,
        latency_ms=completion.latency_ms,
        ttft_ms=completion.ttft_ms,
        metrics=metrics or {},
        called_model=completion.model if is_model else None,
        served_model=completion.served_model if is_model else None,
        fingerprint=completion.fingerprint,
        request_hash=request_hash(prepared),
    )


def build_failed_trial(
    prepared: PreparedTrial, error: Exception, callbacks: TrialCallbacks, *, source: AnswerSource, call_id: str | None
) -> Trial:
    """Build the trial of a failed call, or of code that made no request."""
    failure = Failure(kind=type(error).__name__, message=callbacks.redact(str(error)))
    if isinstance(error, CallError):
        failure = msgspec.structs.replace(failure, provider=error.provider, status=error.status)
    trial = msgspec.structs.replace(_unanswered(prepared, callbacks, source=source, call_id=call_id), failure=failure)
    if isinstance(error, FAILING_ERRORS):
        return msgspec.structs.replace(trial, outcome="fail", score=0.0)
    return trial


def build_refused_trial(prepared: PreparedTrial, failure: Failure, callbacks: TrialCallbacks) -> Trial:
    """Build the trial of a call that failed in an earlier run."""
    trial = _unanswered(prepared, callbacks, source="replay", call_id=None)
    outcome: Outcome = "fail" if failure.kind in {kind.__name__ for kind in FAILING_ERRORS} else "error"
    return msgspec.structs.replace(trial, failure=failure, outcome=outcome, score=0.0 if outcome == "fail" else None)


def is_cacheable(completion: Completion, redact: Callable[[str], str]) -> bool:
    """Filtered answers are not the model's, unknown ends may be cut off, and secrets must not be stored in a file."""
    is_whole = completion.finish_reason is None or finish_kind(completion.finish_reason) in ("ok", "cut")
    return is_whole and redact(completion.text) == completion.text


def _unanswered(
    prepared: PreparedTrial, callbacks: TrialCallbacks, *, source: AnswerSource, call_id: str | None
) -> Trial:
    planned = prepared.planned
    gate = planned.suite.gate
    inputs = trial_inputs(
        planned.case,
        prepared.request.messages,
        callbacks.redact,
        callbacks.redact_value,
        critical_tags=gate.critical_tags if gate is not None else (),
    )
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

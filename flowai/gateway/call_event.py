"""Builds the caller's result, the log's event and the alerts of a finished call."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import BudgetError, CallError, FlowaiError
from flowai.events import AlertEvent, CallEvent, Content
from flowai.gateway.records import CompletionResult
from flowai.gateway.routing.attempts import CANCELLED
from flowai.storage.strict_json import json_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.events import AlertCause, CacheStatus, Origin, WouldBeHit
    from flowai.gateway.plan import Plan
    from flowai.gateway.records import Explanation
    from flowai.gateway.routing.attempts import FallbackRequest
    from flowai.providers import Completion
    from flowai.redaction import Redactor


@dataclass(frozen=True, kw_only=True, slots=True)
class CallOutcome:
    """Answer of a call and how it was obtained."""

    completion: Completion
    model: str
    """Registry name of the model that answered, now or when the answer was cached."""
    is_degraded: bool = False
    """The last resort answered."""
    cost_usd: float | None = 0.0
    """Cost of all attempts; None when unknown."""
    cache: CacheStatus = "miss"
    similarity: float | None = None
    """Similarity of the cached request, 0 to 1; None unless the semantic cache answered."""
    json_valid: bool | None = None
    """The answer is valid JSON; None where no JSON was requested."""


def user_hash(user: str | None) -> str | None:
    """Hash a user's name, so that the log distinguishes users without naming them: 32 hex digits."""
    return _hash("user", user)


def caller_hash(caller: str | None) -> str | None:
    """Hash a caller's key name or address, so that the log distinguishes callers without naming them: 32 hex digits."""
    return _hash("caller", caller)


def _hash(kind: str, name: str | None) -> str | None:
    return hashlib.sha256(f"flowai {kind}\0{name}".encode("utf-8", "replace")).hexdigest()[:32] if name else None


def json_valid(plan: Plan, completion: Completion) -> bool | None:
    """Return whether the answer is the requested JSON; None where none was requested or tools are called instead."""
    response_format = plan.model_request.response_format or {}
    is_requested = plan.model_request.response_schema is not None or response_format.get("type") in (
        "json_object",
        "json_schema",
    )
    if not is_requested and plan.completion_request.messages is None and plan.resolved.prompt is not None:
        is_requested = plan.resolved.prompt.promises_json
    if not is_requested or completion.tool_calls:
        return None
    return json_problem(completion.text) is None


def to_result(plan: Plan, outcome: CallOutcome, latency_ms: float) -> CompletionResult:
    """Build the caller's result."""
    completion, is_hit = outcome.completion, outcome.cache != "miss"
    return CompletionResult(
        call_id=plan.call_id,
        text=completion.text,
        tool_calls=completion.tool_calls,
        feature=plan.resolved.name,
        release=plan.release,
        variant=plan.variant,
        experiment=plan.experiment,
        arm=plan.arm,
        model=outcome.model,
        served_model=completion.served_model,
        provider=completion.provider,
        degraded=outcome.is_degraded,
        disclaimer=plan.resolved.disclaimer if outcome.is_degraded else None,
        cache=outcome.cache,
        similarity=outcome.similarity,
        finish_reason=completion.finish_reason,
        json_valid=outcome.json_valid,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
        cost_usd=0.0 if is_hit else outcome.cost_usd,
        ttft_ms=None if is_hit else completion.ttft_ms,
        latency_ms=latency_ms,
    )


def to_event(
    plan: Plan,
    result: CompletionResult | BaseException,
    *,
    origin: Origin,
    fallback: FallbackRequest,
    latency_ms: float,
    cache_key: str | None = None,
    would_be_hit: WouldBeHit | None = None,
) -> CallEvent:
    """Build the event of a call. The log removes secrets when it is written.

    `result` is the answer or the caller's error; an error that is no FlowaiError means that the caller left. `fallback`
    has no attempts when a cache answered; `latency_ms` runs from the request to the answer or failure. `cache_key` and
    `would_be_hit` as in the event.
    """
    fields: dict[str, Any] = {}
    attempts = fallback.attempts
    if isinstance(result, CompletionResult):
        ttft_ms = result.ttft_ms
        if ttft_ms is not None and attempts:  # the caller also waited for the failed attempts before
            ttft_ms += attempts[-1].at_ms or 0.0
        fields = {
            "served_model": result.served_model,
            "provider": result.provider,
            "degraded": result.degraded,
            "cache": result.cache,
            "similarity": result.similarity,
            "input_tokens": result.input_tokens,
            "output_tokens": result.output_tokens,
            "cost_usd": result.cost_usd,
            "ttft_ms": ttft_ms,
            "finish_reason": result.finish_reason,
            "json_valid": result.json_valid,
        }
    else:
        called = [attempt for attempt in attempts if attempt.status != "skipped"]
        fields = {
            "provider": called[-1].provider if called else None,
            "cost_usd": fallback.cost_usd(0.0) if fallback.failed_costs_usd else None,
            "error_class": type(result).__name__ if isinstance(result, FlowaiError) else CANCELLED,
            "error_message": str(result) or None,
        }
    resolved = plan.resolved
    if resolved.feature.log_content == "redacted":
        output = result.text if isinstance(result, CompletionResult) else None
        fields["content"] = Content(messages=plan.model_request.messages, output=output)
    has_prompt = plan.completion_request.messages is None and resolved.prompt is not None
    return CallEvent(
        call_id=plan.call_id,
        at=plan.at,
        origin=origin,
        user_hash=user_hash(plan.completion_request.user),
        caller_hash=caller_hash(plan.completion_request.caller),
        tenant=plan.completion_request.tenant,
        session=plan.completion_request.session,
        feature=resolved.name,
        release=plan.release,
        variant=plan.variant,
        experiment=plan.experiment,
        arm=plan.arm,
        is_sticky=plan.is_sticky and (plan.variant is not None or plan.arm is not None),
        prompt_id=resolved.prompt.id if has_prompt and resolved.prompt else None,
        prompt_hash=resolved.prompt.hash if has_prompt and resolved.prompt else None,
        requested_model=resolved.candidates[0].endpoint.name,
        attempts=tuple(attempts),
        latency_ms=latency_ms,
        cache_key=cache_key,
        would_be_hit=would_be_hit,
        **fields,
    )


def call_alerts(
    plan: Plan, result: CompletionResult | BaseException, failures: Sequence[tuple[AlertCause, FlowaiError]]
) -> list[AlertEvent]:
    """Build the alerts of a call: its `failures` on the fallback chain, and a spent budget."""
    causes = list(failures)
    if isinstance(result, BudgetError) and result.retry_after_s is not None and result.is_spent:
        causes.append(("budget", result))
    return [
        AlertEvent(
            at=plan.at,
            cause=cause,
            message=str(error),
            feature=plan.resolved.name,
            provider=error.provider if isinstance(error, CallError) else None,
            model=error.model if isinstance(error, CallError) else None,
            release=plan.release,
        )
        for cause, error in causes
    ]


def redact_event(event: CallEvent, redactor: Redactor) -> CallEvent:
    """Return an event without secrets."""
    return msgspec.convert(redactor.value(msgspec.to_builtins(event)), CallEvent)


MAX_RECENT_CALLS = 1_000


class RecentCalls:
    """The newest explanations, by call id."""

    def __init__(self, max_count: int = MAX_RECENT_CALLS) -> None:
        self._max_count = max_count
        self._explanations: OrderedDict[str, Explanation] = OrderedDict()

    def add(self, explanation: Explanation) -> None:
        """Add an explanation; the oldest is dropped above the capacity."""
        self._explanations[explanation.event.call_id] = explanation
        if len(self._explanations) > self._max_count:
            self._explanations.popitem(last=False)

    def get(self, call_id: str) -> Explanation | None:
        """Return a call's explanation, if it is still stored."""
        return self._explanations.get(call_id)

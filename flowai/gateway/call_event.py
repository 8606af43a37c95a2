"""Writes one call down: the answer the caller gets, and the event the log keeps."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import FlowaiError
from flowai.events import CallEvent, Content
from flowai.gateway.records import CompletionResult
from flowai.gateway.routing.attempts import CANCELLED
from flowai.storage.strict_json import json_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.events import Attempt, CacheStatus, Origin
    from flowai.gateway.plan import Plan
    from flowai.gateway.records import Explanation
    from flowai.providers import Completion
    from flowai.redaction import Redactor


@dataclass(frozen=True, kw_only=True, slots=True)
class CallOutcome:
    """How an answer came."""

    completion: Completion
    """The answer."""
    model: str
    """The registry's name of the model that gave it, now or when it was kept."""
    is_degraded: bool = False
    """Whether the last resort gave it."""
    cache: CacheStatus = "miss"
    """Where it came from."""
    similarity: float | None = None
    """Of the request that the semantic cache found; None for other verdicts."""
    json_valid: bool | None = None
    """Whether it is the JSON that was promised; None where none was."""


def user_hash(user: str | None) -> str | None:
    """Hash a user's name, so that the log tells users apart without naming them; 32 hex digits."""
    return hashlib.sha256(f"flowai user\0{user}".encode("utf-8", "replace")).hexdigest()[:32] if user else None


def json_valid(plan: Plan, completion: Completion) -> bool | None:
    """Tell whether the promised JSON came; None where none was promised, or tools are called instead."""
    asked = plan.request.response_format or {}
    promised = plan.request.response_schema is not None or asked.get("type") in ("json_object", "json_schema")
    if not promised and plan.ask.messages is None and plan.served.prompt is not None:
        promised = plan.served.prompt.promises_json
    if not promised or completion.tool_calls:
        return None
    return json_problem(completion.text) is None


def to_result(plan: Plan, outcome: CallOutcome, latency_ms: float) -> CompletionResult:
    """Give what the caller gets."""
    completion, is_hit = outcome.completion, outcome.cache != "miss"
    return CompletionResult(
        call_id=plan.call_id,
        text=completion.text,
        tool_calls=completion.tool_calls,
        feature=plan.served.name,
        release=plan.release,
        variant=plan.variant,
        experiment=plan.experiment,
        arm=plan.arm,
        model=outcome.model,
        served_model=completion.served_model,
        provider=completion.provider,
        degraded=outcome.is_degraded,
        disclaimer=plan.served.disclaimer if outcome.is_degraded else None,
        cache=outcome.cache,
        similarity=outcome.similarity,
        finish_reason=completion.finish_reason,
        json_valid=outcome.json_valid,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
        cost_usd=0.0 if is_hit else completion.cost_usd,
        ttft_ms=None if is_hit else completion.ttft_ms,
        latency_ms=latency_ms,
    )


def to_event(
    plan: Plan,
    result: CompletionResult | BaseException,
    *,
    origin: Origin,
    attempts: Sequence[Attempt],
    latency_ms: float,
) -> CallEvent:
    """Give what the log keeps of a call; the log itself takes secrets out.

    Args:
        plan: the call.
        result: the answer, or the error the caller got; anything that is no error of ours means that the caller left.
        origin: who made the call.
        attempts: every try; empty when a cache answered.
        latency_ms: from the request to the answer or the failure.
    """
    facts: dict[str, Any] = {}
    if isinstance(result, CompletionResult):
        ttft_ms = result.ttft_ms
        if ttft_ms is not None and attempts:  # what the caller waited: failed attempts before it included
            ttft_ms += attempts[-1].at_ms or 0.0
        facts = {
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
        asked = [attempt for attempt in attempts if attempt.status != "skipped"]
        facts = {
            "provider": asked[-1].provider if asked else None,
            "error_class": type(result).__name__ if isinstance(result, FlowaiError) else CANCELLED,
            "error_message": str(result) or None,
        }
    served = plan.served
    if served.feature.log_content == "redacted":
        output = result.text if isinstance(result, CompletionResult) else None
        facts["content"] = Content(messages=plan.request.messages, output=output)
    has_prompt = plan.ask.messages is None and served.prompt is not None
    return CallEvent(
        call_id=plan.call_id,
        at=plan.at,
        origin=origin,
        user_hash=user_hash(plan.ask.user),
        tenant=plan.ask.tenant,
        session=plan.ask.session,
        feature=served.name,
        release=plan.release,
        variant=plan.variant,
        experiment=plan.experiment,
        arm=plan.arm,
        is_sticky=plan.is_sticky and (plan.variant is not None or plan.arm is not None),
        prompt_id=served.prompt.id if has_prompt and served.prompt else None,
        prompt_hash=served.prompt.hash if has_prompt and served.prompt else None,
        requested_model=served.rungs[0].endpoint.name,
        attempts=tuple(attempts),
        latency_ms=latency_ms,
        **facts,
    )


def redacted(event: CallEvent, redactor: Redactor) -> CallEvent:
    """Give an event as the log has it: without secrets."""
    return msgspec.convert(redactor.value(msgspec.to_builtins(event)), CallEvent)


MAX_COUNT = 1_000


class RecentCalls:
    """Keeps the newest explanations.

    Args:
        most_count: how many, >= 1.
    """

    def __init__(self, most_count: int = MAX_COUNT) -> None:
        self._most_count = most_count
        self._kept: OrderedDict[str, Explanation] = OrderedDict()

    def add(self, explanation: Explanation) -> None:
        """Keep one more; the oldest goes."""
        self._kept[explanation.event.call_id] = explanation
        if len(self._kept) > self._most_count:
            self._kept.popitem(last=False)

    def get(self, call_id: str) -> Explanation | None:
        """Give one; None when it is not kept."""
        return self._kept.get(call_id)

"""The records of the gateway: what a caller asks, what it gets, whole or piece by piece.

In: nothing. Out: frozen records. Must never know how an answer is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import msgspec

from flowai.events import CacheStatus, CallEvent, Variant
from flowai.registry import Serve
from flowai.state import BreakerView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.providers import ChatMessage

OnStreamBreak = Literal["error", "restart"]
"""What happens when a stream dies after its first text: a typed error, or a fresh start with the next model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionRequest:
    """One request of a caller.

    Args:
        feature: the feature; None when a model is asked on its own.
        model: the registry's name of a model; only without a feature.
        variables: the prompt's variables; None for the raw form.
        messages: the raw form: OpenAI's chat messages instead of a prompt; None for the prompt's own.
        params: sampling parameters that win over the release's.
        response_format: OpenAI's `response_format` of the raw form; None for the prompt's own schema.
        user: who asks; only a hash of it is kept. Decides the side of a rollout and the arm of an experiment.
        tenant: whose data it is; caches never cross it.
        session: the conversation; stands in for the user where there is none.
        headers: the caller's request headers; only the flag's is looked at.
        use_cache: False to ask a model in any case; the answer is not kept either.
    """

    feature: str | None = None
    model: str | None = None
    variables: Mapping[str, Any] | None = None
    messages: tuple[ChatMessage, ...] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    response_format: Mapping[str, Any] | None = None
    user: str | None = None
    tenant: str | None = None
    session: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    use_cache: bool = True


class CompletionOptions(TypedDict, total=False):
    """What `complete` and `stream` take besides feature and variables; see `CompletionRequest` for each."""

    messages: Sequence[ChatMessage] | None
    model: str | None
    params: Mapping[str, Any] | None
    response_format: Mapping[str, Any] | None
    user: str | None
    tenant: str | None
    session: str | None
    headers: Mapping[str, str] | None
    use_cache: bool


class CompletionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller gets.

    Args:
        call_id: identity of the call: for feedback, `explain` and the event log.
        text: what the model said; empty when it only calls tools.
        tool_calls: OpenAI's tool calls, in order.
        feature: the feature; None when a model was asked on its own.
        release: the release that served; None outside releases.
        variant: which side of a rollout served; None outside rollouts.
        experiment: the experiment it took part in.
        arm: the experiment's arm.
        model: the registry's name of the model that answered.
        served_model: the name the provider reports.
        provider: who answered.
        degraded: whether the last resort answered.
        disclaimer: what the user is to be told with a degraded answer; None with others.
        cache: `miss`, `exact` or `semantic`.
        similarity: of the request that the semantic cache found, 0 to 1; None for other verdicts.
        finish_reason: `stop`, `length` (cut at the token limit), `tool_calls`.
        json_valid: whether the answer is the JSON that was promised; None where none was.
        input_tokens: tokens of the request, >= 0; None when not reported.
        output_tokens: tokens of the answer, >= 0; None when not reported.
        cost_usd: US dollars, >= 0; 0 for cache hits and local models; None when the price is not known.
        ttft_ms: from the request to the first token, >= 0; None for cache hits.
        latency_ms: from the request to the whole answer, >= 0.
    """

    call_id: str
    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    feature: str | None = None
    release: str | None = None
    variant: Variant | None = None
    experiment: str | None = None
    arm: str | None = None
    model: str
    served_model: str
    provider: str
    degraded: bool = False
    disclaimer: str | None = None
    cache: CacheStatus = "miss"
    similarity: float | None = None
    finish_reason: str | None = None
    json_valid: bool | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    ttft_ms: float | None = None
    latency_ms: float


class StreamStarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="started"):
    """First of a stream: who answers, known when the first piece is there.

    Args:
        call_id: identity of the call.
        feature: the feature; None when a model is asked on its own.
        release: the release that serves; None outside releases.
        variant: which side of a rollout serves; None outside rollouts.
        model: the registry's name of the model that answers.
        degraded: whether it is the last resort.
        disclaimer: what the user is to be told with a degraded answer.
        cache: where the answer comes from.
    """

    call_id: str
    feature: str | None = None
    release: str | None = None
    variant: Variant | None = None
    model: str
    degraded: bool = False
    disclaimer: str | None = None
    cache: CacheStatus = "miss"


class TextChunk(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="piece"):
    """More of the answer.

    Args:
        text: what it adds; may be empty.
        tool_calls: OpenAI's tool call deltas, as the provider sent them.
    """

    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()


class StreamRestarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="restarted"):
    """The stream died and another model starts afresh: forget all pieces so far. Only with `on_break="restart"`.

    Args:
        model: the registry's name of the model that answers now.
        degraded: whether it is the last resort.
        disclaimer: what the user is to be told with a degraded answer.
        reason: why the first one ended.
    """

    model: str
    degraded: bool = False
    disclaimer: str | None = None
    reason: str


StreamEvent = StreamStarted | TextChunk | StreamRestarted | CompletionResult
"""What `stream` gives: Started, Pieces, perhaps Restarted and Pieces, and the whole Answer last.

A stream that cannot be finished raises a CallError instead of the Answer."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call went as it went.

    Args:
        event: the call as the log has it: release, variant, arm, every attempt and why, cache verdict, cost.
        breakers: providers that were not simply well when it ended; None where this process did not make the call.
        warnings: pins that were passed over on the way to its release; None as above.
    """

    event: CallEvent
    breakers: dict[str, BreakerView] | None = None
    warnings: tuple[str, ...] | None = None


DegradedReason = Literal["state_alone", "events_failing", "registry_invalid", "semantic_off", "cache_failing"]
"""A way in which a gateway works on with less: shared state is away, events cannot be written, the registry's new
version is wrong and the last good one serves, the semantic cache cannot embed, answers cannot be kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayStatus:
    """How a gateway stands now; cheap to ask for.

    Args:
        features: names that can be asked, as the registry has them now.
        models: names of models that can be asked on their own.
        serve: callers and limits of the HTTP gateway, as the registry has them now.
        release: the release that serves; None when there is none, and then nothing can be asked of a feature.
        candidate: the release being rolled out; None when no rollout is on.
        warnings: what a person should know of the files; one line each.
        troubles: each way in which it works with less, and why, secrets redacted.
        open_breakers: providers that are left alone now.
        held_event_count: events that wait for the log.
        dropped_event_count: events that were lost.
        is_warm: whether the first call would pay for nothing that later calls do not.
    """

    features: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    serve: Serve = field(default_factory=Serve)
    release: str | None = None
    candidate: str | None = None
    warnings: tuple[str, ...] = ()
    degraded: Mapping[DegradedReason, str] = field(default_factory=dict)
    open_breakers: tuple[str, ...] = ()
    held_event_count: int = 0
    dropped_event_count: int = 0
    is_warm: bool = True

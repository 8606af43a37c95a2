"""The records of the gateway: what a caller asks, what it gets, whole or piece by piece."""

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
    """One request of a caller."""

    feature: str | None = None
    """The feature; None when a model is asked on its own."""
    model: str | None = None
    """The registry's name of a model; only without a feature."""
    variables: Mapping[str, Any] | None = None
    """The prompt's variables; None for the raw form."""
    messages: tuple[ChatMessage, ...] | None = None
    """The raw form: OpenAI's chat messages instead of a prompt; None for the prompt's own."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters that win over the release's."""
    response_format: Mapping[str, Any] | None = None
    """OpenAI's `response_format` of the raw form; None for the prompt's own schema."""
    user: str | None = None
    """Who asks; only a hash of it is kept. Decides the side of a rollout and the arm of an experiment."""
    tenant: str | None = None
    """Whose data it is; caches never cross it."""
    session: str | None = None
    """The conversation; stands in for the user where there is none."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The caller's request headers; only the flag's is looked at."""
    use_cache: bool = True
    """False to ask a model in any case; the answer is not kept either."""


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
    """What a caller gets."""

    call_id: str
    """Identity of the call: for feedback, `explain` and the event log."""
    text: str
    """What the model said; empty when it only calls tools."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """OpenAI's tool calls, in order."""
    feature: str | None = None
    """The feature; None when a model was asked on its own."""
    release: str | None = None
    """The release that served; None outside releases."""
    variant: Variant | None = None
    """Which side of a rollout served; None outside rollouts."""
    experiment: str | None = None
    """The experiment it took part in."""
    arm: str | None = None
    """The experiment's arm."""
    model: str
    """The registry's name of the model that answered."""
    served_model: str
    """The name the provider reports."""
    provider: str
    """Who answered."""
    degraded: bool = False
    """Whether the last resort answered."""
    disclaimer: str | None = None
    """What the user is to be told with a degraded answer; None with others."""
    cache: CacheStatus = "miss"
    """`miss`, `exact` or `semantic`."""
    similarity: float | None = None
    """Of the request that the semantic cache found, 0 to 1; None for other verdicts."""
    finish_reason: str | None = None
    """`stop`, `length` (cut at the token limit), `tool_calls`."""
    json_valid: bool | None = None
    """Whether the answer is the JSON that was promised; None where none was."""
    input_tokens: int | None = None
    """Tokens of the request, >= 0; None when not reported."""
    output_tokens: int | None = None
    """Tokens of the answer, >= 0; None when not reported."""
    cost_usd: float | None = None
    """US dollars, >= 0; 0 for cache hits and local models; None when the price is not known."""
    ttft_ms: float | None = None
    """From the request to the first token, >= 0; None for cache hits."""
    latency_ms: float
    """From the request to the whole answer, >= 0."""


class StreamStarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="started"):
    """First of a stream: who answers, known when the first piece is there."""

    call_id: str
    """Identity of the call."""
    feature: str | None = None
    """The feature; None when a model is asked on its own."""
    release: str | None = None
    """The release that serves; None outside releases."""
    variant: Variant | None = None
    """Which side of a rollout serves; None outside rollouts."""
    model: str
    """The registry's name of the model that answers."""
    degraded: bool = False
    """Whether it is the last resort."""
    disclaimer: str | None = None
    """What the user is to be told with a degraded answer."""
    cache: CacheStatus = "miss"
    """Where the answer comes from."""


class TextChunk(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="piece"):
    """More of the answer."""

    text: str
    """What it adds; may be empty."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """OpenAI's tool call deltas, as the provider sent them."""


class StreamRestarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="restarted"):
    """The stream died and another model starts afresh: forget all pieces so far. Only with `on_break="restart"`."""

    model: str
    """The registry's name of the model that answers now."""
    degraded: bool = False
    """Whether it is the last resort."""
    disclaimer: str | None = None
    """What the user is to be told with a degraded answer."""
    reason: str
    """Why the first one ended."""


StreamEvent = StreamStarted | TextChunk | StreamRestarted | CompletionResult
"""What `stream` gives: Started, Pieces, perhaps Restarted and Pieces, and the whole Answer last.

A stream that cannot be finished raises a CallError instead of the Answer."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call went as it went."""

    event: CallEvent
    """The call as the log has it: release, variant, arm, every attempt and why, cache verdict, cost."""
    breakers: dict[str, BreakerView] | None = None
    """Providers that were not simply well when it ended; None where this process did not make the call."""
    warnings: tuple[str, ...] | None = None
    """Pins that were passed over on the way to its release; None as above."""


DegradedReason = Literal["state_alone", "events_failing", "registry_invalid", "semantic_off", "cache_failing"]
"""A way in which a gateway works on with less: shared state is away, events cannot be written, the registry's new
version is wrong and the last good one serves, the semantic cache cannot embed, answers cannot be kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayStatus:
    """How a gateway stands now; cheap to ask for."""

    features: frozenset[str] = frozenset()
    """Names that can be asked, as the registry has them now."""
    models: frozenset[str] = frozenset()
    """Names of models that can be asked on their own."""
    serve: Serve = field(default_factory=Serve)
    """Callers and limits of the HTTP gateway, as the registry has them now."""
    release: str | None = None
    """The release that serves; None when there is none, and then nothing can be asked of a feature."""
    candidate: str | None = None
    """The release being rolled out; None when no rollout is on."""
    warnings: tuple[str, ...] = ()
    """What a person should know of the files; one line each."""
    degraded: Mapping[DegradedReason, str] = field(default_factory=dict)
    """Each way in which it works with less, and why, secrets redacted."""
    open_breakers: tuple[str, ...] = ()
    """Providers that are left alone now."""
    held_event_count: int = 0
    """Events that wait for the log."""
    dropped_event_count: int = 0
    """Events that were lost."""
    is_warm: bool = True
    """Whether the first call would pay for nothing that later calls do not."""

"""Public records of the gateway: a request, its options, its result or stream, and the status."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import msgspec

from flowai.errors import UsageError
from flowai.events import CacheStatus, CallEvent, Variant
from flowai.registry import Serve
from flowai.state import BreakerView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.providers import ChatMessage

OnStreamBreak = Literal["error", "restart"]
"""What follows a stream that breaks after its first text: a typed error, or a restart with the next model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionRequest:
    """Request of a caller."""

    feature: str | None = None
    """The feature; None when `model` is called directly."""
    model: str | None = None
    """Registry name of a model; only without a feature."""
    variables: Mapping[str, Any] | None = None
    """The prompt's variables; None with `messages`."""
    messages: tuple[ChatMessage, ...] | None = None
    """OpenAI's chat messages instead of a prompt; None for the prompt's own."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters that win over the release's."""
    response_format: Mapping[str, Any] | None = None
    """OpenAI's `response_format` with `messages`; None for the prompt's schema."""
    user: str | None = None
    """The user; only a hash is stored. Decides a rollout's variant and an experiment's arm."""
    caller: str | None = None
    """Name of the API key, or address, of a request over HTTP; only a hash is stored. None for calls from Python."""
    tenant: str | None = None
    """Owner of the data; caches never share answers between tenants."""
    session: str | None = None
    """The conversation; replaces a missing user in assignment."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The caller's request headers; only the flag's is read."""
    use_cache: bool = True
    """False to call a model in any case; the answer is not stored either."""
    juror: str | None = None
    """Model of the feature's `jury` that answers instead of the release's, without fallbacks; None for the
    release's."""


class CompletionOptions(TypedDict, total=False):
    """Arguments of `complete` and `stream` besides feature and variables; see `CompletionRequest`."""

    messages: Sequence[ChatMessage] | None
    model: str | None
    params: Mapping[str, Any] | None
    response_format: Mapping[str, Any] | None
    user: str | None
    tenant: str | None
    session: str | None
    headers: Mapping[str, str] | None
    use_cache: bool
    juror: str | None


def completion_request(
    feature: str | None, variables: Mapping[str, Any] | None, options: CompletionOptions
) -> CompletionRequest:
    """Build a request from the arguments of `Gateway.complete`; raises UsageError for an unknown one."""
    fields: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if "messages" in fields:
        fields["messages"] = tuple(fields["messages"])
    try:
        return CompletionRequest(feature=feature, variables=variables, **fields)
    except TypeError as error:
        raise UsageError(f"unknown argument of a call: {error}") from None


class CompletionResult(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of a call, and how it was obtained."""

    call_id: str
    """Identity of the call: for feedback, `explain` and the event log."""
    text: str
    """The answer; empty when the model only calls tools."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """OpenAI's tool calls, in order."""
    feature: str | None = None
    """The feature; None when a model was called directly."""
    release: str | None = None
    """The release that served; None without a feature."""
    variant: Variant | None = None
    """The rollout's variant; None outside rollouts."""
    experiment: str | None = None
    arm: str | None = None
    model: str
    """Registry name of the model that answered."""
    served_model: str
    """Model name that the provider reports."""
    provider: str
    degraded: bool = False
    """The last resort answered."""
    disclaimer: str | None = None
    """Text to show to the user with a degraded answer."""
    cache: CacheStatus = "miss"
    similarity: float | None = None
    """Similarity of the cached request, 0 to 1; None unless the semantic cache answered."""
    finish_reason: str | None = None
    """`stop`, `length` (cut at the token limit), `tool_calls`."""
    json_valid: bool | None = None
    """The answer is the requested JSON; None where none was requested."""
    input_tokens: int | None = None
    """Tokens of the request; None when not reported."""
    output_tokens: int | None = None
    """Tokens of the answer; None when not reported."""
    cost_usd: float | None = None
    """Of all attempts, US dollars; 0 for cache hits and local models; None when the price is unknown."""
    ttft_ms: float | None = None
    """From the request to the first token; None for cache hits."""
    latency_ms: float
    """From the request to the complete answer."""


class StreamStarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="started"):
    """First event of a stream: which model answers, sent with its first text."""

    call_id: str
    feature: str | None = None
    """The feature; None when a model is called directly."""
    release: str | None = None
    """The release that serves; None without a feature."""
    variant: Variant | None = None
    """The rollout's variant; None outside rollouts."""
    experiment: str | None = None
    arm: str | None = None
    model: str
    """Registry name of the model that answers."""
    degraded: bool = False
    """The last resort answers."""
    disclaimer: str | None = None
    """Text to show to the user with a degraded answer."""
    cache: CacheStatus = "miss"


class TextChunk(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="chunk"):
    """Next part of a streamed answer."""

    text: str
    """May be empty."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """OpenAI's tool call deltas, as the provider sent them."""


class StreamRestarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="restarted"):
    """The stream broke and the next model starts over: discard all chunks so far. Only with `on_break="restart"`."""

    model: str
    """Registry name of the model that answers now."""
    degraded: bool = False
    """The last resort answers."""
    disclaimer: str | None = None
    """Text to show to the user with a degraded answer."""
    reason: str
    """Why the previous stream ended."""


StreamEvent = StreamStarted | TextChunk | StreamRestarted | CompletionResult
"""Events of `stream`: StreamStarted, TextChunks, possibly StreamRestarted and more TextChunks, and the CompletionResult
last. A stream that cannot be completed raises a CallError instead of the result."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Full record of a call."""

    event: CallEvent
    """The call's event: release, variant, arm, every attempt with its reason, cache status, cost."""
    breakers: dict[str, BreakerView] | None = None
    """Providers that were not closed and quiet when it ended; None for a call of another process."""
    warnings: tuple[str, ...] | None = None
    """Pinned releases that were skipped; None as above."""


DegradedReason = Literal[
    "state_unavailable",
    "event_log_unwritable",
    "registry_invalid",
    "semantic_cache_disabled",
    "cache_unavailable",
    "background_task_failing",
]
"""Parts without which a gateway continues: the shared state is unreachable; events cannot be written; the registry's
new version is wrong and the previous one serves; the semantic cache cannot embed; answers cannot be cached; a
background task fails unexpectedly and is tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayStatus:
    """Current status of a gateway; computed without I/O."""

    features: frozenset[str] = frozenset()
    """Features of the current registry."""
    models: frozenset[str] = frozenset()
    """Models of the current registry."""
    serve: Serve = field(default_factory=Serve)
    """Callers and limits of the HTTP gateway, from the current registry."""
    release: str | None = None
    """The release that serves; None when none can, and then features cannot be called."""
    candidate: str | None = None
    """The release being rolled out; None for no active rollout."""
    warnings: tuple[str, ...] = ()
    """Problems of the project's files, one line each."""
    degraded: Mapping[DegradedReason, str] = field(default_factory=dict)
    """Each unavailable part and why, secrets redacted."""
    unavailable_models: Mapping[str, str] = field(default_factory=dict)
    """Models that the active releases may call but cannot (key not set, weights missing), and why, secrets redacted."""
    open_breakers: tuple[str, ...] = ()
    """Providers that are not called now."""
    held_event_count: int = 0
    """Events that wait for the log."""
    dropped_event_count: int = 0
    """Events that were lost."""
    is_warm: bool = True
    """The first call pays for nothing that later calls do not."""

"""The records of the event log: calls, embeddings, what users and judges made of the answers, release steps, alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

SCHEMA_VERSION = 1

Origin = Literal["library", "serve", "eval", "smoke", "judge", "batch", "ask"]
"""Source of the call; `ask` is a person's call from the shell. Verdicts, metrics, watches and training sets count
`library` and `serve` only."""

Variant = Literal["dogfood", "canary", "control", "stable"]
"""Variant of a rollout that served the call."""

CacheStatus = Literal["miss", "exact", "semantic"]
"""`miss`: a model was called. `exact`, `semantic`: the answer came from that cache."""

AttemptStatus = Literal["ok", "error", "skipped"]
"""`ok`: the model answered. `error`: it failed. `skipped`: it was not called, for a SkipReason."""

SkipReason = Literal["open", "probing", "backing_off", "same_provider", "too_small", "no_key", "no_weights", "deadline"]
"""`open`, `probing`: state of its provider's circuit breaker. `backing_off`: its provider is in back-off.
`same_provider`: another model of its provider had just failed. `too_small`: its context is not larger than the one that
was too small. `no_key`: the variable of its key is not set. `no_weights`: the file of a local model is missing.
`deadline`: no time is left."""

FeedbackVerdict = Literal["accepted", "rejected", "thumbs_up", "thumbs_down", "edited", "saved"]
"""A user's verdict on an answer."""

AlertCause = Literal[
    "auth",
    "credit",
    "retired_model",
    "registry",
    "state",
    "budget",
    "events",
    "cache",
    "internal",
    "error_rate",
    "guardrail",
    "retirement",
]
"""`auth`: a provider refuses the API key. `credit`: its account has no credit or quota left. `retired_model`: a
provider no longer offers a model. `registry`: its new version is invalid and the last valid one serves. `state`: the
shared state is unreachable. `budget`: a feature's daily budget is spent. `events`, `cache`: the event log or the cache
cannot be written. `internal`: a background task of a process fails unexpectedly and is tried again. `error_rate`:
`flowai watch` found too many failing calls. `guardrail`: it found a rollout's candidate to be worse by a guardrail.
`retirement`: it found that a provider will soon retire a model."""

ReleaseAction = Literal["publish", "promote", "complete", "rollback", "stop", "adopt"]
"""`publish` .. `rollback`: steps of a rollout. `stop`, `adopt`: ends of an experiment."""

EmbeddingPurpose = Literal["call", "cache"]
"""`call`: a caller asked for the vectors. `cache`: the semantic cache looks for, or stores, an answer."""

NonNegativeInt = Annotated[int, Meta(ge=0)]
Milliseconds = Annotated[float, Meta(ge=0)]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Attempt at one model within a call."""

    model: str
    """The model's name in the registry."""
    provider: str
    """The provider that was called."""
    status: AttemptStatus
    """`ok`, `error` or `skipped`."""
    reason: SkipReason | None = None
    """Why the model was skipped; None when it was called."""
    http_status: int | None = None
    """HTTP status of the response; None without a response."""
    error_class: str | None = None
    """Class of the error (`RateLimitedError`); None when the model answered."""
    message: str | None = None
    """The provider's error message, secrets redacted, cut to about 300 characters; None without one."""
    was_tried: bool | None = None
    """Whether the model was tried: its request went out, its address could not be reached, or its local server did not
    start. False if the request could not be built, so that the failure says nothing about the model. None if the model
    was skipped, and in logs without this field, whose failed attempts count as tried."""
    at_ms: Milliseconds | None = None
    """Time from the call's request to the start of this attempt, >= 0; None if it was not measured."""
    latency_ms: Milliseconds | None = None
    """Time from this attempt's start to its end, >= 0; None when skipped."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Request and answer, if the feature's `log_content` allows to store them; secrets are redacted."""

    messages: tuple[dict[str, Any], ...]
    """The request in OpenAI's chat format."""
    output: str | None = None
    """The answer; None without one."""


class WouldBeHit(msgspec.Struct, frozen=True, kw_only=True):
    """Cached answer to a similar request that was not returned, but compared with the model's."""

    cache_key: str
    """Key of the cached answer; `flowai cache show` shows it."""
    similarity: Annotated[float, Meta(ge=0, le=1)]
    """Similarity of the cached request, 0 to 1."""
    route: Literal["threshold", "learnt", "below"]
    """`threshold`: more similar than the feature's `threshold`. `learnt`: than the entry's own, learnt from earlier
    comparisons. `below`: less; compared to learn the entry's threshold."""
    outcome: Literal["equal", "undecided"]
    """`equal`: both answers are one text apart from case, spaces and the order of JSON keys; `undecided` otherwise:
    `flowai cache review` shows them to a person."""
    is_check: bool = False
    """Whether the cached answer would have been returned, and the call was one of those that check it."""


class CallEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="call"):
    """Call of a feature or a model, from the assignment to the answer: one line of the log.

    Every line has every field, null where it has no value, so that a table made of any lines has all columns.
    """

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    call_id: Annotated[str, Meta(min_length=1)]
    """Identity of the call; feedback and scores refer to it."""
    at: Annotated[datetime, Meta(tz=True)]
    """Time of the request (RFC 3339, UTC)."""
    origin: Origin
    """Source of the call: `library`, `serve`, `eval`, `smoke`, `judge`, `batch` or `ask` (a call from the shell)."""
    user_hash: str | None = None
    """Hash of the user; None without a user. Never the user's name."""
    caller_hash: str | None = None
    """Hash of the API key's name, or of the client's address where no key is needed; None for calls from Python. Never
    the name or the address."""
    tenant: str | None = None
    """The customer whose data it is; None in a project with one tenant."""
    session: str | None = None
    """The conversation that the call belongs to."""
    feature: str | None = None
    """The feature; None when the caller named a model instead."""
    release: str | None = None
    """The release that served; None if the call used no release."""
    variant: Variant | None = None
    """Variant of the rollout; None outside rollouts."""
    experiment: str | None = None
    """The experiment of the call."""
    arm: str | None = None
    """The experiment's arm."""
    is_sticky: bool = False
    """Whether a user or a session decides variant and arm, so that all calls of one user get the same; False if the
    call id decides: statistics per user leave such calls out."""
    prompt_id: str | None = None
    """The prompt (`prompts/summary_v2`); None when the caller passed messages."""
    prompt_hash: str | None = None
    """Hash of the bytes of the prompt and its partials, hex."""
    requested_model: str
    """Name in the registry of the first model of the fallback chain."""
    served_model: str | None = None
    """Model name that the provider reports; None when no model answered."""
    provider: str | None = None
    """The provider that answered, else the last one called."""
    attempts: tuple[Attempt, ...] = ()
    """All attempts, in order; empty when the cache answered."""
    degraded: bool = False
    """Whether the last resort (`degrade.to`) answered."""
    cache: CacheStatus = "miss"
    """Cache that answered; `miss` when a model was called."""
    similarity: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Similarity of the cached request, 0 to 1; None unless the semantic cache answered."""
    cache_key: str | None = None
    """Key of the cached answer that was returned, or under which the answer was cached; None if it is in no cache."""
    would_be_hit: WouldBeHit | None = None
    """What the semantic cache would have answered; None without a similar request, and after a hit."""
    input_tokens: NonNegativeInt | None = None
    """Tokens of the request, >= 0; None when not reported."""
    output_tokens: NonNegativeInt | None = None
    """Tokens of the answer, >= 0; None when not reported."""
    cost_usd: Annotated[float, Meta(ge=0)] | None = None
    """Cost of all attempts in US dollars, >= 0, also of those that failed after their answer had begun (estimated where
    the provider reported no tokens); 0 for cache hits and local models; None when the price is unknown, or when a call
    failed and nothing was billed."""
    ttft_ms: Milliseconds | None = None
    """Time from the request to the first token, >= 0; None when the answer was not streamed."""
    latency_ms: Milliseconds
    """Time from the request to the complete answer or the failure, >= 0."""
    finish_reason: str | None = None
    """`stop`, `length`, `content_filter` or `tool_calls`; None without an answer."""
    json_valid: bool | None = None
    """Whether the answer is JSON as requested; None if the feature asks for no JSON."""
    error_class: str | None = None
    """Class of the error that the caller got; None after an answer."""
    error_message: str | None = None
    """Message of that error, secrets redacted."""
    content: Content | None = None
    """Request and answer; None unless `log_content` allows it."""


class FeedbackEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="feedback"):
    """A user's verdict on an answer; a call may have several."""

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    call_id: Annotated[str, Meta(min_length=1)]
    """The call that the feedback refers to."""
    at: Annotated[datetime, Meta(tz=True)]
    """Time of the feedback (RFC 3339, UTC)."""
    origin: Origin
    """Interface that received it: `library` or `serve`."""
    verdict: FeedbackVerdict
    """The user's verdict."""
    text: str | None = None
    """The answer as edited by the user, secrets redacted; None without an edit, or unless `log_content` allows it."""
    user_hash: str | None = None
    """Hash of the user; None without a user."""
    tenant: str | None = None
    """The customer whose data it is; None in a project with one tenant."""
    feature: str | None = None
    """The call's feature; None, like all fields below, if the gateway no longer knows the call."""
    release: str | None = None
    """The release that served the call."""
    variant: Variant | None = None
    """Variant of the rollout that served the call."""
    experiment: str | None = None
    """The experiment of the call."""
    arm: str | None = None
    """The experiment's arm."""


class AlertEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="alert"):
    """A problem that an operator must know of, even if no call failed."""

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    at: Annotated[datetime, Meta(tz=True)]
    """Time of detection (RFC 3339, UTC)."""
    cause: AlertCause
    """Kind of problem."""
    message: str
    """The problem and its place, secrets redacted."""
    feature: str | None = None
    """The feature concerned; None for all or none."""
    provider: str | None = None
    """The provider concerned; None for none."""
    model: str | None = None
    """Name in the registry of the model concerned; None for none."""
    release: str | None = None
    """The release that serves; None if unknown."""


class ScoreEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="score"):
    """A judge's result for an answer, after the call; a call may have several."""

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    call_id: Annotated[str, Meta(min_length=1)]
    """The call that the score refers to."""
    at: Annotated[datetime, Meta(tz=True)]
    """Time of the score (RFC 3339, UTC)."""
    origin: Origin
    """`judge` for a model's score, else the interface that received it."""
    name: Annotated[str, Meta(min_length=1)]
    """Property that was judged (`hallucination`)."""
    passed: bool
    """Whether the answer is free of it; of several scores of one call and name, the last one counts."""
    score: Annotated[float, Meta(ge=0, le=1)] | None = None
    """The judge's confidence that the answer is free of it, 0 to 1; None for yes or no only."""
    judge: str | None = None
    """The model or tool that judged; None if unknown."""
    judge_hash: str | None = None
    """Hash of all that determines the judge's verdicts, as in its calibration; None for people and other systems, whose
    scores are reported as they are."""


class ReleaseEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="release"):
    """Step of a rollout or end of an experiment, next to the calls that it changed; the ledger is the authority."""

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    at: Annotated[datetime, Meta(tz=True)]
    """Time of the step (RFC 3339, UTC)."""
    action: ReleaseAction
    """The step."""
    release: str | None = None
    """The candidate, or the release that was rolled back; of an experiment, the adopted release, else None."""
    serving: str | None = None
    """The release that serves from then on; None if that did not change."""
    from_stage: int | str | None = None
    """Stage before the step: `dogfood` or a percentage; None outside rollouts."""
    to_stage: int | str | None = None
    """Stage after the step; None if the rollout ended."""
    experiment: str | None = None
    """The experiment that ended; None for rollouts."""
    actor: str
    """Person or process that took the step."""
    reason: str | None = None
    """Reason given, secrets redacted; None without one."""


class EmbeddingEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="embedding"):
    """Request for the vectors of texts: no answer to a user, so no verdict and no rate of calls counts it."""

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    at: Annotated[datetime, Meta(tz=True)]
    """Time of the request (RFC 3339, UTC)."""
    origin: Origin
    """Interface that received it: `library` or `serve`."""
    purpose: EmbeddingPurpose
    """`call` or `cache`."""
    requested_model: str
    """Name in the registry of the embedding model."""
    provider: str | None = None
    """The provider that was called; None when none was."""
    attempts: tuple[Attempt, ...] = ()
    """All attempts, in order."""
    text_count: Annotated[int, Meta(ge=1)]
    """Number of texts, >= 1."""
    input_tokens: NonNegativeInt | None = None
    """Tokens of all texts, >= 0; None when not reported."""
    cost_usd: Annotated[float, Meta(ge=0)] | None = None
    """US dollars, >= 0; None when the price is unknown or no vectors came."""
    latency_ms: Milliseconds
    """Time from the request to the vectors or the failure, >= 0."""
    error_class: str | None = None
    """Class of the error that the caller got; None after an answer."""
    error_message: str | None = None
    """Message of that error, secrets redacted."""


Event = CallEvent | FeedbackEvent | ScoreEvent | ReleaseEvent | AlertEvent | EmbeddingEvent
"""All kinds of events, distinguished by `kind`."""

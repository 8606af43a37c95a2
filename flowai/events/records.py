"""The records of the event log: calls, what users and judges made of the answers, steps of releases, alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

SCHEMA_VERSION = 1

Origin = Literal["library", "serve", "eval", "smoke", "judge", "batch"]
"""Who made the call. Verdicts look at `library` and `serve` only."""

Variant = Literal["dogfood", "canary", "control", "stable"]
"""Which side of a rollout served the call."""

CacheStatus = Literal["miss", "exact", "semantic"]
"""`miss`: a model was asked. `exact`, `semantic`: the answer came from that cache."""

AttemptStatus = Literal["ok", "error", "skipped"]
"""`ok`: it answered. `error`: it failed. `skipped`: it was not asked, for a SkipReason."""

SkipReason = Literal["open", "probing", "resting", "same_provider", "too_small", "no_key", "no_weights", "deadline"]
"""`open`, `probing`: its provider's breaker. `resting`: its provider asked to be left alone. `same_provider`: another
model of its provider had just failed. `too_small`: its context is not larger than the one that was too small. `no_key`:
the variable of its key is not set. `no_weights`: the file of a local model is missing. `deadline`: no time was left."""

FeedbackVerdict = Literal["accepted", "rejected", "thumbs_up", "thumbs_down", "edited", "saved"]
"""What a user made of an answer."""

AlertCause = Literal["auth", "retired_model", "registry", "state", "budget", "events", "cache", "error_rate"]
"""`auth`: a provider refuses our key. `retired_model`: it no longer knows a model. `registry`: its new version is wrong
and the last good one serves. `state`: what processes share is away. `budget`: a feature's day is spent. `events`,
`cache`: they cannot be written. `error_rate`: too many calls fail, says `flowai watch`."""

ReleaseAction = Literal["publish", "promote", "complete", "rollback", "stop", "adopt"]
"""`publish` .. `rollback`: steps of a rollout. `stop`, `adopt`: ends of an experiment."""

AtLeastZero = Annotated[int, Meta(ge=0)]
Milliseconds = Annotated[float, Meta(ge=0)]

SEMCONV_VERSION = "1.44.0"
"""The version of OpenTelemetry's semantic conventions that the table below follows."""

OTEL_NAMES: dict[str, str] = {
    "requested_model": "gen_ai.request.model",
    "served_model": "gen_ai.response.model",
    "provider": "gen_ai.provider.name",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "finish_reason": "gen_ai.response.finish_reasons",
    "error_class": "error.type",
    "session": "gen_ai.conversation.id",
    "call_id": "flowai.call.id",
    "user_hash": "flowai.user.hash",
    "tenant": "flowai.tenant",
    "origin": "flowai.origin",
    "feature": "flowai.feature",
    "release": "flowai.release",
    "variant": "flowai.variant",
    "experiment": "flowai.experiment",
    "arm": "flowai.arm",
    "prompt_id": "gen_ai.prompt.name",
    "prompt_hash": "flowai.prompt.hash",
    "attempts": "flowai.attempts",
    "degraded": "flowai.degraded",
    "cache": "flowai.cache.verdict",
    "similarity": "flowai.cache.similarity",
    "cost_usd": "flowai.cost_usd",
    "ttft_ms": "flowai.ttft_ms",
    "latency_ms": "flowai.latency_ms",
    "json_valid": "flowai.json_valid",
    "error_message": "flowai.error.message",
    "is_sticky": "flowai.is_sticky",
    # of an attempt
    "model": "gen_ai.request.model",
    "status": "flowai.attempt.status",
    "reason": "flowai.attempt.skip_reason",
    "http_status": "http.response.status_code",
    "message": "flowai.error.message",
    "at_ms": "flowai.attempt.at_ms",
    # of feedback and alerts
    "verdict": "flowai.feedback.verdict",
    "text": "flowai.feedback.text",
    "cause": "flowai.alert.cause",
    # of scores and releases
    "name": "gen_ai.evaluation.name",
    "score": "gen_ai.evaluation.score.value",
    "passed": "flowai.evaluation.passed",
    "judge": "flowai.evaluation.judge",
    "action": "flowai.release.action",
    "serving": "flowai.release.serving",
    "from_stage": "flowai.release.from_stage",
    "to_stage": "flowai.release.to_stage",
    "actor": "flowai.release.actor",
}
"""What each field is called where the event leaves as OpenTelemetry; names of our own are under `flowai.`. No two
fields of one record share a name.

Source: OpenTelemetry semantic conventions, Gen AI client spans and attributes registry. They deprecate `error.message`,
so messages are ours.
"""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one model within a call."""

    model: str
    """The registry's name of the model."""
    provider: str
    """Who was asked."""
    status: AttemptStatus
    """`ok`, `error` or `skipped`."""
    reason: SkipReason | None = None
    """Why it was skipped; None when it was asked."""
    http_status: int | None = None
    """HTTP status; None when no answer came."""
    error_class: str | None = None
    """Class of the error (`RateLimitedError`); None when it answered."""
    message: str | None = None
    """The provider's words about the error, secrets redacted, cut to about 300 characters; None without any."""
    at_ms: Milliseconds | None = None
    """From the call's request to the begin of this try, >= 0; None where it was not noted."""
    latency_ms: Milliseconds | None = None
    """From this try's request to its end, >= 0; None when skipped."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What was said, where the feature's `log_content` keeps it; secrets are redacted."""

    messages: tuple[dict[str, Any], ...]
    """The request, OpenAI's chat format."""
    output: str | None = None
    """The answer; None when there was none."""


class CallEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="call"):
    """One request of a feature, from the assignment to the answer: one line of the log.

    Every field stands in every line, null where it has no value, so that a table made of any lines has all columns.
    """

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    call_id: Annotated[str, Meta(min_length=1)]
    """Identity of the call; feedback refers to it."""
    at: Annotated[datetime, Meta(tz=True)]
    """When the request came (RFC 3339, UTC)."""
    origin: Origin
    """Who made the call."""
    user_hash: str | None = None
    """Hash of the user; None when there was none. Never the user's name."""
    tenant: str | None = None
    """Whose data it is; None where there is one tenant only."""
    session: str | None = None
    """The conversation it belongs to."""
    feature: str | None = None
    """The feature; None when a model was called on its own."""
    release: str | None = None
    """The release that served; None outside releases."""
    variant: Variant | None = None
    """Which side of a rollout served; None outside rollouts."""
    experiment: str | None = None
    """The experiment it took part in."""
    arm: str | None = None
    """The experiment's arm."""
    is_sticky: bool = False
    """Whether a user or a session decides the variant and the arm, so that one asker's calls are one; False where only
    the call id does: such calls are left out of statistics per user."""
    prompt_id: str | None = None
    """The prompt (`prompts/summary_v2`); None when messages were given as they are."""
    prompt_hash: str | None = None
    """Hash of the prompt's bytes and its partials', hex."""
    requested_model: str
    """The registry's name of the model that was asked first."""
    served_model: str | None = None
    """The name the provider reports; None when nobody answered."""
    provider: str | None = None
    """Who answered, or was asked last."""
    attempts: tuple[Attempt, ...] = ()
    """Every try, in order; empty when the cache answered."""
    degraded: bool = False
    """Whether the last resort answered."""
    cache: CacheStatus = "miss"
    """Where the answer came from."""
    similarity: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Of the request that the semantic cache found, 0 to 1; None for other verdicts."""
    input_tokens: AtLeastZero | None = None
    """Tokens of the request, >= 0; None when not reported."""
    output_tokens: AtLeastZero | None = None
    """Tokens of the answer, >= 0; None when not reported."""
    cost_usd: Annotated[float, Meta(ge=0)] | None = None
    """US dollars of all attempts, >= 0; 0 for cache hits and local models; None when the price is not known."""
    ttft_ms: Milliseconds | None = None
    """From the request to the first token, >= 0; None when the answer was not streamed."""
    latency_ms: Milliseconds
    """From the request to the whole answer or the failure, >= 0."""
    finish_reason: str | None = None
    """`stop`, `length`, `content_filter`, `tool_calls`; None when there is none."""
    json_valid: bool | None = None
    """Whether the answer is the JSON that was promised; None where none was."""
    error_class: str | None = None
    """Class of the error the caller got; None when it got an answer."""
    error_message: str | None = None
    """Its message, secrets redacted."""
    content: Content | None = None
    """What was said; None unless `log_content` keeps it."""


class FeedbackEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="feedback"):
    """What a user made of an answer; one call may have several."""

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    call_id: Annotated[str, Meta(min_length=1)]
    """The call it is about."""
    at: Annotated[datetime, Meta(tz=True)]
    """When it was given (RFC 3339, UTC)."""
    origin: Origin
    """Through what it came: `library` or `serve`."""
    verdict: FeedbackVerdict
    """What the user made of it."""
    text: str | None = None
    """The answer as the user edited it, secrets redacted; None unless it was edited and the feature's `log_content`
    keeps it."""
    user_hash: str | None = None
    """Hash of the user; None when there was none."""
    tenant: str | None = None
    """Whose data it is; None where there is one tenant only."""
    feature: str | None = None
    """The call's feature; like all below, None where the call is not known any more."""
    release: str | None = None
    """The release that served the call."""
    variant: Variant | None = None
    """Which side of a rollout served it."""
    experiment: str | None = None
    """The experiment it took part in."""
    arm: str | None = None
    """The experiment's arm."""


class AlertEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="alert"):
    """What a person must know of, though no call may have failed for it."""

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    at: Annotated[datetime, Meta(tz=True)]
    """When it was seen (RFC 3339, UTC)."""
    cause: AlertCause
    """What kind of trouble."""
    message: str
    """What is wrong and where, secrets redacted."""
    feature: str | None = None
    """The feature that met it; None where it concerns none or all."""
    provider: str | None = None
    """The provider that met it; None where it concerns none."""
    model: str | None = None
    """The registry's name of the model; None where it concerns none."""
    release: str | None = None
    """The release that serves; None where none is known."""


class ScoreEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="score"):
    """What a judge found in an answer, after the call; one call may have several."""

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    call_id: Annotated[str, Meta(min_length=1)]
    """The call it is about."""
    at: Annotated[datetime, Meta(tz=True)]
    """When it was judged (RFC 3339, UTC)."""
    origin: Origin
    """Who judged: `judge` for a model, else through what the score came."""
    name: Annotated[str, Meta(min_length=1)]
    """What was looked for (`hallucination`)."""
    passed: bool
    """Whether the answer is free of it; of several scores of one call and name the last one counts."""
    score: Annotated[float, Meta(ge=0, le=1)] | None = None
    """How sure the judge is that it is free of it, 0 to 1; None where it only said yes or no."""
    judge: str | None = None
    """The model or the person's tool that judged; None where it was not said."""


class ReleaseEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="release"):
    """A step of a rollout or the end of an experiment, beside the calls that it changed; the ledger is the record."""

    schema_version: Annotated[int, Meta(ge=1)] = SCHEMA_VERSION
    """Version of this format: 1."""
    at: Annotated[datetime, Meta(tz=True)]
    """When (RFC 3339, UTC)."""
    action: ReleaseAction
    """What was done."""
    release: str | None = None
    """The release it was done to; of an experiment, the one that was adopted, None where none was."""
    serving: str | None = None
    """What serves from then on; None where that did not change."""
    from_stage: int | str | None = None
    """Where the rollout stood: `dogfood` or a percentage; None outside rollouts."""
    to_stage: int | str | None = None
    """Where it stands; None where it ended."""
    experiment: str | None = None
    """The experiment that ended; None for rollouts."""
    actor: str
    """Who did it."""
    reason: str | None = None
    """Why, secrets redacted; None without any."""


Event = CallEvent | FeedbackEvent | ScoreEvent | ReleaseEvent | AlertEvent
"""Every kind of event the log holds; `kind` tells them apart."""

"""Classifies a provider's error answer by its status, its error object and its message; knows no client library.

A status alone is not reliable: several providers answer 400 to a wrong key, an empty account or a retired model, and
403 to a prompt that their moderation rejects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from flowai.errors import (
    AuthError,
    CallError,
    ContentFilteredError,
    ContextTooLongError,
    InvalidRequestError,
    ModelNotFoundError,
    RateLimitedError,
    ServerError,
    TimedOutError,
)
from flowai.providers.openai.tool_calls import MAX_TOOL_CALLS

CALLER_STATUSES = frozenset({400, 405, 415, 422})
"""Statuses under which an error object that explains itself blames the request."""
STATUSES: dict[int, type[CallError]] = {
    401: AuthError,
    402: AuthError,
    403: AuthError,
    404: ModelNotFoundError,
    408: TimedOutError,
    410: ModelNotFoundError,
    413: InvalidRequestError,
    414: InvalidRequestError,
    429: RateLimitedError,
    431: InvalidRequestError,
    451: AuthError,
    501: InvalidRequestError,
}
"""Classes by status, for answers that say no more; any other status is a ServerError."""
TEMPORARY_STATUSES = frozenset({408, 409, 424, 425, 429, 498, 499})
"""Statuses from 400 to 499 of a provider that is overloaded or fails; under others a request may be the cause."""

_CLIENT_STATUSES = range(400, 500)


@dataclass(frozen=True, kw_only=True, slots=True)
class _FailureRule:
    kind: type[CallError]
    codes: frozenset[str] = frozenset()
    """Values of `code`, `type`, `status` or a detail's `reason`, lower case."""
    pattern: re.Pattern[str] | None = None
    """Text in the message."""
    statuses: frozenset[int | None] = frozenset()
    """Statuses under which the text counts, and the codes too unless `codes_at_any_status`; None is an error object
    inside a stream."""
    codes_at_any_status: bool = True
    is_of_account: bool = False
    """It is about the account or the model: the text does not count where the error object names a parameter, whose
    value it may quote."""

    def matches(self, answer: ErrorAnswer) -> bool:
        """Return whether an answer is of this kind."""
        is_status = answer.status in self.statuses
        if self.codes & answer.codes and (is_status or self.codes_at_any_status):
            return True
        if not is_status or self.pattern is None or (self.is_of_account and answer.names_parameter):
            return False
        return self.pattern.search(answer.message) is not None


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_CREDIT = _FailureRule(
    kind=AuthError,
    is_of_account=True,
    codes=frozenset({"insufficient_quota", "insufficient_balance", "billing_hard_limit_reached", "billing_not_active"}),
    pattern=_words(
        "credit balance is too low",
        "insufficient (?:account )?(?:balance|credits?|funds)",
        "(?:doesn't|does not) have any credits",
        "out of credits",
        "billing hard limit",
        "reached your specified api usage limits",
    ),
    statuses=frozenset({400, 403, 412, 429}),
)
_RULES: tuple[_FailureRule, ...] = (
    _FailureRule(
        kind=ContextTooLongError,
        codes=frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}),
        pattern=_words(
            "maximum context (?:length|limit)",
            "context (?:window|size)",
            "model's context length",
            "exceeds? context limit",
            "prompt is too long",
            "exceeds? the maximum number of tokens allowed",
            "input tokens exceed the configured limit",
            "`inputs` tokens \\+ `max_new_tokens` must be",
            "maximum input length is",
            "current length is \\d+ while limit is",
            "reduce the length of the messages",
        ),
        statuses=frozenset({None, 400, 413, 422}),
    ),
    _FailureRule(
        kind=ContentFilteredError,
        codes=frozenset(
            {
                "content_filter",
                "content_policy_violation",
                "data_inspection_failed",
                "moderation_blocked",
                "responsible_ai_policy_violation",
                "responsibleaipolicyviolation",
            }
        ),
        pattern=_words(
            "was flagged (?:for|as|by)",
            "requires moderation",
            "content management policy",
            "content filtering policy",
            "result of our safety system",
            "violates? (?:our )?(?:usage guidelines|content policy)",
            "flagged as potentially violating",
        ),
        statuses=frozenset({400, 403, 422, 451}),
    ),
    _CREDIT,
    _FailureRule(
        kind=AuthError,
        is_of_account=True,
        codes=frozenset({"api_key_invalid", "invalid_api_key", "unsupported_country_region_territory"}),
        pattern=_words(
            "(?:invalid|incorrect|missing|expired|wrong) (?:x-)?api[ _-]?key",
            "api[ _-]?key (?:is |was |has )?(?:not valid|not found|invalid|incorrect|missing|expired|revoked|disabled)",
            "location is not supported",
            "(?:country|region|territory)[^.]{0,40} (?:is |are )?not (?:supported|available|allowed)",
            "not available in your (?:country|region|location)",
        ),
        statuses=frozenset({400, 422}),
    ),
    _FailureRule(
        kind=ModelNotFoundError,
        is_of_account=True,
        codes=frozenset({"model_not_found", "model_decommissioned", "invalid_model", "deploymentnotfound"}),
        pattern=_words(
            "model [^ ]{1,200} (?:does not exist|(?:is )?not found|has been (?:decommissioned|deprecated|retired))",
            "model (?:does )?not (?:exist|found)",
            "is not a valid model",
            "invalid model(?: name)?:",
            "unknown model",
        ),
        statuses=frozenset({400, 422}),
    ),
    _FailureRule(
        # such a request never passes the account's limit per minute: the next one may
        kind=InvalidRequestError,
        pattern=_words("request too large for"),
        statuses=frozenset({413, 429}),
    ),
    _FailureRule(
        kind=RateLimitedError,
        codes=frozenset({"rate_limit_error", "rate_limit_exceeded", "resource_exhausted", "too_many_requests"}),
        statuses=frozenset({None, 400, 403, 422, 498}),
        codes_at_any_status=False,
    ),
    _FailureRule(
        kind=ServerError,
        codes=frozenset({"overloaded_error", "server_error", "internal_error", "internal_server_error", "unavailable"}),
        statuses=frozenset({400, 403, 404, 422}),
        codes_at_any_status=False,
    ),
)
"""The first rule that matches counts."""

_STREAM_TYPES: dict[str, type[CallError]] = {
    "invalid_request_error": InvalidRequestError,
    "authentication_error": AuthError,
    "permission_error": AuthError,
    "not_found_error": ModelNotFoundError,
    "billing_error": AuthError,
}
"""Types of an error object inside a stream; any other is a ServerError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorAnswer:
    """An answer that reports a failure."""

    status: int | None = None
    """HTTP status; None for an error object inside a stream, or without an answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names."""
    error: Mapping[str, Any] = field(default_factory=dict)
    """The error object; empty without one (a web page, an empty body)."""

    @property
    def codes(self) -> frozenset[str]:
        """The machine-readable codes of the error object, lower case."""
        details = self.error.get("details")
        nested = [self.error, self.error.get("innererror"), *(details if isinstance(details, list) else ())]
        names = ("code", "type", "status", "reason", "error_type")
        found = {_text(item.get(name)).lower() for item in nested if isinstance(item, Mapping) for name in names}
        return frozenset(found - {""})

    @property
    def message(self) -> str:
        """The provider's message; empty without one."""
        for name in ("message", "detail", "msg", "error"):
            value = self.error.get(name)
            if isinstance(value, str) and value:
                return value
            if isinstance(value, list) and value:  # FastAPI's list of invalid fields
                return "; ".join(_text(item.get("msg")) for item in value if isinstance(item, Mapping))
        return ""

    @property
    def names_parameter(self) -> bool:
        """True when the error object blames a parameter of the request."""
        return _text(self.error.get("param")) not in ("", "model")

    @property
    def stream_status(self) -> int | None:
        """The HTTP status that an error object inside a stream has as its code; None without one."""
        code = _text(self.error.get("code"))
        return int(code) if self.status is None and re.fullmatch("[45][0-9][0-9]", code) else None

    @property
    def is_explained(self) -> bool:
        """True when an error object with a message or a code came."""
        return bool(self.message or self.codes)


def error_object(body: object) -> Mapping[str, Any]:
    """Return the error object of a decoded body: the field `error`, or the body itself; empty without one."""
    if isinstance(body, list) and body:  # Gemini sends a list of one
        body = body[0]
    if not isinstance(body, Mapping):
        return {}
    error = body.get("error")
    if isinstance(error, Mapping):
        return error
    return {**body, "message": error} if isinstance(error, str) and error else body


def decode_error_object(body: bytes) -> Mapping[str, Any]:
    """Return the error object of an answer's bytes; empty for a web page and other texts."""
    try:
        return error_object(msgspec.json.decode(body))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}


def specific_kind(answer: ErrorAnswer) -> type[CallError] | None:
    """Return the class that the error object names; None if only the status decides."""
    if _is_moderation(answer):
        return ContentFilteredError
    kind = next((rule.kind for rule in _RULES if rule.matches(answer)), None)
    return kind or (_stream_kind(answer) if answer.status is None and answer.error else None)


def kind_by_status(answer: ErrorAnswer) -> type[CallError]:
    """Return the class of a status; only an explained refusal blames the request."""
    status = answer.status
    if status in CALLER_STATUSES:
        return InvalidRequestError if answer.is_explained else ServerError
    return ServerError if status is None else STATUSES.get(status, ServerError)


def is_out_of_credit(answer: ErrorAnswer) -> bool:
    """Return whether the account has no credit or quota left."""
    is_payment_required = 402 in (answer.status, answer.stream_status)  # noqa: PLR2004 - HTTP's own
    return is_payment_required or "billing_error" in answer.codes or _CREDIT.matches(answer)


def is_provider_fault(status: int | None) -> bool:
    """Return whether a failure under a status proves that the provider fails, whatever the request was."""
    return status not in _CLIENT_STATUSES or status in TEMPORARY_STATUSES


def _is_moderation(answer: ErrorAnswer) -> bool:
    """Return whether a moderation rejected the prompt, as OpenRouter reports it."""
    metadata = answer.error.get("metadata")
    return isinstance(metadata, Mapping) and bool(metadata.get("reasons") or metadata.get("flagged_input"))


def _stream_kind(answer: ErrorAnswer) -> type[CallError]:
    status = answer.stream_status
    if status is not None:
        kind = kind_by_status(ErrorAnswer(status=status, error=answer.error))
        # without a status of its own, an InvalidRequestError is the caller's
        return ServerError if kind is InvalidRequestError and status not in CALLER_STATUSES else kind
    return next((_STREAM_TYPES[name] for name in answer.codes if name in _STREAM_TYPES), ServerError)


def _text(value: object) -> str:
    """Return a text or a number as text; a number may have thousands of digits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_TOOL_CALLS:
        return str(value)
    return value if isinstance(value, str) else ""

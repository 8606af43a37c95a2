"""Decides what follows a failed attempt: whether the breaker counts it, and where the call goes next.

A transient failure moves on at once; a wrong request is the caller's error; a small context needs a larger one; a wrong
key or retired model needs another provider and an alert. A failure that the request explains never counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from flowai.errors import (
    AuthError,
    CallError,
    ContentFilteredError,
    ContextTooLongError,
    InvalidRequestError,
    MalformedAnswerError,
    ModelNotFoundError,
    RateLimitedError,
    ServerError,
    TimedOutError,
    UnreachableError,
)
from flowai.providers.failure_rules import CALLER_STATUSES

if TYPE_CHECKING:
    from flowai.errors import FlowaiError

FailureCause = Literal["auth", "credit", "retired_model"]
"""Why a failure raises an alert although the fallback chain continues."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureAction:
    """Consequences of a failed attempt."""

    counts_for_breaker: bool = False
    """The circuit breaker counts it."""
    skips_provider: bool = False
    """This call calls no other model of the same provider."""
    is_retryable: bool = False
    """The same model may be called again, after a wait."""
    needs_larger_context: bool = False
    """Only a model with a larger context makes sense."""
    is_caller_error: bool = False
    """The request is at fault; no other model is called."""
    alert: FailureCause | None = None
    """Why an alert is raised; None for no alert."""


_TRANSIENT = FailureAction(counts_for_breaker=True, is_retryable=True)
_UNRESPONSIVE = FailureAction(counts_for_breaker=True, skips_provider=True)
_BY_CLASS: dict[type[CallError], FailureAction] = {
    RateLimitedError: _TRANSIENT,
    ServerError: _TRANSIENT,
    MalformedAnswerError: _TRANSIENT,
    UnreachableError: FailureAction(counts_for_breaker=True, skips_provider=True, is_retryable=True),
    TimedOutError: _UNRESPONSIVE,
    AuthError: FailureAction(skips_provider=True, alert="auth"),
    ModelNotFoundError: FailureAction(alert="retired_model"),
    ContextTooLongError: FailureAction(needs_larger_context=True),
    ContentFilteredError: FailureAction(is_caller_error=True),
    InvalidRequestError: FailureAction(is_caller_error=True),
}
_NEVER_SENT = FailureAction(skips_provider=True)  # a local model that does not start: no provider was called


def action_for(error: FlowaiError, *, is_primary: bool, fallback_on_filtered: bool) -> FailureAction:
    """Return what follows a failed attempt.

    `is_primary`: it is the release's own model. A fallback that refuses a prompt written for another model does not
    prove that the caller is wrong. `fallback_on_filtered`: another model may follow a content-policy rejection.
    """
    action = next((_BY_CLASS[kind] for kind in type(error).__mro__ if kind in _BY_CLASS), _NEVER_SENT)
    if not isinstance(error, CallError):
        return action
    if action.is_caller_error:
        return FailureAction() if _may_continue(error, is_primary, fallback_on_filtered) else action
    if isinstance(error, AuthError) and error.is_out_of_credit:
        return replace(action, alert="credit")
    if error.is_provider_fault:
        return action
    # a limit that was too short for one model may be long enough for a faster one of the same provider
    skips_provider = action.skips_provider and not isinstance(error, TimedOutError)
    return replace(action, counts_for_breaker=False, skips_provider=skips_provider)


def _may_continue(error: CallError, is_primary: bool, fallback_on_filtered: bool) -> bool:  # noqa: FBT001 - private
    """Return whether another model may take a request that this one refused."""
    if isinstance(error, ContentFilteredError):
        return fallback_on_filtered
    # 413, 429, 501: this provider takes less than others
    return not is_primary or (error.status is not None and error.status not in CALLER_STATUSES)

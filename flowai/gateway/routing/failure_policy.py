"""Decides what follows a failed attempt: whether the breaker counts it, and where the call goes next.

A transient failure moves on at once; a wrong request is the caller's error; a small context needs a larger one; a wrong
key or retired model needs another provider and an alert.
"""

from __future__ import annotations

from dataclasses import dataclass
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

if TYPE_CHECKING:
    from flowai.errors import FlowaiError

FailureCause = Literal["auth", "retired_model"]
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
    if not action.is_caller_error:
        return action
    continues = fallback_on_filtered if isinstance(error, ContentFilteredError) else not is_primary
    return FailureAction() if continues else action

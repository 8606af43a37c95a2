"""What follows from a failed attempt: whether it counts against the provider, and where the call goes next.

Rules (the design's ladder): what a provider may get over moves on at once; what the caller did is the caller's; a
context that is too small needs a larger one; a wrong key or a retired model needs another provider, and a person.
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
"""Why a person is told of a failure that the ladder gets over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureAction:
    """What follows."""

    counts: bool = False
    """Whether the breaker counts it."""
    leaves_provider: bool = False
    """Whether this call asks nothing more of the same provider."""
    may_repeat: bool = False
    """Whether the same model may be asked once more, after a wait."""
    needs_larger_context: bool = False
    """Whether only a model with a larger context makes sense."""
    is_callers: bool = False
    """Whether it is the caller's, and no other model is asked."""
    alert: FailureCause | None = None
    """Why a person is told; None when nobody needs to be."""


_TRANSIENT = FailureAction(counts=True, may_repeat=True)
_SILENT = FailureAction(counts=True, leaves_provider=True)
_BY_CLASS: dict[type[CallError], FailureAction] = {
    RateLimitedError: _TRANSIENT,
    ServerError: _TRANSIENT,
    MalformedAnswerError: _TRANSIENT,
    UnreachableError: FailureAction(counts=True, leaves_provider=True, may_repeat=True),
    TimedOutError: _SILENT,
    AuthError: FailureAction(leaves_provider=True, alert="auth"),
    ModelNotFoundError: FailureAction(alert="retired_model"),
    ContextTooLongError: FailureAction(needs_larger_context=True),
    ContentFilteredError: FailureAction(is_callers=True),
    InvalidRequestError: FailureAction(is_callers=True),
}
_NEVER_SENT = FailureAction(leaves_provider=True)  # a local model that does not start: nobody was asked


def action_for(error: FlowaiError, *, is_primary: bool, goes_around_filter: bool) -> FailureAction:
    """Say what follows from a failed attempt.

    Args:
        error: how it failed.
        is_primary: whether it is the release's own model. A fallback that refuses what the caller wrote for another
            model does not prove that the caller is wrong.
        goes_around_filter: whether the feature allows another model after a content-policy rejection.
    """
    found = next((_BY_CLASS[kind] for kind in type(error).__mro__ if kind in _BY_CLASS), _NEVER_SENT)
    if not found.is_callers:
        return found
    goes_on = goes_around_filter if isinstance(error, ContentFilteredError) else not is_primary
    return FailureAction() if goes_on else found

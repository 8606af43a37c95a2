"""Conversion of errors into HTTP responses: status and OpenAI's error object."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import (
    AllModelsFailedError,
    BudgetError,
    CallError,
    ContentFilteredError,
    ContextTooLongError,
    FlowaiError,
    InfrastructureError,
    InvalidMessagesError,
    InvalidRequestError,
    ProjectError,
    PromptError,
    RateLimitedError,
    TimedOutError,
    UsageError,
)
from flowai.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_MESSAGE_CHARACTERS = 2000
_SERVER = 500
CLIENT_GONE = 499  # nginx's status for a caller that disconnected; only in metrics
OVERLOAD_RETRY_AFTER_S = 1.0
"""Wait that a caller is asked for when something is busy for a moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorResponse:
    """Response to a failed request."""

    status: int
    """HTTP status, 400 to 599."""
    message: str
    """Redacted."""
    type: str = "invalid_request_error"
    """`invalid_request_error`, `insufficient_quota`, `requests`, `tokens` or `server_error`; OpenAI's types."""
    code: str | None = None
    """Machine-readable reason."""
    param: str | None = None
    """The invalid parameter, dotted (`messages.0.content`)."""
    retry_after_s: float | None = None
    """Time until a retry makes sense, >= 0; None when unknown."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Additional headers."""

    def body(self) -> bytes:
        """Return OpenAI's error object as JSON."""
        return msgspec.json.encode(self.as_object())

    def as_object(self) -> dict[str, dict[str, str | None]]:
        """Return OpenAI's error object."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def all_headers(self) -> dict[str, str]:
        """Return the headers of the response; Retry-After in whole seconds, rounded up."""
        headers = {"content-type": "application/json", **self.headers}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        return headers


class RefusedError(FlowaiError):
    """The server refuses a request before the gateway gets it."""

    def __init__(self, problem: ErrorResponse) -> None:
        super().__init__(problem.message)
        self.problem = problem


class ClientGoneError(FlowaiError):
    """The caller disconnected before the end of its answer; there is no response."""

    def __init__(self) -> None:
        super().__init__("the caller disconnected")


def error_response(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    retry_after_s: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> RefusedError:
    """Build the error for a refused request; the message is redacted, the type follows from the status."""
    kind = "invalid_request_error" if status < _SERVER else "server_error"
    return RefusedError(
        ErrorResponse(
            status=status,
            message=_redacted(message),
            type=kind,
            code=code,
            param=param,
            retry_after_s=retry_after_s,
            headers=headers or {},
        )
    )


INTERNAL_ERROR = ErrorResponse(
    status=500, message="the gateway failed; this is a bug in flowai", type="server_error", code="bug"
)


def error_response_for(error: FlowaiError) -> ErrorResponse:
    """Build the response for an error."""
    if isinstance(error, RefusedError):
        return error.problem
    if isinstance(error, BudgetError):
        return _budget_response(error)
    if isinstance(error, CallError):
        return _call_response(error)
    if isinstance(error, InvalidMessagesError):
        return ErrorResponse(status=400, message=_message(error), code="invalid_message", param=error.param)
    for kind, status, code, param in _SERVER_ERRORS:
        if isinstance(error, kind):
            error_type = "invalid_request_error" if status < _SERVER else "server_error"
            return ErrorResponse(status=status, message=_message(error), type=error_type, code=code, param=param)
    return INTERNAL_ERROR


_SERVER_ERRORS: tuple[tuple[type[FlowaiError], int, str | None, str | None], ...] = (
    (PromptError, 400, "invalid_variables", "prompt_variables"),
    (UsageError, 400, None, None),
    (ProjectError, 500, "misconfigured", None),
    (InfrastructureError, 503, "unavailable", None),
)
"""Status, code and parameter of failures without a provider; the first matching class counts."""


def _budget_response(error: BudgetError) -> ErrorResponse:
    """Build the response for a budget.

    A daily one is renewed, calls under way return what they do not need, a request above its token limit never
    succeeds.
    """
    if error.retry_after_s is None:
        return ErrorResponse(status=400, message=_message(error), code="token_budget_exceeded")
    if not error.is_spent:
        return ErrorResponse(
            status=429,
            message=_message(error),
            type="requests",
            code="budget_reserved",
            retry_after_s=error.retry_after_s,
        )
    return ErrorResponse(
        status=429,
        message=_message(error),
        type="insufficient_quota",
        code="insufficient_quota",
        retry_after_s=error.retry_after_s,
        headers={"x-should-retry": "false"},  # otherwise OpenAI's clients retry twice within seconds
    )


_CLIENT_ERRORS: tuple[tuple[type[CallError], str], ...] = (
    (ContentFilteredError, "content_filter"),
    (ContextTooLongError, "context_length_exceeded"),
    (InvalidRequestError, "invalid_request"),
)
"""Errors that the caller can fix, with their codes; OpenAI's names where they exist."""


def _call_response(error: CallError) -> ErrorResponse:
    for kind, code in _CLIENT_ERRORS:
        if isinstance(error, kind):
            return ErrorResponse(status=400, message=_message(error), code=code)
    status, code = _provider_status(error)
    return ErrorResponse(
        status=status, message=_message(error), type="server_error", code=code, retry_after_s=error.retry_after_s
    )


def _provider_status(error: FlowaiError) -> tuple[int, str]:
    """Return status and code of the last failure: 503 if limited or backing off, 504 if too slow, else 502."""
    if isinstance(error, AllModelsFailedError):
        return _provider_status(error.failures[-1]) if error.failures else (503, "providers_backing_off")
    if isinstance(error, RateLimitedError):
        return 503, "provider_rate_limited"
    if isinstance(error, TimedOutError):
        return 504, "provider_timed_out"
    return 502, "provider_failed"


def _message(error: FlowaiError) -> str:
    """Return an error's text without its place: callers must not see the operator's files."""
    return _redacted(error.what)


def _redacted(text: str) -> str:
    shown = redact(text)
    return shown if len(shown) <= _MAX_MESSAGE_CHARACTERS else shown[:_MAX_MESSAGE_CHARACTERS] + "…"
